"""A job whose store of artifacts does not answer is paused, and says so."""

from __future__ import annotations

import pytest

from service.errors import Unavailable
from service.settings import Settings
from service.store import leases
from service.store.models import Job, JobState
from service.store.session import Database
from tests.api import BASE, open_api
from tests.conftest import TINY_JOB
from workers import runner


def test_it_waits_for_a_person_instead_of_failing(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_api(settings, base_url=BASE) as api:
        job_id = api.post("/v1/jobs", json=TINY_JOB).json()["id"]
    with database.transaction() as session:
        lease = leases.claim(session, Job, job_id, "worker", 60)
        assert lease is not None

    def away(*_: object) -> None:
        raise Unavailable("The artifacts at s3://bucket cannot be reached: refused")

    monkeypatch.setattr(runner.stages, "run", away)  # type: ignore[attr-defined]
    runner.run_job(database, settings, job_id, lease.epoch)
    with database.transaction() as session:
        job = session.get(Job, job_id)
        assert job is not None
        assert job.state == JobState.PAUSED
        assert "s3://bucket cannot be reached" in (job.message or "")
