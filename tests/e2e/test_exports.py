"""Exports through the real API and worker: without data, made again, right on any number of threads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.client import Client
from service.stack import Stack
from tests.e2e.helpers import in_stage, is_finished, wait_for

pytestmark = pytest.mark.e2e


def pictures(folder: Path, count: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for name, level in (("dark", 60), ("light", 180)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = np.clip(rng.normal(level, 40, (10, 10)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{seed}-{number}.png")


@pytest.fixture(scope="module")
def small(client: Client, stack: Stack, tmp_path_factory) -> tuple[dict[str, Any], Path]:
    """A job on 56 images of a folder: 4 to 11 of them are its test split."""
    folder = tmp_path_factory.mktemp("data") / "images"
    pictures(folder, 28)
    job = client.submit(
        {
            "name": "[/red] small `x`",
            "recipe": "bignas",
            "supernet": {"family": "mobilenet", "preset": "digits", "classes": 2},
            "data": {"source": "images", "path": str(folder), "size": 8, "channels": 1},
            "training": {"epochs": 2, "batch_size": 8},
            "search": {"algorithm": "random", "evaluations": 4, "calibration_images": 8},
            "objectives": [{"metric": "accuracy"}, {"metric": "macs"}],
            "hardware": {"seconds": 0.2},
        }
    )
    finished = wait_for(client, job["id"], is_finished)
    assert finished["state"] == "succeeded", finished["message"]
    return finished, folder


def unpacked(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def networks(client: Client, job: dict[str, Any]) -> list[str]:
    return [row["architecture_id"] for row in client.evaluations(job["id"])]


@pytest.mark.thorough
def test_a_small_test_split_is_exported_whatever_the_threads(client: Client, small, tmp_path: Path) -> None:
    job, _ = small
    made = client.export(job["id"], client.front(job["id"])["knee"])
    assert made["report"]["formats"]["safetensors"]["max_abs_difference"] == 0.0
    folder = unpacked(client.download(made, tmp_path), tmp_path)
    assert r"(\[/red\] small \`x\`)" in (folder / "README.md").read_text()


@pytest.mark.thorough
def test_data_that_changed_or_went_away_change_no_export(client: Client, small, tmp_path: Path) -> None:
    job, folder = small
    first, *_, last = networks(client, job)
    before = unpacked(client.download(client.export(job["id"], first), tmp_path), tmp_path)
    facts = json.loads((before / "architecture.json").read_text())["preprocessing"]
    pictures(folder, 30, seed=1)
    changed = client.export(job["id"], last)
    shutil.rmtree(folder)
    after = unpacked(client.download(changed, tmp_path), tmp_path)
    assert json.loads((after / "architecture.json").read_text())["preprocessing"] == facts
    for found in changed["report"]["formats"].values():
        assert found["against_front"]["kept"]

    pictures(folder, 29)  # another set
    reuse = {"name": "again", "recipe": "bignas", "supernet": {"reuse": job["id"]}, "search": job["spec"]["search"]}
    again = client.submit({**reuse, "objectives": job["spec"]["objectives"]})
    ended = wait_for(client, again["id"], is_finished)
    assert ended["state"] == "succeeded", ended["message"]
    told = [e.data["text"] for e in client.events(again["id"]) if e.kind == "message"]
    assert any("The data are not those that supernet" in text and "samples" in text for text in told), told
    card = client.export(again["id"], client.front(again["id"])["knee"])
    text = (unpacked(client.download(card, tmp_path), tmp_path) / "README.md").read_text()
    assert "The data differ from those that the supernet was trained on" in text


def test_an_archive_that_is_gone_is_made_again(
    client: Client, stack: Stack, finished: dict[str, Any], tmp_path: Path
) -> None:
    chosen = client.front(finished["id"])["knee"]
    made = client.export(finished["id"], chosen)
    (archive,) = Path(stack.environment()["WINNOW_DATA_DIR"]).rglob(f"{finished['id']}-{chosen}.tar.gz")
    archive.unlink()
    again = client.export(finished["id"], chosen)
    assert again["id"] == made["id"]
    assert unpacked(client.download(again, tmp_path), tmp_path).is_dir()


@pytest.mark.thorough
def test_exports_do_not_wait_behind_a_training(client: Client, stack: Stack, small) -> None:
    """On the only worker, started for trainings alone, which a training holds all the while."""
    job, _ = small
    stack.children["worker"].terminate()
    stack.children["worker"].wait()
    command = [sys.executable, "-m", "workers.node", "--queues", "train"]
    alone = subprocess.Popen(command, env={**os.environ, **stack.environment()}, start_new_session=True)
    try:
        training = client.submit({"recipe": "bignas", "training": {"epochs": 100_000}})["id"]
        wait_for(client, training, in_stage("train supernet"))
        made = client.export(job["id"], networks(client, job)[0], formats=["safetensors"], weights="unhealed")
        assert made["state"] == "succeeded"
        now = client.job(training)
        assert (now["state"], now["stage"]) == ("running", "train supernet")
        client.verb(training, "cancel")
        wait_for(client, training, is_finished)
    finally:
        alone.terminate()
        alone.wait()
        stack.spawn_worker()
