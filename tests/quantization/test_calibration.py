import pytest
import torch

from quantization.calibration import CalibrationError, SharedStatistics, calibrate_activations
from quantization.observers import Histogram, kl_ranges
from quantization.quantizable import QuantizableNetwork
from supernet.network import Supernet, extract
from tests.quantization.networks import batches, inputs_for, quantizable, space_of


@pytest.fixture(scope="module")
def space():
    return space_of("mobilenet")


def fresh(space):
    network = space.base.largest()
    layers = space.base.layers(network)
    inputs = inputs_for(space, 24)
    return QuantizableNetwork(extract(Supernet(space.base), network).eval(), layers, {"input": inputs[:2]}), layers


def test_ranges_are_those_of_what_passed(space):
    made = quantizable(space, space.largest())
    inputs = inputs_for(space, 24)
    seen = made.statistics["stem.conv"]
    assert seen.inputs == (float(inputs.min()), float(inputs.max()))
    assert seen.activation == "ReLU"
    out = made.folded.stem(inputs)
    assert seen.outputs == (float(out.min()), float(out.max()))


def test_statistics_are_shared_by_networks_that_begin_alike(space):
    shared, supernet = SharedStatistics(), Supernet(space.base)
    first = space.quantized(space.base.largest(), 8)
    inputs = inputs_for(space, 24)
    whole = quantizable(space, first, shared=shared, supernet=supernet)
    values = {**space.base.largest().values, "stage3_block2_kernel": 3}
    layers = space.base.layers(space.base.architecture(**values))
    network = extract(supernet, space.base.architecture(**values)).eval()
    again = QuantizableNetwork(network, layers, {"input": inputs[:2]})
    looked = calibrate_activations(again, layers, batches(inputs), "minmax", shared)
    # Only the changed block and what comes after it are looked at.
    expected = [name for name in again.paths if name.split(".")[0] in ("stage3_block2", "head")]
    assert looked == len(expected)
    assert again.statistics["stage1_block1.expand"] == whole.statistics["stage1_block1.expand"]
    # Another policy of a known network needs nothing.
    assert calibrate_activations(again, layers, batches(inputs), "minmax", shared) == 0


def test_shared_statistics_are_those_that_a_network_alone_has(space):
    shared, supernet = SharedStatistics(), Supernet(space.base)
    quantizable(space, space.largest(), shared=shared, supernet=supernet)
    other = space.quantized(space.base.architecture(**{**space.base.largest().values, "stage2_block1_kernel": 3}), 32)
    together = quantizable(space, other, shared=shared, supernet=supernet)
    alone = quantizable(space, other, supernet=supernet)
    assert together.statistics == alone.statistics


def test_observers_that_cut_give_up_rare_values():
    values = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    values[0] = 60.0
    histogram = Histogram.of([values], float(values.min()), float(values.max()))
    least, most = histogram.percentile()
    assert -4.5 < least < -3
    assert 3 < most < 4.5
    (low, high), (_, whole) = kl_ranges([histogram, Histogram.of([values[1:].clamp(0, 1)], 0.0, 1.0)])
    assert low == histogram.least
    assert 3 < high < 20
    assert whole == 1.0


def test_zeros_do_not_outweigh_what_has_to_be_stored():
    """After a ReLU half of the values are zero, which any range stores exactly; counted, they pulled the cut to 1.9."""
    values = torch.randn(100_000, generator=torch.Generator().manual_seed(0)).clamp(min=0)
    (_, most), (_, none) = kl_ranges(
        [Histogram.of([values], 0.0, float(values.max())), Histogram.of([values[values > 0]], 0.0, float(values.max()))]
    )
    assert most == none
    assert most > 2.8
    assert Histogram.of([values], 0.0, float(values.max())).percentile()[1] > 3.5


def test_what_is_cut_is_quantized_more_finely(space):
    architecture = space.quantized(space.base.largest(), 8)
    for observer in ("percentile", "kl"):
        cut, full = quantizable(space, architecture, observer), quantizable(space, architecture)
        assert cut.statistics != full.statistics
        for name, seen in cut.statistics.items():
            assert full.statistics[name].inputs[0] <= seen.inputs[0]
            assert seen.inputs[1] <= full.statistics[name].inputs[1]


# --- bad input --------------------------------------------------------------------------------------


def test_too_few_examples_are_refused(space):
    made, layers = fresh(space)
    for count in (0, 3):
        few = [{"input": inputs_for(space, count)}] if count else []
        with pytest.raises(CalibrationError, match=f"got {count} examples; it needs at least 16"):
            calibrate_activations(made, layers, lambda few=few: few, "minmax")


def test_infinite_activations_are_refused_by_name(space):
    made, layers = fresh(space)
    with torch.no_grad():
        made.layer("stage1_block1.expand").weight[0] = float("inf")
    with pytest.raises(CalibrationError, match=r"'stage1_block1.expand' gives values .* Keep"):
        calibrate_activations(made, layers, batches(inputs_for(space, 24)), "minmax")


def test_constant_activations_are_stored_exactly(space):
    made, layers = fresh(space)
    inputs = torch.full((24, 1, 8, 8), 0.75)
    for observer in ("minmax", "kl"):
        made.statistics.clear()
        calibrate_activations(made, layers, batches(inputs), observer)
        plan = made.plan("stem.conv", space.policy(space.quantized(space.base.largest(), 8))["stem.conv"])
        assert torch.allclose(plan.inputs.fake(inputs), inputs)


def test_an_unknown_observer_is_refused(space):
    made, layers = fresh(space)
    with pytest.raises(CalibrationError, match="No observer named 'median'"):
        calibrate_activations(made, layers, batches(inputs_for(space, 24)), "median")


def test_static_quantization_without_calibration_is_refused(space):
    made, _ = fresh(space)
    with pytest.raises(ValueError, match="needs calibration"):
        made.with_policy(space.policy(space.quantized(space.base.largest(), 8)))
