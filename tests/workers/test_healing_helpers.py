"""Networks of one job that several workers heal: the same weights as one after the other, whoever dies or leaves.

The runner of the job and its helpers take turns in this process, at transactions that the tests choose; leases, claims,
rows and files are real. tests/e2e/test_healing.py kills a helper of the whole stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from job.healing_spec import HealingSpec
from pipeline import healing, healing_help, shared_healing
from pipeline.shared_healing import HelperReporter
from service import descent, jobs
from service.queue import QUEUES, RUN_JOB, Queue
from service.settings import Settings
from service.store import healing_shares, leases, nodes, queries, records
from service.store.healing_shares import wanted
from service.store.leases import LeaseLost
from service.store.models import Artifact, HealingShare, Job, WorkerNode
from service.store.records import HealedNetwork
from service.store.session import Database
from tests.workers.conftest import Ended
from tests.workers.test_faults import (
    HEALED,
    Bench,
    Died,
    Point,
    Tampered,
    Tampering,
    die,
    every_report_is_a_transaction,
    leave_alone,
)
from workers import children, reaper, runner, supervisor
from workers.supervisor import Supervisor

__all__ = ["every_report_is_a_transaction"]

HEALS = {**HEALED["healing"], "networks": "front", "most": 2}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_healing, "LOOK_SECONDS", 0.0)


@pytest.fixture
def settings(settings: Settings, shared_folder: Path) -> Settings:
    """With the folder of jobs that have ended."""
    return settings.model_copy(update={"data_dir": shared_folder})


@pytest.fixture
def found(ended: Ended) -> Bench:
    """A job that has found its front and healed nothing."""
    return ended("not healed", {**HEALED, "healing": None})


@pytest.fixture
def expected(found: Bench, ids_of_ended: dict[str, str]) -> dict[str, Any]:
    """What the job comes to without helpers."""
    if "healed by one" not in ids_of_ended:
        alone = Helped(found, helpers=0)
        alone.run()
        ids_of_ended["healed by one"] = alone.id
    return comparable(Bench(found.database, found.settings.data_dir, None, ids_of_ended["healed by one"]))


class Helped(Bench):
    """A job that heals what another one has found, and helpers for it."""

    def __init__(self, parent: Bench, **healing: Any) -> None:
        part = HealingSpec.model_validate({**HEALS, "helpers": 1, **healing})
        with parent.database.transaction() as session:
            job_id = descent.heal(session, parent.id, part, {})[0].id
        super().__init__(parent.database, parent.settings.data_dir, None, job_id)
        self.parent = parent

    def claim_share(self, name: str = "helper", **has: Any) -> leases.Lease | None:
        """What a supervisor does before it starts a helper."""
        facts = {"gpus": 0, "memory_bytes": 10**12, "labels": [], **has}
        with self.database.transaction() as session:
            return healing_shares.claim_next(session, WorkerNode(name=name, queues=[], **facts), 600)

    def help(self, before: Tampering = leave_alone, after: Tampering = leave_alone) -> list[Point] | None:
        """One helper, from its claim to its end; the points that it came to. None: there was nothing to do."""
        lease = self.claim_share()
        if lease is None:
            return None
        tampered = Tampered(self.database.url, self.id, before, after)
        try:
            runner.run_share(tampered, self.settings, lease.id, lease.epoch)
        finally:
            tampered.close()
        return tampered.points

    def lose_helper(self) -> None:
        """The lease of a helper that has died runs out."""
        with self.database.transaction() as session:
            earlier = queries.func.now() - shared_interval(1)
            held = (HealingShare.job_id == self.id, HealingShare.lease_until.is_not(None))
            session.execute(update(HealingShare).where(*held).values(lease_until=earlier))

    def helped(self) -> list[str]:
        """Networks that helpers began to heal."""
        return [text.removesuffix(".").split()[-1] for text in self.said() if "helps: it heals" in text]

    def said(self) -> list[str]:
        with self.database.transaction() as session:
            told = queries.events_after(session, self.id, 0, 10_000)
            return [event.data["text"] for event in told if event.kind == "message"]

    def shares(self) -> list[tuple[str, bool]]:
        """Networks that are offered, and whether each is held."""
        with self.database.transaction() as session:
            query = select(HealingShare).where(HealingShare.job_id == self.id).order_by(HealingShare.position)
            return [(one.architecture_id, one.lease_until is not None) for one in session.scalars(query)]

    def rows_of(self, kind: str) -> int:
        with self.database.transaction() as session:
            files = session.scalars(select(Artifact.kind).where(Artifact.job_id == self.id)).all()
        return sum(kind in one for one in files)


def shared_interval(seconds: float) -> Any:
    from service.store.intervals import interval

    return interval(seconds)


@pytest.fixture
def bench(database: Database, found: Bench) -> Iterator[Helped]:
    made = Helped(found)
    yield made
    with database.transaction() as session:  # no later test finds its networks
        session.execute(update(Job).where(Job.id == made.id, Job.state == "running").values(state="paused"))


def comparable(bench: Bench) -> dict[str, Any]:
    """All that must not depend on who has healed what."""
    found = bench.outcome()
    return {**found, "files": sorted(file for file in found["files"] if file[0] == "healed")}


def once_taken(bench: Helped, happens: Callable[[], Any]) -> Tampering:
    """It happens once, when the job's runner has taken the first network and the second one is there for others."""
    left = [happens]

    def tamper(now: Point) -> None:
        if left and now[0] == "heal" and len(bench.shares()) == 1:
            left.pop()()

    return tamper


