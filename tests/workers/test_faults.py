"""The matrix of stages and faults: jobs run in this process on a real PostgreSQL, with a fault at many points of each.

A runner that dies is an exception that nobody catches; leases, epochs, rows and files are real. However often a job is
cut off, it ends as an undisturbed one, to the bit. tests/e2e/test_recovery.py has one fault of each kind on the whole
stack.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from job.spec import JobSpec
from pipeline import artifacts, finalists, reporter
from service import jobs
from service.settings import Settings
from service.store import leases, queries, records
from service.store.leases import LeaseLost
from service.store.models import Artifact, Job
from service.store.records import FidelityScore, HealedFront, HealedNetwork, HealingPoint
from service.store.session import Database
from tests.proxyless.test_strategy import CHOICES, table
from tests.tiers import mostly_thorough
from workers import runner

# A network of one block a stage: building its modules for every evaluation is most of what a tiny job costs.
NARROW = {
    "stem_width": [4, 8],
    "stage1_width": [4, 8],
    "stage2_width": [8, 16],
    "stage3_width": [8, 24],
    "head_width": [16, 48],
    "*_depth": [1],
    "*_kernel": [3],
    "*_expansion": [1, 2],
}
SEARCHED: dict[str, Any] = {
    "recipe": "bignas",
    "supernet": {"choices": NARROW},
    "training": {"epochs": 2, "batch_size": 256, "options": {"num_random": 1}},
    "search": {"algorithm": "nsga2", "evaluations": 12, "options": {"population": 6}, "calibration_images": 64},
}
# Its front is found in two evaluations, because the healing is what is cut off.
HEALED: dict[str, Any] = {
    **SEARCHED,
    "training": {**SEARCHED["training"], "epochs": 1},
    "search": {"algorithm": "random", "evaluations": 3, "calibration_images": 64, "options": {"batch": 3}},
    "healing": {"networks": "front", "most": 2, "steps": 6, "validations": 3, "patience": 1, "hidden": 0.5},
}
# Its networks heal a little in the search, so that its search is cut off within rungs and between them.
CLIMBING: dict[str, Any] = {
    **HEALED,
    "search": {
        "algorithm": "winnow",
        "evaluations": 6,
        "calibration_images": 64,
        "options": {"batch": 3, "initial": 3},
        "fidelities": {"steps": [1, 4], "candidates": 3},
    },
    # Networks whose hidden states have other places could not heal.
    "healing": {**HEALED["healing"], "hidden": 0.0},
}
QUANTIZED: dict[str, Any] = {
    **SEARCHED,
    "recipe": "simq_nas",
    "objectives": [{"metric": "accuracy"}, {"metric": "size_bytes"}],
    "quantization": {"bits": [8, 32], "tie": "block", "pinned": {"first": 32}, "baseline_evaluations": 2},
    "search": {"algorithm": "random", "evaluations": 6, "calibration_images": 64, "options": {"batch": 3}},
}


KINDS = ("searched", "quantized", "by gradient", "healed", "climbing")


def by_gradient(folder: Path) -> dict[str, Any]:
    """A search by gradient, with a device that is made up."""
    tiny = {"epochs": 2, "batch_size": 256}
    return {
        "recipe": "proxylessnas",
        "supernet": {"choices": CHOICES},
        "training": tiny,
        "objectives": [{"metric": "accuracy"}, {"metric": "macs"}],
        "search": {"calibration_images": 64},
        "gradient": {
            "targets": [table(folder, "phone", 40, 0.01)],
            "latency_weights": [0.5],
            "learning_rate": 0.2,
            "warmup_epochs": 1,
            "every": 1,
            "final": tiny,
        },
    }


# Transactions of a runner, the one in which it hears a request among them, until it has ended. The longest way is from
# a training's last step on: a checkpoint, the supernet with its rows, and the removal of all checkpoints.
HEARD_WITHIN = 14


class Died(BaseException):
    """A runner that is gone: nobody catches it."""


# A point of a run: a stage, and the number of a transaction in it, from 1.
Point = tuple[str | None, int]
Tampering = Callable[[Point], None]


def leave_alone(_point: Point) -> None:
    """Nothing happens."""


class Tampered(Database):
    """A database where something may happen before or after each transaction of a job's runner."""

    def __init__(self, url: str, job_id: str, before: Tampering = leave_alone, after: Tampering = leave_alone) -> None:
        super().__init__(url)
        self.points: list[Point] = []
        self._job_id, self._before, self._after = job_id, before, after

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with super().transaction() as session:
            stage = session.scalar(select(Job.stage).where(Job.id == self._job_id))
        number = 1 + sum(known == stage for known, _ in self.points)
        self.points.append((stage, number))
        self._before((stage, number))
        with super().transaction() as session:
            yield session
        self._after((stage, number))


