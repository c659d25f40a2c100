"""A search by gradient as stages of a job: phases, resume in each of them, results, and what is refused."""

from pathlib import Path

import pytest

from job.spec import JobSpec
from pipeline import finalists, hardware
from pipeline.materials import prepare_data
from pipeline.reporter import Interrupted
from pipeline.workshop import JobFailed
from predictors.candidate_prices import candidate_networks
from predictors.table_files import write_table
from predictors.tables import LatencyTable, Row, key_of
from proxyless.strategy import aims_of, search_by_gradient
from tests.pipeline.bench import MemoryReporter, workshop
from tests.tiers import mostly_thorough

CHOICES = {"stage*_block1": ["k3e1", "k5e2"], "stage*_block[23]": ["zero", "k3e1", "k5e2"]}
TINY = {"epochs": 2, "batch_size": 256}
SPACE = JobSpec.model_validate({"recipe": "proxylessnas", "supernet": {"choices": CHOICES}}).supernet.space()


def table(folder: Path, name: str, per_million_macs: float, per_layer: float) -> str:
    """A made-up device, as a file."""
    specs = {spec for network in candidate_networks(SPACE) for spec in network.values()}
    rows = {key_of(spec): Row(per_million_macs * spec.macs() / 1e6 + per_layer) for spec in specs}
    path = folder / f"{name}.csv"
    write_table(LatencyTable(name, rows, overhead_ms=0.1), path)
    return str(path)


def job(targets, **gradient):
    aim = {} if "budgets_ms" in gradient else {"latency_weights": [0.5]}
    part = {"targets": targets, "warmup_epochs": 1, "every": 1, "final": TINY, **aim, **gradient}
    return {
        "recipe": "proxylessnas",
        "supernet": {"choices": CHOICES},
        "training": TINY,
        "search": {"calibration_images": 64},
        "gradient": {**part, "learning_rate": 0.2},
    }


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    return {"macs": table(folder, "macs", 40, 0.01), "layers": table(folder, "layers", 0.01, 1.0)}


@pytest.fixture(scope="module")
def data():
    shop = workshop(Path("/nowhere"), MemoryReporter(), **job(["/nowhere.csv"]))
    return prepare_data(shop.spec, shop.space, shop.device)


@pytest.fixture(scope="module", autouse=True)
def measured():
    """Exporting and timing have tests of their own; here every network takes a millisecond."""

    class Millisecond:
        def __init__(self, runtime):
            pass

        def measure(self, models, settings, effort, tick):
            return [[{"phase": "forward", "median_ms": 1.0}] for _ in models]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "LocalBench", Millisecond)
        patch.setattr(finalists, "write_measurable", lambda *arguments: Path("/nowhere"))
        yield


def facts(reporter: MemoryReporter):
    """What must not depend on how often a job was cut off."""
    derived = [
        {name: event[name] for name in ("run", "architecture_id", "probabilities", "expected_ms", "table_ms")}
        for event in reporter.events("gradient")
        if event["phase"] == "derived"
    ]
    rows = [(row.architecture_id, row.metrics["accuracy"], row.metrics["macs"]) for row in reporter.evaluated]
    return derived, rows, [(f.architecture_id, f.position) for f in reporter.measured]


@pytest.fixture(scope="module")
def undisturbed(tables, data, tmp_path_factory):
    reporter = MemoryReporter()
    shop = workshop(tmp_path_factory.mktemp("undisturbed"), reporter, **job([tables["macs"]]))
    search_by_gradient(shop, data)
    return reporter


def test_every_phase_leaves_its_result(undisturbed):
    phases = [event["phase"] for event in undisturbed.events("gradient")]
    assert list(dict.fromkeys(phases)) == ["prices", "search", "derived", "train", "measured", "cross"]
    assert [row.kind for row in undisturbed.rows] == ["network"]
    searched = [event for event in undisturbed.events("gradient") if event["phase"] == "search"]
    assert searched[-1]["epoch"] == 2
    assert len(searched[-1]["probabilities"]) == 6
    assert all(sum(row) == pytest.approx(1, abs=1e-3) for row in searched[-1]["probabilities"])
    assert 0 < searched[-1]["entropy"] < 1.1
    assert undisturbed.events("curve")[-1]["epoch"] == 1
    assert undisturbed.measured[0].metrics["latency_ms"] == 1.0
    assert 0 <= undisturbed.measured[0].metrics["test_accuracy"] <= 1


@pytest.mark.thorough
def test_a_warm_up_that_was_too_short_is_told_once(undisturbed, tables, data, tmp_path):
    def warnings(reporter):
        return [text for text in reporter.messages if "hardly do better than a guess" in text]

    (text,) = warnings(undisturbed)
    assert "a guess has 2.30" in text
    assert "gradient.warmup_epochs is 1" in text
    longer = MemoryReporter()
    search_by_gradient(workshop(tmp_path, longer, **job([tables["macs"]], warmup_epochs=25)), data)
    assert warnings(longer) == []


# Calls of progress() fall into: 1 to 3 the warm-up, then the search's 8 steps, then the training's 8.
@pytest.mark.parametrize(
    "cut_at", mostly_thorough([2, 5, 9, 13], 5, 13), ids=["warm-up", "search", "late search", "training"]
)
def test_a_job_that_was_cut_off_ends_as_an_undisturbed_one(tables, data, undisturbed, tmp_path, cut_at):
    reporter = MemoryReporter(interrupt_at=cut_at)
    shop = workshop(tmp_path, reporter, **job([tables["macs"]]))
    with pytest.raises(Interrupted):
        search_by_gradient(shop, data)
    search_by_gradient(shop, data)
    assert any("Resumed the" in text for text in reporter.messages)
    assert facts(reporter) == facts(undisturbed)


