"""The stage that measures what a search of policies is compared with, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from service import jobs
from service.settings import Settings
from service.store import records
from service.store.models import Job
from service.store.records import Baseline, BaselineScore
from service.store.session import Database
from tests.api import open_api
from tests.tiers import mostly_thorough
from tests.workers.test_faults import QUANTIZED, SEARCHED, Bench, Died, Point, every_report_is_a_transaction
from tests.workers.test_healing import Made, asked

__all__ = ["every_report_is_a_transaction"]

STAGE = "measure baselines"


@pytest.fixture
def api(settings: Settings) -> Iterator[TestClient]:
    with open_api(settings) as client:
        yield client


@pytest.fixture
def bench(database: Database, settings: Settings) -> Bench:
    return Bench(database, settings.data_dir, QUANTIZED)


def baselines(bench: Bench) -> list[str]:
    with bench.database.transaction() as session:
        return [one.name for one in records.read(session, bench.id, Baseline)]


def scores(bench: Bench) -> int:
    with bench.database.transaction() as session:
        return len(records.read(session, bench.id, BaselineScore))


@pytest.mark.thorough
def test_the_stage_counts_its_networks_and_the_job_is_not_done_before_them(bench: Bench) -> None:
    seen: list[Job] = []

    def look(point: Point) -> None:
        if point[0] == STAGE:
            seen.append(bench.job())

    bench.run(after=look)
    counted = [(job.stage_done, job.stage_total) for job in seen if job.stage_total is not None]
    assert counted == sorted(counted)
    # Two that the search for the best scores, then three that are measured.
    assert {done for done, _ in counted} - {0} == set(range(1, 6))
    assert {total for _, total in counted} == {5}
    during = [job for job in seen if job.state == "running" and job.stage == STAGE]
    assert all(job.progress < 1 for job in during if job.stage_done != 5)
    # A search of two networks beside one of six, and three measurements.
    assert 0.05 < 1 - min(job.progress for job in during) < 0.2
    assert bench.job().state == "succeeded"
    assert len(baselines(bench)) == 3


@pytest.mark.thorough
def test_a_runner_that_dies_there_goes_on_there(bench: Bench) -> None:
    def die(point: Point) -> None:
        if point[0] == STAGE and scores(bench) == 1:
            raise Died

    with pytest.raises(Died):
        bench.run(before=die)
    before = bench.job()
    assert (before.stage, before.stage_done) == (STAGE, 0)
    bench.run()
    assert bench.job().state == "succeeded"
    assert (scores(bench), len(baselines(bench))) == (2, 3)


@pytest.mark.thorough
def test_a_job_that_is_stopped_there_says_what_it_goes_without(bench: Bench) -> None:
    def stop(point: Point) -> None:
        if point == (STAGE, 1):
            bench.ask(jobs.stop)

    bench.run(before=stop)
    assert bench.job().state == "succeeded"
    assert len(baselines(bench)) == 2
    assert bench.job().message == "The front is compared without the best architecture, then narrowest."


@pytest.mark.parametrize("stage", mostly_thorough(["measure finalists", STAGE], STAGE))
def test_baselines_are_measured_again_and_none_is_left_out(api: TestClient, bench: Bench, stage: str) -> None:
    """A rerun from the finalists counts as stopped from the start, which is nobody's wish to go without a baseline."""
    bench.run()
    made = Made(bench, asked(api, bench.id, "rerun", from_stage=stage)["id"])
    stages = {name for name, _ in made.run()}
    assert made.job().state == "succeeded", made.job().message
    assert ("measure finalists" in stages, STAGE in stages) == (stage != STAGE, True)
    assert ("search" in stages) == (stage != STAGE)
    assert baselines(made) == baselines(bench)
    fronts = [api.get(f"/v1/jobs/{one.id}/front").json() for one in (bench, made)]
    assert [point["metrics"] for point in fronts[0]["points"]] == [point["metrics"] for point in fronts[1]["points"]]


def test_a_job_without_baselines_is_not_rerun_from_there(api: TestClient, bench: Bench, database: Database) -> None:
    answer = api.post(f"/v1/jobs/{bench.id}/rerun", json={"from_stage": STAGE})
    assert answer.status_code == 409
    assert "no measured front yet; rerun it from an earlier stage" in answer.json()["detail"]
    plain = Bench(database, bench.settings.data_dir, SEARCHED)
    answer = api.post(f"/v1/jobs/{plain.id}/rerun", json={"from_stage": STAGE})
    assert answer.status_code == 409
    assert "searches no policies, so its front has no baselines" in answer.json()["detail"]
