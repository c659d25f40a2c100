"""What the client's answers can do: wait, show a front, choose of it, export and load."""

import tarfile
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from service import handles
from service.client import Client
from service.front_plot import plotted
from service.handles import FrontAnswer, JobAnswer, JobFailed
from tests.export.random_networks import random_contents, samples_of, space_of

POINTS = [
    {"architecture_id": "a<", "metrics": {"accuracy": 0.9, "latency_ms": 8.0}, "values": {"depth": 2}},
    {"architecture_id": "b", "metrics": {"accuracy": 0.8, "latency_ms": 4.0}, "values": {"depth": 1}},
    {"architecture_id": "c", "metrics": {"accuracy": 0.7, "latency_ms": 3.0}, "values": {"depth": 1}},
]
FRONT = {
    "job_id": "j",
    "points": POINTS,
    "objectives": [{"metric": "accuracy", "goal": "maximize"}, {"metric": "latency_ms", "goal": "minimize"}],
}


class Answers(Client):
    """A client whose job ends after it was asked twice."""

    def __init__(self, last: str = "succeeded", archive: Any = None) -> None:
        self.states, self.archive, self.asked = ["running", last], archive, []

    def _json(self, method: str, path: str, **_: Any) -> dict[str, Any]:
        if path.endswith("/front"):
            return dict(FRONT)
        return {"id": "j", "state": self.states.pop(0) if self.states else "queued", "message": "it broke"}

    def export(self, *asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        return {"formats": asked[3] or []}

    def download(self, export: dict[str, Any], folder: Any) -> Any:
        return self.archive


@pytest.fixture(autouse=True)
def fast(monkeypatch) -> None:
    monkeypatch.setattr(handles, "POLL_SECONDS", 0.0)


def test_a_job_is_waited_for() -> None:
    job = Answers().submit({})
    assert isinstance(job, JobAnswer)
    assert (job["state"], job.wait()["state"]) == ("running", "succeeded")
    with pytest.raises(JobFailed, match="Job j failed: it broke"):
        Answers("failed").submit({}).wait()
    with pytest.raises(TimeoutError, match="it goes on"):
        Answers("running").submit({}).wait(timeout_seconds=0)


def test_a_front_is_a_table() -> None:
    front = Answers().front("j")
    assert isinstance(front, FrontAnswer)
    table = front.to_pandas()
    assert list(table.columns) == ["architecture_id", "accuracy", "latency_ms", "depth"]
    assert list(table["accuracy"]) == [0.9, 0.8, 0.7]
    shown = front._repr_html_()
    assert "<code>a&lt;</code>" in shown
    assert "<th>latency_ms</th>" in shown
    svg = shown[: shown.index("<table>")]
    drawn = ElementTree.fromstring(svg)
    dots = [one for one in drawn if one.tag == "circle"]
    assert dots[0].find("title").text == "a<: accuracy 0.9, latency_ms 8"
    # Better is higher, slower is farther right.
    places = [(float(one.get("cx")), float(one.get("cy"))) for one in dots]
    assert places == sorted(places, key=lambda place: (-place[0], place[1]))


def test_a_front_of_one_objective_or_of_none_has_no_plot() -> None:
    assert plotted(POINTS, FRONT["objectives"][:1]) == ""
    assert plotted([], FRONT["objectives"]) == ""
    assert "circle" in plotted(POINTS[:1], FRONT["objectives"])


def test_the_best_under_limits_is_chosen() -> None:
    front = Answers().front("j")
    assert front.best()["architecture_id"] == "a<"
    assert front.best(under={"latency_ms": 5})["architecture_id"] == "b"
    assert front.best(by="latency_ms")["architecture_id"] == "c"
    for wrong, says in (
        ({"under": {"latency_ms": 1}}, r"latency_ms of at most 1\. The least of each: {'latency_ms': 3.0}"),
        ({"under": {"speed": 1}}, "has 'speed'. Known: accuracy, latency_ms"),
        ({"by": "speed"}, "no objective 'speed'"),
    ):
        with pytest.raises(ValueError, match=says):
            front.best(**wrong)


def test_an_export_is_loaded_by_its_tool(tmp_path) -> None:
    from export.formats.huggingface import format as huggingface

    space = space_of("llama")
    contents, texts = random_contents(space), samples_of(space)
    folder = tmp_path / "made" / "j-b-huggingface" / "huggingface"
    folder.mkdir(parents=True)
    huggingface.write_contents(contents, texts, folder)
    archive = tmp_path / "j-b-huggingface.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder.parent, arcname="j-b-huggingface")
    client = Answers(archive=archive)
    made = client.front("j").best(under={"latency_ms": 5}).export("huggingface")
    assert client.asked == [("j", "b", None, ["huggingface"])]
    model = made.load()
    with torch.no_grad():
        assert (model(texts).logits - contents.network(texts)).abs().max() < 1e-5
    with pytest.raises(ValueError, match="has no 'onnx'; it has huggingface"):
        made.load("onnx")
