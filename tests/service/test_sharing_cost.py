"""What sharing weights costs, over HTTP: of the job's own supernet, or of the one that it reuses."""

from __future__ import annotations

from job.spec import JobSpec
from service import jobs
from service.settings import Settings
from service.store import leases, records
from service.store.models import Job
from service.store.records import SharingCost
from service.store.session import Database
from tests.api import open_api

COST = SharingCost(
    architecture_id="abc",
    values={"depth": 2},
    metric="accuracy",
    sliced=0.47,
    alone=0.54,
    samples=900,
    error=0.023,
    epochs=20,
    share=0.11,
)


def test_what_was_found_is_given_by_the_api(settings: Settings, database: Database) -> None:
    with database.transaction() as session:
        own, other = (jobs.submit(session, JobSpec.model_validate({}), None)[0] for _ in range(2))
        other.spec = {**other.spec, "supernet": {**other.spec["supernet"], "reuse": own.id}}
        job_id, reusing = own.id, other.id
    with database.transaction() as session:
        lease = leases.claim(session, Job, job_id, "a worker", 60)
        assert lease is not None
        for _ in range(2):
            records.write(session, job_id, lease.epoch, COST)
    with open_api(settings) as api:
        for asked in (job_id, reusing):
            assert api.get(f"/v1/jobs/{asked}/sharing-cost").json() == {"job_id": asked, "networks": [COST.data()]}
        assert api.get("/v1/jobs/nonsuch/sharing-cost").status_code == 404
    assert COST.said() == (
        "abc: accuracy 0.47 sliced from the supernet, 0.54 trained alone for the same 20 epochs; difference -0.07 "
        "(standard error 0.023)."
    )