class Bench:
    """One job, and runners for it.

    Args:
        spec: what is submitted; None: nothing, since the job is there.
        job_id: whose, where it is there.
    """

    def __init__(self, database: Database, folder: Path, spec: dict[str, Any] | None, job_id: str = "") -> None:
        self.database, self.id = database, job_id
        self.settings = Settings(data_dir=folder, database_url=database.url, redis_url=None, checkpoint_seconds=0)
        if spec is not None:
            with database.transaction() as session:
                self.id = jobs.submit(session, JobSpec.model_validate(spec), None)[0].id

    def claim(self) -> int | None:
        """What a supervisor does before it starts a runner: the epoch, None where nothing is to be done."""
        with self.database.transaction() as session:
            leases.release(session, Job, self.id, self.job().epoch)
            lease = leases.claim(session, Job, self.id, "a worker", 600)
            if lease is None:
                return None
            job = queries.fenced_job(session, self.id, lease.epoch)
            if job.state == "queued":
                queries.set_running(session, job)
            return lease.epoch

    def run(self, before: Tampering = leave_alone, after: Tampering = leave_alone) -> list[Point]:
        """One runner, from its claim to its end; the points that it came to."""
        epoch = self.claim()
        assert epoch is not None
        tampered = Tampered(self.database.url, self.id, before, after)
        try:
            runner.run_job(tampered, self.settings, self.id, epoch)
        finally:
            tampered.close()
        return tampered.points

    def job(self) -> Job:
        with self.database.transaction() as session:
            job = session.get(Job, self.id)
            assert job is not None
            session.expunge(job)
            return job

    def ask(self, verb: Callable[[Session, str], Job]) -> None:
        """What the API does for a person."""
        with self.database.transaction() as session:
            verb(session, self.id)

    def outcome(self) -> dict[str, Any]:
        """All that must not depend on what happened: evaluations, front, and every weight."""
        job = self.job()
        assert (job.state, job.stage, job.progress) == ("succeeded", "done", 1.0), job.message
        with self.database.transaction() as session:
            files = session.scalars(select(Artifact).where(Artifact.job_id == self.id)).all()
            healed = records.read(session, self.id, HealedNetwork)
            return {
                "evaluations": [(row.architecture_id, row.metrics) for row in queries.evaluations(session, self.id)],
                "front": [
                    (row.architecture_id, row.position, row.metrics, row.sources)
                    for row in queries.finalists(session, self.id)
                ],
                "files": sorted((file.kind, file.sha256) for file in files),
                "healed": [one.model_copy(update={"seconds": 0.0}) for one in healed],
                "scores": [
                    (one.architecture_id, one.step, one.shown["accuracy"])
                    for one in sorted(records.read(session, self.id, HealingPoint), key=lambda one: one.key)
                ],
                "healed front": records.read(session, self.id, HealedFront),
                "rungs": [
                    one.model_copy(update={"seconds": 0.0}) for one in records.read(session, self.id, FidelityScore)
                ],
                "fidelities": records.fidelities_of(session, self.id),
            }


