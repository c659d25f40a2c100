"""What a job's data are, over HTTP and as an event."""

from __future__ import annotations

from job.spec import JobSpec
from service import jobs
from service.settings import Settings
from service.store import leases, queries, records
from service.store.models import Job
from service.store.records import DataRead, LeftOutRows, SplitRead
from service.store.session import Database
from tests.api import open_api

READ = DataRead(
    source="images",
    origin="images of pets",
    fingerprint="0" * 64,
    unit="files",
    seen=41,
    used=40,
    left_out=(LeftOutRows(why="hidden", count=1, some=("cat/._0.png",)),),
    columns={},
    num_classes=2,
    classes=("cat", "dog"),
    splits={"train": SplitRead(samples=40, source="train", classes=(20, 20))},
    mean=(126.5,),
    std=(64.0,),
    preprocessing="(pixels - mean) / std",
    remarks=(),
)


def test_what_was_read_is_told_once_and_given_by_the_api(settings: Settings, database: Database) -> None:
    with database.transaction() as session:
        job, _ = jobs.submit(session, JobSpec.model_validate({}), None)
        job_id = job.id
    with database.transaction() as session:
        lease = leases.claim(session, Job, job_id, "a worker", 60)
        assert lease is not None
        for _ in range(2):
            records.write(session, job_id, lease.epoch, READ)
    with open_api(settings) as api:
        answer = api.get(f"/v1/jobs/{job_id}/data").json()
        assert api.get("/v1/jobs/nonsuch/data").status_code == 404
    (load,) = answer["loads"]
    assert load == READ.data()
    assert load["left_out"] == [{"why": "hidden", "count": 1, "some": ["cat/._0.png"]}]
    with database.transaction() as session:
        told = [event.data for event in queries.events_after(session, job_id, 0, 100) if event.kind == "data"]
    assert told == [load]
