"""How the service bears load: many jobs and evaluations, clients and idle streams; and many tiny jobs on two workers.

Part `load`, on loopback and without a worker: everything is compared with `/healthz` of the same run, asked by as many
clients, so that a slow machine is slow for both. It measures p50 of a list of jobs and of a front of 10,000
evaluations as ratios, POSTs a second, the API's processor time for each request, the share of a core that idle event
streams take and what they cost others, and the API's resident memory. No query may read more than 1,000 rows in
sequence (EXPLAIN). Clients are processes of their own, two of them, with a thread for each connection.

Part `jobs`: tiny jobs, which search one supernet, on two workers. What became of them is counted in the database; the
overhead of a job is the time that a worker had for it less the time in its stages.

    python -m benchmarks.service_load [--json] [--part load|jobs] [--jobs N] [--evaluations N] [--clients N]
                                      [--streams N] [--seconds S] [--tiny N]
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from sqlalchemy import insert, text

from benchmarks.idle_service import idle_service
from job.versions import read_job
from service.lifeline import tied_to_parent
from service.stack import Stack
from service.store.models import EvaluationRow
from service.store.session import Database

CLIENT_PROCESSES = 2
JOB = {"recipe": "bignas", "training": {"epochs": 1}, "search": {"evaluations": 100_000, "calibration_images": 64}}
# Evaluations of the job whose front is read.
FRONT = 10_000
# What is copied for every other job: rows of one that was submitted.
COPY_JOBS = """
INSERT INTO jobs (id, name, recipe, spec, request_sha256, state, progress, stage_progress, attempts, epoch, event_seq,
                  created_at, owner_id, stage)
SELECT 'load' || n, 'load ' || n, recipe, spec, request_sha256, 'succeeded', 1, 1, 0, 1, 0,
       now() - n * interval '1 second', owner_id, 'done'
FROM jobs, generate_series(1, :count) AS n WHERE id = :job
"""
COPY_EVALUATIONS = """
INSERT INTO evaluations (job_id, architecture_id, number, "values", metrics, sources, seconds, epoch)
SELECT 'load' || (1 + n % :jobs), 'a' || n, 1 + n / :jobs, '{}', '{"accuracy": 0.5, "macs": 1000}', '{}', 0.1, 1
FROM generate_series(0, :count - 1) AS n
"""
QUERIES = {
    "list": "SELECT * FROM jobs WHERE deleted_at IS NULL ORDER BY created_at DESC, id DESC LIMIT 51",
    "evaluations": "SELECT * FROM evaluations WHERE job_id = 'load1' AND number > 5 ORDER BY number LIMIT 201",
    "events": "SELECT * FROM job_events WHERE job_id = 'load1' AND seq > 5 ORDER BY seq LIMIT 500",
    "logs": "SELECT * FROM job_logs WHERE job_id = 'load1' AND id > 5 ORDER BY id LIMIT 200",
}


def fill(database: Database, job_id: str, jobs: int, evaluations: int) -> None:
    """Jobs with evaluations, and one that searches with many different networks."""
    with database.engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(COPY_JOBS), {"count": jobs, "job": job_id})
        connection.execute(text(COPY_EVALUATIONS), {"jobs": jobs, "count": evaluations})
    add_evaluations(database, job_id, FRONT, 0)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def add_evaluations(database: Database, job_id: str, count: int, after: int) -> None:
    """Different networks of the job's space, of which 200 are on the front."""
    with database.transaction() as session:
        spec = session.execute(text("SELECT spec FROM jobs WHERE id = :id"), {"id": job_id}).scalar_one()
        space, rng = read_job(spec).space(), np.random.default_rng(after)
        rows: dict[str, dict[str, Any]] = {}
        while len(rows) < count:
            one = space.sample(rng)
            number = after + len(rows) + 1
            best = number <= 200
            accuracy = 0.5 + number / 1000 if best else 0.1 + 0.3 * float(rng.random())
            metrics = {"accuracy": accuracy, "macs": 1000 * number if best else 10**6 + number}
            facts = {"values": dict(one.values), "metrics": metrics, "sources": {}, "seconds": 0.1, "epoch": 1}
            rows.setdefault(one.id, {"job_id": job_id, "architecture_id": one.id, "number": number, **facts})
        session.execute(insert(EvaluationRow), list(rows.values()))
        session.execute(text("UPDATE jobs SET stage = 'search', state = 'paused' WHERE id = :id"), {"id": job_id})


