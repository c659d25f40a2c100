"""Trainer: schedule, randomness and exact resume."""

import math

import numpy as np
import pytest
import torch

from search_space.plugins import load_family
from supernet.data import Split, Standardisation
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions
from supernet.methods.single.method import Single
from supernet.network import Supernet
from supernet.optimizers import decayed, make_optimizer, undecayed
from supernet.options import OPTIMIZERS, AugmentationOptions
from supernet.passes import Passes
from supernet.randomness import derived_rng
from supernet.trainer import NonFiniteLoss, Trainer, TrainingOptions
from tests.supernet.recipes import FEW_STEPS, changed
from tests.tiers import mostly_thorough

SPACE = load_family("mobilenet", "digits")
SCALE = Standardisation((0.0,), (1.0,), full_scale=4096.0)


def split(count: int = 64) -> Split:
    generator = torch.Generator().manual_seed(0)
    return Split(torch.randn(count, 1, 8, 8, generator=generator), torch.randint(0, 10, (count,), generator=generator))


def trainer(options: TrainingOptions = FEW_STEPS, seed: int = 0, weights: int = 0) -> Trainer:
    torch.manual_seed(weights)
    return Trainer(Supernet(SPACE), BigNAS(BigNASOptions(num_random=1)), split(), options, seed)


def saved(of: Trainer) -> dict[str, torch.Tensor]:
    """What a checkpoint file would hold: the trainer's own tensors are live."""
    return {name: tensor.detach().clone() for name, tensor in of.tensors().items()}


def assert_same_tensors(first: Trainer, second: Trainer) -> None:
    a, b = first.tensors(), second.tensors()
    assert set(a) == set(b)
    for name in a:
        assert torch.equal(a[name], b[name]), name


# --- resume -----------------------------------------------------------------------------------------


RESUMED = [*((name, 0.9) for name in sorted(OPTIMIZERS)), ("sgd", 0.0)]


@pytest.mark.parametrize(("optimizer", "momentum"), mostly_thorough(RESUMED, ("adamw", 0.9), ("sgd", 0.9)))
def test_six_steps_equal_three_saved_restored_and_three_more(optimizer, momentum):
    options = changed(FEW_STEPS, optimizer=optimizer, momentum=momentum)
    undisturbed = trainer(options)
    for _ in range(6):
        undisturbed.step()

    interrupted = trainer(options)
    for _ in range(3):
        interrupted.step()
    checkpoint = saved(interrupted)

    resumed = trainer(options, weights=99)  # other initial weights: all must come from the checkpoint
    resumed.restore(checkpoint, steps_done=3)
    for _ in range(3):
        resumed.step()
    assert resumed.steps_done == 6
    assert_same_tensors(undisturbed, resumed)


@pytest.mark.parametrize("step", [1, 4])
def test_resume_is_exact_at_any_step(step):
    # Four steps an epoch: the resume falls within an epoch and between two.
    undisturbed, interrupted = trainer(), trainer()
    for _ in range(6):
        undisturbed.step()
    for _ in range(step):
        interrupted.step()
    resumed = trainer(weights=99)
    resumed.restore(saved(interrupted), step)
    for _ in range(6 - step):
        resumed.step()
    assert_same_tensors(undisturbed, resumed)


def test_a_checkpoint_goes_through_a_file(tmp_path):
    from safetensors.torch import load_file, save_file

    first = trainer()
    for _ in range(2):
        first.step()
    save_file({name: tensor.contiguous() for name, tensor in first.tensors().items()}, tmp_path / "c.safetensors")
    second = trainer(weights=99)
    second.restore(load_file(tmp_path / "c.safetensors"), 2)
    first.step()
    second.step()
    assert_same_tensors(first, second)


def test_the_same_seed_gives_the_same_losses():
    first, second = trainer(), trainer()
    assert [first.step() for _ in range(3)] == [second.step() for _ in range(3)]


def test_another_seed_gives_other_batches():
    assert trainer(seed=0).step() != trainer(seed=1).step()


def test_the_global_generators_play_no_part():
    first, second = trainer(), trainer()
    np.random.seed(1)
    torch.manual_seed(1)
    losses = first.step()
    torch.manual_seed(2)
    assert second.step() == losses


