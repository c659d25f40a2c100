"""Trainings as a user asks for them: in several processes, reused, on text."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.client import Client, ClientError
from service.stack import Stack
from tests.conftest import TINY_JOB
from tests.e2e.helpers import is_finished, wait_for
from tests.supernet.task_files import write_task
from tests.tiny_data import grey_images

pytestmark = pytest.mark.e2e


def done(client: Client, spec: dict[str, Any]) -> dict[str, Any]:
    job = client.submit(spec)
    finished = wait_for(client, job["id"], is_finished, seconds=240)
    assert finished["state"] == "succeeded", finished["message"]
    return finished


@pytest.mark.thorough
def test_a_job_trained_by_two_machines_can_be_reused_by_another(client: Client, stack: Stack) -> None:
    """Both are this one: the second joins as `winnow join JOB --rank 1` does, and leaves when the job is over."""
    training = {**TINY_JOB["training"], "hosts": 2}  # type: ignore[dict-item]
    job = client.submit({**TINY_JOB, "training": training})
    command = [sys.executable, "-m", "service.cli", "join", job["id"], "--rank", "1"]
    with subprocess.Popen(command, env={**os.environ, **stack.environment()}) as joined:
        first = wait_for(client, job["id"], is_finished, seconds=240)
        assert joined.wait(120) == 0
    assert first["state"] == "succeeded", first["message"]
    assert first["environment"]["processes"] == 2
    supernet = client.supernet(first["id"])
    assert supernet["training"]["hosts"] == 2
    assert len(supernet["curve"]) == 2
    assert first["id"] in [row["id"] for row in client.supernets(space="mobilenet/digits")["supernets"]]
    assert client.supernets(space="mobilenet/other")["supernets"] == []

    second = done(
        client,
        {
            "supernet": {"reuse": first["id"]},
            "search": {**TINY_JOB["search"], "seed": 7},
            "hardware": TINY_JOB["hardware"],
        },
    )  # type: ignore[dict-item]
    events = list(client.events(second["id"]))
    assert not [event for event in events if event.kind == "curve"]
    assert any("is reused" in event.data["text"] for event in events if event.kind == "message")
    assert client.front(second["id"])["final"]


def test_what_a_supernet_was_not_trained_for_is_refused(client: Client) -> None:
    known = client.supernets()["supernets"][0]["id"]
    for part in ({"training": {"epochs": 77}}, {"data": {"validation_share": 0.4}}):
        with pytest.raises(ClientError, match=r"with a .* part of its own"):
            client.submit({"supernet": {"reuse": known}, **part})
    with pytest.raises(ClientError, match="no supernet 'nothing'"):
        client.submit({"supernet": {"reuse": "nothing"}})


@pytest.mark.thorough
def test_a_small_llama_is_trained_and_searched(stack: Stack, client: Client, tmp_path: Path) -> None:
    """The whole journey: trained, searched, its finalists measured, and one exported and verified.

    Networks are asked a task of lm-evaluation-harness, too.
    """
    write_task(Path(stack.environment()["WINNOW_TASKS_DIR"]))
    play = tmp_path / "play.txt.gz"
    play.write_bytes(gzip.compress(b"To be, or not to be, that is the question.\n" * 200))
    job = client.submit(
        {
            "supernet": {"family": "llama", "preset": "tiny"},
            "data": {"source": "text", "path": str(play), "length": 32},
            "training": {"method": "alternating", "epochs": 2, "batch_size": 32, "optimizer": "adamw"},
            "scoring": {"tasks": [{"name": "quiz", "path": "quiz.yaml", "limit": 12}]},
            "objectives": [{"metric": "perplexity"}, {"metric": "task_accuracy"}, {"metric": "params"}],
            "search": {"algorithm": "random", "evaluations": 6, "calibration_images": 2},
            "hardware": TINY_JOB["hardware"],
        }
    )
    assert wait_for(client, job["id"], is_finished, seconds=240)["state"] == "succeeded"
    evaluations = list(client.evaluations(job["id"]))
    assert len(evaluations) == 6
    assert all(1 < row["metrics"]["perplexity"] < 257 for row in evaluations)
    answered = [12 * row["metrics"]["task_accuracy"] for row in evaluations]
    assert answered == pytest.approx([round(right) for right in answered])
    supernet = client.supernet(job["id"])
    assert supernet["metric"] == "perplexity"
    assert "tokens_per_second" in supernet["curve"][-1]
    front = client.front(job["id"])
    assert all(1 < point["metrics"]["test_perplexity"] < 257 for point in front["points"])
    assert all(point["metrics"]["latency_ms"] > 0 for point in front["points"])
    formats = client.export(job["id"], front["knee"])["report"]["formats"]
    assert formats["safetensors"]["max_abs_difference"] == 0
    assert formats["onnx"]["same_predictions"]


@pytest.mark.thorough
def test_two_processes_train_from_one_file_that_one_of_them_decoded(
    client: Client, stack: Stack, tmp_path: Path
) -> None:
    """Training, search, finalists and export all read the images that were decoded once."""
    job = client.submit(
        {
            "supernet": {"family": "mobilenet", "preset": "digits"},
            "data": {"source": "images", **grey_images(tmp_path / "source"), "storage": "disk"},
            "training": {"epochs": 2, "batch_size": 32, "processes": 2},
            "search": {"algorithm": "random", "evaluations": 4, "calibration_images": 32},
            "hardware": TINY_JOB["hardware"],
        }
    )
    finished = wait_for(client, job["id"], is_finished, seconds=240)
    assert finished["state"] == "succeeded", finished["message"]
    assert finished["environment"]["processes"] == 2
    assert client.export(job["id"], client.front(job["id"])["knee"])["state"] == "succeeded"
    sets = [path for path in (Path(stack.environment()["WINNOW_DATA_DIR"]) / "datasets").iterdir() if path.is_dir()]
    assert len(sets) == 1
