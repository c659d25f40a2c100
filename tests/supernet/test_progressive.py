"""Progressive shrinking: what is trained when, and how widths are sorted on the way."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from search_space.adjustments import Adjustments
from search_space.plugins import load_family
from supernet.data import Batch, Split
from supernet.distributed import ALONE, Group
from supernet.elastic import shrunk_by
from supernet.importance import orders_by_importance, put_in_order
from supernet.losses import divergence
from supernet.methods.progressive.method import Progressive
from supernet.methods.progressive.options import ProgressiveOptions
from supernet.methods.single.method import Single
from supernet.network import Supernet, extract
from supernet.passes import Passes
from supernet.trainer import Trainer
from tests.supernet.recipes import FEW_STEPS, changed

SPACE = load_family("mobilenet", "digits", Adjustments({"stage*_block*_kernel": (3, 5, 7)}))
# Twelve steps: phases begin after 0, 3 (kernels), 5 (depths), 7 (the larger half of widths) and 9 steps.
PARTS = {
    "full_part": 3,
    "kernel_part": 2,
    "depth_middle_part": 1,
    "depth_part": 2,
    "width_middle_part": 2,
    "width_part": 3,
}
STEPS, SORTED = 12, 7


def method(**options) -> Progressive:
    return Progressive(ProgressiveOptions(**{**PARTS, **options}))


def split(count: int = 64) -> Split:
    generator = torch.Generator().manual_seed(0)
    return Split(torch.randn(count, 1, 8, 8, generator=generator), torch.randint(0, 10, (count,), generator=generator))


def trainer(weights: int = 0, group: Group = ALONE, made: Progressive | None = None, **options) -> Trainer:
    torch.manual_seed(weights)
    return Trainer(Supernet(SPACE), made or method(), split(), changed(FEW_STEPS, **options), 0, group=group)


def after(steps: int, **arguments) -> Trainer:
    made = trainer(**arguments)
    for _ in range(steps):
        made.step()
    return made


def saved(of: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in of.tensors().items()}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert set(first) == set(second)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def answers(supernet: Supernet, architecture) -> torch.Tensor:
    supernet.train()
    with torch.no_grad():
        return supernet(split().x[:32], architecture)


# --- what shrinks ---------------------------------------------------------------------------------------


def test_shapes_decide_what_an_option_shrinks():
    cifar = load_family("mobilenet", "cifar")
    found = dict(zip((choice.name for choice in cifar.choices), shrunk_by(cifar), strict=True))
    assert found["resolution"] == ("none", "none", "none")
    assert found["stage2_width"] == ("width", "width", "none")
    assert found["stage2_depth"] == ("depth", "depth", "none")
    assert found["stage2_block3_kernel"] == ("kernel", "none")
    assert found["stage2_block3_expansion"] == ("width", "width", "none")


def test_an_option_of_a_choice_that_shrinks_several_things_has_a_kind_of_its_own():
    space = load_family("proxyless", "digits")
    choice = next(at for at, choice in enumerate(space.choices) if choice.options[0] == "zero")
    found = dict(zip(space.choices[choice].options, shrunk_by(space)[choice], strict=True))
    assert {found[option] for option in ("k3e3", "k5e3", "k7e3")} == {"width"}
    assert {found[option] for option in ("k3e6", "k5e6")} == {"kernel"}
    assert (found["zero"], found["k7e6"]) == ("depth", "none")


def test_a_layer_that_is_left_out_is_depth_and_a_choice_below_another_is_found():
    space = load_family("llama", "tiny")
    found = dict(zip((choice.name for choice in space.choices), shrunk_by(space), strict=True))
    assert found["layer2_keep"] == ("depth", "none")
    assert found["layer2_ffn"] == ("width", "width", "width", "none")
    assert found["layer2_kv_heads"] == ("width", "width", "none")


# --- phases ---------------------------------------------------------------------------------------------


def test_phases_come_in_the_papers_order_and_proportions():
    made = Progressive()
    phases = made.phases(load_family("mobilenet", "cifar"))
    assert [(phase.elastic, phase.part, phase.networks) for phase in phases] == [
        ("none", 180, 1),
        ("kernel", 120, 1),
        ("depth", 25, 2),
        ("depth", 120, 2),
        ("width", 25, 4),
        ("width", 120, 4),
    ]
    assert made.starts(load_family("mobilenet", "cifar"), 590) == [0, 180, 300, 325, 445, 470]


def test_phases_that_a_space_has_not_are_left_out():
    # Depths of two options have no middle one; a ViT has no kernels.
    assert [phase.elastic for phase in method().phases(SPACE)] == ["none", "kernel", "depth", "width", "width"]
    assert method().starts(SPACE, STEPS) == [0, 3, 5, 7, 9]
    kinds = [phase.elastic for phase in method().phases(load_family("vit", "cifar"))]
    assert kinds == ["none", "depth", "depth", "width", "width"]


def varied(step: int, space=SPACE) -> dict[str, set]:
    """The options that each choice takes in many draws of a step, where it takes more than one."""
    made, rng, found = method(), np.random.default_rng(0), {}
    for _ in range(200):
        for architecture in made.architectures(space, rng, step, STEPS)[1:]:
            for (name, value), active in zip(architecture.items, space.is_active(architecture), strict=True):
                if active:
                    found.setdefault(name, set()).add(value)
    return {name: values for name, values in found.items() if len(values) > 1}


def test_a_step_draws_from_what_is_elastic_by_then():
    assert [len(method().architectures(SPACE, np.random.default_rng(0), step, STEPS)) - 1 for step in range(STEPS)] == [
        *(0, 0, 0),
        *(1, 1),
        *(2, 2),
        *(4, 4, 4, 4, 4),
    ]
    kernels = varied(3)
    assert set(kernels) == {choice.name for choice in SPACE.choices if choice.options == (3, 5, 7)}
    assert all(values == {3, 5, 7} for values in kernels.values())
    depths = varied(5)
    assert set(depths) - set(kernels) == {"stage1_depth", "stage2_depth", "stage3_depth"}
    middle, whole = varied(7), varied(9)
    assert middle["stem_width"] == {8, 16}
    assert whole["stem_width"] == {4, 8, 16}
    assert middle["stage1_block1_expansion"] == {2, 3}
    assert set(whole) == set(middle) == {choice.name for choice in SPACE.choices if len(choice.options) > 1}


def test_the_resolution_is_drawn_in_every_phase_and_is_one_in_a_step():
    space, rng = load_family("mobilenet", "cifar"), np.random.default_rng(0)
    for step in (0, 4, 11):
        seen = set()
        for _ in range(30):
            drawn = method().architectures(space, rng, step, STEPS)
            sizes = {architecture.values["resolution"] for architecture in drawn}
            assert len(sizes) == 1
            seen |= sizes
            assert drawn[0].genes[1:] == space.largest().genes[1:]
        assert seen == {24, 28, 32}


def test_micro_batches_train_the_same_networks():
    first, second = (method().architectures(SPACE, np.random.default_rng(5), 10, STEPS) for _ in range(2))
    assert first == second


# --- a step ---------------------------------------------------------------------------------------------


def test_gradients_are_those_of_labels_and_of_the_largest_networks_answers():
    torch.manual_seed(0)
    supernet = Supernet(SPACE)
    made = method(distillation=0.5, transforms=False)
    made.prepare(supernet)
    batch = Batch.of(split().x[:16], split().y[:16])
    passes = Passes(supernet)
    passes.step, passes.num_steps = 5, STEPS
    losses = made.step(passes, batch, np.random.default_rng(3))
    largest, *drawn = made.architectures(SPACE, np.random.default_rng(3), 5, STEPS)
    assert largest == SPACE.largest()
    teacher = extract(supernet, largest)(batch.x).detach()
    expected, labels = None, []
    for architecture in drawn:
        network = extract(supernet, architecture)
        logits = network(batch.x)
        loss = F.cross_entropy(logits, batch.targets, label_smoothing=0.1)
        (loss + 0.5 * divergence(logits, teacher)).backward()
        labels.append(loss.item())
        grad = network[0].conv.weight.grad
        expected = grad if expected is None else expected + grad
    torch.testing.assert_close(supernet.slot("stem").block.conv.weight.grad, expected, rtol=1e-4, atol=1e-6)
    assert float(losses["loss_random"]) == pytest.approx(sum(labels) / 2, rel=1e-5)


def test_the_first_phase_trains_the_largest_network_on_labels():
    shown = trainer().step()
    assert set(shown) == {"loss_largest", "learning_rate"}
    assert set(after(3).step()) == {"loss_random", "learning_rate"}


# --- sorting and resume ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [3, SORTED - 1, SORTED, SORTED + 1])
def test_resume_is_exact_across_phases_and_the_sort(stop):
    options = {"optimizer": "adamw", "ema_decay": 0.9}
    undisturbed, interrupted = after(10, **options), after(stop, **options)
    resumed = trainer(weights=99, **options)
    resumed.restore(saved(interrupted), stop)
    for _ in range(10 - stop):
        resumed.step()
    assert_same(saved(undisturbed), saved(resumed))


def test_weights_moments_and_averages_are_sorted_together_once():
    options = {"optimizer": "adamw", "ema_decay": 0.9}
    plain, sorted_ = (after(SORTED, made=method(sort=sort), **options) for sort in (False, True))
    changed_names = {name for name, tensor in saved(plain).items() if not torch.equal(tensor, saved(sorted_)[name])}
    for part in ("supernet.", "optimizer.", "average."):
        assert any(name.startswith(part) for name in changed_names)
    plain._sort()
    assert_same(saved(plain), saved(sorted_))
    # What is first now would be first again, and a step that is only tried sorts nothing.
    before = saved(sorted_)
    sorted_.try_step(1)
    assert_same(before, saved(sorted_))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_the_optimizer_goes_on_as_if_nothing_had_been_sorted(optimizer):
    """Both then train the largest network, whose answers no order changes."""
    ends = []
    for sort in (False, True):
        made = after(SORTED, made=method(sort=sort), optimizer=optimizer, learning_rate=0.001)
        made.method = Single()
        before = answers(made.supernet, SPACE.largest())
        made.step()
        made.step()
        ends.append((before, answers(made.supernet, SPACE.largest())))
    for plain, sorted_ in zip(*ends, strict=True):
        torch.testing.assert_close(plain, sorted_, rtol=1e-3, atol=1e-4)


def test_no_network_that_was_trained_before_changes():
    """Kernels made by transforms and shallower networks keep their answers, because no width is elastic yet."""
    made = after(SORTED - 1)
    twin = copy.deepcopy(made.supernet)
    orders = orders_by_importance(twin, score="weight")
    put_in_order(twin, orders)
    assert any(order != sorted(order) for order in orders)
    rng = np.random.default_rng(0)
    for _ in range(10):
        for architecture in method().architectures(SPACE, rng, 6, STEPS):
            torch.testing.assert_close(
                answers(made.supernet, architecture), answers(twin, architecture), rtol=1e-4, atol=1e-5
            )


def test_nothing_is_sorted_where_nothing_was_learned_or_nothing_becomes_narrower():
    assert method().sorts_after(SPACE, STEPS) == SORTED
    assert method(sort=False).sorts_after(SPACE, STEPS) is None
    widths = load_family("mobilenet", "digits", Adjustments({"stage*_block*_kernel": (3,), "stage*_depth": (1,)}))
    assert method(full_part=0).sorts_after(widths, STEPS) is None


def test_what_excludes_sorting_is_refused():
    with pytest.raises(ValueError, match=r"training\.lora_rank is 2, but training\.options\.sort puts whole weights"):
        trainer(lora_rank=2)
    with pytest.raises(ValueError, match=r"training\.sharded is true, but training\.options\.sort puts whole weights"):
        trainer(sharded=True, group=Group(0, 2))
    with pytest.raises(ValueError, match=r"kernels are made by transforms of whole ones"):
        trainer(sharded=True, group=Group(0, 2), made=method(sort=False))


# --- what cannot be trained so --------------------------------------------------------------------------


def test_spaces_whose_largest_network_does_not_hold_the_others_are_refused():
    said = ProgressiveOptions().misfit(load_family("stitched", "cifar"))
    assert said is not None
    assert "lacks 13 layers that others have" in said
    for family, preset in (("mobilenet", "cifar"), ("vit", "cifar"), ("llama", "tiny"), ("bert", "tiny")):
        assert ProgressiveOptions().misfit(load_family(family, preset)) is None


def test_a_space_of_one_network_is_refused():
    space = load_family("mobilenet", "mobilenet_v2", Adjustments({"width": (1.0,), "depth": (16,)}))
    said = ProgressiveOptions().misfit(space)
    assert said is not None
    assert "nothing shrinks; set training.method to single" in said


def test_the_number_of_networks_of_a_step_is_their_mean():
    assert ProgressiveOptions().networks_of_a_step == 2
    assert ProgressiveOptions(width_part=10_000).networks_of_a_step == 4