def examples_seen(epochs: int) -> list[list[tuple[float, ...]]]:
    """Per epoch, the examples in the order in which the method was given them."""
    seen: list[tuple[float, ...]] = []

    class Watcher(BigNAS):
        def step(self, passes, batch, rng):
            seen.extend(tuple(image.flatten().tolist()) for image in batch.x)
            return {"loss": torch.zeros(())}

    torch.manual_seed(0)
    watching = Trainer(Supernet(SPACE), Watcher(), split(), changed(FEW_STEPS, clip_norm=0.0), 0)
    for _ in range(epochs * watching.steps_per_epoch):
        watching.step()
    return [seen[start : start + 64] for start in range(0, len(seen), 64)]


def test_an_epoch_sees_every_example_once():
    (epoch,) = examples_seen(1)
    assert sorted(epoch) == sorted(tuple(image.flatten().tolist()) for image in split().x)


def test_every_epoch_has_an_order_of_its_own():
    first, second = examples_seen(2)
    assert sorted(first) == sorted(second)
    assert first != second


def test_the_number_of_steps_follows_from_epochs_and_batches():
    made = trainer(changed(FEW_STEPS, epochs=3, batch_size=20))  # 64 examples: three whole batches an epoch
    assert (made.steps_per_epoch, made.num_steps) == (3, 9)


def test_repeated_examples_come_so_many_times_in_a_batch_and_stay_reproducible():
    def repeated() -> Trainer:
        torch.manual_seed(0)
        images = Split(torch.arange(64 * 64).reshape(64, 1, 8, 8).float(), torch.zeros(64).long(), SCALE)
        return Trainer(Supernet(SPACE), BigNAS(), images, FEW_STEPS, 0, AugmentationOptions(repeats=3))

    trained = repeated()
    batches = [trained._batch_of(step) for step in range(trained.steps_per_epoch)]
    for index in batches:
        assert len(index) == FEW_STEPS.batch_size
        counts = index.unique(return_counts=True)[1]
        assert set(counts.tolist()) <= {2, 3}
    seen = torch.cat([index.unique() for index in batches])
    assert len(seen) == len(seen.unique())
    assert torch.equal(repeated()._batch_of(2), batches[2])


def test_a_split_smaller_than_a_batch_still_trains():
    made = trainer(changed(FEW_STEPS, batch_size=1000))
    assert made.steps_per_epoch == 1
    assert math.isfinite(made.step()["loss_largest"])


# --- micro-batches, averages, low rank --------------------------------------------------------------

OPTIONS = [
    {"ema_decay": 0.9},
    {"lora_rank": 2, "optimizer": "adamw"},
    {"schedule": "cosine", "warmup_epochs": 1.0, "precision": "bfloat16"},
    {"micro_batches": 2, "activation_checkpointing": True, "clip_value": 0.01},
]


@pytest.mark.parametrize("changes", mostly_thorough(OPTIONS, OPTIONS[1], OPTIONS[3]))
def test_resume_is_exact_with_every_option(changes):
    options, method = changed(FEW_STEPS, **changes), BigNAS(BigNASOptions(num_random=1, dropout=0.3, drop_connect=0.3))
    augment = AugmentationOptions(crop_padding=1, mixup=0.5, repeats=2)

    def made(weights: int) -> Trainer:
        torch.manual_seed(weights)
        return Trainer(Supernet(SPACE), method, image_split(), options, 0, augment)

    undisturbed, interrupted, resumed = made(0), made(0), made(99)
    for _ in range(5):
        undisturbed.step()
    for _ in range(2):
        interrupted.step()
    resumed.restore(saved(interrupted), steps_done=2)
    for _ in range(3):
        resumed.step()
    assert_same_tensors(undisturbed, resumed)


def image_split(count: int = 64) -> Split:
    generator = torch.Generator().manual_seed(0)
    stored = torch.randint(0, 17, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 10, (count,), generator=generator)
    return Split(stored, labels, Standardisation((5.0,), (6.0,), 16.0))


