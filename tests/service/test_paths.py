"""Paths of jobs over HTTP: refused when they are submitted, in the same words whatever lies there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.settings import Settings
from tests.api import open_api

SECRET = "secret-of-somebody"


@pytest.fixture
def api(settings: Settings, tmp_path: Path) -> Iterator[TestClient]:
    """An API that opens one folder."""
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "config.json").write_text(f'{{"model_type": "{SECRET}"}}')
    (tmp_path / "open" / "table.csv").write_text(f"target,key,latency_ms\n{SECRET},{SECRET},{SECRET}\n")
    with open_api(settings.model_copy(update={"data_roots": str(tmp_path / "open")})) as client:
        yield client


@pytest.mark.parametrize("route", ["/v1/jobs", "/v1/profile"])
def test_a_checkpoint_outside_is_not_spoken_of(api: TestClient, tmp_path: Path, route: str) -> None:
    said = []
    for folder in (tmp_path / "closed", tmp_path / "nothing", tmp_path / "open" / ".." / "closed"):
        supernet = {"family": "bert", "pretrained": str(folder)}
        answer = api.post(route, json={"supernet": supernet})
        assert answer.status_code == 422
        assert SECRET not in answer.text
        said.append(answer.json()["detail"].replace(str(folder), "X"))
    assert len(set(said)) == 1
    assert "WINNOW_DATA_ROOTS" in said[0]
    inside = {"supernet": {"family": "bert", "pretrained": str(tmp_path / "open" / "none")}}
    assert "There is no checkpoint folder" in api.post(route, json=inside).json()["detail"]


def test_a_configuration_that_the_client_sends_does_not_open_the_folder(api: TestClient, tmp_path: Path) -> None:
    config = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    more = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 128}
    supernet = {"family": "llama", "pretrained": str(tmp_path / "closed"), "checkpoint": {**config, **more}}
    data = {"source": "text", "path": str(tmp_path / "open" / "x.txt")}
    answer = api.post("/v1/jobs", json={"recipe": "llama-nas", "supernet": supernet, "data": data})
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].startswith("supernet.pretrained:"), answer.json()["detail"]


def test_a_table_that_is_none_is_refused_without_its_lines(api: TestClient, tmp_path: Path) -> None:
    gradient = {"targets": [str(tmp_path / "open" / "table.csv")], "latency_weights": [0.1]}
    answer = api.post("/v1/jobs", json={"recipe": "proxylessnas", "gradient": gradient})
    assert answer.status_code == 422
    assert "no table of latencies" in answer.json()["detail"]
    assert SECRET not in answer.text


def test_what_is_open_is_accepted(api: TestClient, tmp_path: Path) -> None:
    data = {"source": "text", "path": str(tmp_path / "open" / "later.txt")}
    assert api.post("/v1/jobs", json={"recipe": "llama-nas", "data": data}).status_code == 201
    data["path"] = str(tmp_path / "closed")
    assert api.post("/v1/jobs", json={"recipe": "llama-nas", "data": data}).status_code == 422