def test_one_worker_alone_heals_all(bench: Helped, expected: dict[str, Any]) -> None:
    bench.run()
    assert comparable(bench) == expected
    assert bench.shares() == []
    assert bench.helped() == []


def test_a_helper_and_the_jobs_runner_come_to_what_one_comes_to(bench: Helped, expected: dict[str, Any]) -> None:
    helped: list[Any] = []
    bench.run(after=once_taken(bench, lambda: helped.append(bench.help())))
    assert helped != [None]
    first, second = (one.architecture_id for one in expected["healed"])
    assert bench.helped() == [second]
    assert comparable(bench) == expected
    assert bench.shares() == []
    said = bench.said()
    for name in (first, second):
        assert sum(text.startswith(f"{name}: accuracy") for text in said) == 1
    assert bench.rows_of("checkpoint") == 0


@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
@pytest.mark.parametrize("another", [False, True])
def test_what_a_dead_helper_has_done_is_taken_up_again(
    bench: Helped, expected: dict[str, Any], share: float, another: bool
) -> None:
    """By the job's runner, or by another helper: the last checkpoint is the job's."""
    count = len(points_of_a_helper(bench))
    dies = 1 + int(share * count)

    def helper_dies() -> None:
        seen = iter(range(1, 10_000))

        def tamper(_point: Point) -> None:
            if next(seen) == dies:
                die()

        with pytest.raises(Died):
            bench.help(after=tamper)
        bench.lose_helper()
        if another:
            assert bench.help() is not None

    bench.run(after=once_taken(bench, helper_dies))
    assert comparable(bench) == expected
    assert bench.shares() == []
    assert bench.rows_of("checkpoint") == 0


def points_of_a_helper(bench: Helped) -> list[Point]:
    """The points that an undisturbed helper comes to, in another job of this kind."""
    known: list[Point] | None = _POINTS.get("points")
    if known is None:
        other, found = Helped(bench.parent), []
        other.run(after=once_taken(other, lambda: found.append(other.help())))
        known = _POINTS["points"] = found[0]
    assert known is not None
    return known


_POINTS: dict[str, Any] = {}


def test_a_helper_goes_on_while_the_jobs_own_runner_is_dead(bench: Helped, expected: dict[str, Any]) -> None:
    with pytest.raises(Died):
        bench.run(after=once_taken(bench, die))
    assert bench.help() is not None
    bench.run()
    assert comparable(bench) == expected


def test_what_a_helper_has_lost_it_writes_no_more(bench: Helped, expected: dict[str, Any]) -> None:
    """It was frozen for longer than its lease, and wakes up when the job's runner has its network."""
    late: list[HelperReporter] = []

    def freeze() -> None:
        lease = bench.claim_share()
        assert lease is not None
        late.append(HelperReporter(bench.database, bench.id, lease.id, lease.epoch))
        late[0].progress(0.5, force=True)
        bench.lose_helper()

    bench.run(after=once_taken(bench, freeze))
    assert comparable(bench) == expected
    for write in (
        lambda: late[0].progress(0.9, force=True),
        lambda: late[0].tell("info", "I am back."),
        lambda: late[0].artifact(lambda: Artifact(job_id=bench.id, kind="checkpoint h0", step=1, path="x")),
        lambda: late[0].artifacts("healed"),
        late[0].done,
    ):
        with pytest.raises(LeaseLost):
            write()
    late[0].give_back()  # which changes nothing


