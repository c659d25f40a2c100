"""ProxylessNAS: gates, latency, two-path steps, REINFORCE, derivation, resume."""

import itertools
import math

import numpy as np
import pytest
import torch

from proxyless.derive import most_likely, most_likely_within
from proxyless.expected_latency import (
    AddLinear,
    Latencies,
    MulLog,
    NoLatency,
    expected_latency,
    to_budget,
)
from proxyless.gates import Asked, GatedPasses, logit_gradient
from proxyless.held_out import carve
from proxyless.parameters import ArchitectureParameters
from proxyless.search import Budget, PathSearch, Turns
from proxyless.steps import GradientStep, LatencyReward, Reinforce, accuracies
from search_space.adjustments import Adjustments
from search_space.operations import blocks_of, separated
from search_space.plugins import load_family
from supernet.data.dataset import Split
from supernet.data.splitting import DataError
from supernet.losses import task_loss
from supernet.methods.proxylessnas.method import ProxylessNAS
from supernet.network import Supernet
from supernet.randomness import derived_rng
from supernet.trainer import Trainer, TrainingOptions
from tests.tiers import mostly_thorough

SPACE = load_family(
    "proxyless",
    "digits",
    Adjustments({"stage*_block1": ("k3e1", "k5e2"), "stage*_block[23]": ("zero", "k3e1", "k5e2")}),
)
BLOCKS = blocks_of(SPACE)
# Cheapest 1 + 2 * 1, dearest 1 + 2 * 3 + 4 * 4.
LATENCIES = Latencies(
    "made-up", 1.0, tuple((1.0, 3.0) if len(b.options) == 2 else (0.0, 1.5, 4.0) for b in BLOCKS.searched)
)
OPTIONS = TrainingOptions(
    epochs=4,
    batch_size=16,
    optimizer="sgd",
    learning_rate=0.05,
    lr_decay=0.97,
    lr_decay_epochs=1,
    lr_floor=0,
    weight_decay=4e-5,
    momentum=0.9,
    clip_norm=5,
    schedule="cosine",
)


@pytest.fixture(scope="module")
def split() -> Split:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(80) % 10
    return Split(torch.randn(80, 1, 8, 8, generator=generator) + y[:, None, None, None] / 5, y)


def network() -> Supernet:
    torch.manual_seed(0)
    return Supernet(separated(SPACE))


def parameters(seed: int = 0) -> ArchitectureParameters:
    made = ArchitectureParameters(SPACE, BLOCKS.searched, seed)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for alpha in made.alphas:
            alpha += torch.from_numpy(rng.normal(0, 0.5, len(alpha)))
    return made


def gradient_step(mode="two", loss=None, supernet=None, made=None) -> GradientStep:
    passes = GatedPasses(supernet or network(), BLOCKS)
    return GradientStep(passes, made or parameters(), LATENCIES, loss or AddLinear(0.3, 9.0), 0.05, mode)


# --- gates -------------------------------------------------------------------------------------------


def mixture_gradients(supernet: Supernet, batch, active) -> list[torch.Tensor]:
    """The definition: all candidates in memory, sum_k g_k o_k, and autograd for dL/dg."""
    gates = [torch.eye(len(b.options))[a].requires_grad_() for b, a in zip(BLOCKS.searched, active, strict=True)]
    x, by_slot = batch.x, {b.slot: (b, g) for b, g in zip(BLOCKS.searched, gates, strict=True)}
    supernet.train()
    for slot in BLOCKS.order:
        if slot in BLOCKS.fixed:
            x = supernet.slot(slot)(x, BLOCKS.fixed[slot])
            continue
        block, gate = by_slot[slot]
        outs = [x if s is None else supernet.slot(f"{slot}/{k}")(x, s) for k, s in enumerate(block.specs)]
        # A candidate that is not active is weighed, not followed: its input has no gradient through it.
        x = sum(
            g * (out if k == active[list(by_slot).index(slot)] else out.detach())
            for k, (g, out) in enumerate(zip(gate, outs, strict=True))
        )
    return list(torch.autograd.grad(task_loss(x, batch.targets), gates))


@pytest.mark.parametrize("active", [(0,) * 6, (1, 2, 1, 0, 0, 2)], ids=["dropped blocks", "mixed"])
def test_gate_gradients_are_those_of_all_paths_in_memory(split, active):
    supernet, batch = network(), split.batch(slice(0, 16))
    every = [Asked(a, tuple(range(len(b.options)))) for a, b in zip(active, BLOCKS.searched, strict=True)]
    _, found = GatedPasses(supernet, BLOCKS).gate_gradients(batch, every, lambda loss: loss)
    for got, expected in zip(found, mixture_gradients(supernet, batch, active), strict=True):
        torch.testing.assert_close(got, expected.double(), rtol=1e-4, atol=1e-6)


