"""The training stage: resume, divergence, memory, checkpoints, and what it leaves behind."""

import pytest
import torch

from pipeline import training
from pipeline.curve import fallen, is_better, median
from pipeline.materials import fresh_supernet, make_trainer, prepare_data
from pipeline.reporter import Interrupted
from pipeline.training import fitting_micro_batches
from pipeline.workshop import JobFailed
from supernet.distributed import ALONE, Orders
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions
from supernet.trainer import Trainer
from tests.pipeline.bench import MemoryReporter, train_supernet, workshop

TRAINING = {"epochs": 2, "batch_size": 256, "options": {"num_random": 1}}
STEPS = 2 * (1077 // 256)


@pytest.fixture(scope="module")
def data():
    shop = workshop_of()
    return prepare_data(shop.spec, shop.space, shop.device)


def workshop_of(folder=None, reporter=None, **parts):
    from pathlib import Path

    few = {"training": TRAINING, "search": {"calibration_images": 64}}
    return workshop(folder or Path("/nowhere"), reporter or MemoryReporter(), **{**few, **parts})


def same(first, second) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


# --- resume and what is left behind -----------------------------------------------------------------


def test_a_paused_training_ends_where_an_undisturbed_one_does(tmp_path, data):
    undisturbed = train_supernet(workshop_of(tmp_path / "a"), data)
    reporter = MemoryReporter(interrupt_at=3)
    shop = workshop_of(tmp_path / "b", reporter)
    with pytest.raises(Interrupted):
        train_supernet(shop, data)
    resumed = train_supernet(shop, data)
    assert f"Resumed at step 3 of {STEPS}." in reporter.messages
    assert same(undisturbed, resumed)


def test_a_progressive_training_is_paused_and_comes_back_sorted_with_its_transforms(tmp_path, data):
    options = {"full_part": 2, "kernel_part": 2, "depth_part": 2, "width_middle_part": 1, "width_part": 1}
    parts = {"training": {**TRAINING, "method": "progressive", "options": options}}
    undisturbed = train_supernet(workshop_of(tmp_path / "a", **parts), data)
    shop = workshop_of(tmp_path / "b", MemoryReporter(interrupt_at=6), **parts)
    with pytest.raises(Interrupted):
        train_supernet(shop, data)
    resumed, stored = train_supernet(shop, data), train_supernet(shop, data)
    assert any("kernels" in name for name in resumed.state_dict())
    assert same(undisturbed, resumed)
    assert same(undisturbed, stored)


def test_the_newest_two_checkpoints_and_the_best_are_kept_and_all_go_at_the_end(tmp_path, data):
    reporter = MemoryReporter(interrupt_at=STEPS - 1)
    shop = workshop_of(tmp_path, reporter)
    with pytest.raises(Interrupted):
        train_supernet(shop, data)
    # The fourth step ended an epoch, which was validated and was the best so far.
    assert [row.step for row in reporter.artifacts("checkpoint")] == [STEPS - 1, STEPS - 2]
    assert [row.step for row in reporter.artifacts("best checkpoint")] == [4]
    files = sorted(path.name for path in (tmp_path / "artifacts/checkpoints/job").iterdir())
    assert files == [f"{STEPS - 2}.safetensors", f"{STEPS - 1}.safetensors", "best-4.safetensors"]
    train_supernet(shop, data)
    assert [row.kind for row in reporter.rows] == ["supernet"]
    assert not list((tmp_path / "artifacts/checkpoints/job").iterdir())


@pytest.mark.thorough
def test_a_trained_supernet_is_a_resource_with_its_story(tmp_path, data):
    reporter = MemoryReporter()
    train_supernet(workshop_of(tmp_path, reporter), data)
    row = reporter.supernets["job"]
    assert (row.space, row.metric, row.step) == ("mobilenet/digits", "accuracy", STEPS)
    assert row.data["source"] == "digits"
    assert row.training["epochs"] == 2
    assert [point["epoch"] for point in row.curve] == [1, 2]
    assert row.scores["random"]["count"] == 10
    assert 0 <= row.scores["random"]["min"] <= row.scores["random"]["mean"] <= row.scores["random"]["max"] <= 1


def test_a_job_that_reuses_a_supernet_trains_nothing(tmp_path, data):
    first = MemoryReporter()
    trained = train_supernet(workshop_of(tmp_path, first), data)
    second = MemoryReporter()
    second.supernets = first.supernets
    space = {"family": "mobilenet", "preset": "digits", "reuse": "job"}
    again = train_supernet(workshop(tmp_path, second, "other", training=TRAINING, supernet=space), data)
    assert same(trained, again)
    assert second.progressed == 0
    assert second.artifacts("supernet")[0].path == first.artifacts("supernet")[0].path


def test_a_supernet_that_is_gone_is_named(tmp_path, data):
    space = {"family": "mobilenet", "preset": "digits", "reuse": "gone"}
    with pytest.raises(JobFailed, match="Supernet gone is not there"):
        train_supernet(workshop_of(tmp_path, supernet=space), data)


@pytest.mark.thorough
def test_the_average_is_what_is_stored(tmp_path, data):
    shop = workshop_of(tmp_path, training={**TRAINING, "ema_decay": 0.9})
    averaged = train_supernet(shop, data)
    plain = train_supernet(workshop_of(tmp_path / "plain"), data)
    assert not same(averaged, plain)
    assert same(averaged, train_supernet(shop, data))  # the second time it comes from the file


# --- live metrics -----------------------------------------------------------------------------------


def test_the_curve_has_losses_scores_speed_and_memory(tmp_path, data):
    reporter = MemoryReporter()
    train_supernet(workshop_of(tmp_path, reporter), data)
    point = reporter.events("curve")[-1]
    assert {"loss_largest", "loss_random", "loss_smallest", "learning_rate"} <= set(point)
    assert {"accuracy_smallest", "accuracy_median", "accuracy_largest"} <= set(point)
    assert point["images_per_second"] > 1
    assert point["memory_bytes"] > 1e8


def test_the_median_network_lies_between_the_ends():
    from predictors.cost import macs

    space = workshop_of().space
    low, middle, high = (macs(space, a) for a in (space.smallest(), median(space), space.largest()))
    assert low < middle < high
    assert median(space) == median(space)


# --- divergence -------------------------------------------------------------------------------------


class Exploding(BigNAS):
    """Its loss is not a number while the learning rate is above a limit, from the sixth step on."""

    limit = 0.0

    def step(self, passes, batch, rng):
        losses = super().step(passes, batch, rng)
        if passes.step >= 5 and Exploding.rate() > self.limit:
            losses["loss_largest"] = torch.tensor(float("nan"))
        return losses


@pytest.fixture
def exploding(monkeypatch):
    made: list[Trainer] = []
    original = make_trainer

    def making(*arguments):
        trainer = original(*arguments)
        trainer.method = Exploding(BigNASOptions(num_random=1))
        made.append(trainer)
        return trainer

    monkeypatch.setattr(training, "make_trainer", making)
    Exploding.rate = staticmethod(lambda: made[-1].rate_factor)
    return made


def test_a_loss_that_is_not_finite_goes_back_to_the_best_checkpoint_at_half_the_rate(tmp_path, data, exploding):
    Exploding.limit = 0.3
    reporter = MemoryReporter()
    train_supernet(workshop_of(tmp_path, reporter), data)
    told = [text for text in reporter.messages if "not finite" in text]
    assert len(told) == 2
    assert "Back to step 4 with 0.5 of the learning rate." in told[0]
    assert "Back to step 4 with 0.25 of the learning rate." in told[1]
    assert exploding[-1].steps_done == STEPS
    assert exploding[-1].rate_factor == 0.25


@pytest.mark.thorough
def test_a_training_that_diverges_four_times_fails_with_advice(tmp_path, data, exploding):
    Exploding.limit = 0.0
    reporter = MemoryReporter()
    with pytest.raises(JobFailed, match=r"diverged 4 times.*halved 3 times.*Lower training.learning_rate"):
        train_supernet(workshop_of(tmp_path, reporter), data)
    assert len([text for text in reporter.messages if "Back to step" in text]) == 3


@pytest.mark.thorough
def test_a_rollback_is_not_forgotten_by_a_resume(tmp_path, data, exploding):
    Exploding.limit = 0.6
    reporter = MemoryReporter(interrupt_at=7)
    shop = workshop_of(tmp_path, reporter)
    with pytest.raises(Interrupted):
        train_supernet(shop, data)
    train_supernet(shop, data)
    assert exploding[-1].rate_factor == 0.5
    assert len([text for text in reporter.messages if "Back to step" in text]) == 1


@pytest.mark.parametrize(
    ("metric", "value", "best", "expected"),
    [
        ("accuracy", 0.89, 0.9, False),
        ("accuracy", 0.44, 0.9, True),
        ("accuracy", float("nan"), 0.9, True),
        ("perplexity", 5.0, 4.0, False),
        ("perplexity", 9.0, 4.0, True),
    ],
)
def test_far_below_the_best_is_half_the_accuracy_or_twice_the_perplexity(metric, value, best, expected):
    assert fallen(metric, value, best) is expected


def test_better_is_higher_accuracy_and_lower_perplexity():
    assert is_better("accuracy", 0.9, 0.8)
    assert not is_better("perplexity", 9.0, 8.0)
    assert is_better("perplexity", 9.0, None)


# --- memory -----------------------------------------------------------------------------------------


@pytest.fixture
def small_memory(monkeypatch):
    """A device that runs out of memory with more than so many examples at once."""
    limit = {"examples": 10**9}
    original = BigNAS.step

    def step(self, passes, batch, rng):
        if len(batch) > limit["examples"]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, passes, batch, rng)

    monkeypatch.setattr(BigNAS, "step", step)
    return limit


