"""A llama that is searched, healed and shipped, through the API and a worker: what is loaded elsewhere generates."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.client import Client
from service.stack import Stack
from tests.e2e.helpers import is_finished, kill_runner, runner_pids, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]


def words_file(folder: Path, count: int) -> Path:
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]
    path = folder / "words.txt"
    path.write_text(" ".join(np.random.default_rng(0).choice(words, count)))
    return path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return words_file(tmp_path, 1500)


def searched(client: Client, text: Path, epochs: int = 6) -> dict[str, Any]:
    """A llama that has found its front."""
    job = client.submit(
        {
            "recipe": "llama_nas",
            "supernet": {"preset": "tiny"},
            "data": {"source": "text", "path": str(text), "length": 32, "validation_share": 0.1},
            "training": {"epochs": epochs, "batch_size": 8},
            "search": {"algorithm": "random", "evaluations": 12, "options": {"batch": 6}},
            "objectives": [{"metric": "perplexity"}, {"metric": "params"}],
            "hardware": {"seconds": 0.2},
        }
    )
    ended = wait_for(client, job["id"], is_finished)
    assert ended["state"] == "succeeded", ended["message"]
    return ended


def healed_by(client: Client, job_id: str, networks: list[str], helpers: int) -> str:
    part = {"networks": networks, "steps": 100, "learning_rate": 1e-3, "batch_size": 8, "patience": None}
    return str(client.descend(job_id, "heal", {"healing": {**part, "helpers": helpers}})["id"])


def told_of(client: Client, job_id: str) -> list[dict[str, Any]]:
    """What healing has made of each network, but for the time that it took."""
    ended = wait_for(client, job_id, is_finished)
    assert ended["state"] == "succeeded", ended["message"]
    return [{**one, "seconds": 0} for one in client.healing(job_id)["networks"]]


@pytest.fixture(scope="module")
def healed_alone(client: Client, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """A job that has found a front, and what one worker makes of two of its networks."""
    job = searched(client, words_file(tmp_path_factory.mktemp("words"), 400), epochs=1)
    front = client.front(job["id"])
    largest = front["reference"]["architecture_id"]
    names = [point["architecture_id"] for point in front["points"] if point["architecture_id"] != largest]
    expected = told_of(client, healed_by(client, job["id"], [names[0], names[-1]], 0))
    assert len(expected) == 2
    return job["id"], expected


@pytest.mark.parametrize("whom", ["the helper", "its worker", "the job's runner"])
def test_a_second_worker_helps_and_whoever_is_killed_the_networks_are_the_same(
    client: Client, stack: Stack, healed_alone: tuple[str, list[dict[str, Any]]], whom: str
) -> None:
    found, expected = healed_alone
    chosen = [one["architecture_id"] for one in expected]
    command = [sys.executable, "-m", "workers.node", "--queues", "train"]
    environment = {**os.environ, **stack.environment(), "WINNOW_WARM_RUNNERS": "false"}
    second = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        made = healed_by(client, found, chosen, 1)
        deadline = time.monotonic() + 120
        while not (helps := [text for text in said(client, made) if "helps: it heals" in text]):
            assert time.monotonic() < deadline, "nobody helps"
            time.sleep(0.05)
        time.sleep(1.0)  # somewhere in its steps
        if whom == "its worker":
            os.killpg(second.pid, signal.SIGKILL)
        elif whom == "the helper":
            for pid in runner_pids("healing"):
                os.kill(pid, signal.SIGKILL)
        else:
            kill_runner(made)
        assert told_of(client, made) == expected
        assert helps
    finally:
        with suppress(ProcessLookupError):
            os.killpg(second.pid, signal.SIGTERM)
        second.wait()


def said(client: Client, job_id: str) -> list[str]:
    """The last lines of a job's log."""
    return [line["text"] for line in client.logs(job_id, last=True)["lines"]]


def test_two_knees_of_a_llama_are_healed_exported_and_generate(client: Client, text: Path, tmp_path: Path) -> None:
    """Two networks of one front, in two verbs: the knee of the job, and of what is left the one that a person names."""
    from transformers import AutoModelForCausalLM

    job = searched(client, text)
    front = client.front(job["id"])
    largest = front["reference"]["architecture_id"]
    names = [point["architecture_id"] for point in front["points"] if point["architecture_id"] != largest]
    chosen = [front["knee"] if front["knee"] in names else names[0], names[-1]]
    healing = {"networks": chosen, "steps": 60, "learning_rate": 1e-3, "batch_size": 8}
    made = client.descend(job["id"], "heal", {"healing": healing})
    ended = wait_for(client, made["id"], is_finished)
    assert ended["state"] == "succeeded", ended["message"]
    healed = {one["architecture_id"]: one for one in client.healing(made["id"])["networks"]}
    assert set(healed) == set(chosen)
    smallest = healed[chosen[-1]]
    assert smallest["better"]
    assert smallest["after"]["perplexity"] < smallest["before"]["perplexity"]

    export = client.export(made["id"], chosen[-1], formats=["huggingface"])
    assert export["weights"] == "healed"
    archive = client.download(export, tmp_path / "exports")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    folder = tmp_path / archive.name.removesuffix(".tar.gz")
    assert json.loads((folder / "verification.json").read_text())["weights"] == "healed"
    assert "The healed weights are in these files." in (folder / "README.md").read_text()
    model = AutoModelForCausalLM.from_pretrained(folder / "huggingface").eval()
    prompt = torch.tensor([list(b"the quick brown fox jumps over ")])
    with torch.no_grad():
        answer = model.generate(prompt, max_new_tokens=12, do_sample=False)
    assert answer.shape[1] == prompt.shape[1] + 12
    generated = bytes(answer[0, prompt.shape[1] :].tolist()).decode(errors="replace")
    assert set(generated) <= set("the quick brown fox jumps over a lazy dog "), generated
