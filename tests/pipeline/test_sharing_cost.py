"""What sharing costs: two random networks trained alone, for a stated share of the training."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from job.spec import JobSpec
from pipeline import sharing_cost
from pipeline.reporter import Interrupted
from pipeline.sharing_cost import affordable, macs, measure_sharing, training_alone
from pipeline.workshop import JobFailed
from service.store.records import SharingCost
from supernet.data import Dataset, load_dataset
from supernet.network import Supernet
from tests.pipeline.bench import MemoryReporter, workshop

TRAINING = {"epochs": 1, "batch_size": 256, "sharing_check": 0.6}


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("digits", 0)


def measured(tmp_path: Path, data: Dataset, reporter: MemoryReporter, **parts) -> list[SharingCost]:
    shop = workshop(tmp_path, reporter, training=TRAINING | parts.pop("training", {}), **parts)
    torch.manual_seed(0)
    measure_sharing(shop.spec, data, Supernet(shop.space), shop.files, shop.reporter)
    return reporter.records(SharingCost)


def test_two_networks_are_trained_alone_and_compared_on_the_same_samples(tmp_path: Path, data: Dataset) -> None:
    reporter = MemoryReporter()
    found = measured(tmp_path, data, reporter)
    assert len({cost.architecture_id for cost in found}) == 2
    for cost in found:
        assert (cost.metric, cost.samples, cost.epochs) == ("accuracy", len(data.validation), 1)
        assert cost.alone is not None
        assert cost.sliced is not None
        expected = math.sqrt(sum(p * (1 - p) for p in (cost.alone, cost.sliced)) / len(data.validation))
        assert cost.error == pytest.approx(expected)
        assert f"{cost.sliced:.4g} sliced from the supernet, {cost.alone:.4g} trained alone" in cost.said()
    # An untrained supernet is worse than networks that were trained.
    assert sum(cost.alone or 0 for cost in found) > sum(cost.sliced or 0 for cost in found)
    assert not [row for row in reporter.rows if "checkpoint" in row.kind]


def test_what_is_known_is_not_trained_again(tmp_path: Path, data: Dataset, monkeypatch) -> None:
    reporter = MemoryReporter()
    first = measured(tmp_path, data, reporter)
    monkeypatch.setattr(sharing_cost, "_Trial", lambda *_: pytest.fail("trained again"))
    assert measured(tmp_path, data, reporter) == first


@pytest.mark.parametrize(("parts", "checks"), [({}, True), ({"training": {"sharing_check": 0}}, False)])
def test_nothing_is_done_unless_it_is_asked(parts, checks: bool) -> None:
    assert JobSpec.model_validate({"training": TRAINING} | parts).checks_sharing is checks
    reused = {"supernet": {"reuse": "0123456789ab"}}
    assert not JobSpec.model_validate({"training": TRAINING} | parts | reused).checks_sharing


def test_a_share_that_is_too_small_is_said_with_what_is_needed(tmp_path: Path, data: Dataset) -> None:
    reporter = MemoryReporter()
    assert measured(tmp_path, data, reporter, training={"sharing_check": 0.001}) == []
    (message,) = reporter.messages
    assert "training.sharing_check is 0.001" in message
    assert "2 of them take at least" in message


@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
def test_both_trainings_fit_in_the_share(share: float) -> None:
    spec = JobSpec.model_validate({"training": TRAINING | {"sharing_check": share}})
    space = spec.supernet.space()
    chosen, costs = affordable(spec, space, share)
    assert sum(costs) <= share
    assert affordable(spec, space, share) == (chosen, costs)
    if chosen:
        one, other = (macs(space, network) for network in chosen)
        assert costs[0] / costs[1] == pytest.approx(one / other)
        # A step of the sandwich has the largest network in it, and three more.
        assert costs[0] < one / macs(space, space.largest())


def test_a_training_that_fails_fails_no_job(tmp_path: Path, data: Dataset, monkeypatch) -> None:
    def fail(*_args):
        raise JobFailed("Out of memory.")

    monkeypatch.setattr(sharing_cost._Trial, "course", fail)
    reporter = MemoryReporter()
    assert measured(tmp_path, data, reporter) == []
    assert [message for message in reporter.messages if "is not known: Out of memory." in message]


def test_a_pause_is_heard_and_the_training_goes_on_where_it_was(tmp_path: Path, data: Dataset) -> None:
    undisturbed = measured(tmp_path / "whole", data, MemoryReporter())
    reporter = MemoryReporter(interrupt_at=2)
    with pytest.raises(Interrupted):
        measured(tmp_path / "paused", data, reporter)
    assert measured(tmp_path / "paused", data, reporter) == undisturbed
    assert [message for message in reporter.messages if message.startswith("Resumed the training of network 1")]


def test_everything_but_the_method_is_the_supernets_training() -> None:
    spec = JobSpec.model_validate(
        {"training": {"options": {"label_smoothing": 0.2}, "augmentation": {"crop_padding": 1}}}
    )
    network = spec.supernet.space().smallest()
    alone = training_alone(spec.training, network)
    assert alone.method == "single"
    assert alone.method_options.model_dump()["label_smoothing"] == 0.2
    same = {"method", "options"}
    assert alone.model_dump(exclude=same) == spec.training.model_dump(exclude=same)


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"sharing_check": 0.2, "processes": 2}, "sharing_check: 0.2 with 2 processes"),
        ({"sharing_check": 1.5}, "less than or equal to 1"),
        ({"sharing_check": 0.2, "epochs": 0}, "sharing_check with 0 epochs"),
    ],
)
def test_what_cannot_be_checked_is_refused(training, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        JobSpec.model_validate({"training": training})
