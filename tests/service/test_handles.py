"""What the client's answers can do: wait, show a front, choose of it, export and load."""

import asyncio
import hashlib
import inspect
import json
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
import torch

import winnow
from service.client import (
    AsyncClient,
    AsyncFrontAnswer,
    AsyncJobAnswer,
    Client,
    ClientError,
    FrontAnswer,
    JobAnswer,
    JobFailed,
    handles,
    transfers,
    verbs,
)
from service.client.progress import bar, line
from service.front_plot import COLOURS, plot
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


class Answers:
    """An API whose job ends after it was asked twice, and whose exports are an archive."""

    def __init__(self, last: str = "succeeded", archive: Path | None = None) -> None:
        self.states, self.archive, self.asked = ["running", last], archive, []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/front"):
            return httpx.Response(200, json=FRONT)
        if path.endswith("/evaluations"):
            last = request.url.params.get("cursor")
            page = {"evaluations": POINTS[1:] if last else POINTS[:1], "next_cursor": None if last else "more"}
            return httpx.Response(200, json=page)
        if path.endswith("/download"):
            assert self.archive is not None
            return httpx.Response(200, content=self.archive.read_bytes())
        if path.endswith("/exports"):
            self.asked.append(json.loads(request.content))
            return httpx.Response(202, json={"id": "e", "state": "queued"})
        if path == "/v1/exports/e":
            return httpx.Response(200, json=self.export())
        state = self.states.pop(0) if self.states else "queued"
        return httpx.Response(200, json={"id": "j", "state": state, "message": "it broke", "progress": 0.5})

    def export(self) -> dict[str, Any]:
        assert self.archive is not None
        return {
            "id": "e",
            "state": "succeeded",
            "job_id": "j",
            "architecture_id": "b",
            "formats": self.asked[-1].get("formats", []),
            "download_url": "/v1/exports/e/download",
            "sha256": hashlib.sha256(self.archive.read_bytes()).hexdigest(),
        }


def client_of(answers: Answers | None = None) -> Client:
    return Client("http://127.0.0.1:1", key="k", transport=httpx.MockTransport(answers or Answers()))


def async_client_of(answers: Answers | None = None) -> AsyncClient:
    return AsyncClient("http://127.0.0.1:1", key="k", transport=httpx.MockTransport(answers or Answers()))


