"""The family of docs/add-a-family.md, through the real API and worker, to an export that was verified."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from service.client import Client
from tests.conftest import TINY_JOB
from tests.e2e.helpers import is_finished, wait_for

pytestmark = pytest.mark.e2e


@pytest.mark.thorough
def test_a_users_family_is_trained_searched_and_exported(client: Client, tmp_path: Path) -> None:
    supernet = {"family": "residual", "preset": "digits"}
    profile = client.profile({"supernet": supernet, "objectives": [{"metric": "macs", "limit": 20_000}]})
    assert profile["architectures"] == "117"
    assert profile["feasibility"]["answer"] == "feasible"

    job = client.submit({**TINY_JOB, "supernet": supernet, "name": "a family of one's own"})
    job = wait_for(client, job["id"], is_finished)
    assert job["state"] == "succeeded", job["message"]
    front = client.front(job["id"])
    assert all(point["values"].keys() >= {"width", "depth", "block1_hidden"} for point in front["points"])

    export = client.export(job["id"], front["knee"])
    assert export["report"]["formats"]["safetensors"]["max_abs_difference"] == 0
    with tarfile.open(client.download(export, tmp_path)) as archive:
        network = archive.extractfile(f"{job['id']}-{front['knee']}/network.py")
        assert network is not None
        source = network.read().decode()
    assert "class Residual(nn.Module)" in source
    assert "search_space" not in source
