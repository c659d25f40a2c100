"""Spans for OpenTelemetry, if `WINNOW_OTLP_ENDPOINT` names a collector: one of each answer and of each stage of a
job. They name routes, ids and states; no path, text, key or number of a user.

All stages of a job are one trace, on whatever workers and in however many runs: its number comes from the job's id.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from service.settings import Settings, without_password
from service.version import version

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

# A collector that does not answer holds up the end of a process for so long at most.
TIMEOUT_SECONDS = 5
# Under which its callers name the trace that a request belongs to: W3C Trace Context.
PARENT = "traceparent"


class Spans:
    """Sends what has happened to a collector, from a thread of its own.

    Args:
        part: which part of the service this process is, such as `api`.
    """

    def __init__(self, exporter: SpanExporter, part: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({"service.name": f"winnow-{part}", "service.version": version()})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("winnow")

    def answered(self, method: str, route: str, status: int, seconds: float, parent: str | None) -> None:
        """A request got its first byte now.

        Args:
            route: with its parameters unfilled, such as `/v1/jobs/{job_id}`.
            parent: the request's header `traceparent`.
        """
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        facts: Mapping[str, str | int] = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
        }
        context = TraceContextTextMapPropagator().extract({PARENT: parent} if parent else {})
        now = time.time_ns()
        span = self._tracer.start_span(
            f"{method} {route}", context, SpanKind.SERVER, facts, start_time=now - int(seconds * 1e9)
        )
        self._finish(span, now, failed=status >= 500)

    def stage(self, job_id: str, stage: str, run: int, seconds: float, *, failed: bool = False) -> None:
        """A stage of a job ended now.

        Args:
            run: number of the run of the job that it belonged to.
        """
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

        facts: Mapping[str, str | int] = {"winnow.job.id": job_id, "winnow.stage": stage, "winnow.run": run}
        digest = hashlib.sha256(job_id.encode()).digest()
        job = SpanContext(
            int.from_bytes(digest[:16]), int.from_bytes(digest[16:24]), is_remote=True, trace_flags=TraceFlags(1)
        )
        now = time.time_ns()
        context = set_span_in_context(NonRecordingSpan(job))
        span = self._tracer.start_span(f"stage {stage}", context, attributes=facts, start_time=now - int(seconds * 1e9))
        self._finish(span, now, failed=failed)

    def close(self) -> None:
        """Send what has not been sent."""
        self._provider.shutdown()

    def _finish(self, span: object, now: int, *, failed: bool) -> None:
        from opentelemetry.trace import Span, StatusCode

        assert isinstance(span, Span)
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(now)


def spans_of(settings: Settings, part: str) -> Spans | None:
    """The spans of this process; None where no collector is named.

    Raises:
        ValueError: a collector is named, and OpenTelemetry is not installed.
    """
    if settings.otlp_endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise ValueError(
            f"WINNOW_OTLP_ENDPOINT is {without_password(settings.otlp_endpoint)}, and OpenTelemetry is not installed "
            "here: pip install 'winnow[otel]', or leave the setting out."
        ) from None
    return Spans(OTLPSpanExporter(f"{settings.otlp_endpoint.rstrip('/')}/v1/traces", timeout=TIMEOUT_SECONDS), part)