@pytest.mark.parametrize(("verb", "state"), [(jobs.pause, "paused"), (jobs.cancel, "cancelled")])
def test_a_pause_and_a_cancel_reach_helpers(
    bench: Helped, expected: dict[str, Any], verb: Callable[[Session, str], Job], state: str
) -> None:
    """In the middle of its steps; what is left goes on from its checkpoint, if it was paused."""
    steps = {"n": 0}

    def ask(_point: Point) -> None:
        steps["n"] += 1
        if steps["n"] == len(points_of_a_helper(bench)) // 2:
            bench.ask(verb)

    points_of_a_helper(bench)
    bench.run(after=once_taken(bench, lambda: bench.help(after=ask)))
    assert bench.job().state == state
    assert [held for _, held in bench.shares()] == [False]
    assert bench.claim_share() is None, "nobody helps a job that does not go on"
    assert bench.rows_of("checkpoint") > 0
    bench.ask(jobs.resume if state == "paused" else jobs.retry)
    bench.run()
    assert comparable(bench) == expected


def test_a_job_that_pauses_waits_for_the_checkpoint_of_its_helper(
    bench: Helped, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job's runner hears of the pause first; the helper hears of it at its next report."""
    waited: list[str] = []
    held: list[leases.Lease] = []

    def pause() -> None:
        lease = bench.claim_share()
        assert lease is not None
        held.append(lease)
        bench.ask(jobs.pause)

    def sleep(_seconds: float) -> None:
        waited.append(bench.job().state)
        runner.run_share(bench.database, bench.settings, held[0].id, held[0].epoch)

    monkeypatch.setattr(shared_healing.time, "sleep", sleep)
    bench.run(after=once_taken(bench, pause))
    assert waited == ["pausing"]
    assert bench.job().state == "paused"
    monkeypatch.undo()
    bench.ask(jobs.resume)
    bench.run()
    assert bench.job().state == "succeeded"


def test_a_stop_keeps_what_is_healed_and_ends_helpers(bench: Helped) -> None:
    def stopped() -> None:
        lease = bench.claim_share()
        assert lease is not None
        bench.ask(jobs.stop)

    bench.run(after=once_taken(bench, stopped))
    job = bench.job()
    assert job.state == "succeeded"
    assert job.message == "Stopped by request after 0 of 2 networks were healed."
    assert bench.shares() == []
    assert bench.rows_of("checkpoint") == 0


def test_a_network_that_cannot_heal_in_a_helper_is_refused_as_in_the_job(
    bench: Helped, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(_trainer: Any) -> dict[str, float]:
        raise torch.OutOfMemoryError("out of memory")

    def no_memory() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(healing.HealingTrainer, "_own_gradients", step)
            assert bench.help() is not None

    bench.run(after=once_taken(bench, no_memory))
    with bench.database.transaction() as session:
        first, second = records.read(session, bench.id, HealedNetwork)
    assert first.refused is None
    assert second.refused is not None
    assert f"Out of memory in the healing of network 2 of 2 ({second.architecture_id})" in second.refused
    assert bench.job().state == "succeeded"


@pytest.mark.parametrize("fault", ["other data", "a mistake", "a file is missing"])
def test_a_worker_that_cannot_help_leaves_the_network_to_the_job(
    bench: Helped, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def no_help() -> None:
        lease = bench.claim_share()
        assert lease is not None
        arguments = runner.argparse.Namespace(kind="healing", id=lease.id, epoch=lease.epoch)
        with monkeypatch.context() as patch:
            if fault == "other data":
                patch.setattr(healing_help.samples, "differences", lambda *_: ["digits has other pictures"])
            elif fault == "a mistake":
                patch.setattr(healing_help, "prepare_data", lambda *_: 1 / 0)
            else:
                patch.setattr(healing_help, "load_tensors", missing)
            assert runner.run(bench.database, bench.settings, arguments) == runner.DONE
        assert bench.claim_share() is None

    def missing(*_args: Any) -> None:
        raise runner.ArtifactDamaged("supernet.safetensors is missing.")

    bench.run(after=once_taken(bench, no_help))
    assert comparable(bench) == expected
    (told,) = [text for text in bench.said() if "cannot help to heal" in text]
    assert told.endswith(f"The job's own worker heals {expected['healed'][1].architecture_id}.")


def test_as_many_help_as_the_job_asks_for_and_only_where_its_needs_are_met(bench: Helped, database: Database) -> None:
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == bench.id).values(needs_labels=["big"], needs_gpus=1))
    seen: list[Any] = []

    def look() -> None:
        with database.transaction() as session:
            assert bench.id in wanted(session, 0.0)
            assert bench.id not in wanted(session, 3600.0)
        seen.append(bench.claim_share("small"))
        seen.append(bench.claim_share("blind", labels=["big"]))
        seen.append(bench.claim_share("able", labels=["big"], gpus=2))
        with database.transaction() as session:
            assert nodes.holders(session)["able"][0] == bench.id
            assert leases.held_by(session, "able") == 1
            assert bench.id not in wanted(session, 0.0)
            leases.release_all(session, "able")
            assert bench.id in wanted(session, 0.0)

    bench.run(after=once_taken(bench, look))
    assert [one is not None for one in seen] == [False, False, True]
    assert bench.job().state == "succeeded"


def test_no_more_help_than_the_job_asks_for(bench: Helped) -> None:
    epoch = bench.claim()
    assert epoch is not None
    with bench.database.transaction() as session:
        healing_shares.offer(session, bench.id, epoch, ["a", "b", "c"])
    first = bench.claim_share("one")
    assert first is not None
    assert bench.claim_share("two") is None
    with bench.database.transaction() as session:
        turn = healing_shares.next_turn(session, bench.id, epoch, ["a", "b", "c"])
        assert (turn.mine, turn.left) == ("b", 3)
        healing_shares.advance(session, first.id, first.epoch, 0.25)
        assert healing_shares.done(session, bench.id) == (0, 0.25)
        # What a runner of before had taken is offered anew; what a helper has stays with it.
        healing_shares.offer(session, bench.id, epoch, ["a", "b", "c"])
    assert bench.shares() == [("a", True), ("b", False), ("c", False)]
    bench.lose_helper()
    second = bench.claim_share("two")
    assert second is not None
    assert (second.id, second.epoch) == (first.id, first.epoch + 1)
    with pytest.raises(LeaseLost), bench.database.transaction() as session:
        healing_shares.advance(session, first.id, first.epoch, 0.5)
    with bench.database.transaction() as session:
        healing_shares.put_away(session, first.id, first.epoch)
    assert ("a", True) in bench.shares()


def test_the_reaper_wakes_a_worker_for_a_network_that_nobody_heals(
    bench: Helped, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(str(settings.redis_url))
    woken: list[int] = []

    def reap() -> None:
        monkeypatch.setattr(reaper, "UNHEARD_SECONDS", 0.0)
        queue.drain(QUEUES[RUN_JOB])
        reaper.reap(bench.database, queue, 600)
        woken.append(queue.waiting(QUEUES[RUN_JOB]))
        queue.drain(QUEUES[RUN_JOB])

    bench.run(after=once_taken(bench, reap))
    assert woken[0] >= 1


def test_a_free_worker_helps_once_no_job_waits_and_its_dead_runner_is_replaced(
    bench: Helped, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor: the first runner dies of SIGKILL, the second one heals the network."""
    started: list[list[str]] = []

    class Child:
        def __init__(self, command: list[str]) -> None:
            started.append(command)
            kind, share, epoch = command[-3:]
            if kind == "healing" and len(started) > 1:
                runner.run_share(bench.database, bench.settings, share, int(epoch))
                self.returncode = 0
            else:
                self.returncode = -9

        def wait(self, timeout: float | None = None) -> int:
            return self.returncode

        def poll(self) -> int:
            return self.returncode

    monkeypatch.setattr(children, "start", lambda command, _output: Child(list(command)))
    monkeypatch.setattr(supervisor.nodes, "claim_next", lambda *_: None)  # other tests have left jobs
    worker = WorkerNode(name="free", gpus=0, memory_bytes=10**12, labels=[], queues=[])

    def serve() -> None:
        with bench.database.transaction() as session:  # of other tests
            others = (HealingShare.job_id != bench.id, HealingShare.lease_until.is_(None))
            session.execute(update(HealingShare).where(*others).values(lease_until=queries.func.now() + day()))
        Supervisor(bench.database, bench.settings, "free").serve(worker)

    bench.run(after=once_taken(bench, serve))
    assert [command[2:4] for command in started] == [["workers.runner", "healing"]] * 2
    assert comparable(bench) == expected
    second = expected["healed"][1].architecture_id
    assert (
        "A helper's runner died (killed by SIGKILL; out of memory, unless somebody did it by hand). The healing of "
        f"{second} goes on from what is stored."
    ) in bench.said()


def day() -> Any:
    return shared_interval(86400)


def test_a_network_whose_helpers_die_each_time_is_the_jobs(
    bench: Helped, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Child:
        returncode = -11

        def wait(self, timeout: float | None = None) -> int:
            return self.returncode

        poll = wait

    monkeypatch.setattr(children, "start", lambda _command, _output: Child())
    monkeypatch.setattr(supervisor.nodes, "claim_next", lambda *_: None)
    worker = WorkerNode(name="weak", gpus=0, memory_bytes=10**12, labels=[], queues=[])
    bench.run(after=once_taken(bench, lambda: Supervisor(bench.database, bench.settings, "weak").serve(worker)))
    assert comparable(bench) == expected
    assert sum("Nobody helps with a network any more: Its runner died" in text for text in bench.said()) == 1
