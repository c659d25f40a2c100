"""Latency as an objective, through the real API, broker, database and worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from job.spec import JobSpec
from predictors.tables import key_of
from search_space.distinct import distinct_layers
from service.client import Client, ClientError
from service.stack import Stack
from service.store import measuring
from service.store.models import Measurement
from service.store.session import Database
from tests.e2e.helpers import is_finished, wait_for

pytestmark = pytest.mark.e2e

# Eight networks of one width: few layers, so that a table takes seconds.
CHOICES = {
    "*_width": [8],
    "*_depth": [1, 2],
    "*_kernel": [3],
    "*_expansion": [2],
    "head_width": [16],
    "stem_width": [8],
}
JOB: dict[str, Any] = {
    "recipe": "bignas",
    "supernet": {"choices": CHOICES},
    "training": {"epochs": 1},
    "search": {"algorithm": "random", "evaluations": 4, "calibration_images": 64},
    "hardware": {"networks": 10, "seconds": 0.02, "min_within_10_percent": 0, "max_layers": 50, "wait_minutes": 5},
}


def job_on(target: str, **hardware: Any) -> dict[str, Any]:
    """A job whose latency on a target is an objective with a limit that every network keeps."""
    objectives = [{"metric": "accuracy"}, {"metric": "latency_ms", "target": target, "limit": 1000}]
    return {**JOB, "objectives": objectives, "hardware": {**JOB["hardware"], **hardware}}


@pytest.fixture(scope="module")
def space() -> Any:
    return JobSpec.model_validate(JOB).supernet.space()


def messages(client: Client, job_id: str) -> list[str]:
    return [event.data["text"] for event in client.events(job_id) if event.kind == "message"]


def test_predictions_drive_the_search_and_finalists_are_measured(client: Client) -> None:
    job = client.submit(job_on("cpu-onnxruntime"))
    assert wait_for(client, job["id"], is_finished)["state"] == "succeeded"
    events = list(client.events(job["id"]))
    (predictor,) = [event.data for event in events if event.kind == "predictor"]
    assert predictor["used"]
    assert {"rmspe_percent", "within_percent", "true", "predicted", "margin", "model"} <= set(predictor)
    stages = [event.data["stage"] for event in events if event.kind == "stage"]
    assert stages[3:6] == ["measure hardware", "fit predictors", "search"]
    front = client.front(job["id"])
    assert front["points"]
    for point in front["points"]:
        assert point["sources"]["latency_ms"] == "measured"
        assert point["sources"]["predicted_latency_ms"] == "predicted"
        (measurement,) = point["measurements"]
        low, high = measurement["interval_ms"]
        assert low <= point["metrics"]["latency_ms"] <= high
    assert all(e["sources"]["latency_ms"] == "predicted" for e in client.evaluations(job["id"]))
    csv = httpx.get(f"{client.url}/v1/jobs/{job['id']}/front?format=csv", headers=client.headers).text
    assert "predicted_latency_ms" in csv.splitlines()[0]
    assert any("keep the limit of 1000 ms as measured" in text for text in messages(client, job["id"]))


@pytest.mark.thorough
def test_an_uploaded_table_prices_networks_that_nobody_measures(client: Client, space: Any) -> None:
    lines = [f'phone,"{key_of(spec)}",{0.5 + i / 100}' for i, spec in enumerate(distinct_layers(space, 100))]
    text = "target,key,latency_ms\n" + "\n".join(lines) + "\n"
    assert client.add_table("pocket", text)["facts"]["rows"] == len(lines)
    job = client.submit(job_on("pocket"))
    assert wait_for(client, job["id"], is_finished)["state"] == "succeeded"
    for point in client.front(job["id"])["points"]:
        assert point["sources"]["latency_ms"] == "predicted"
        assert point["measurements"] == []
    assert any("cannot be measured there" in text for text in messages(client, job["id"]))
    client.add_table("lacking", "target,key,latency_ms\n" + lines[0] + "\n")
    with pytest.raises(ClientError, match=r"'lacking' lacks .* rows"):
        client.submit(job_on("lacking"))
    client.remove_target("pocket")
    with pytest.raises(ClientError, match="There is no target 'pocket'"):
        client.submit(job_on("pocket"))


@pytest.fixture
def database(stack: Stack) -> Iterator[Database]:
    """The rows behind the API."""
    opened = Database(stack.environment()["WINNOW_DATABASE_URL"])
    yield opened
    opened.close()


@pytest.fixture
def machine(stack: Stack, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts this machine as the target `bench`, with a data folder of its own, so that files come over the API."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        assert stack.api_key is not None
        own = {"WINNOW_DATA_DIR": str(tmp_path), "WINNOW_API_KEY": stack.api_key}
        environment = {**os.environ, **stack.environment(), **own}
        command = [sys.executable, "-m", "service.cli", "measure", "--name", "bench"]
        started.append(subprocess.Popen(command, env=environment, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@pytest.mark.thorough
def test_a_job_waits_for_its_target_and_survives_that_it_dies(
    client: Client, database: Database, machine: Callable[[], subprocess.Popen[bytes]]
) -> None:
    with database.transaction() as session:
        measuring.beat(session, "bench", "another:1", {"runtimes": ["cpu-onnxruntime"]})
        measuring.goodbye(session, "bench", "another:1")
    job = client.submit({**job_on("bench", predict="never"), "search": {**JOB["search"], "evaluations": 2}})
    waiting = wait_for(client, job["id"], lambda one: bool(one["message"]) or is_finished(one), seconds=500)
    assert "Waits for target bench, which is offline" in waiting["message"]

    first = machine()
    until = time.monotonic() + 120
    while not measurements(database, job["id"], "running"):
        assert time.monotonic() < until, "the target took nothing up"
        time.sleep(0.05)
    cut_power(first)
    machine()
    finished = wait_for(client, job["id"], is_finished, seconds=500)
    assert finished["state"] == "succeeded", finished["message"]
    assert finished["message"] is None
    target = {one["name"]: one for one in client.targets()["targets"]}["bench"]
    assert (target["state"], target["facts"]["cores"]) == ("online", os.cpu_count())
    assert target["facts"]["runtimes"][0] == "cpu-onnxruntime"
    points = client.front(job["id"])["points"]
    assert {m["target"] for point in points for m in point["measurements"]} == {"bench"}
    assert all(e["sources"]["latency_ms"] == "measured" for e in client.evaluations(job["id"]))
    assert any(row.epoch > 1 for row in measurements(database, job["id"], "succeeded")), "nothing was taken up again"
    database.close()


def cut_power(node: subprocess.Popen[bytes]) -> None:
    """Kill a node and all that it has started: what outlives its node for a moment might finish the measurement."""

    def family(pid: int) -> Iterator[int]:
        yield pid
        with suppress(FileNotFoundError):  # it has just ended
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                yield from family(int(child))

    for pid in list(family(node.pid)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    node.wait()


def measurements(database: Database, job_id: str, state: str) -> list[Measurement]:
    """A job's requests to measure in a state."""
    with database.transaction() as session:
        query = select(Measurement).where(Measurement.job_id == job_id, Measurement.state == state)
        return list(session.scalars(query))