def test_the_gradient_of_micro_batches_is_the_mean_of_their_own():
    """Batch norm sees a micro-batch, so this is what a batch of two halves is, and not more."""
    options = changed(FEW_STEPS, clip_norm=0.0, micro_batches=2)
    cut = trainer(options)
    index = cut._batch_of(0)
    method, halves = BigNAS(BigNASOptions(num_random=1)), (index[:8], index[8:])
    by_hand = trainer(changed(options, micro_batches=1))
    passes = Passes(by_hand.supernet.train())
    for half in halves:
        method.step(passes, split().batch(half), derived_rng(0, "sub-networks", 0))
    cut.step()
    for mine, theirs in zip(cut.supernet.parameters(), by_hand.supernet.parameters(), strict=True):
        if theirs.grad is None:
            assert mine.grad is None
        else:
            torch.testing.assert_close(mine.grad, theirs.grad / 2, rtol=1e-4, atol=1e-6)


def test_the_average_follows_the_weights():
    made = trainer(changed(FEW_STEPS, ema_decay=0.5))
    name = "slots.stem.block.conv.weight"
    expected = made.supernet.get_parameter(name).detach().clone()
    for done in range(1, 4):
        made.step()
        decay = min(0.5, (1 + done) / (10 + done))
        expected = decay * expected + (1 - decay) * made.supernet.get_parameter(name).detach()
    torch.testing.assert_close(made.result.get_parameter(name).detach(), expected)
    assert made.result is not made.supernet
    assert trainer().result.get_parameter(name) is not expected


def test_low_rank_training_moves_matrices_and_nothing_else():
    made = trainer(changed(FEW_STEPS, lora_rank=2))
    before = {name: p.detach().clone() for name, p in made.supernet.named_parameters()}
    for _ in range(3):
        made.step()
    moved = {name for name, p in made.supernet.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"slots.head.block.classifier.weight"}


def test_a_step_that_is_not_finite_changes_nothing():
    made = trainer()
    made.step()
    before = saved(made)

    class Broken(BigNAS):
        def step(self, passes, batch, rng):
            return {**super().step(passes, batch, rng), "loss_largest": torch.tensor(float("nan"))}

    made.method = Broken()
    with pytest.raises(NonFiniteLoss, match="step 2 is not finite"):
        made.step()
    assert made.steps_done == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in saved(made).items())


def test_a_lower_rate_factor_lowers_the_rate_and_is_saved():
    made = trainer()
    made.rate_factor = 0.5
    assert made.step()["learning_rate"] == 0.5 * FEW_STEPS.rate(0)
    other = trainer()
    other.restore(saved(made), 1)
    assert other.rate_factor == 0.5


# --- optimiser --------------------------------------------------------------------------------------


def test_clipping_bounds_the_gradient_and_zero_switches_it_off():
    def norm_after_a_step(clip_norm: float) -> float:
        made = trainer(changed(FEW_STEPS, clip_norm=clip_norm))
        made.step()
        grads = [p.grad.flatten() for p in made.supernet.parameters() if p.grad is not None]
        return float(torch.cat(grads).norm())

    free = norm_after_a_step(0.0)
    assert free > 0.01
    assert norm_after_a_step(0.01) == pytest.approx(0.01, rel=1e-3)
    assert norm_after_a_step(2 * free) == pytest.approx(free, rel=1e-6)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_every_optimizer_uses_the_schedules_rate(optimizer):
    made = trainer(changed(FEW_STEPS, optimizer=optimizer))
    for _ in range(5):
        reported = made.step()["learning_rate"]
    assert reported == FEW_STEPS.rate(4 / 4)
    assert {group["lr"] for group in made.optimizer.param_groups} == {reported}


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_every_optimizer_uses_the_weight_decay(optimizer):
    made = trainer(changed(FEW_STEPS, optimizer=optimizer, weight_decay=0.125))
    decays = {
        group["weight_decay"]: {weight.dim() for weight in group["params"]} for group in made.optimizer.param_groups
    }
    assert decays == {0.125: {2, 4}, 0.0: {1}}  # matrices and kernels decay, biases and scales do not