def _ask(url: str, key: str, method: str, path: str, body: str | None, seconds: float) -> list[float]:
    """Seconds of each request of one client that asks again and again for so long."""
    headers = {"Authorization": f"Bearer {key}", "X-Winnow": "1", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    took, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        took.append(time.perf_counter() - began)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path} gave {answer.status}")
    connection.close()
    return took


def _ask_at_once(clients: int, asked: tuple[str, str, str, str, str | None, float]) -> list[float]:
    """The same of several clients in this process."""
    with ThreadPoolExecutor(clients) as pool:
        return [second for one in pool.map(lambda _: _ask(*asked), range(clients)) for second in one]


def latencies(
    stack: Stack, path: str, clients: int, seconds: float, method: str = "GET", body: str | None = None
) -> dict[str, float]:
    """What as many clients see of a path for so long: p50, p95, requests a second, the API's processor time of each."""
    assert stack.api_key is not None
    shares = [clients // CLIENT_PROCESSES + (n < clients % CLIENT_PROCESSES) for n in range(CLIENT_PROCESSES)]
    shares = [share for share in shares if share]
    asked = (stack.url, stack.api_key, method, path, body, seconds)
    with ProcessPoolExecutor(len(shares), multiprocessing.get_context("spawn")) as pool:
        # First for a moment, so that connections are open and nothing is done for the first time.
        list(pool.map(_ask_at_once, shares, [(*asked[:-1], seconds / 5)] * len(shares)))
        used, began = cpu_seconds(stack), time.monotonic()
        found = sorted(second for one in pool.map(_ask_at_once, shares, [asked] * len(shares)) for second in one)
        used, lasted = cpu_seconds(stack) - used, time.monotonic() - began
    return {
        "p50_ms": 1000 * statistics.median(found),
        "p95_ms": 1000 * found[int(0.95 * len(found))],
        "per_second": len(found) / lasted,
        "api_cpu_ms": 1000 * used / len(found),
        "requests": len(found),
    }


def beside_streams(stack: Stack, job_id: str, streams: int, work: Callable[[], Any], seconds: float) -> dict[str, Any]:
    """What idle streams of events cost: the share of a core while nothing else happens, and others' latency."""
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=stack.url, headers=headers, timeout=120, trust_env=False, limits=limits) as http:
        opened = [http.stream("GET", f"/v1/jobs/{job_id}/events?after=1000000") for _ in range(streams)]
        for one in opened:
            one.__enter__()
        time.sleep(2)
        began = cpu_seconds(stack)
        time.sleep(seconds)
        share = (cpu_seconds(stack) - began) / seconds
        found = {"core_share": share, "beside": work(), "memory_bytes": resident_bytes(stack)}
        for one in opened:
            threading.Thread(target=one.__exit__, args=(None, None, None), daemon=True).start()
        return found