def test_two_path_mode_asks_for_two_candidates_alone(split):
    supernet, batch = network(), split.batch(slice(0, 16))
    runs: list[str] = []
    for name, slot in supernet.slots.items():
        slot.register_forward_hook(lambda *_, name=name: runs.append(name))
    asked = [Asked(0, (0, 1)) for _ in BLOCKS.searched]
    _, found = GatedPasses(supernet, BLOCKS).gate_gradients(batch, asked, lambda loss: loss)
    assert all(row[:2].isfinite().all() and row[2:].isnan().all() for row in found)
    with_zero = sum(len(block.options) == 3 for block in BLOCKS.searched)
    assert len(runs) == len(BLOCKS.fixed) + 2 * len(BLOCKS.searched) - with_zero


def test_an_architecture_step_leaves_weights_and_statistics_alone(split):
    supernet = network()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    gradient_step("full", supernet=supernet).step(split.batch(slice(0, 16)), np.random.default_rng(0))
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in supernet.parameters())


def test_a_weight_step_touches_one_path_alone(split):
    supernet = network()
    trainer = Trainer(supernet, ProxylessNAS(), split, OPTIONS, seed=0)
    before = {name: value.clone() for name, value in supernet.named_parameters()}
    path = ProxylessNAS().architecture(SPACE, derived_rng(0, "sub-networks", 0))
    trainer.step()
    on_path = tuple(f"slots.{slot}." for slot in supernet.layers(path))
    moved = {name for name, value in supernet.named_parameters() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith(on_path) for name in moved)
    assert {name for name in before if name.startswith(on_path) and name.endswith("weight")} <= moved


# --- logits ------------------------------------------------------------------------------------------


def test_the_gradient_of_logits_is_that_of_the_expected_gates():
    """With a loss linear in the gates, L = sum_j c_j p_j has the gradient p_i (c_i - sum_j p_j c_j)."""
    alpha = torch.tensor([0.3, -1.0, 0.7], dtype=torch.float64, requires_grad=True)
    slopes = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    expected = torch.autograd.grad((alpha.softmax(0) * slopes).sum(), alpha)[0]
    torch.testing.assert_close(logit_gradient(alpha, slopes, (0, 1, 2)), expected)


def test_the_gradient_of_expected_latency_is_p_times_the_difference():
    made = parameters()
    every = [tuple(range(len(alpha))) for alpha in made.alphas]
    latency = expected_latency(LATENCIES, made.alphas, every)
    for slope, p, ms in zip(
        torch.autograd.grad(latency, made.alphas), made.probabilities(), LATENCIES.blocks_ms, strict=True
    ):
        np.testing.assert_allclose(slope.numpy(), p * (np.array(ms) - p @ np.array(ms)), atol=1e-12)
    assert float(latency.detach()) == pytest.approx(
        1 + sum(float(p @ np.array(ms)) for p, ms in zip(made.probabilities(), LATENCIES.blocks_ms, strict=True))
    )


@pytest.mark.parametrize("loss", [AddLinear(0.3, 9.0), MulLog(0.6, 9.0), NoLatency()], ids=["add", "mul", "none"])
def test_raw_gradients_of_a_block_add_up_to_zero_in_full_mode(split, loss):
    step = gradient_step("full", loss)
    gradients, losses = step.gradients(split.batch(slice(0, 32)), step.asked(np.random.default_rng(1)))
    assert all(math.isfinite(value) for value in losses.values())
    for gradient in gradients:
        assert float(gradient.abs().max()) > 0
        assert abs(float(gradient.sum())) < 1e-12


@pytest.mark.parametrize("mode", ["two", "full"])
def test_the_gradient_is_that_of_the_loss_form_as_a_whole(split, mode):
    """mul#log multiplies the cross-entropy, so its factor must reach the gates as well."""
    made, batch, loss = parameters(), split.batch(slice(0, 32)), MulLog(0.6, 9.0)
    step = gradient_step(mode, loss, made=made)
    asked = step.asked(np.random.default_rng(1))
    got, losses = step.gradients(batch, asked)
    plain, _ = gradient_step(mode, NoLatency(), made=made).gradients(batch, asked)
    latency = expected_latency(LATENCIES, made.alphas, [one.wanted for one in asked])
    factor = loss(torch.tensor(1.0, dtype=torch.float64), latency)
    by_latency = torch.autograd.grad(losses["loss_held_out"] * factor, made.alphas)
    for gradient, gates, ms in zip(got, plain, by_latency, strict=True):
        torch.testing.assert_close(gradient, factor.detach() * gates + ms)