@pytest.mark.thorough
def test_a_job_that_is_stopped_keeps_the_networks_that_are_finished(tables, data, undisturbed, tmp_path):
    """The second network is being searched for: the first is kept, and nothing of the second."""
    first = undisturbed.progressed
    reporter = MemoryReporter(stop_at=first + 4)
    search_by_gradient(workshop(tmp_path, reporter, **job([tables["macs"], tables["layers"]])), data)
    assert reporter.ended_early == "Stopped by request after 1 of 2 networks."
    assert facts(reporter) == facts(undisturbed)
    assert [row.kind for row in reporter.rows] == ["network"], "checkpoints of the second are left"
    assert any(event["phase"] == "search" and event["run"] == 1 for event in reporter.events("gradient"))

    # A runner that dies after that does not begin anew.
    again = len(reporter.told)
    search_by_gradient(workshop(tmp_path, reporter, **job([tables["macs"], tables["layers"]])), data)
    assert "gradient" not in {kind for kind, _ in reporter.told[again:]}


@pytest.mark.thorough
def test_two_targets_give_two_networks_and_a_cross_table(tables, data, tmp_path):
    """One device counts arithmetic, the other layers: under a heavy weight each has its own cheapest network."""
    reporter = MemoryReporter()
    parts = job([tables["macs"], tables["layers"]], latency_weights=[50.0], every=1)
    shop = workshop(tmp_path, reporter, **parts)
    search_by_gradient(shop, data)
    derived = [event for event in reporter.events("gradient") if event["phase"] == "derived"]
    assert [event["target"] for event in derived] == [tables["macs"], tables["layers"]]
    assert derived[0]["architecture_id"] != derived[1]["architecture_id"]
    (cross,) = [event for event in reporter.events("gradient") if event["phase"] == "cross"]
    for event in derived:
        row = cross["latency_ms"][event["architecture_id"]]
        assert set(row) == {tables["macs"], tables["layers"]}
        assert row[event["target"]] == pytest.approx(event["table_ms"])


@pytest.mark.thorough
def test_two_aims_that_lead_to_one_network_share_its_training(tables, data, tmp_path):
    """Both weights are 0 to the loss, and everything else is the same."""
    reporter = MemoryReporter()
    parts = job([tables["macs"]], latency_weights=[0.0, 1e-12])
    search_by_gradient(workshop(tmp_path, reporter, **parts), data)
    events = [(event["phase"], event["run"]) for event in reporter.events("gradient") if "run" in event]
    assert ("measured", 0) in events
    assert ("measured", 1) in events
    assert ("train", 1) not in events
    assert len(reporter.evaluated) == len(reporter.measured) == 1


def test_a_budget_is_kept_by_what_is_derived(tables, data, tmp_path):
    reporter = MemoryReporter()
    search_by_gradient(workshop(tmp_path, reporter, **job([tables["macs"]], budgets_ms=[3.5])), data)
    (derived,) = [event for event in reporter.events("gradient") if event["phase"] == "derived"]
    assert derived["expected_ms"] == pytest.approx(3.5, rel=1e-4)
    assert derived["table_ms"] <= 3.5


@pytest.mark.parametrize(
    ("gradient", "said"),
    [
        ({"budgets_ms": [0.2]}, r"A budget of 0.2 ms cannot be kept: the cheapest network of the space takes"),
        ({"budgets_ms": [1000]}, r"A budget of 1000 ms forbids nothing: the dearest network"),
        ({"loss": "mul_log", "reference_ms": 0.5}, "logarithms of milliseconds, so latencies must exceed 1 ms"),
        ({"held_out_share": 0.99}, "training examples are left beside those held out"),
    ],
)
def test_what_cannot_be_had_fails_with_its_reason(tables, data, tmp_path, gradient, said):
    with pytest.raises(JobFailed, match=said):
        search_by_gradient(workshop(tmp_path, MemoryReporter(), **job([tables["macs"]], **gradient)), data)


def test_a_table_of_another_space_fails_with_the_rows(data, tmp_path):
    rows = {key_of(spec): Row(1.0) for spec in list(SPACE.layers(SPACE.largest()).values())[:3]}
    write_table(LatencyTable("other", rows), tmp_path / "other.csv")
    with pytest.raises(JobFailed, match=r"lacks \d+ rows: mbconv"):
        search_by_gradient(workshop(tmp_path, MemoryReporter(), **job([str(tmp_path / "other.csv")])), data)


def test_a_table_that_is_not_there_fails_with_its_name(data, tmp_path):
    with pytest.raises(JobFailed, match=r"latency table '/nowhere.csv' cannot be read"):
        search_by_gradient(workshop(tmp_path, MemoryReporter(), **job(["/nowhere.csv"])), data)


def test_every_target_is_combined_with_every_aim():
    spec = JobSpec.model_validate(job(["/a.csv", "/b.csv"], latency_weights=[0, 0.1]))
    assert [(aim.number, aim.target, aim.weight) for aim in aims_of(spec)] == [
        (0, "/a.csv", 0),
        (1, "/a.csv", 0.1),
        (2, "/b.csv", 0),
        (3, "/b.csv", 0.1),
    ]