@pytest.mark.parametrize(
    ("family", "preset", "names"),
    [
        ("vit", "cifar", {"positions"}),
        ("vit", "autoformer_tiny", {"positions", "vertical", "horizontal"}),
        ("bert", "tiny", {"positions.weight"}),
        ("llama", "tiny", set()),
        ("mobilenet", "digits", set()),
    ],
)
def test_positions_norms_and_biases_do_not_decay_and_matrices_do(family, preset, names):
    with torch.device("meta"):
        supernet = Supernet(load_family(family, preset))
    optimizer = make_optimizer(list(supernet.parameters()), changed(FEW_STEPS, weight_decay=0.5), undecayed(supernet))
    decays = {id(w): group["weight_decay"] for group in optimizer.param_groups for w in group["params"]}
    spared = {name for name, weight in supernet.named_parameters() if decays[id(weight)] == 0}
    tables = {name for name in spared if supernet.get_parameter(name).dim() > 1}
    assert all(any(name.endswith(f".{table}") for table in names) for name in tables)
    assert {table for table in names if any(name.endswith(f".{table}") for name in tables)} == names
    norms = [m for m in supernet.modules() if "norm" in type(m).__name__.lower()]
    of_norms = {id(weight) for norm in norms for weight in norm.parameters(recurse=False)}
    for name, weight in supernet.named_parameters():
        if name.endswith("bias") or weight.dim() < 2 or id(weight) in of_norms:
            assert name in spared, name
        elif name not in tables:
            assert decays[id(weight)] == 0.5, name


def test_a_checkpoint_from_before_positions_were_spared_is_continued():
    """Its state lies in the order of shapes alone, and so does that of every one since."""
    space = load_family("vit", "cifar")

    def made() -> Trainer:
        torch.manual_seed(0)
        images = Split(torch.randn(16, 3, 32, 32), torch.zeros(16).long())
        return Trainer(Supernet(space), Single(), images, changed(FEW_STEPS, optimizer="adamw"), 0)

    first = made()
    first.step()
    tensors = saved(first)
    by_shape = [w for group in decayed(list(first.supernet.parameters()), 0.1) for w in group["params"]]
    for number, weight in enumerate(by_shape):
        assert tensors[f"optimizer.{number}.exp_avg"].shape == weight.shape
    second = made()
    second.restore(tensors, 1)
    assert first.step() == second.step()
    assert_same_tensors(first, second)


def test_elements_of_the_gradient_are_clipped():
    made = trainer(changed(FEW_STEPS, clip_norm=0.0, clip_value=1e-4))
    made.step()
    largest = max(float(p.grad.abs().max()) for p in made.supernet.parameters() if p.grad is not None)
    assert largest == pytest.approx(1e-4)


# --- schedules --------------------------------------------------------------------------------------


def test_cosine_goes_from_the_full_rate_to_the_floor():
    options = changed(FEW_STEPS, epochs=10, schedule="cosine", lr_floor=0.0)
    full = options.learning_rate
    assert [options.rate(epoch) for epoch in (0, 5, 10)] == pytest.approx([full, full / 2, 0])
    assert changed(options, lr_floor=0.1).rate(10) == pytest.approx(0.1 * full)


def test_warm_up_rises_from_zero_and_the_schedule_starts_after_it():
    options = changed(FEW_STEPS, epochs=10, schedule="cosine", lr_floor=0.0, warmup_epochs=2.0)
    full = options.learning_rate
    assert [options.rate(epoch) for epoch in (0, 1, 2, 6, 10)] == pytest.approx([0, full / 2, full, full / 2, 0])


def test_a_constant_rate_is_constant():
    options = changed(FEW_STEPS, schedule="constant")
    assert options.rate(0) == options.rate(2.9) == options.learning_rate


# --- learning rate: the paper's constants -----------------------------------------------------------


def test_training_starts_at_the_full_rate():
    assert FEW_STEPS.rate(0) == FEW_STEPS.learning_rate


def test_the_rate_falls_to_97_percent_in_2_4_epochs():
    assert FEW_STEPS.rate(2.4) == pytest.approx(0.97 * FEW_STEPS.learning_rate)
    assert FEW_STEPS.rate(4.8) == pytest.approx(0.97**2 * FEW_STEPS.learning_rate)


def test_the_rate_is_continuous():
    assert FEW_STEPS.rate(1.2) == pytest.approx(0.97**0.5 * FEW_STEPS.learning_rate)


def test_the_floor_is_reached_at_about_epoch_236():
    reached = 2.4 * math.log(0.05) / math.log(0.97)
    assert reached == pytest.approx(236, abs=0.5)
    floor = 0.05 * FEW_STEPS.learning_rate
    assert FEW_STEPS.rate(235) > floor
    assert FEW_STEPS.rate(237) == FEW_STEPS.rate(360) == floor