def cpu_seconds(stack: Stack) -> float:
    """Processor time of the API so far."""
    fields = Path(f"/proc/{stack.children['api'].pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(stack: Stack) -> int:
    """Resident memory of the API."""
    lines = Path(f"/proc/{stack.children['api'].pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def sequential(database: Database) -> list[str]:
    """Queries that read a table in sequence that has more than 1,000 rows."""
    found = []
    with database.engine.connect() as connection:
        for name, query in QUERIES.items():
            plan = "\n".join(row[0] for row in connection.execute(text(f"EXPLAIN {query}")))
            if "Seq Scan on jobs" in plan or "Seq Scan on evaluations" in plan:
                found.append(name)
    return found


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything, on a service of its own."""
    with idle_service() as (stack, client, database):
        job_id = client.submit(JOB)["id"]
        client.verb(job_id, "pause")
        fill(database, job_id, arguments.jobs, arguments.evaluations)
        # The first look reads everything; the others only what is new.
        began = time.perf_counter()
        client.front(job_id)
        first = time.perf_counter() - began

        def asked(path: str) -> dict[str, float]:
            return latencies(stack, path, arguments.clients, arguments.seconds)

        found: dict[str, Any] = {
            "healthz": asked("/healthz"),
            "list": asked("/v1/jobs"),
            "front": asked(f"/v1/jobs/{job_id}/front"),
            "first_front_seconds": first,
            "posts": latencies(
                stack, "/v1/jobs", min(8, arguments.clients), arguments.seconds, "POST", json.dumps(JOB)
            ),
            "alone": latencies(stack, "/v1/jobs", 4, arguments.seconds),
        }
        found["streams"] = beside_streams(
            stack,
            job_id,
            arguments.streams,
            lambda: latencies(stack, "/v1/jobs", 4, arguments.seconds),
            arguments.seconds,
        )
        found["sequential"] = sequential(database)
    for name in ("list", "front"):
        found[f"{name}_ratio"] = found[name]["p50_ms"] / found["healthz"]["p50_ms"]
    found["slowed_by_streams"] = found["streams"]["beside"]["p50_ms"] / found["alone"]["p50_ms"]
    return found


# --- many tiny jobs -------------------------------------------------------------------------------------

TINY = {
    "recipe": "bignas",
    "training": {"epochs": 1},
    "search": {"algorithm": "random", "evaluations": 4, "calibration_images": 16},
    "hardware": {"seconds": 0.02},
    "objectives": [{"metric": "accuracy"}, {"metric": "macs"}],
}
WORKERS = 2
COUNTS = """
SELECT count(*), count(*) FILTER (WHERE state = 'succeeded'), count(*) FILTER (WHERE epoch <> 1),
       max(finished_at) - min(started_at), min(started_at) - min(created_at)
FROM jobs WHERE spec->'supernet'->>'reuse' IS NOT NULL
"""
TWICE = """
SELECT count(*) FROM (
  SELECT e.job_id FROM job_events AS e JOIN jobs AS j ON j.id = e.job_id
  WHERE j.spec->'supernet'->>'reuse' IS NOT NULL AND e.kind = 'state' AND e.data->>'state' = 'running'
  GROUP BY e.job_id HAVING count(*) > 1) AS twice
"""
EVALUATED = """
SELECT count(*) FROM evaluations AS e JOIN jobs AS j ON j.id = e.job_id
WHERE j.spec->'supernet'->>'reuse' IS NOT NULL AND e.number > 0
"""
STAGES = """
SELECT avg((SELECT sum(value::text::float) FROM json_each(stage_seconds::json))) FROM jobs
WHERE spec->'supernet'->>'reuse' IS NOT NULL AND state = 'succeeded'
"""


def tiny_jobs(count: int) -> dict[str, Any]:
    """Tiny jobs through two workers, counted in the database."""
    with idle_service() as (stack, client, database):
        command = [sys.executable, "-m", "workers.node"]
        environment = {**os.environ, **stack.environment(), "OMP_NUM_THREADS": "1"}
        workers = [
            subprocess.Popen(
                command, env=environment, stdout=sys.stderr, start_new_session=True, preexec_fn=tied_to_parent()
            )
            for _ in range(WORKERS)
        ]
        try:
            first = client.submit(TINY)["id"]
            _until_over(database, [first])
            reused = {**TINY, "supernet": {"reuse": first}}
            reused.pop("training")
            jobs = [client.submit({**reused, "search": {**reused["search"], "seed": n}})["id"] for n in range(count)]  # type: ignore[dict-item]
            _until_over(database, jobs)
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait()
        with database.engine.connect() as connection:
            number, succeeded, again, lasted, wait = connection.execute(text(COUNTS)).one()
            found: dict[str, Any] = {
                "jobs": number,
                "succeeded": succeeded,
                "claimed_again": again,
                "begun_twice": connection.scalar(text(TWICE)),
                "evaluations": connection.scalar(text(EVALUATED)),
                "evaluations_asked": number * TINY["search"]["evaluations"],  # type: ignore[index]
                "seconds": lasted.total_seconds(),
                "first_wait_seconds": wait.total_seconds(),
                "stage_seconds_each": float(connection.scalar(text(STAGES)) or 0.0),
            }
    found["worker_seconds_each"] = WORKERS * found["seconds"] / number
    found["overhead_seconds_each"] = found["worker_seconds_each"] - found["stage_seconds_each"]
    return found


def _until_over(database: Database, jobs: Sequence[str]) -> None:
    query = text(
        "SELECT count(*) FROM jobs WHERE id = ANY(:jobs) AND state NOT IN ('succeeded', 'failed', 'cancelled')"
    )
    while True:
        with database.engine.connect() as connection:
            if connection.scalar(query, {"jobs": list(jobs)}) == 0:
                return
        time.sleep(0.5)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", choices=("load", "jobs"), help="one of them; else both")
    parser.add_argument("--tiny", type=int, default=1000, help="tiny jobs")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--evaluations", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    found: dict[str, Any] = {"arguments": vars(arguments), "cores": os.cpu_count(), "load": os.getloadavg()}
    if arguments.part in (None, "load"):
        found |= measure(arguments)
    if arguments.part in (None, "jobs"):
        found["tiny"] = tiny_jobs(arguments.tiny)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:>20}  {value}")


if __name__ == "__main__":
    main()
