"""`winnow.shrink`: every step is asked of the service in its order, and what comes back opens."""

from pathlib import Path
from typing import Any

import httpx
import pytest

import winnow
from service.client import Client, JobAnswer
from service.shrinking import where


class Service:
    """Answers as a service does, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        front = httpx.MockTransport(lambda _request: httpx.Response(200, json={"points": []}))
        self.client = Client("http://127.0.0.1:1", key="k", transport=front)

    def shrink_plan(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(("plan", asked))
        return {"job": {"recipe": "bignas"}, "rule": {"pick": "as_good", "under": asked["under"]}}

    def submit(self, job: dict[str, Any]) -> JobAnswer:
        self.asked.append(("submit", job))
        return JobAnswer(self.client, {"id": "j", "state": "succeeded", "message": None})

    def request_export(self, job_id: str, network: str | None, rule: Any, formats: Any) -> dict[str, Any]:
        self.asked.append(("export", (job_id, network, rule, formats)))
        return {"id": "e", "chosen": "the cheapest"}

    def finished_export(self, export: dict[str, Any]) -> dict[str, Any]:
        return {**export, "formats": ["onnx"]}

    def download(self, _export: dict[str, Any], folder: Path) -> Path:
        return folder / "j.tar.gz"


def test_the_plan_is_submitted_and_its_rule_exported(tmp_path: Path) -> None:
    service = Service()

    found = winnow.shrink(
        "mobilenet/digits",
        tmp_path,
        under={"latency_ms": 5},
        formats=["onnx"],
        folder=tmp_path,
        client=service,  # type: ignore[arg-type]
    )

    plan, submitted, exported = service.asked
    assert plan[1]["data"] == str(tmp_path)
    assert submitted == ("submit", {"recipe": "bignas"})
    assert exported == ("export", ("j", None, {"pick": "as_good", "under": {"latency_ms": 5}}, ["onnx"]))
    assert (found.chosen, found.export.archive) == ("the cheapest", tmp_path / "j.tar.gz")


def test_names_stay_names_and_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert where("mobilenet/digits") == "mobilenet/digits"
    assert where("data") == str(tmp_path / "data")
    assert where("./data") == where(Path("data")) == str(tmp_path / "data")
