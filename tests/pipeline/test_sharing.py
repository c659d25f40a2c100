"""Batches spread over workers: the same front as one worker gives, whoever is first and whoever dies."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch
from sqlalchemy import select

from job.spec import JobSpec
from pipeline.artifacts import ArtifactStore
from pipeline.hardware import Hardware
from pipeline.reporter import Interrupted, Reporter
from pipeline.shared_search import RUNNER, Share, help_out
from pipeline.workshop import Workshop
from search.pareto import pareto_front
from service import jobs
from service.queue import QUEUES, RUN_EVALUATE, Queue
from service.settings import Settings
from service.store import leases, queries, sharing
from service.store.leases import LeaseLost
from service.store.models import Job, SharedEvaluation
from service.store.session import Database
from tests.pipeline.bench import search
from tests.pipeline.llama_bench import CPU, evaluator_of, llama_spec, text_file


@pytest.fixture
def spec(tmp_path) -> JobSpec:
    return llama_spec(text_file(tmp_path), search={"helpers": 1})


def running(database: Database, settings: Settings, spec: JobSpec) -> Workshop:
    """The workshop of a job that a runner has just claimed."""
    with database.transaction() as session:
        job_id = jobs.submit(session, spec, None)[0].id
    return claimed(database, settings, spec, job_id)


def claimed(database: Database, settings: Settings, spec: JobSpec, job_id: str) -> Workshop:
    with database.transaction() as session:
        lease = leases.claim(session, Job, job_id, "worker", 0.0)
        assert lease is not None
        job = queries.fenced_job(session, job_id, lease.epoch)
        if job.state == "queued":
            queries.set_running(session, job)
    reporter = Reporter(database, job_id, lease.epoch)
    return Workshop(job_id, spec, spec.supernet.space(), reporter, ArtifactStore(Path("/nowhere")), settings, CPU)


class Patient:
    """An evaluator that waits until somebody else has had a turn, however quick this machine is."""

    def __init__(self, evaluator, turn: threading.Event) -> None:
        self._evaluator, self._turn = evaluator, turn

    def __getattr__(self, name):
        return getattr(self._evaluator, name)

    def evaluate(self, architectures):
        assert self._turn.wait(60)
        return self._evaluator.evaluate(architectures)


def alone(spec: JobSpec, database: Database, settings: Settings):
    """The same search without help."""
    one = JobSpec.model_validate({**spec.model_dump(mode="json"), "search": {**spec.search.model_dump(), "helpers": 0}})
    return search(running(database, settings, one), evaluator_of(one), Hardware())


def front(evaluations, spec):
    return pareto_front(evaluations, [objective.objective() for objective in spec.objectives])


def test_two_workers_find_what_one_finds_and_both_work(database, settings, spec):
    settings = settings.model_copy(update={"redis_url": None})
    shop = running(database, settings, spec)
    share = Share(database, settings, shop.job_id, evaluator_of(spec), "helper")
    helped = threading.Event()
    work = share.work

    def watched() -> bool:
        worked = work()
        if worked:
            helped.set()
        return worked

    share.work = watched  # type: ignore[method-assign]
    shop.reporter.stage("search")
    helper = threading.Thread(target=help_out, args=(database, shop.job_id, share))
    helper.start()
    done = search(shop, Patient(evaluator_of(spec), helped), Hardware())
    shop.reporter.end("succeeded", None)
    helper.join(60)
    assert not helper.is_alive()
    assert done == alone(spec, database, settings)
    with database.transaction() as session:
        assert len(queries.evaluations(session, shop.job_id)) == 24
        assert not session.query(sharing.SharedEvaluation).filter_by(job_id=shop.job_id).count()


@pytest.mark.thorough
def test_what_a_killed_helper_held_is_taken_up_again(database, settings, spec):
    settings = settings.model_copy(update={"redis_url": None})
    shop = running(database, settings, spec)
    shop.reporter.stage("search")
    killed = threading.Event()

    def die_with_claims() -> None:
        while not killed.is_set():
            with database.transaction() as session:
                if sharing.claim(session, shop.job_id, "killed helper", 3, seconds=1.0):
                    killed.set()
            time.sleep(0.01)

    helper = threading.Thread(target=die_with_claims)
    helper.start()
    done = search(shop, Patient(evaluator_of(spec), killed), Hardware())
    helper.join(60)
    assert done == alone(spec, database, settings)


def test_scores_of_a_lost_claim_are_not_taken(database, settings, spec):
    shop = running(database, settings, spec)
    shop.reporter.offer([("a", {"x": 1}), ("b", {"x": 2})], RUNNER)

    def take(owner: str, count: int = 2, seconds: float = 60.0):
        with database.transaction() as session:
            return sharing.claim(session, shop.job_id, owner, count, seconds)

    first = take("one", 1, seconds=0.0)
    assert [claim.architecture_id for claim in first] == ["a"]
    second = take("two")
    assert [(claim.architecture_id, claim.epoch) for claim in second] == [("a", 2), ("b", 1)]
    assert take("three") == []
    with database.transaction() as session:
        assert not sharing.deliver(session, shop.job_id, first[0], {"m": 1.0}, {}, 0.1)
        assert sharing.deliver(session, shop.job_id, second[0], {"m": 2.0}, {}, 0.1)
        assert not sharing.deliver(session, shop.job_id, second[0], {"m": 3.0}, {}, 0.1)
        assert sharing.helpers(session, shop.job_id, RUNNER) == 1
        sharing.give_back(session, shop.job_id, second[1:])
    assert [row.metrics for row in shop.reporter.collect(["a", "b"])] == [{"m": 2.0}]
    assert [claim.architecture_id for claim in take("three")] == ["b"]


def test_the_next_runner_of_a_job_has_its_forerunners_claims_at_once(database, settings, spec):
    shop = running(database, settings, spec)
    shop.reporter.offer([("a", {}), ("b", {})], RUNNER)
    with database.transaction() as session:
        assert len(sharing.claim(session, shop.job_id, RUNNER, 1, 60.0)) == 1
        assert len(sharing.claim(session, shop.job_id, "helper", 1, 60.0)) == 1
    after = claimed(database, settings, spec, shop.job_id)
    with pytest.raises(LeaseLost):
        shop.reporter.offer([("c", {})], RUNNER)
    after.reporter.offer([("a", {}), ("b", {})], RUNNER)
    with database.transaction() as session:
        again = sharing.claim(session, shop.job_id, RUNNER, 5, 60.0)
    assert [claim.architecture_id for claim in again] == ["a"]


def test_nobody_claims_for_a_job_that_is_not_running(database, settings, spec):
    shop = running(database, settings, spec)
    shop.reporter.offer([("a", {})], RUNNER)
    with database.transaction() as session:
        jobs.pause(session, shop.job_id)
        assert not sharing.wants_help(session, shop.job_id)
        assert sharing.claim(session, shop.job_id, "helper", 1, 60.0) == []


def test_helpers_are_woken_through_a_queue_of_their_own(database, settings, spec):
    shop = running(database, settings, spec)
    queue = Queue(settings.redis_url)
    before = queue.waiting(QUEUES[RUN_EVALUATE])
    search(shop, evaluator_of(spec), Hardware())
    assert QUEUES[RUN_EVALUATE] == "evaluate"
    assert queue.waiting(QUEUES[RUN_EVALUATE]) == before + 1  # once, not for every batch


def test_a_failing_evaluation_frees_its_claims(database, settings, spec):
    shop = running(database, settings, spec)
    shop.reporter.offer([("a", shop.space.smallest().values)], RUNNER)

    class Broken:
        space = shop.space

        def evaluate(self, architectures):
            raise RuntimeError("no memory")

    share = Share(database, settings, shop.job_id, Broken(), "helper")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="no memory"):
        share.work()
    with database.transaction() as session:
        assert len(sharing.claim(session, shop.job_id, "next", 1, 60.0)) == 1


# --- kills and scores that are no numbers ------------------------------------------------------------


class Dying:
    """An evaluator that is killed after so many groups."""

    def __init__(self, evaluator, groups: int) -> None:
        self._evaluator, self._groups = evaluator, groups

    def __getattr__(self, name):
        return getattr(self._evaluator, name)

    def evaluate(self, architectures):
        if self._groups == 0:
            raise KeyboardInterrupt
        self._groups -= 1
        return self._evaluator.evaluate(architectures)


@pytest.mark.thorough
def test_a_search_that_is_killed_five_times_ends_with_the_same_front(database, settings, tmp_path):
    """A llama supernet by perplexity and size; each runner goes on from stored rows (250: docs/log.md)."""
    spec = llama_spec(text_file(tmp_path), search={"evaluations": 80, "options": {"population": 16}})
    evaluator = evaluator_of(spec)
    shop = running(database, settings, spec)
    rng = torch.Generator().manual_seed(4)
    for _kill in range(5):
        groups = int(torch.randint(1, 3, (1,), generator=rng))
        with pytest.raises(KeyboardInterrupt):
            search(shop, Dying(evaluator, groups), Hardware())
        shop = claimed(database, settings, spec, shop.job_id)
    with database.transaction() as session:
        assert 0 < len(queries.evaluations(session, shop.job_id)) < 80
    done = search(shop, evaluator, Hardware())
    undisturbed = search(running(database, settings, spec), evaluator, Hardware())
    assert done == undisturbed
    assert front(done, spec) == front(undisturbed, spec)
    with database.transaction() as session:
        assert len(queries.evaluations(session, shop.job_id)) == 80


def test_scores_that_are_no_numbers_are_recorded_and_never_on_the_front(database, settings, spec, tmp_path):
    spec = llama_spec(text_file(tmp_path), search={"evaluations": 24, "options": {"population": 8}})
    evaluator = evaluator_of(spec)
    with torch.no_grad():  # whoever keeps layer 2 answers nonsense
        evaluator.supernet.slot("layer2").block.layer.mlp.down_proj.weight.fill_(float("nan"))
    shop = running(database, settings, spec)
    done = search(shop, evaluator, Hardware())
    broken = {e.architecture.id for e in done if e.architecture.values["layer2_keep"]}
    assert broken
    with database.transaction() as session:
        rows = {row.architecture_id: row.metrics["perplexity"] for row in queries.evaluations(session, shop.job_id)}
    assert {key for key, value in rows.items() if value is None} == broken
    assert not broken & {e.architecture.id for e in front(done, spec)}
    again = search(claimed(database, settings, spec, shop.job_id), evaluator, Hardware())
    assert [e.architecture.id for e in again] == [e.architecture.id for e in done]


@pytest.mark.parametrize("asked", ["pausing", "stopping"])
def test_a_search_hears_what_is_asked_of_it_while_others_work(database, settings, spec, asked):
    settings = settings.model_copy(update={"redis_url": None})
    shop = running(database, settings, spec)
    shop.reporter.stage("search")

    paused = threading.Event()

    def hold_and_pause() -> None:
        held = False
        while not held:
            with database.transaction() as session:
                held = bool(sharing.claim(session, shop.job_id, "slow helper", 50, seconds=60.0))
            time.sleep(0.01)
        with database.transaction() as session:
            # As if the runner held its lease.
            job = queries.locked_job(session, shop.job_id)
            queries.set_state(session, job, asked, None)
        paused.set()

    helper = threading.Thread(target=hold_and_pause)
    helper.start()
    if asked == "stopping":
        found = search(shop, Patient(evaluator_of(spec), paused), Hardware())
        assert len(found) < spec.search.evaluations
        assert shop.reporter.ended_early == (
            f"Stopped by request after {len(found)} of {spec.search.evaluations} evaluations."
        )
        with database.transaction() as session:
            stored = [row.architecture_id for row in queries.evaluations(session, shop.job_id)]
            assert not session.scalars(select(SharedEvaluation).where(SharedEvaluation.job_id == shop.job_id)).all()
        assert [one.architecture.id for one in found] == stored
    else:
        with pytest.raises(Interrupted):
            search(shop, Patient(evaluator_of(spec), paused), Hardware())
    helper.join(60)