def test_out_of_memory_halves_the_micro_batch_once_and_says_so(tmp_path, data, small_memory):
    small_memory["examples"] = 128
    reporter = MemoryReporter()
    train_supernet(workshop_of(tmp_path, reporter), data)
    (said,) = [text for text in reporter.messages if "Out of memory" in text]
    assert "cut into 2 micro-batches of 128" in said
    assert "batch of 256 that a step learns from is unchanged" in said


@pytest.mark.thorough
def test_the_second_time_the_job_fails_with_sizes_that_fit(tmp_path, data, small_memory):
    small_memory["examples"] = 40
    with pytest.raises(JobFailed, match=r"128 examples at once.*32 examples at once do fit.*micro_batches to 8"):
        train_supernet(workshop_of(tmp_path), data)


@pytest.mark.thorough
def test_where_nothing_fits_other_ways_out_are_named(tmp_path, data, small_memory):
    small_memory["examples"] = 0
    with pytest.raises(JobFailed, match="Not even 2 examples fit"):
        train_supernet(workshop_of(tmp_path), data)


@pytest.mark.thorough
def test_looking_for_sizes_changes_no_weight(tmp_path, data, small_memory):
    shop = workshop_of(tmp_path)
    trainer = make_trainer(shop.spec, fresh_supernet(shop.spec, shop.space, data, shop.device), data)
    before = {name: tensor.clone() for name, tensor in trainer.tensors().items()}
    small_memory["examples"] = 64
    assert fitting_micro_batches(trainer, Orders(ALONE, shop.device)) == 4
    weights = {name: tensor for name, tensor in trainer.tensors().items() if not name.startswith("guard.")}
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights.items())


def test_other_errors_are_not_taken_for_memory(tmp_path, data, monkeypatch):
    def broken(self, passes, batch, rng):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(BigNAS, "step", broken)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        train_supernet(workshop_of(tmp_path), data)


# --- what does not fit ------------------------------------------------------------------------------


def test_a_batch_larger_than_the_data_is_refused():
    shop = workshop_of(training={**TRAINING, "batch_size": 5000})
    with pytest.raises(JobFailed, match="batch_size is 5000, but digits has only 1078"):
        prepare_data(shop.spec, shop.space, shop.device)


def test_a_space_that_does_not_take_the_data_is_refused():
    shop = workshop_of(supernet={"family": "mobilenet", "preset": "cifar"})
    with pytest.raises(JobFailed, match="channels"):
        prepare_data(shop.spec, shop.space, shop.device)


def test_options_that_the_data_cannot_honour_fail_with_the_reason(tmp_path, data):
    shop = workshop_of(tmp_path, training={**TRAINING, "lora_rank": 4096})
    with pytest.raises(JobFailed, match="no matrix of the supernet is larger"):
        train_supernet(shop, data)