def test_probabilities_of_options_that_were_not_drawn_do_not_move(split):
    made = parameters()
    step = gradient_step("two", made=made)
    moved = 0.0
    for number in range(5):
        before = made.probabilities()
        drawn = step.asked(derived_rng(0, "gates", number))
        step.step(split.batch(slice(0, 16)), derived_rng(0, "gates", number))
        for old, new, one in zip(before, made.probabilities(), drawn, strict=True):
            others = [option for option in range(len(old)) if option not in one.wanted]
            np.testing.assert_allclose(new[others], old[others], atol=1e-6, rtol=0)
            moved = max(moved, np.abs(new - old).max())
    assert moved > 0.01


def test_latency_moves_a_block_whose_zero_was_drawn(split):
    """Where a block is left out its latency still counts, so that it can be chosen for being free."""
    made = parameters()
    with torch.no_grad():
        for alpha in made.alphas:
            alpha.zero_()
    heavy = GradientStep(GatedPasses(network(), BLOCKS), made, LATENCIES, AddLinear(1e6, 9.0), 0.05, "full")
    every = [Asked(0, tuple(range(len(b.options)))) for b in BLOCKS.searched]
    gradients, _ = heavy.gradients(split.batch(slice(0, 16)), every)
    heavy.apply(gradients, every)
    assert made.most_likely() == (0,) * 6


def test_pairs_are_two_different_options_by_their_probability():
    made = parameters(3)
    rng = np.random.default_rng(0)
    pairs = [made.draw_pair(rng)[1] for _ in range(4000)]
    p = made.probabilities()[1]
    expected = np.zeros((3, 3))
    for first, second in itertools.permutations(range(3), 2):
        both = p[first] * p[second] / (1 - p[first]) + p[second] * p[first] / (1 - p[second])
        expected[first, second] = both * p[first] / (p[first] + p[second])
    counted = np.zeros((3, 3))
    for active, other in pairs:
        counted[active, other] += 1 / len(pairs)
    np.testing.assert_allclose(counted, expected, atol=0.03)


# --- budgets and derivation --------------------------------------------------------------------------


@pytest.mark.parametrize("budget_ms", [3.5, 7.0, 12.0, 22.0])
def test_a_budget_is_expected_exactly_from_wherever_one_is(budget_ms):
    made = parameters(5)
    to_budget(made.alphas, LATENCIES, budget_ms)
    expected = LATENCIES.expected([alpha.detach().softmax(0) for alpha in made.alphas])
    assert float(expected) == pytest.approx(budget_ms, rel=1e-5)


def test_a_budget_changes_nothing_that_costs_the_same():
    made = parameters(5)
    before = made.probabilities()[0]
    flat = Latencies("flat", 1.0, ((2.0, 2.0), *LATENCIES.blocks_ms[1:]))
    to_budget(made.alphas, flat, 8.0)
    np.testing.assert_allclose(made.probabilities()[0], before, atol=1e-12)


@pytest.mark.parametrize("budget_ms", [2.9, 3.0, 23.0, 100.0])
def test_a_budget_outside_the_space_is_refused(budget_ms):
    with pytest.raises(ValueError, match="its networks take 3 to 23 ms"):
        to_budget(parameters().alphas, LATENCIES, budget_ms)


@pytest.mark.parametrize("spent", [0.0, 0.95])
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("budget_ms", [3.0, 5.0, 6.6, 8.0, 11.1, 23.0])
def test_the_network_within_a_budget_is_the_most_likely_of_all_that_keep_and_spend_it(budget_ms, seed, spent):
    p = parameters(seed).probabilities()
    path = most_likely_within(p, LATENCIES, budget_ms, spent)
    every = itertools.product(*(range(len(row)) for row in p))
    kept = [one for one in every if LATENCIES.of_path(one) <= budget_ms]
    spending = [one for one in kept if LATENCIES.of_path(one) >= spent * budget_ms]
    best = max(spending or kept, key=lambda one: math.prod(row[i] for row, i in zip(p, one, strict=True)))
    assert path == best


def test_a_budget_below_the_cheapest_network_is_refused():
    with pytest.raises(ValueError, match="The cheapest network takes 3 ms on 'made-up', more than the budget of 2 ms"):
        most_likely_within(parameters().probabilities(), LATENCIES, 2.0)


def test_a_block_whose_zero_wins_is_dropped():
    made = parameters()
    with torch.no_grad():
        made.alphas[1][:] = torch.tensor([5.0, 0.0, 0.0])
    layers = SPACE.layers(made.architecture(most_likely(made.probabilities())))
    assert BLOCKS.searched[1].slot not in layers
    assert len(made.entropies()) == 6
    assert made.entropies()[1] < 0.1 < made.entropies()[0]


