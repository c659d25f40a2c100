"""Records: stored once whatever is retried, fenced, told to people in the same transaction, read back as they were."""

import ast
from pathlib import Path

import pytest

from job.spec import JobSpec
from service import jobs
from service.store import leases, queries, records
from service.store.leases import LeaseLost
from service.store.models import Job, JobRecord
from service.store.records import (
    BaselineScore,
    CurvePoint,
    Derived,
    FidelityCorrelation,
    FidelityReport,
    FidelityRung,
    PredictorReport,
    Prices,
    Record,
)

ROOT = Path(__file__).parents[2]
DERIVED = Derived(
    run=0,
    target="/phone.csv",
    latency_weight=0.5,
    budget_ms=None,
    architecture_id="ab",
    values={"a": 1, "b": "k3e1", "c": 0.5, "d": True},
    table_ms=1 / 3,
    argmax=True,
    probabilities=((0.25, 0.75),),
    entropy=0.1,
    expected_ms=1.0,
    most_likely_ms=1.0,
)


@pytest.fixture
def held(database):
    """A job, and the epoch of whoever holds it."""
    with database.transaction() as session:
        job, _ = jobs.submit(session, JobSpec.model_validate({}), None)
    with database.transaction() as session:
        lease = leases.claim(session, Job, job.id, "a worker", 60)
    assert lease is not None
    return job.id, lease.epoch


def told(session, job_id):
    return [(event.kind, event.data) for event in queries.events_after(session, job_id, 0, 100)][1:]


def test_a_record_is_read_back_as_it_was_written(database, held):
    job_id, epoch = held
    with database.transaction() as session:
        records.write(session, job_id, epoch, DERIVED)
    with database.transaction() as session:
        (found,) = records.read(session, job_id, Derived)
        assert found == DERIVED
        assert [type(value) for value in found.values.values()] == [int, str, float, bool]
        assert told(session, job_id) == [("gradient", {"phase": "derived", **DERIVED.data()})]


def test_a_retried_write_neither_stores_nor_tells_again(database, held):
    job_id, epoch = held
    point = CurvePoint(epoch=1, loss=0.5)
    for _ in range(2):
        with database.transaction() as session:
            records.write(session, job_id, epoch, point)
    with database.transaction() as session:
        assert records.read(session, job_id, CurvePoint) == [point]
        assert told(session, job_id) == [("curve", {"epoch": 1, "loss": 0.5})]


def test_a_training_that_goes_back_says_its_points_again_in_their_place(database, held):
    job_id, epoch = held
    for number, loss in ((1, 0.5), (2, 9.0), (2, 0.4)):
        with database.transaction() as session:
            records.write(session, job_id, epoch, CurvePoint(epoch=number, loss=loss))
    with database.transaction() as session:
        assert [(p.epoch, p.shown) for p in records.read(session, job_id, CurvePoint)] == [
            (1, {"loss": 0.5}),
            (2, {"loss": 0.4}),
        ]
        assert [data["loss"] for _, data in told(session, job_id)] == [0.5, 9.0, 0.4]


def test_of_other_records_the_first_counts(database, held):
    job_id, epoch = held
    for margin in (0.1, 0.2):
        report = PredictorReport(metric="latency_ms", unit="ms", target="cpu", used=True, margin=margin, model="gp")
        with database.transaction() as session:
            records.write(session, job_id, epoch, report)
    with database.transaction() as session:
        assert [report.margin for report in records.read(session, job_id, PredictorReport)] == [0.1]
        assert len(told(session, job_id)) == 1


def test_whoever_lost_the_lease_writes_nothing(database, held):
    job_id, epoch = held
    with pytest.raises(LeaseLost), database.transaction() as session:
        records.write(session, job_id, epoch - 1, CurvePoint(epoch=1))
    with database.transaction() as session:
        assert session.query(JobRecord).where(JobRecord.job_id == job_id).all() == []
        assert told(session, job_id) == []


