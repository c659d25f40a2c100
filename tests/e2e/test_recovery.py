"""Nothing is lost: one fault of each kind on the whole stack (every stage: tests/workers/test_faults.py)."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from typing import Any

import pytest
from redis import Redis

from service.client import Client, ClientError
from service.stack import Stack
from tests.e2e.helpers import (
    JOB,
    in_stage,
    is_finished,
    kill_runner,
    restart_database,
    result,
    runner_pids,
    wait_for,
    wait_until_gone,
)

pytestmark = pytest.mark.e2e


@pytest.fixture
def undisturbed(client: Client, finished: dict[str, Any]) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Front and evaluations of the job when nothing happens to it."""
    return result(client, finished["id"])


def messages(client: Client, job_id: str) -> list[str]:
    """What the job's events say in words."""
    return [event.data["text"] for event in client.events(job_id) if event.kind == "message"]


def test_a_job_that_loses_its_runner_its_worker_and_its_database_ends_with_the_same_front(
    client: Client, stack: Stack, undisturbed: tuple[list[tuple[Any, ...]], list[str]]
) -> None:
    """One after the other; the thorough tests have each alone, and at other moments."""
    job = client.submit({**JOB, "name": "unlucky thrice"})
    wait_for(client, job["id"], in_stage("train supernet", 0.2))
    kill_runner(job["id"])
    wait_for(client, job["id"], in_stage("train supernet", 0.6))
    kill_worker(stack, job["id"])
    wait_for(client, job["id"], in_stage("search", 0.3))
    restart_database(stack)
    assert wait_for(client, job["id"], is_finished)["state"] == "succeeded"
    assert result(client, job["id"]) == undisturbed
    said = messages(client, job["id"])
    assert any("SIGKILL" in text for text in said)
    assert any("Resumed at step" in text for text in said)


def kill_worker(stack: Stack, job_id: str) -> None:
    """kill -9 the worker, see its runner go with it, and start the next worker."""
    stack.children["worker"].kill()
    stack.children["worker"].wait()
    wait_until_gone(job_id)
    stack.spawn_worker()


@pytest.mark.thorough
def test_killed_runner_ends_with_the_same_front_bit_for_bit(
    client: Client, undisturbed: tuple[list[tuple[Any, ...]], list[str]]
) -> None:
    job = client.submit({**JOB, "name": "killed twice"})
    wait_for(client, job["id"], in_stage("train supernet", 0.4))
    kill_runner(job["id"])
    wait_for(client, job["id"], in_stage("search", 0.3))
    kill_runner(job["id"])
    assert wait_for(client, job["id"], is_finished)["state"] == "succeeded"
    assert result(client, job["id"]) == undisturbed
    said = messages(client, job["id"])
    assert sum("SIGKILL" in text for text in said) == 2
    assert any("Resumed at step" in text for text in said)


@pytest.mark.thorough
def test_paused_and_resumed_ends_with_the_same_front(
    client: Client, undisturbed: tuple[list[tuple[Any, ...]], list[str]]
) -> None:
    job = client.submit({**JOB, "name": "paused"})
    wait_for(client, job["id"], in_stage("train supernet", 0.2))
    client.verb(job["id"], "pause")
    wait_for(client, job["id"], lambda j: j["state"] == "paused")
    wait_until_gone(job["id"])
    client.verb(job["id"], "resume")
    assert wait_for(client, job["id"], is_finished)["state"] == "succeeded"
    assert result(client, job["id"]) == undisturbed


@pytest.mark.thorough
def test_stopped_keeps_the_front_so_far_even_if_it_was_paused_and_its_runner_is_killed(
    client: Client, undisturbed: tuple[list[tuple[Any, ...]], list[str]]
) -> None:
    # The same search with room for more: it must not be over before it is stopped.
    job = client.submit({**JOB, "search": {**JOB["search"], "evaluations": 2000}, "name": "stopped"})
    wait_for(client, job["id"], lambda j: j["state"] == "running")
    with pytest.raises(ClientError, match="has not evaluated a network yet"):
        client.verb(job["id"], "stop")
    wait_for(client, job["id"], in_stage("search", 0.01))
    client.verb(job["id"], "pause")
    wait_for(client, job["id"], lambda j: j["state"] == "paused")
    wait_until_gone(job["id"])
    evaluated = [row["architecture_id"] for row in client.evaluations(job["id"])]
    assert client.verb(job["id"], "stop")["state"] == "stopping"
    with pytest.raises(ClientError, match="is stopping and cannot be paused"):
        client.verb(job["id"], "pause")
    wait_for(client, job["id"], lambda _: bool(runner_pids(f"job {job['id']}")))
    kill_runner(job["id"])
    ended = wait_for(client, job["id"], is_finished)
    assert ended["state"] == "succeeded"
    assert ended["message"] == f"Stopped by request after {len(evaluated)} of 2000 evaluations."
    front, still = result(client, job["id"])
    assert still == evaluated
    assert evaluated[:60] == undisturbed[1][: len(evaluated)]
    assert 0.01 * 2000 < len(evaluated) < 2000
    assert front
    assert all(test_accuracy is not None for *_, test_accuracy in front)
    with pytest.raises(ClientError, match="has succeeded and cannot be stopped"):
        client.verb(job["id"], "stop")


