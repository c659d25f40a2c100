"""GPTQ against the paper's equations, step by step, and against rounding to the nearest."""

from collections.abc import Iterable
from weakref import ref

import pytest
import torch
from torch import Tensor, nn

from quantization import calibration
from quantization.affine import quantize_groups
from quantization.calibration import see_moments, with_stated_policy
from quantization.gptq import DAMPING, quantize_gptq
from quantization.quantizable import QuantizableNetwork
from quantization.stored import stored_network
from search_space.layers import Precision
from tests.quantization.networks import batches, inputs_for, quantizable, space_of

PRECISION = Precision("gptq", group=32)


def drawn(outputs: int, inputs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A weight, and moments of inputs that hang together, as those of networks do."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, generator=generator, dtype=torch.float64) / inputs**0.5
    x_NI = torch.randn(400, inputs, generator=generator, dtype=torch.float64) @ mix
    x_NI *= torch.linspace(0.2, 3, inputs)
    return torch.randn(outputs, inputs, generator=generator), x_NI.T @ x_NI


def by_the_equations(weight: Tensor, moments: Tensor, bits: int, group: int, order: Tensor) -> Tensor:
    """Equations 2 and 3, one column after the other, with the inverse as it is: no factor, no blocks."""
    scale = quantize_groups(weight, bits, group).scale.double()
    real, values = weight.double().clone(), torch.zeros_like(weight, dtype=torch.int8)
    hessian = 2 * moments
    hessian = hessian + DAMPING * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=torch.float64)
    inverse = torch.linalg.inv(hessian)
    for q in order.tolist():
        steps = scale[:, q // (group or weight.shape[1])]
        whole = (real[:, q] / steps).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        values[:, q] = whole.to(torch.int8)
        error = (real[:, q] - whole * steps) / inverse[q, q]
        real -= error[:, None] * inverse[q]  # equation 2; columns that are done have zeros in the inverse
        inverse = inverse - torch.outer(inverse[:, q], inverse[q]) / inverse[q, q]  # equation 3
    return values


@pytest.mark.parametrize(("inputs", "group", "block"), [(24, 0, 7), (64, 16, 128), (50, 16, 8), (64, 32, 64)])
@pytest.mark.parametrize("by_activity", [True, False])
def test_it_is_the_papers_equations(inputs: int, group: int, block: int, by_activity: bool) -> None:
    weight, moments = drawn(9, inputs)
    made = quantize_gptq(weight, moments, 4, group, block=block, by_activity=by_activity)
    order = moments.diagonal().argsort(descending=True) if by_activity else torch.arange(inputs)
    assert torch.equal(made.values, by_the_equations(weight, moments, 4, group, order))
    assert torch.equal(made.scale, quantize_groups(weight, 4, group).scale)


def test_what_the_layer_answers_is_nearer_than_with_rounding_to_the_nearest() -> None:
    weight, moments = drawn(32, 256)

    def lost(stored: Tensor) -> float:
        """Mean squared error of the layer's answers (equation 1)."""
        difference = (weight - stored).double()
        return float((difference @ moments * difference).sum())

    nearest = lost(quantize_groups(weight, 4, 32).dequantized())
    assert lost(quantize_gptq(weight, moments, 4, 32).dequantized()) < 0.6 * nearest


def test_without_correlations_it_is_rounding_to_the_nearest() -> None:
    weight, _ = drawn(8, 64)
    made = quantize_groups(weight, 4, 32)
    nearest, steps = made.values, weight / made.scale.repeat_interleave(32, 1)
    # The largest weight of a group is a tie, which either rounds its own way.
    tied = (steps.abs() - 7.5).abs() < 1e-4
    assert torch.equal(quantize_gptq(weight, torch.eye(64), 4, 32).values[~tied], nearest[~tied])
    assert torch.equal(quantize_gptq(weight, torch.zeros(64, 64), 4, 32).values, nearest)


def test_moments_that_are_none_are_refused() -> None:
    weight, moments = drawn(8, 64)
    with pytest.raises(ValueError, match=r"moments of shape \(64, 64\) for a weight of 32 inputs"):
        quantize_gptq(weight[:, :32], moments, 4, 32)
    with pytest.raises(ValueError, match="infinite or no numbers"):
        quantize_gptq(weight, moments * torch.inf, 4, 32)


def test_a_network_is_rounded_by_what_its_layers_take() -> None:
    space = space_of("llama", schemes={4: "gptq", 8: "int8_weight"})
    architecture = space.quantized(space.base.smallest(), 4)
    made, x = quantizable(space, architecture), inputs_for(space, 24)
    policy = space.policy(architecture)
    with pytest.raises(ValueError, match="was not calibrated for scheme 'gptq'"):
        made.with_policy(policy)
    assert see_moments(made, batches(x), [Precision("int4_weight", group=32)]) == 0
    assert see_moments(made, batches(x), policy.values()) > 0
    assert see_moments(made, batches(x), policy.values()) == 0
    with torch.no_grad():
        exact = made.folded(x)
        plain = made.with_policy({name: Precision("int4_weight", group=32) for name in policy})(x)
        better = made.with_policy(policy)
        assert (better(x) - exact).square().mean() < (plain - exact).square().mean()
        torch.testing.assert_close(stored_network(better.applied_policy)(x), better(x), rtol=0, atol=1e-5)


def test_what_it_costs_is_known_without_data() -> None:
    space = space_of("llama", schemes={4: "gptq", 8: "int8_weight"})
    architecture = space.quantized(space.base.smallest(), 4)
    plain = space.quantized(space.base.smallest(), 32)
    made = with_stated_policy(quantizable(space, plain).folded, space.layers(architecture), inputs_for(space, 1))
    assert {plan.precision for plan in made.applied_policy.plans.values()} == {PRECISION}


def seen_by_hooks(made: QuantizableNetwork, texts: Iterable[Tensor]) -> dict[str, Tensor]:
    """Sum x x^T of every linear layer over passes of the whole network."""
    sums: dict[str, Tensor] = {}

    def watch(name: str) -> None:
        def see(_module: nn.Module, given: tuple[Tensor, ...], _out: Tensor) -> None:
            rows = given[0].flatten(0, -2)
            sums[name] = sums.get(name, 0) + rows.T @ rows

        made.layer(name).register_forward_hook(see)

    names = [name for name in made.paths if isinstance(made.layer(name), nn.Linear)]
    for name in names:
        watch(name)
    with torch.no_grad():
        for text in texts:
            made.folded(text)
    return sums


@pytest.mark.thorough
@pytest.mark.parametrize("kept", [True, False])
def test_a_block_at_a_time_gives_what_the_whole_network_gives(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    space = space_of("llama", schemes={4: "gptq", 8: "int8_weight"})
    architecture = space.quantized(space.base.largest(), 4)
    policy = space.policy(architecture)
    texts = inputs_for(space, 24).split(8)
    sums = seen_by_hooks(quantizable(space, architecture), texts)
    made = quantizable(space, architecture)
    if not kept:
        monkeypatch.setattr(calibration, "MOMENTS_BYTES", 0)
    alive: dict[str, list[ref[Tensor]]] = {}
    rounds = made.round

    def rounded(name: str, precision: Precision, *moments_II: Tensor) -> None:
        slot = name.split(".")[0]
        before = [one() for other, matrices in alive.items() if other != slot for one in matrices]
        assert kept or not any(matrix is not None for matrix in before)
        alive.setdefault(slot, []).extend(map(ref, moments_II))
        rounds(name, precision, *moments_II)

    monkeypatch.setattr(made, "round", rounded)
    assert see_moments(made, lambda: [{"input": text} for text in texts], policy.values()) == len(sums)
    assert see_moments(made, list, policy.values()) == 0
    assert bool(made.moments) == kept
    assert bool(alive) != kept
    for name, precision in policy.items():
        if not kept:
            assert made.is_rounded(name, precision)
        stored = made.plan(name, precision).weight
        right = quantize_gptq(made.layer(name).weight, sums[name], 4, precision.group)
        assert stored is not None
        # Sums in another order: a weight that is a tie may go the other way.
        assert float((stored.values == right.values).float().mean()) > 0.999
        assert torch.equal(stored.scale, right.scale)