def test_a_record_and_its_event_are_one_transaction(database, held, monkeypatch):
    job_id, epoch = held

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(queries, "add_event", dies)
    with pytest.raises(KeyboardInterrupt), database.transaction() as session:
        records.write(session, job_id, epoch, CurvePoint(epoch=1))
    with database.transaction() as session:
        assert records.read(session, job_id, CurvePoint) == []


def test_a_long_name_has_a_short_key():
    prices = Prices(target="/" + "x" * 900, fixed_ms=1.0, blocks_ms=((1.0,),))
    score = BaselineScore(values={f"choice{i}": i for i in range(90)}, metrics={})
    assert {len(prices.key), len(score.key)} == {64}
    assert prices.key != prices.model_copy(update={"target": prices.target + "x"}).key
    assert BaselineScore(values=dict(reversed(score.values.items())), metrics={}).key == score.key


def test_fields_of_another_version_are_left_aside(caplog):
    data = {**DERIVED.data(), "mood": "sunny"}
    assert records.parsed(Derived, data) == DERIVED
    assert "mood" in caplog.text


def test_numbers_that_a_training_names_itself_must_be_numbers():
    with pytest.raises(ValueError, match="valid number"):
        CurvePoint(epoch=1, loss="low")


def all_records(base=Record):
    for model in base.__subclasses__():
        yield from all_records(model)
        if not model.__name__.startswith("_"):
            yield model


def test_kinds_are_different_and_fit_their_column():
    kinds = [model.kind for model in all_records()]
    assert len(kinds) == len(set(kinds)) == 22
    assert max(map(len, kinds)) <= 20


# --- events are for people ------------------------------------------------------------------------


def reads_events(file):
    """Whether a file selects rows of events, or asks for what selects them."""
    tree = ast.parse(file.read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    return bool(names & {"JobEvent", "events_after"}) or "job_events" in file.read_text()


def test_no_kind_of_event_is_read_back_as_state():
    """Rows of events are selected by one function, which the API's stream alone asks for."""
    packages = ("job", "search", "predictors", "export", "service", "pipeline", "proxyless", "workers")
    files = [file for package in packages for file in (ROOT / package).rglob("*.py") if reads_events(file)]
    assert sorted(str(file.relative_to(ROOT)) for file in files) == [
        "service/api/events.py",
        "service/store/models.py",
        "service/store/queries.py",
    ]
    reading = [
        node.name
        for node in ast.walk(ast.parse((ROOT / "service/store/queries.py").read_text()))
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(n, ast.Name) and n.id == "JobEvent" for n in ast.walk(node))
    ]
    # For streams and pages, which show them to people.
    assert reading == ["add_event", "events_after", "history", "_first_event"]
    asking = [
        file
        for package in packages
        for file in (ROOT / package).rglob("*.py")
        if "queries.history(" in file.read_text()
    ]
    assert [str(file.relative_to(ROOT)) for file in asking] == ["service/api/events.py"]


@pytest.mark.parametrize(
    ("networks", "taus", "kept"),
    [(12, (0.95,), True), (12, (0.85,), False), (7, (1.0,), False), (12, (0.95, 0.2), False), (12, (None,), False)],
)
def test_a_choice_by_rungs_says_where_it_was_none(networks: int, taus: tuple[float | None, ...], kept: bool) -> None:
    """One metric that turned around is enough, and what climbed further does not count."""
    pairs = [(name, (0, 8), tau) for name, tau in zip(("accuracy", "recall_at_1"), taus, strict=False)]
    report = FidelityReport(
        chosen_by="ranks",
        rungs=tuple(FidelityRung(steps=steps, networks=networks, spent_steps=8, refused=0) for steps in (8, 32)),
        correlations=tuple(
            FidelityCorrelation(metric=name, low=low, high=high, networks=networks, kendall=tau, spearman=tau)
            for name, (low, high), tau in [*pairs, ("accuracy", (0, 32), 0.1)]
        ),
        points=(),
        knee=None,
        not_found_before=(),
    )
    assert ("Without search.fidelities the same compute heals more" in report.said()) == kept