@pytest.fixture(autouse=True)
def fast(monkeypatch) -> None:
    monkeypatch.setattr(handles, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(verbs, "EXPORT_POLL_SECONDS", 0.0)
    monkeypatch.setattr(transfers, "RECONNECT_SECONDS", 0.0)


def test_a_job_is_waited_for() -> None:
    job = client_of().submit({})
    assert isinstance(job, JobAnswer)
    assert (job["state"], job.wait()["state"]) == ("running", "succeeded")
    with pytest.raises(JobFailed, match="Job j failed: it broke"):
        client_of(Answers("failed")).submit({}).wait()
    with pytest.raises(TimeoutError, match="it goes on"):
        client_of(Answers("running")).submit({}).wait(timeout_seconds=0)


def test_a_front_is_a_table() -> None:
    front = client_of().front("j")
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
    one = {**FRONT, "objectives": FRONT["objectives"][:1]}
    for front, says in ((one, "one objective, accuracy"), ({**FRONT, "points": []}, "Known: nothing yet")):
        with pytest.raises(ValueError, match=says):
            plot({"": front})
        shown = FrontAnswer(client_of(), front)._repr_html_()
        assert shown.startswith("<table>")
    assert "circle" in plot({"": {**FRONT, "points": POINTS[:1]}}).svg
    assert "circle" in plot({"": one}, x="latency_ms").svg
    with pytest.raises(ValueError, match=r"both accuracy and speed\. Known: accuracy, latency_ms"):
        plot({"": FRONT}, x="speed")
    with pytest.raises(ValueError, match="1 to 6 fronts; got 7"):
        plot({str(number): FRONT for number in range(len(COLOURS) + 1)})


def test_fronts_stand_in_one_plot_and_are_saved(tmp_path) -> None:
    front = client_of().front("j")
    both = plot({"mine": front, "<theirs>": {**FRONT, "points": POINTS[:1]}}, x="latency_ms")
    drawn = ElementTree.fromstring(both.svg)
    colours = [one.get("fill") for one in drawn if one.tag == "circle"]
    assert colours == [COLOURS[0]] * 4 + [COLOURS[1]] * 2  # points, and one mark of the legend each
    assert [one.text for one in drawn if one.tag == "text"][-2:] == ["mine", "<theirs>"]
    saved = ElementTree.fromstring(both.save(tmp_path / "both.svg").read_text())
    assert saved.tag == "{http://www.w3.org/2000/svg}svg"


def test_what_was_evaluated_is_a_table_of_all_pages() -> None:
    assert list(client_of().submit({}).evaluated()["architecture_id"]) == ["a<", "b", "c"]
    assert [one["architecture_id"] for one in client_of().evaluations("j")] == ["a<", "b", "c"]


def test_networks_of_a_front_have_names_for_what_is_asked_most() -> None:
    front = FrontAnswer(client_of(), {**FRONT, "knee": "b"})
    assert [one.id for one in front.networks] == ["a<", "b", "c"]
    assert front.knee.metrics == {"accuracy": 0.8, "latency_ms": 4.0}
    assert client_of().front("j").knee is None


@pytest.mark.parametrize("away", [httpx.ReadError("gone"), httpx.Response(503, text="starting"), httpx.Response(429)])
def test_whoever_waits_bears_an_api_that_is_away(away, monkeypatch) -> None:
    answers, asked = Answers(), []

    def sometimes(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        if len(asked) in (2, 3):
            if isinstance(away, Exception):
                raise away
            return away
        return answers(request)

    client = Client("http://127.0.0.1:1", key="k", transport=httpx.MockTransport(sometimes))
    assert client.submit({}).wait().state == "succeeded"
    assert asked == ["POST", "GET", "GET", "GET"]
    monkeypatch.setattr(transfers, "PATIENCE_SECONDS", -1.0)
    asked[:], answers.states = [], ["running", "succeeded"]
    with pytest.raises(ClientError):
        client.submit({}).wait()


# --- the asynchronous client --------------------------------------------------------------------------


def test_the_same_verbs_are_awaited() -> None:
    async def way() -> tuple[Any, ...]:
        async with async_client_of() as client:
            job = await client.submit({})
            assert isinstance(job, AsyncJobAnswer)
            assert (await job.wait()).state == "succeeded"
            front = await job.front
            assert isinstance(front, AsyncFrontAnswer)
            pages = [one["architecture_id"] async for one in client.evaluations("j")]
            return front.best(under={"latency_ms": 5}).id, pages, len(await job.evaluated())

    assert asyncio.run(way()) == ("b", ["a<", "b", "c"], 3)


def test_what_goes_wrong_is_raised_where_it_is_awaited() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("events"):
            raise httpx.ReadError("gone")
        return httpx.Response(404, json={"detail": "There is none."})

    async def way() -> None:
        async with AsyncClient("http://127.0.0.1:1", key="k", transport=httpx.MockTransport(refuse)) as client:
            with pytest.raises(ClientError, match="There is none"):
                await client.job("x")
            with pytest.raises(ClientError, match=r"Lost the connection to .*: gone"):
                _ = [event async for event in client.events("x", patience_seconds=0)]
        async with async_client_of(Answers("failed")) as client:
            with pytest.raises(JobFailed, match="Job j failed: it broke"):
                await (await client.submit({})).wait()

    asyncio.run(way())


def test_a_waiting_job_leaves_the_loop_to_others(monkeypatch) -> None:
    monkeypatch.setattr(handles, "POLL_SECONDS", 0.01)
    answers = Answers("running")
    answers.states += ["running"] * 50
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def way() -> None:
        async with async_client_of(answers) as client:
            job = await client.submit({})
            beside = asyncio.create_task(others())
            with pytest.raises(TimeoutError):
                await job.wait(timeout_seconds=0.05)
            beside.cancel()

    asyncio.run(way())
    assert turns > 10


@pytest.mark.parametrize("awaited", [False, True])
def test_a_stream_that_breaks_is_taken_up_where_it_broke(awaited: bool) -> None:
    seen: list[str | None] = []

    def stream(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("last-event-id"))
        if len(seen) == 2:
            return httpx.Response(503)
        number = 1 if len(seen) == 1 else 2
        text = f': hello\n\nid: {number}\nevent: state\ndata: {{"n":\ndata: {number}}}\n\n'
        return httpx.Response(200, stream=Broken(text.encode(), breaks=number == 1))

    async def way() -> list[Any]:
        async with AsyncClient("http://127.0.0.1:1", key="k", transport=httpx.MockTransport(stream)) as client:
            return [event async for event in client.events("j")]

    if awaited:
        events = asyncio.run(way())
    else:
        events = list(Client("http://127.0.0.1:1", key="k", transport=httpx.MockTransport(stream)).events("j"))
    assert [(event.kind, event.data, event.id) for event in events] == [
        ("state", {"n": 1}, "1"),
        ("state", {"n": 2}, "2"),
    ]
    assert seen == [None, "1", "1"]


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """An answer whose connection may break off at its end."""

    def __init__(self, content: bytes, breaks: bool) -> None:
        self.content, self.breaks = content, breaks

    def __iter__(self) -> Iterator[bytes]:
        yield self.content
        if self.breaks:
            raise httpx.ReadError("broken")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def test_both_clients_have_every_verb_with_the_same_arguments() -> None:
    def public(kind: type) -> dict[str, Any]:
        return {
            name: inspect.signature(getattr(kind, name))
            for name in dir(kind)
            if not name.startswith("_") and callable(getattr(kind, name)) and name not in ("close", "clear", "pop")
        }

    ours, theirs = public(Client), public(AsyncClient)
    assert ours.keys() == theirs.keys()
    assert {"submit", "events", "download", "solve"} <= ours.keys()
    assert all(ours[name].parameters == theirs[name].parameters for name in ours)
    assert str(ours["submit"].return_annotation) == "JobAnswer"
    assert str(theirs["submit"].return_annotation) == "Awaitable[AsyncJobAnswer]"
    assert str(theirs["events"].return_annotation) == "AsyncIterator[Event]"


# --- the bar --------------------------------------------------------------------------------------------


def test_a_bar_is_for_those_who_look(capsys) -> None:
    with bar(None) as show:
        show({"state": "running", "progress": 0.5})
    assert capsys.readouterr().err == ""
    with bar(True) as show:
        show({"state": "running", "stage": "search [all]", "progress": 0.5, "eta_seconds": 30})
    assert "search [all], about 30 s left" in " ".join(capsys.readouterr().err.split())
    assert line({"state": "queued", "waits": "No worker is there."}) == "No worker is there."
    assert line({"state": "running", "stage": "search", "eta_seconds": 7200}) == "search, about 2.0 h left"


def test_the_best_under_limits_is_chosen() -> None:
    front = client_of().front("j")
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
    answers = Answers(archive=archive)
    network = client_of(answers).front("j").best(under={"latency_ms": 5})
    made = network.export("huggingface", folder=tmp_path / "got")
    assert answers.asked == [{"architecture_id": "b", "formats": ["huggingface"]}]
    assert made.archive == tmp_path / "got" / "j-b-huggingface.tar.gz"
    model = made.load()
    with torch.no_grad():
        assert (model(texts).logits - contents.network(texts)).abs().max() < 1e-5
    with pytest.raises(ValueError, match="has no 'onnx'; it has huggingface"):
        made.load("onnx")
    assert type(winnow.load(made.archive)) is type(model)
    assert type(winnow.load(made.unpack(), "huggingface")) is type(model)
    with pytest.raises(ValueError, match="There is no"):
        winnow.load(tmp_path / "none.tar.gz")

    async def way() -> Any:
        async with async_client_of(Answers(archive=archive)) as client:
            front = await client.front("j")
            return await front.best(under={"latency_ms": 5}).export("huggingface", folder=tmp_path / "awaited")

    assert asyncio.run(way()).archive.read_bytes() == archive.read_bytes()
