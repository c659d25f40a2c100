"""Spans: a collector of the test's own hears of answers and of stages."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from sqlalchemy import text

from pipeline.reporter import Reporter
from service import telemetry
from service.settings import Settings
from service.store import leases, schema
from service.store.models import Job, JobState, Stage
from service.store.session import Database
from tests.api import BASE, open_api
from tests.conftest import TINY_JOB

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"


class Collector:
    """What a collector was sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.paths: set[str] = set()
        self.services: set[str] = set()

    def take(self, path: str, body: bytes) -> None:
        self.paths.add(path)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            facts = {fact.key: fact.value.string_value for fact in resource.resource.attributes}
            self.services.add(facts["service.name"])
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def named(self, name: str) -> Span:
        (found,) = [span for span in self.spans if span.name == name]
        return found


@contextmanager
def collecting() -> Iterator[tuple[str, Collector]]:
    heard = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def facts_of(span: Span) -> dict[str, object]:
    return {fact.key: fact.value.string_value or fact.value.int_value for fact in span.attributes}


def test_answers_are_spans_of_the_callers_trace_and_name_no_path(settings: Settings) -> None:
    parent = f"00-{TRACE}-{CALLER}-01"
    with (
        collecting() as (address, heard),
        open_api(settings.model_copy(update={"otlp_endpoint": address + "/"}), base_url=BASE) as api,
    ):
        api.get("/v1/jobs/job_that_is_not_there?secret=x", headers={"traceparent": parent})
        api.get("/healthz")
        api.app.state.spans.close()  # type: ignore[attr-defined]
    asked = heard.named("GET /v1/jobs/{job_id}")
    assert (asked.trace_id.hex(), asked.parent_span_id.hex()) == (TRACE, CALLER)
    assert facts_of(asked)["http.response.status_code"] == 404
    assert asked.start_time_unix_nano < asked.end_time_unix_nano
    assert heard.named("GET /healthz").trace_id.hex() != TRACE
    assert heard.paths == {"/v1/traces"}
    assert heard.services == {"winnow-api"}
    assert "job_that_is_not_there" not in str(heard.spans)
    assert "secret" not in str(heard.spans)


def test_stages_of_all_runs_of_a_job_are_one_trace(settings: Settings, database: Database) -> None:
    with collecting() as (address, heard):
        given = settings.model_copy(update={"otlp_endpoint": address})
        with open_api(settings, base_url=BASE) as api:
            job_id = api.post("/v1/jobs", json=TINY_JOB).json()["id"]
        for run, ending in enumerate((JobState.PAUSED, JobState.FAILED), start=1):
            spans = telemetry.spans_of(given, "worker")
            assert spans is not None
            with database.transaction() as session:
                lease = leases.claim(session, Job, job_id, f"worker {run}", 60)
                assert lease is not None
            reporter = Reporter(database, job_id, lease.epoch, spans)
            reporter.stage(Stage.SEARCH)
            reporter.end(ending, "as the test wants it")
            spans.close()
            if ending == JobState.PAUSED:
                with open_api(settings, base_url=BASE) as api:
                    assert api.post(f"/v1/jobs/{job_id}/resume", headers={"X-Winnow": "1"}).status_code == 200
    stages = [span for span in heard.spans if span.name == "stage search"]
    assert len({span.trace_id for span in heard.spans}) == 1
    assert [span.status.code for span in stages] == [Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR]
    assert [facts_of(span)["winnow.job.id"] for span in stages] == [job_id, job_id]
    assert len({facts_of(span)["winnow.run"] for span in stages}) == 2


def test_a_collector_without_the_package_is_refused_at_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ValueError, match=r"winnow\[otel\]"):
        telemetry.spans_of(settings.model_copy(update={"otlp_endpoint": "http://collector:4318"}), "api")


def test_a_second_upgrade_waits_for_the_first(database: Database) -> None:
    upgrade = threading.Thread(target=schema.upgrade, args=(database.url,))
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 8420 AND NOT granted")
    with database.engine.begin() as first:
        first.execute(text("SELECT pg_advisory_xact_lock(8420)"))
        upgrade.start()
        while upgrade.is_alive() and first.execute(waiting).scalar() == 0:
            pass
        assert upgrade.is_alive()
    upgrade.join()
    schema.check(database)