# --- REINFORCE ---------------------------------------------------------------------------------------


def test_reinforce_finds_the_best_arm_of_every_block(split):
    made = ArchitectureParameters(SPACE, BLOCKS.searched, 0)
    best = (1, 2, 0, 0, 1, 2)
    noise = np.random.default_rng(0)

    def rewards(_batch, paths):
        return [sum(a == b for a, b in zip(path, best, strict=True)) + noise.normal(0, 0.1) for path in paths]

    step = Reinforce(made, rewards, learning_rate=0.05)
    for number in range(150):
        step.step(split.batch(slice(0, 1)), derived_rng(0, "paths", number))
    assert made.most_likely() == best
    assert min(row.max() for row in made.probabilities()) > 0.9


def test_a_reward_that_is_no_number_is_the_worst_and_does_no_harm(split):
    made = ArchitectureParameters(SPACE, BLOCKS.searched, 0)
    step = Reinforce(made, lambda _batch, paths: [math.nan if path[0] else 1.0 for path in paths], 0.05)
    for number in range(20):
        step.step(split.batch(slice(0, 1)), derived_rng(0, "paths", number))
    assert all(np.isfinite(row).all() for row in made.probabilities())


def test_rewards_are_the_accuracies_of_paths_and_their_latency(split):
    supernet, made = network(), parameters()
    of_paths = accuracies(GatedPasses(supernet, BLOCKS), made)
    batch = split.batch(slice(0, 40))
    shares = of_paths(batch, [(0,) * 6, (1,) * 6])
    with torch.no_grad():
        logits = supernet.train()(batch.x, made.architecture((0,) * 6))
    assert shares[0] == pytest.approx(float((logits.argmax(1) == batch.targets).double().mean()))
    assert LatencyReward(0.5, 4.0)(0.8, 16.0) == pytest.approx(0.4)


# --- in turn, and resumed ----------------------------------------------------------------------------


def path_search(split, mode="two", budget=None) -> PathSearch:
    supernet, made = network(), ArchitectureParameters(SPACE, BLOCKS.searched, 0)
    trainer = Trainer(supernet, ProxylessNAS(), split, OPTIONS, seed=0)
    if mode == "reinforce":
        of_paths = accuracies(GatedPasses(supernet, BLOCKS), made)
        step = Reinforce(made, of_paths, 0.05, samples=3)
    else:
        step = gradient_step(mode, supernet=supernet, made=made)
    return PathSearch(trainer, made, step, split, Turns(1, 2, 1, 16), budget)


@pytest.mark.parametrize("mode", mostly_thorough(["two", "full", "reinforce"], "full"))
def test_a_search_that_was_cut_off_goes_on_to_the_same_bit(split, mode):
    budget = Budget(LATENCIES, 6.0) if mode == "full" else None
    undisturbed, cut = path_search(split, mode, budget), path_search(split, mode, budget)
    for _ in range(9):
        undisturbed.step()
        cut.step()
    kept = {name: value.clone() for name, value in cut.tensors().items()}
    resumed = path_search(split, mode, budget)
    resumed.restore(kept, 9)
    curves = [[one.step() for _ in range(6)] for one in (undisturbed, resumed)]
    assert curves[0] == curves[1]
    first, second = undisturbed.tensors(), resumed.tensors()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_architecture_rests_for_an_epoch_and_then_takes_its_turns(split):
    search = path_search(split)
    assert search.trainer.steps_per_epoch == 5
    turns = ["loss_architecture" in search.step() for _ in range(11)]
    assert turns == [False] * 6 + [True, False, True, False, True]


def test_a_budget_is_reached_half_way_and_kept(split):
    search = path_search(split, budget=Budget(LATENCIES, 6.0))
    seen = []
    for _ in range(20):
        search.step()
        seen.append(float(LATENCIES.expected([a.detach().softmax(0) for a in search.parameters.alphas])))
    assert seen[4] == pytest.approx(LATENCIES.uniform_ms, rel=1e-2)
    assert 6.1 < seen[8] < seen[6] < seen[4]
    assert seen[14:] == pytest.approx([6.0] * 6, rel=1e-5)


def test_held_out_examples_are_nobody_elses(split):
    rest, held = carve(split, 0.25, 0, "made-up")
    assert (len(rest), len(held)) == (60, 20)
    assert torch.bincount(held.y).tolist() == [2] * 10
    both = torch.cat([rest.stored, held.stored]).flatten(1)
    assert len(torch.unique(both, dim=0)) == 80
    with pytest.raises(DataError, match="leaves the held-out split empty"):
        carve(split, 0.001, 0, "made-up")
