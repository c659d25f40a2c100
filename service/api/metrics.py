"""What Prometheus counts: jobs and queues from the rows, requests of this process, and its memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from service.api.deps import READ, DatabaseDep, QueueDep
from service.errors import Unavailable
from service.queue import QUEUES, Queue
from service.store import nodes, queries
from service.store.intervals import interval
from service.store.leases import LeasedTable, waiting_since
from service.store.models import ACTIVE_STATES, JOB_STATES, EvaluationRow, Export, Job, Measurement

if TYPE_CHECKING:
    from prometheus_client.core import Metric

router = APIRouter(tags=["operations"])

# Upper bounds of the classes that latencies are counted in, in seconds.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WAITING: dict[str, LeasedTable] = {"jobs": Job, "exports": Export, "measurements": Measurement}
# Evaluations are counted over so many seconds.
RATE_SECONDS = 60.0


class Latencies:
    """Latencies of the requests of this process, by method, route and class of status."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str, str], list[int]] = {}
        self._sums: dict[tuple[str, str, str], float] = {}

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (method, route, f"{status // 100}xx")
        place = next((number for number, bound in enumerate(BOUNDS) if seconds <= bound), len(BOUNDS))
        with self._lock:
            self._counts.setdefault(key, [0] * (len(BOUNDS) + 1))[place] += 1
            self._sums[key] = self._sums.get(key, 0.0) + seconds

    def collect(self) -> Iterator[Metric]:
        """Give every metric as Prometheus reads it."""
        from prometheus_client.core import HistogramMetricFamily

        found = HistogramMetricFamily(
            "winnow_request_seconds", "Time to the first byte of an answer.", labels=["method", "route", "status"]
        )
        with self._lock:
            rows = [(key, list(counts), self._sums[key]) for key, counts in self._counts.items()]
        for key, counts, total in rows:
            running, buckets = 0, []
            for bound, count in zip([*map(str, BOUNDS), "+Inf"], counts, strict=True):
                running += count
                buckets.append((bound, running))
            found.add_metric(key, buckets, total)
        yield found


class _Rows:
    """Counts of rows, as a collector."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


@router.get(
    "/metrics", response_class=Response, response_description="Numbers as Prometheus reads them", dependencies=[READ]
)
def metrics(request: Request, database: DatabaseDep, queue: QueueDep) -> Response:
    """Read numbers for Prometheus.

    The answer has jobs by state, waiting rows and how long the oldest waits, lost leases, seconds of stages,
    evaluations a second, workers, wake-ups, latencies of requests, and this process's memory.
    """
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    with database.transaction() as session:
        families = list(_families(session, queue))
    registry.register(_Rows(families))
    latencies: Latencies = request.app.state.latencies
    registry.register(latencies)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _families(session: Session, queue: Queue) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    def gauge(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
        family = GaugeMetricFamily(name, meaning, labels=[label])
        for word, value in values.items():
            family.add_metric([word], value)
        return family

    counts = queries.count_jobs(session)
    yield gauge("winnow_jobs", "Number of jobs by state.", "state", {s: counts.get(s, 0) for s in JOB_STATES})
    depth, oldest = {}, {}
    for name, table in WAITING.items():
        depth[name], oldest[name] = _waiting(session, table)
    yield gauge("winnow_queue_depth", "Rows that wait for a worker.", "queue", depth)
    yield gauge("winnow_oldest_wait_seconds", "How long the oldest of them has waited.", "queue", oldest)
    yield gauge("winnow_wake_ups", "Wake-ups in the broker; -1: it is away.", "queue", _wake_ups(queue))
    lost = CounterMetricFamily("winnow_lease_expiries", "Leases of jobs whose worker went away.")
    lost.add_metric([], session.scalar(select(func.coalesce(func.sum(Job.lease_expiries), 0))) or 0)
    yield lost
    spent = CounterMetricFamily("winnow_stage_seconds", "Seconds that stages of jobs have taken.", labels=["stage"])
    for stage, seconds in session.execute(text(STAGE_SECONDS)):
        spent.add_metric([stage], float(seconds))
    yield spent
    rate = GaugeMetricFamily("winnow_evaluations_per_second", "Networks evaluated, over the last minute.")
    rate.add_metric([], _evaluations(session) / RATE_SECONDS)
    yield rate
    workers = {"online": 0.0, "offline": 0.0}
    for _, is_online in nodes.all_workers(session):
        workers["online" if is_online else "offline"] += 1
    yield gauge("winnow_workers", "Number of workers.", "state", workers)
    memory = GaugeMetricFamily("process_resident_memory_bytes", "Resident memory of this API process.")
    memory.add_metric([], resident_bytes())
    yield memory


STAGE_SECONDS = (
    "SELECT spent.key, sum(CAST(spent.value AS double precision)) "
    "FROM jobs, json_each_text(jobs.stage_seconds) AS spent GROUP BY spent.key ORDER BY spent.key"
)


def _waiting(session: Session, table: LeasedTable) -> tuple[int, float]:
    """Rows that need work and that nobody holds; seconds that the oldest has waited."""
    seconds: Any = func.extract("epoch", func.now() - func.min(waiting_since(table)))
    unheld = table.lease_until.is_(None) | (table.lease_until < func.now())
    row = session.execute(select(func.count(), seconds).where(table.state.in_(ACTIVE_STATES), unheld)).one()
    return row[0], max(0.0, float(row[1] or 0.0))


def _evaluations(session: Session) -> int:
    """Evaluations of running jobs in the last minute."""
    recent = func.now() - interval(RATE_SECONDS)
    running = select(Job.id).where(Job.state.in_(ACTIVE_STATES), Job.lease_until > func.now())
    query = select(func.count()).select_from(EvaluationRow)
    query = query.where(EvaluationRow.job_id.in_(running), EvaluationRow.created_at > recent)
    return session.scalar(query) or 0


def _wake_ups(queue: Queue) -> dict[str, float]:
    try:
        return {name: float(queue.waiting(name)) for name in QUEUES.values()}
    except Unavailable:
        return dict.fromkeys(QUEUES.values(), -1.0)


def resident_bytes() -> float:
    """Resident memory of this process (Linux); 0 elsewhere."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return 1024.0 * int(line.split()[1])
    except OSError:
        return 0.0
    return 0.0
