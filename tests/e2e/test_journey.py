"""The journey through the real API, broker, database and worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.client import Client
from service.stack import Stack
from tests.e2e.helpers import JOB

pytestmark = pytest.mark.e2e

EVALUATIONS = JOB["search"]["evaluations"]


def test_job_succeeds_and_says_where_it_ran(finished: dict[str, Any]) -> None:
    assert finished["state"] == "succeeded", finished["message"]
    assert finished["progress"] == 1.0
    assert finished["environment"]["versions"]["torch"].startswith("2.")
    assert finished["environment"]["threads"] >= 1


def test_front_is_measured_and_every_number_has_its_source(client: Client, finished: dict[str, Any]) -> None:
    front = client.front(finished["id"])
    assert front["final"]
    assert front["knee"] in {point["architecture_id"] for point in front["points"]}
    for point in front["points"]:
        assert set(point["metrics"]) == set(point["sources"])
        assert point["sources"]["macs"] == "analytic"
        assert point["sources"]["latency_ms"] == "measured"
        assert 0 <= point["metrics"]["test_accuracy"] <= 1
        threads = [m["threads"] for m in point["measurements"]]
        assert threads == sorted({1, os.cpu_count()})
        for measurement in point["measurements"]:
            assert 0 < measurement["median_ms"] <= measurement["p95_ms"]
            assert {"device", "versions", "batch", "runs", "dtype"} <= set(measurement)


def test_front_has_no_dominated_point(client: Client, finished: dict[str, Any]) -> None:
    points = [(p["metrics"]["accuracy"], p["metrics"]["macs"]) for p in client.front(finished["id"])["points"]]
    evaluated = [(e["metrics"]["accuracy"], e["metrics"]["macs"]) for e in client.evaluations(finished["id"])]
    for accuracy, macs in points:
        assert not any((a >= accuracy and m <= macs) and (a > accuracy or m < macs) for a, m in evaluated), "dominated"


def test_every_architecture_is_evaluated_once(client: Client, finished: dict[str, Any]) -> None:
    evaluations = list(client.evaluations(finished["id"]))
    assert [e["number"] for e in evaluations] == list(range(1, EVALUATIONS + 1))
    assert len({e["architecture_id"] for e in evaluations}) == EVALUATIONS


def test_events_replay_from_any_position(client: Client, finished: dict[str, Any]) -> None:
    events = [event for event in client.events(finished["id"]) if event.id]
    assert [int(event.id or 0) for event in events] == list(range(1, len(events) + 1))
    kinds = {event.kind for event in events}
    assert {"state", "stage", "curve", "evaluation", "finalist"} <= kinds
    with httpx.stream(
        "GET",
        f"{client.url}/v1/jobs/{finished['id']}/events",
        headers={**client.headers, "Last-Event-ID": str(len(events) - 1)},
    ) as late:
        text = late.read().decode()
    assert f"id: {len(events)}\n" in text
    assert f"id: {len(events) - 1}\n" not in text


def test_curve_has_losses_of_every_sandwich_member(client: Client, finished: dict[str, Any]) -> None:
    points = [event.data for event in client.events(finished["id"]) if event.kind == "curve"]
    assert [point["epoch"] for point in points] == [1, 2]
    assert {"loss_largest", "loss_random", "loss_smallest", "accuracy_largest"} <= set(points[-1])


def test_csv_has_one_line_per_architecture(client: Client, finished: dict[str, Any]) -> None:
    front = client.front(finished["id"])
    listed = len(front["points"]) + (front["reference"] is not None)  # the reference is a row of the table
    for name, rows in (("evaluations", EVALUATIONS), ("front", listed)):
        answer = httpx.get(f"{client.url}/v1/jobs/{finished['id']}/{name}?format=csv", headers=client.headers)
        assert answer.headers["content-type"].startswith("text/csv")
        assert len(answer.text.strip().splitlines()) == rows + 1


def test_layers_of_a_point_add_up_to_its_costs(client: Client, finished: dict[str, Any]) -> None:
    knee = client.front(finished["id"])["knee"]
    network = httpx.get(f"{client.url}/v1/jobs/{finished['id']}/architectures/{knee}", headers=client.headers).json()
    assert sum(layer["macs"] for layer in network["layers"]) == network["metrics"]["macs"]
    assert sum(layer["params"] for layer in network["layers"]) == network["metrics"]["params"]


def test_export_loads_without_winnow_and_scores_the_same(
    client: Client, finished: dict[str, Any], tmp_path: Path
) -> None:
    knee = next(
        p
        for p in client.front(finished["id"])["points"]
        if p["architecture_id"] == client.front(finished["id"])["knee"]
    )
    export = client.export(finished["id"], knee["architecture_id"])
    for report in export["report"]["formats"].values():
        assert report["same_predictions"]
        assert report["accuracy"] == pytest.approx(knee["metrics"]["test_accuracy"])
    assert export["report"]["formats"]["safetensors"]["max_abs_difference"] == 0.0
    with tarfile.open(client.download(export, tmp_path)) as tar:
        tar.extractall(tmp_path, filter="data")
    folder = tmp_path / f"{finished['id']}-{knee['architecture_id']}"
    files = "README.md SHA256SUMS architecture.json load.py model.onnx model.safetensors network.py samples.safetensors"
    assert {path.name for path in folder.iterdir()} == {*files.split(), "verification.json"}
    card = (folder / "README.md").read_text()
    for expected in (finished["id"], "Position", "sha256", "torch", "test_accuracy", "measured", "scikit-learn"):
        assert expected in card
    assert json.loads((folder / "architecture.json").read_text())["values"] == knee["values"]
    script = (
        "import sys; sys.path.insert(0, '.'); from load import model; print(sum(map(torch.numel, model.parameters())))"
    )
    script = f"import torch; {script}"
    done = subprocess.run([sys.executable, "-I", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert int(done.stdout) == knee["metrics"]["params"]


def test_exporting_again_gives_the_same_export(client: Client, finished: dict[str, Any]) -> None:
    knee = client.front(finished["id"])["knee"]
    first, second = (client.export(finished["id"], knee) for _ in range(2))
    assert first == second


@pytest.mark.thorough
def test_command_line_tells_the_same_story(stack: Stack, finished: dict[str, Any], tmp_path: Path) -> None:
    def winnow(*arguments: str) -> str:
        environment = {**os.environ, **stack.environment(), "COLUMNS": "200"}
        command = [sys.executable, "-m", "service.cli", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert finished["id"] in winnow("list")
    assert json.loads(winnow("front", finished["id"], "--json"))["job_id"] == finished["id"]
    assert "knee" in winnow("front", finished["id"])
    told = winnow("export", finished["id"], "--knee", "-o", str(tmp_path))
    assert "is the knee of the front" in told
    assert "sha256" in told
    assert "the front says test_accuracy" in told
    assert [path.name for path in tmp_path.glob("*.tar.gz")] == [f"{finished['id']}-{told.split()[0]}.tar.gz"]
    file = tmp_path / "job.yaml"
    file.write_text(
        "recipe: bignas\ntraining: {epochs: 1}\nsearch: {algorithm: nsga2, evaluations: 2, options: {population: 2}}\n"
        "hardware: {seconds: 0.02}\n"
    )
    assert "succeeded" in winnow("submit", str(file), "--watch")
