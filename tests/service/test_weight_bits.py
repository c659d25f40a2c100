"""Bits of weights are decided when a job is submitted, by what machines have said of their kernels."""

from __future__ import annotations

from typing import Any

import pytest

from job.spec import JobSpec
from job.versions import read_job
from service.jobs import submit
from service.kernels import reopened, with_weight_bits
from service.store import measuring, nodes
from service.store.models import Target
from service.store.nodes import NodeFacts
from service.store.session import Database

JOB: dict[str, Any] = {"recipe": "simq_nas", "quantization": {"bits": [8, 32]}}


def decided(database: Database, body: dict[str, Any], key: str | None = None) -> int | None:
    with database.transaction() as session:
        job, _ = submit(session, JobSpec.model_validate(body), key)
        quantization = read_job(job.spec).quantization
        assert quantization is not None
        return quantization.weight_bits


def worker(database: Database, name: str, queue: str = "train", **facts: Any) -> None:
    with database.transaction() as session:
        nodes.beat(session, name, 5, NodeFacts((queue,), (), 0, 1, facts))


@pytest.fixture
def alone(database: Database) -> Database:
    """A database whose workers of other tests are gone."""
    with database.transaction() as session:
        for row in nodes.online(session):
            nodes.goodbye(session, row.name)
    return database


def with_target(target: str, **quantization: Any) -> dict[str, Any]:
    objectives = [{"metric": "accuracy"}, {"metric": "latency_ms", "target": target}, {"metric": "size_bytes"}]
    return {**JOB, "objectives": objectives, "quantization": {**JOB["quantization"], **quantization}}


def test_on_this_machine_the_least_of_all_workers_counts(alone: Database) -> None:
    assert decided(alone, JOB) == 7
    worker(alone, "bits a", weight_bits=8)
    worker(alone, "bits exporter", "export", weight_bits=7)
    assert decided(alone, JOB) == 8
    worker(alone, "bits b", weight_bits=7)
    assert decided(alone, JOB) == 7
    worker(alone, "bits b", cores=4)  # of an older version: it has not said
    assert decided(alone, JOB) == 7
    assert decided(alone, {**JOB, "quantization": {"bits": [8, 32], "weight_bits": 8}}) == 8
    for name in ("bits a", "bits exporter", "bits b"):
        with alone.transaction() as session:
            nodes.goodbye(session, name)


def test_of_a_registered_machine_they_are_its_own(alone: Database) -> None:
    facts = {"device": "A board", "cores": 4, "runtimes": ["cpu-onnxruntime"]}
    for name, bits in (("wide-board", 8), ("narrow-board", 7)):
        with alone.transaction() as session:
            measuring.beat(session, name, f"{name}:1", {**facts, "weight_bits": bits}, start=True)
    assert decided(alone, with_target("wide-board")) == 8
    assert decided(alone, with_target("wide-board/cpu-onnxruntime", weight_bits=7)) == 7
    assert decided(alone, with_target("narrow-board")) == 7


def test_rows_of_a_table_have_seven(alone: Database) -> None:
    worker(alone, "bits d", weight_bits=8)
    with alone.transaction() as session:
        session.merge(Target(name="bits-table", kind="table", facts={}, table=""))
        spec = with_weight_bits(session, JobSpec.model_validate(with_target("bits-table")))
        nodes.goodbye(session, "bits d")
    assert spec.quantization is not None
    assert spec.quantization.weight_bits == 7


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ({"name": "second"}, 8),
        ({"objectives": with_target("cpu-torch")["objectives"]}, None),
        ({"objectives": with_target("cpu-torch")["objectives"], "quantization": {"weight_bits": 8}}, 8),
    ],
)
def test_a_copy_for_another_target_has_its_bits(edits: dict[str, Any], expected: int | None) -> None:
    draft = with_target("cpu-onnxruntime", weight_bits=8)
    assert (
        reopened({**draft, **edits, "quantization": draft["quantization"]}, draft, edits)["quantization"]["weight_bits"]
        == expected
    )


def test_the_same_request_gives_the_same_job_whatever_workers_say_by_then(alone: Database) -> None:
    assert decided(alone, JOB, "bits key") == 7
    worker(alone, "bits c", weight_bits=8)
    assert decided(alone, JOB, "bits key") == 7
    assert decided(alone, JOB) == 8
    with alone.transaction() as session:
        nodes.goodbye(session, "bits c")


def test_jobs_of_before_have_seven() -> None:
    stored = JobSpec.model_validate(JOB).model_dump(mode="json")
    del stored["quantization"]["weight_bits"]
    old = read_job({**stored, "version": 3}).quantization
    new = read_job({**stored, "version": 4}).quantization
    assert old is not None
    assert new is not None
    assert (old.weight_bits, new.weight_bits) == (7, None)