def test_a_cancelled_job_is_dropped_and_its_runner_gone(client: Client) -> None:
    """How soon: tests/workers/test_faults.py counts reports, tests/workers/test_supervisor.py seconds of a clock."""
    job = client.submit({**JOB, "training": {"epochs": 400}, "name": "cancelled"})
    wait_for(client, job["id"], in_stage("train supernet", 0.001))
    client.verb(job["id"], "cancel")
    wait_for(client, job["id"], lambda j: j["state"] == "cancelled")
    wait_until_gone(job["id"])
    assert client.job(job["id"])["stage"] == "train supernet"


@pytest.mark.thorough
def test_a_queued_job_outlives_a_flushed_broker_and_a_cancelled_one_stays_so(client: Client, stack: Stack) -> None:
    blocker = client.submit({**JOB, "name": "in the way"})
    wait_for(client, blocker["id"], lambda j: j["state"] == "running")
    never = client.submit({**JOB, "name": "never starts"})
    assert client.verb(never["id"], "cancel")["state"] == "cancelled"
    job = client.submit({**JOB, "training": {"epochs": 1}, "search": {"evaluations": 4}, "name": "message lost"})
    Redis.from_url(stack.environment()["WINNOW_REDIS_URL"]).flushall()
    client.verb(blocker["id"], "cancel")
    assert wait_for(client, job["id"], is_finished)["state"] == "succeeded"
    assert client.job(never["id"])["state"] == "cancelled"


@pytest.mark.thorough
def test_restarted_database_costs_seconds_not_the_job(
    client: Client, stack: Stack, undisturbed: tuple[list[tuple[Any, ...]], list[str]]
) -> None:
    job = client.submit({**JOB, "name": "database restarted"})
    wait_for(client, job["id"], in_stage("search", 0.2))
    restart_database(stack)
    assert wait_for(client, job["id"], is_finished)["state"] == "succeeded"
    assert result(client, job["id"]) == undisturbed


@pytest.mark.thorough
def test_runner_that_always_dies_fails_with_the_reason(client: Client) -> None:
    job = client.submit({**JOB, "training": {"epochs": 400}, "name": "unlucky"})
    deaths: Counter[str] = Counter()
    deadline = time.monotonic() + 300
    while not is_finished(client.job(job["id"])) and time.monotonic() < deadline:
        if runner_pids(f"job {job['id']}"):
            kill_runner(job["id"])
            deaths["killed"] += 1
        time.sleep(0.05)
    ended = client.job(job["id"])
    assert ended["state"] == "failed"
    assert "died 3 times in a row" in ended["message"]
    assert deaths["killed"] == 3


@pytest.mark.thorough
def test_killed_worker_hands_its_job_to_the_next(
    client: Client, stack: Stack, undisturbed: tuple[list[tuple[Any, ...]], list[str]]
) -> None:
    job = client.submit({**JOB, "name": "worker killed"})
    wait_for(client, job["id"], in_stage("train supernet", 0.3))
    kill_worker(stack, job["id"])
    assert wait_for(client, job["id"], is_finished)["state"] == "succeeded"
    assert result(client, job["id"]) == undisturbed


@pytest.mark.thorough
def test_full_disk_pauses_the_job_and_leaves_nothing_half_written(
    stack: Stack, client: Client, undisturbed: tuple[list[tuple[Any, ...]], list[str]]
) -> None:
    artifacts = stack.data_dir / "artifacts"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(artifacts)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("cannot mount a small disk here; tests/pipeline/test_artifacts.py covers the write itself")
    try:
        job = client.submit({**JOB, "name": "disk full"})
        paused = wait_for(client, job["id"], lambda j: j["state"] == "paused" or is_finished(j))
        assert paused["state"] == "paused"
        assert "No room on the disk" in paused["message"]
        left = [path.name for path in artifacts.rglob("*") if path.is_file()]
    finally:
        subprocess.run(["umount", str(artifacts)], check=True)
    # Of what did not fit nothing is there; only what exports are verified with may have been whole before.
    assert set(left) <= {f"{job['id']}.samples.safetensors"}
    client.verb(job["id"], "resume")
    assert wait_for(client, job["id"], is_finished)["state"] == "succeeded"
    assert result(client, job["id"]) == undisturbed
