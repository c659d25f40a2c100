"""What the end-to-end tests do again and again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.client import Client
from service.stack import Stack

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext


# Long enough to be killed in the middle of a stage.
JOB: dict[str, Any] = {
    "recipe": "bignas",
    "hardware": {"seconds": 0.02},
    "training": {"epochs": 2},
    "search": {"algorithm": "nsga2", "evaluations": 60, "options": {"population": 20}, "calibration_images": 128},
}


def wait_for(
    client: Client, job_id: str, reached: Callable[[dict[str, Any]], bool], seconds: float = 300
) -> dict[str, Any]:
    """The job as soon as it is where it should be; fails with what it was instead."""
    # A stage may be over in a moment; the end stays, and asking for it every moment took a tenth of a core.
    pause = 0.3 if reached is is_finished else 0.05
    deadline = time.monotonic() + seconds
    while True:
        job = client.job(job_id)
        if reached(job):
            return job
        assert time.monotonic() < deadline, f"job is {job['state']} in {job['stage']} ({job['message']})"
        time.sleep(pause)


def sign_in(context: BrowserContext, client: Client) -> None:
    """A browser with a session of the client's key."""
    key = client.headers["Authorization"].removeprefix("Bearer ")
    answer = context.request.post(f"{client.url}/v1/session", data={"key": key})
    assert answer.status == 201, answer.text()


def is_finished(job: dict[str, Any]) -> bool:
    """Whether a job is in a terminal state."""
    return job["state"] in ("succeeded", "failed", "cancelled")


def in_stage(stage: str, share: float = 0.0) -> Callable[[dict[str, Any]], bool]:
    """A test for a running job that is in a stage and has done this share of it."""
    return lambda job: (job["stage"] == stage and job["stage_progress"] > share) or is_finished(job)


def runner_pids(kind_and_id: str) -> list[int]:
    """Processes that run a job or export, by their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"workers.runner" in words and kind_and_id.encode() in b" ".join(words):
            found.append(int(folder.name))
    return found


def wait_until_gone(job_id: str, seconds: float = 60) -> None:
    """The runner of a job has ended, or ends in time."""
    deadline = time.monotonic() + seconds
    while runner_pids(f"job {job_id}"):
        assert time.monotonic() < deadline, "the runner lives on"
        time.sleep(0.05)


def kill_runner(job_id: str) -> None:
    """kill -9 the runner of a job."""
    pids = runner_pids(f"job {job_id}")
    assert pids, "no runner to kill"
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def restart_database(stack: Stack) -> None:
    """Shut the embedded PostgreSQL down, cutting every connection, and start it again."""
    assert stack.servers is not None
    server = stack.servers.postgres
    os.kill(server.get_pid(), signal.SIGINT)
    server.get_postmaster_info().process.wait(60)
    server.ensure_postgres_running()


def result(client: Client, job_id: str) -> tuple[list[tuple[Any, ...]], list[str]]:
    """(the front as (architecture, accuracy, MACs), every evaluated architecture in order)."""
    front = [
        (p["architecture_id"], p["metrics"]["accuracy"], p["metrics"]["macs"], p["metrics"].get("test_accuracy"))
        for p in client.front(job_id)["points"]
    ]
    return front, [evaluation["architecture_id"] for evaluation in client.evaluations(job_id)]