@pytest.fixture(autouse=True)
def every_report_is_a_transaction(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Reports come at every step, not at every half second, and no device is measured: both depend on the machine."""

    class Millisecond:
        """This machine, on which every file takes a millisecond."""

        def __init__(self, _runtime: Any) -> None:
            self.place: dict[str, Any] = {}

        def measure(self, models: Any, *_asked: Any) -> list[Any]:
            return [[{"median_ms": 1.0}] for _ in models]

    monkeypatch.setattr(reporter, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(reporter, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(finalists, "LocalBench", Millisecond)
    monkeypatch.setattr(finalists, "write_measurable", lambda *_network: Path())
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The kinds of jobs."""
    gradient = by_gradient(tmp_path_factory.mktemp("tables"))
    return {
        "searched": SEARCHED,
        "quantized": QUANTIZED,
        "by gradient": gradient,
        "healed": HEALED,
        "climbing": CLIMBING,
    }


Undisturbed = Callable[[str], tuple[dict[str, Any], list[Point]]]


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    return {}


@pytest.fixture
def undisturbed(known: dict[str, Any], database: Database, tmp_path: Path, specs: dict[str, Any]) -> Undisturbed:
    """What a kind of job comes to when nothing happens to it, and the points that it passes."""

    def of(kind: str) -> Any:
        if kind not in known:
            bench = Bench(database, tmp_path / "undisturbed", specs[kind])
            points = bench.run()
            known[kind] = bench.outcome(), points
        return known[kind]

    return of


def some_of(points: list[Point], stages: frozenset[str] | None = None) -> list[Point]:
    """Two points of every stage: its first, and one on the way."""
    last = {stage: number for stage, number in points if stages is None or stage in stages}
    return [point for stage, count in last.items() for point in dict.fromkeys([(stage, 1), (stage, 1 + count // 3)])]


def at_each(points: list[Point], happens: Callable[[], None]) -> Tampering:
    """It happens at the first of the points, then, in whatever run, at the next."""

    def tamper(point: Point) -> None:
        if points and point == points[0]:
            del points[0]
            happens()

    return tamper


def die() -> None:
    raise Died


def run_to_the_end(bench: Bench, expected: type[BaseException], most: int, **tampering: Tampering) -> int:
    """Runners one after the other, until one succeeds; how many there were."""
    for number in range(1, most + 2):
        try:
            bench.run(**tampering)
        except expected:
            continue
        return number
    raise AssertionError(f"not done after {most} runs")


DEATHS = [(kind, when) for kind in KINDS for when in ("before", "after")]


@pytest.mark.parametrize(
    ("kind", "when"),
    mostly_thorough(DEATHS, ("searched", "after")),
)
def test_a_job_whose_runners_die_in_every_stage_ends_as_an_undisturbed_one(
    kind: str, when: str, database: Database, tmp_path: Path, undisturbed: Undisturbed, specs: dict[str, Any]
) -> None:
    """Before a transaction, or when it is committed and nobody has heard of it."""
    expected, points = undisturbed(kind)
    stages = {stage for stage, _ in points}
    assert {"prepare data", "train supernet"} < stages
    assert ("measure baselines" in stages) == (kind == "quantized"), "only policies have baselines"
    bench, left = Bench(database, tmp_path, specs[kind]), some_of(points)
    deaths = len(left)
    assert run_to_the_end(bench, Died, deaths, **{when: at_each(left, die)}) == deaths + 1, left
    assert bench.outcome() == expected
    assert bench.job().epoch == deaths + 1


@pytest.mark.thorough
def test_a_healing_whose_runners_die_again_and_again_ends_as_an_undisturbed_one(
    database: Database, tmp_path: Path, undisturbed: Undisturbed, specs: dict[str, Any]
) -> None:
    """At other points of each of two networks: its plan, steps, validations, checkpoints, weights and record."""
    expected, points = undisturbed("healed")
    bench = Bench(database, tmp_path, specs["healed"])
    # Each run comes a few steps further: it has so many transactions, the first of which find out where it stands.
    left: list[Point] = [("heal", number) for number in (21, 26, 23, 28, 25, 22)]
    deaths = len(left)
    assert max(number for stage, number in points if stage == "heal") > 5 * 22
    assert run_to_the_end(bench, Died, deaths, after=at_each(left, die)) == deaths + 1, left
    assert bench.outcome() == expected


@pytest.mark.thorough
def test_a_search_whose_networks_heal_and_whose_runners_die_again_and_again_ends_as_an_undisturbed_one(
    database: Database, tmp_path: Path, undisturbed: Undisturbed, specs: dict[str, Any]
) -> None:
    """Within rungs, between a score and its record, and in a wave that is half done."""
    expected, points = undisturbed("climbing")
    assert [rung.networks for rung in expected["fidelities"].rungs] == [3, 2]
    bench = Bench(database, tmp_path, specs["climbing"])
    most = max(number for stage, number in points if stage == "search")
    # Each run comes a few steps further than the one before.
    left: list[Point] = [("search", number) for number in range(most // 6, most // 6 + 5)]
    deaths = len(left)
    assert run_to_the_end(bench, Died, deaths, after=at_each(left, die)) == deaths + 1, left
    assert bench.outcome() == expected


WHERE = mostly_thorough([frozenset({"train supernet", "search"}), None], frozenset({"train supernet", "search"}))


@pytest.mark.thorough
@pytest.mark.parametrize("where", WHERE, ids=["longest stages", "every stage"])
def test_a_job_that_loses_its_lease_in_every_stage_ends_as_an_undisturbed_one(
    database: Database,
    tmp_path: Path,
    undisturbed: Undisturbed,
    specs: dict[str, Any],
    where: frozenset[str] | None,
) -> None:
    """Another worker takes it while this one thinks that it has it: what this one writes is refused."""
    expected, points = undisturbed("searched")
    bench, left = Bench(database, tmp_path, specs["searched"]), some_of(points, where)
    losses = len(left)
    runs = run_to_the_end(bench, LeaseLost, losses, before=at_each(left, lambda: (bench.claim(), None)[1]))
    assert losses // 2 < runs <= losses + 1  # what only reads is not refused, so a run may lose it twice
    assert left == []
    assert bench.outcome() == expected


@pytest.mark.thorough
def test_a_job_whose_database_goes_away_again_and_again_ends_as_an_undisturbed_one(
    database: Database, tmp_path: Path, undisturbed: Undisturbed, specs: dict[str, Any]
) -> None:
    expected, points = undisturbed("searched")
    bench = Bench(database, tmp_path, specs["searched"])
    told: list[Point] = []

    def away(point: Point) -> None:
        told.append(point)
        if len(told) % 3 == 0:
            raise OperationalError("SELECT", {}, Exception("the server is away"))

    bench.run(before=away)
    assert len(told) > len(points)
    assert bench.outcome() == expected


@pytest.mark.thorough
@pytest.mark.parametrize("where", WHERE, ids=["longest stages", "every stage"])
def test_a_job_that_is_paused_in_every_stage_ends_as_an_undisturbed_one(
    database: Database,
    tmp_path: Path,
    undisturbed: Undisturbed,
    specs: dict[str, Any],
    where: frozenset[str] | None,
) -> None:
    expected, points = undisturbed("searched")
    bench, left = Bench(database, tmp_path, specs["searched"]), some_of(points, where)
    while left:
        asked = left[0]
        passed = bench.run(before=at_each(left, lambda: bench.ask(jobs.pause)))
        assert bench.job().state == "paused", asked
        assert len(passed) - passed.index(asked) <= HEARD_WITHIN, passed[passed.index(asked) :]
        bench.ask(jobs.resume)
    bench.run()
    assert bench.outcome() == expected


STAGES = ("prepare data", "train supernet", "search", "measure finalists")


@pytest.mark.parametrize("stage", mostly_thorough(STAGES, "train supernet", "search"))
def test_a_cancelled_job_is_dropped_within_a_few_reports(
    stage: str, database: Database, tmp_path: Path, specs: dict[str, Any]
) -> None:
    """Its supervisor would stop it besides, whatever it does (tests/workers/test_supervisor.py)."""
    bench = Bench(database, tmp_path, specs["searched"])
    passed = bench.run(before=at_each([(stage, 2)], lambda: bench.ask(jobs.cancel)))
    assert bench.job().state == "cancelled"
    assert len(passed) - passed.index((stage, 2)) <= HEARD_WITHIN, passed
    assert bench.claim() is None


def test_a_search_that_is_stopped_keeps_its_front_even_if_its_runner_dies(
    database: Database, tmp_path: Path, undisturbed: Undisturbed, specs: dict[str, Any]
) -> None:
    expected, _ = undisturbed("searched")
    bench = Bench(database, tmp_path, specs["searched"])
    stopping = at_each([("search", 12)], lambda: bench.ask(jobs.stop))
    dying = at_each([("measure finalists", 2)], die)
    with pytest.raises(Died):
        bench.run(before=lambda point: (stopping(point), dying(point), None)[2])
    assert bench.job().state == "stopping"
    bench.run()
    outcome, job = bench.outcome(), bench.job()
    number = len(outcome["evaluations"])
    assert 0 < number < 12
    assert outcome["evaluations"] == expected["evaluations"][:number]
    assert job.message == f"Stopped by request after {number} of 12 evaluations."
    assert outcome["front"]
    assert all("test_accuracy" in metrics for _, _, metrics, _ in outcome["front"])


@pytest.mark.thorough
def test_a_full_disk_pauses_the_job_and_leaves_nothing_half_written(
    database: Database, tmp_path: Path, undisturbed: Undisturbed, specs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first checkpoint does not fit, and then the supernet."""
    expected, _ = undisturbed("searched")
    bench, full = Bench(database, tmp_path, specs["searched"]), ["checkpoints", "supernets"]
    save = artifacts.save_file

    def save_some(tensors: Any, path: Path, *metadata: Any) -> None:
        save(tensors, path, *metadata)
        if full and full[0] in path.parts:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(artifacts, "save_file", save_some)
    while full:
        bench.run()
        job = bench.job()
        assert job.state == "paused"
        assert job.message is not None
        assert "No room on the disk" in job.message
        assert f" for {full.pop(0)}/" in job.message
        assert not list((tmp_path / "artifacts").rglob("*.draft"))
        bench.ask(jobs.resume)
    bench.run()
    assert bench.outcome() == expected


@pytest.mark.thorough
def test_a_limit_keeps_the_front_below_it_and_one_that_nobody_meets_names_the_nearest(
    database: Database, tmp_path: Path, specs: dict[str, Any]
) -> None:
    goals = [{"metric": "accuracy"}, {"metric": "params", "limit": 2500}, {"metric": "macs"}]
    bench = Bench(database, tmp_path, {**specs["searched"], "objectives": goals})
    bench.run()
    with database.transaction() as session:
        rows = {row.architecture_id: row.metrics for row in queries.evaluations(session, bench.id)}
    front = bench.outcome()["front"]
    assert front
    kept = [architecture_id for architecture_id, position, *_ in front if position is not None]
    assert kept
    assert all(rows[architecture_id]["params"] <= 2500 for architecture_id in kept)

    never = {"objectives": [{"metric": "accuracy", "limit": 1.0}, {"metric": "macs"}]}
    failing = Bench(database, tmp_path, {**specs["searched"], **never})
    failing.run()
    job = failing.job()
    assert job.state == "failed"
    assert "The nearest is" in (job.message or "")


@pytest.mark.thorough
def test_a_worker_that_leaves_costs_a_training_no_step(
    database: Database, tmp_path: Path, specs: dict[str, dict[str, Any]], undisturbed: Undisturbed
) -> None:
    """SIGTERM, heard at the next report: a checkpoint is written, the lease given back, and no attempt is counted."""
    bench = Bench(database, tmp_path, specs["searched"])
    left = []

    def leave(point: Point) -> None:
        if point == ("train supernet", 3) and not left:
            left.append(point)
            os.kill(os.getpid(), signal.SIGTERM)

    bench.run(before=leave)
    job = bench.job()
    assert left
    assert (job.state, job.stage, job.lease_owner, job.attempts) == ("running", "train supernet", None, 0)
    with database.transaction() as session:
        steps = [file.step for file in queries.artifacts(session, bench.id, "checkpoint")]
    assert steps
    bench.run()
    assert bench.outcome() == undisturbed("searched")[0]
