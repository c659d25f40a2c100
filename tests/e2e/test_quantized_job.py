"""A joint search of architecture and quantization policy as a user asks for it: job, baselines, page, export."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import httpx
import pytest

from service.client import Client, ClientError
from service.stack import Stack
from tests.e2e.helpers import is_finished, wait_for

pytestmark = pytest.mark.e2e

JOB = {
    "recipe": "simq-nas",
    "hardware": {"seconds": 0.02, "max_layers": 0, "networks": 10},  # a table has tests of its own
    "training": {"epochs": 1, "batch_size": 256, "options": {"num_random": 1}},
    "quantization": {"bits": [8, 32], "tie": "block", "pinned": {"first": 32}, "baseline_evaluations": 2},
    "search": {"algorithm": "random", "evaluations": 8, "calibration_images": 64, "options": {"batch": 4}},
}


@pytest.mark.thorough
def test_a_joint_search_shows_its_baselines_and_exports_integers(client: Client, stack: Stack, tmp_path: Path) -> None:
    job = client.submit(JOB)
    finished = wait_for(client, job["id"], is_finished)
    assert finished["state"] == "succeeded", finished["message"]
    assert finished["spec"]["recipe"] == "simq_nas"

    front = client.front(job["id"])
    names = [baseline["name"] for baseline in front["baselines"]]
    assert names == [
        "largest network, widest",
        "largest network, narrowest",
        "best architecture, then narrowest",
    ]
    full, quantized, best = front["baselines"]
    assert quantized["metrics"]["size_bytes"] < full["metrics"]["size_bytes"] / 2.5
    assert best["metrics"]["size_bytes"] <= quantized["metrics"]["size_bytes"]
    for baseline in front["baselines"]:
        assert baseline["metrics"]["latency_ms"] > 0
        assert 0 < baseline["metrics"]["test_accuracy"] <= 1

    with httpx.Client(base_url=stack.url, headers=client.headers) as http:
        table = http.get(f"/v1/jobs/{job['id']}/front?format=csv").text
        layers = http.get(f"/v1/jobs/{job['id']}/sensitivity").json()["layers"]
        chosen = next(p for p in front["points"] if 8 in p["values"].values())
        shown = http.get(f"/v1/jobs/{job['id']}/architectures/{chosen['architecture_id']}").json()
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["baseline"] for row in rows] == [""] * len(front["points"]) + [front["reference"]["name"]] + names
    assert {layer["bits"] for layer in layers} == {8}
    assert "stem.conv" not in {layer["layer"] for layer in layers}
    assert all(layer["divergence"] >= 0 for layer in layers)
    policies = {layer["slot"]: layer["policy"] for layer in shown["layers"]}
    assert policies["stem"] == {"conv": "fp32"}
    assert sum(layer["weight_bytes"] for layer in shown["layers"]) == chosen["metrics"]["size_bytes"]

    export = client.export(job["id"], chosen["architecture_id"])
    found = export["report"]["formats"]["onnx"]
    assert found["accuracy_difference"] <= found["accuracy_tolerance"]
    archive = client.download(export, tmp_path)
    with tarfile.open(archive) as tar:
        inside = {Path(name).name for name in tar.getnames()}
        assert {"quantization.json", "quantized.py", "model.onnx"} <= inside
        recipe = next(member for member in tar.getmembers() if member.name.endswith("quantization.json"))
        extracted = tar.extractfile(recipe)
        assert extracted is not None
        assert json.load(extracted)["layers"]


@pytest.mark.parametrize(
    ("quantization", "says"),
    [
        ({"bits": [2, 8]}, "no kernels for 2 bits"),
        ({"bits": [8, 32], "calibration_examples": 3}, "at least 16"),
        ({"bits": [8, 32], "layers": {"layer9.query": [8]}}, "no layer 'layer9.query'"),
        ({"bits": [8, 32], "pinned": {"last": 32}, "layers": {"head.*": [8, 32]}}, "pinned to 32 bits and searched"),
    ],
)
def test_policies_that_cannot_be_are_refused_at_once(
    client: Client, quantization: dict[str, object], says: str
) -> None:
    with pytest.raises(ClientError, match=says):
        client.submit({"recipe": "simq_nas", "quantization": quantization})
