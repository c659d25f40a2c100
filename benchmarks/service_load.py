"""How the API bears load: many jobs and evaluations, many clients, many idle streams, on loopback and without a worker.

Everything is compared with `/healthz` of the same run, asked by as many clients, so that a slow machine is slow for
both: p50 of a list of jobs and of a front of 10,000 evaluations as ratios, POSTs a second, the share of a core that
idle event streams take and what they cost others, and the API's resident memory. No query may read more than 1,000
rows in sequence (EXPLAIN).

    python -m benchmarks.service_load [--json] [--jobs N] [--evaluations N] [--clients N] [--streams N] [--seconds S]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from sqlalchemy import insert, text

from benchmarks.idle_service import idle_service
from job.versions import read_job
from service.client import Client
from service.stack import Stack
from service.store.models import EvaluationRow
from service.store.session import Database

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


def latencies(stack: Stack, path: str, clients: int, seconds: float) -> dict[str, float]:
    """What as many clients see of a path for so long: p50, p95 and requests a second."""
    headers = {"Authorization": f"Bearer {stack.api_key}", "X-Winnow": "1"}

    def ask(_number: int) -> list[float]:
        took, until = [], time.monotonic() + seconds
        with httpx.Client(base_url=stack.url, headers=headers, timeout=60, trust_env=False) as http:
            while time.monotonic() < until:
                began = time.perf_counter()
                http.get(path).raise_for_status()
                took.append(time.perf_counter() - began)
        return took

    with ThreadPoolExecutor(clients) as pool:
        found = sorted(second for one in pool.map(ask, range(clients)) for second in one)
    return {
        "p50_ms": 1000 * statistics.median(found),
        "p95_ms": 1000 * found[int(0.95 * len(found))],
        "per_second": len(found) / seconds,
    }


def posts(stack: Stack, clients: int, seconds: float) -> float:
    """Jobs submitted a second."""

    def submit(_number: int) -> int:
        count, until = 0, time.monotonic() + seconds
        with Client(stack.url, key=stack.api_key) as client:
            while time.monotonic() < until:
                client.submit(JOB)
                count += 1
        return count

    with ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(submit, range(clients))) / seconds


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
            "arguments": vars(arguments),
            "healthz": asked("/healthz"),
            "list": asked("/v1/jobs"),
            "front": asked(f"/v1/jobs/{job_id}/front"),
            "first_front_seconds": first,
            "posts_per_second": posts(stack, min(8, arguments.clients), arguments.seconds),
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--evaluations", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    found = measure(arguments)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:>20}  {value}")


if __name__ == "__main__":
    main()
