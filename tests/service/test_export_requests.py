"""Asking for an export: which network is meant, and archives that are gone or damaged."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from job.spec import JobSpec
from pipeline.evaluating import row_of
from pipeline.workshop import Workshop
from search.evaluation import Evaluation
from service import cli, export_commands
from service.client import Client, ClientError, transfers
from service.store.models import Artifact, Export, Finalist, TrainedSupernet
from service.terminal import export_rule, verified
from tests.api import open_api
from tests.conftest import TINY_JOB
from tests.pipeline.test_sharing import running
from tests.tiers import mostly_thorough

FILE = {"path": "x", "sha256": "0", "size_bytes": 1}


def with_front(database, settings, largest: float | None, *accuracies: float) -> tuple[Workshop, list[str]]:
    """A job whose front has these accuracies, each network with half the MACs of the one before."""
    spec = JobSpec.model_validate({**TINY_JOB, "objectives": [{"metric": "accuracy"}, {"metric": "macs"}]})
    shop = running(database, settings, spec)
    space, ids = spec.space(), []
    rng = np.random.default_rng(0)
    for number, accuracy in enumerate(accuracies):
        metrics = {"accuracy": accuracy, "macs": 1000.0 / 2**number}
        one = Evaluation(space.sample(rng), metrics, {"accuracy": "measured", "macs": "analytic"})
        shop.reporter.evaluation(row_of(one, 0.1))
        finalist = {
            "metrics": {"latency_ms": 8.0 / 2**number},
            "sources": {"latency_ms": "measured"},
            "measurements": [],
        }
        row = Finalist(job_id=shop.job_id, architecture_id=one.architecture.id, position=number + 1, **finalist)
        shop.reporter.finalist(row)
        ids.append(one.architecture.id)
    shop.reporter.artifact(lambda: Artifact(job_id=shop.job_id, kind="supernet", step=1, **FILE))
    scores = {"smallest": 0.1, "largest": largest, "random": {}}
    parts = {"supernet": {}, "data": {}, "training": {}, "curve": [], "scores": scores}
    facts = {"name": "x", "recipe": "bignas", "space": space.name, "metric": "accuracy", "step": 1}
    shop.reporter.trained(TrainedSupernet(id=shop.job_id, job_id=shop.job_id, **facts, **parts, **FILE))
    return shop, ids


@pytest.fixture
def ask(settings):
    with open_api(settings) as api:

        def post(job_id: str, **body: Any) -> tuple[int, dict[str, Any]]:
            answer = api.post(f"/v1/jobs/{job_id}/exports", json=body)
            return answer.status_code, answer.json()

        yield post


def test_rules_name_what_they_choose(database, settings, ask) -> None:
    shop, ids = with_front(database, settings, 0.99, 0.9, 0.85, 0.3)
    for rule, chosen, words in (
        ({"pick": "most_accurate"}, 0, "the best accuracy of the front: accuracy 0.9"),
        ({"pick": "knee"}, 1, "the knee of the front"),
        ({"under": {"latency_ms": 4.5}}, 1, "among networks with latency_ms of at most 4.5"),
        ({"under": {"latency_ms": 4.5, "macs": 300}}, 2, "latency_ms of at most 4.5 and macs of at most 300"),
    ):
        status, answer = ask(shop.job_id, rule=rule)
        assert (status, answer["architecture_id"]) == (202, ids[chosen]), answer
        assert words in answer["chosen"]
    for rule, status, says in (
        ({"under": {"macs": 1}}, 409, "No network of the front has macs of at most 1. The nearest is"),
        ({"under": {"speed": 1}}, 422, "No network of the front has 'speed'. Known: latency_ms, macs"),
        ({"under": {"accuracy": 1}}, 422, "More of accuracy is better"),
        ({"pick": "best"}, 422, "rule.pick"),
    ):
        found, answer = ask(shop.job_id, rule=rule)
        assert found == status
        assert says in answer["detail"]
    assert ask(shop.job_id, architecture_id=ids[0], rule={"pick": "knee"})[0] == 422


def test_without_a_rule_the_knee_is_exported_only_near_the_reference(database, settings, ask) -> None:
    shop, ids = with_front(database, settings, 0.905, 0.9, 0.899, 0.3)
    status, answer = ask(shop.job_id)
    assert (status, answer["architecture_id"]) == (202, ids[1])
    assert "accuracy 0.899, where the largest network has 0.905" in answer["chosen"]

    shop, ids = with_front(database, settings, 0.95, 0.9, 0.85, 0.3)
    status, answer = ask(shop.job_id)
    assert status == 422
    assert (answer["knee"], answer["reference"]["value"]) == (ids[1], 0.95)
    assert "--under latency_ms=5" in answer["detail"]

    shop, ids = with_front(database, settings, None, 0.9)
    assert ask(shop.job_id)[1]["architecture_id"] == ids[0]
    shop, _ = with_front(database, settings, None, 0.9, 0.5)
    assert ask(shop.job_id)[0] == 422
    shop, _ = with_front(database, settings, 0.9)
    assert "no front yet" in ask(shop.job_id)[1]["detail"]


@pytest.mark.parametrize("harm", mostly_thorough(["none", "deleted", "cut", "changed"], "changed"))
def test_an_archive_that_is_gone_or_damaged_is_made_again(database, settings, ask, harm: str, tmp_path: Path) -> None:
    shop, ids = with_front(database, settings, 0.9, 0.9)
    made = ask(shop.job_id, architecture_id=ids[0])[1]
    archive = settings.artifacts_dir / "exports" / "x.tar.gz"
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(b"an archive")
    with database.transaction() as session:
        row = session.get(Export, made["id"])
        row.state, row.archive, row.folder, row.size_bytes = "succeeded", "exports/x.tar.gz", "exports/x", 10
        row.sha256 = hashlib.sha256(b"an archive").hexdigest()
    if harm == "deleted":
        archive.unlink()
    elif harm != "none":
        archive.write_bytes(b"an arch" if harm == "cut" else b"an archivf")
    with open_api(settings) as api:
        download = api.get(f"/v1/exports/{made['id']}/download")
    again = ask(shop.job_id, architecture_id=ids[0])[1]
    assert again["id"] == made["id"]
    if harm == "none":
        assert (download.content, again["state"]) == (b"an archive", "succeeded")
        return
    assert download.status_code == 404
    assert "export the architecture again" in download.json()["detail"]
    assert (again["state"], again["download_url"], again["sha256"]) == ("queued", None, None)


# --- the command line --------------------------------------------------------------------------------


def test_options_make_rules() -> None:
    assert export_rule({}, []) is None
    assert export_rule({"knee": True}, []) == {"pick": "knee", "under": {}}
    limits = export_rule({}, ["latency_ms=5", "size_bytes=1e6"])
    assert limits == {"pick": "most_accurate", "under": {"latency_ms": 5.0, "size_bytes": 1e6}}
    for under, says in (
        (["latency_ms"], "such as latency_ms=5"),
        (["a=b"], "'a=b'"),
        (["a=nan"], "'a=nan'"),
        (["a=1", "a=2"], "twice"),
    ):
        with pytest.raises(ValueError, match=says):
            export_rule({}, under)
    with pytest.raises(ValueError, match="give one of them"):
        export_rule({"knee": True, "most_accurate": True}, [])


def test_the_command_says_what_it_exports_and_what_that_scores(monkeypatch, tmp_path: Path) -> None:
    asked: list[Any] = []
    found = {"metric": "perplexity", "perplexity": 1410.0, "accuracy": 0.1, "interval_95": [1300.0, 1500.0]}
    front = {"metric": "test_perplexity", "value": 1400.0, "samples": 9}
    report = {"samples": 9, "formats": {"onnx": found}, "front": front}
    made = {"architecture_id": "ab", "chosen": "the knee of the front: perplexity 1410", "size_bytes": 3, "sha256": "c"}
    made |= {"report": report}
    monkeypatch.setattr(Client, "request_export", lambda self, *given: (asked.append(given), made)[1])
    monkeypatch.setattr(Client, "finished_export", lambda self, export: export)
    monkeypatch.setattr(Client, "download", lambda self, export, folder: folder / "x.tar.gz")
    with export_commands.console.capture() as told:
        done = CliRunner().invoke(cli.app, ["export", "j", "--under", "latency_ms=5"], catch_exceptions=False)
    assert done.exit_code == 0
    assert asked == [("j", None, {"pick": "most_accurate", "under": {"latency_ms": 5.0}}, [], None)]
    assert "ab is the knee of the front: perplexity 1410" in told.get()
    assert "onnx: perplexity 1.41 k (95 %: 1.3 k to 1.5 k) on 9 samples" in told.get()
    assert "accuracy" not in told.get()
    named = ["export", "j", "ab", "--format", "huggingface", "--format", "onnx,gguf", "--weights", "unhealed"]
    CliRunner().invoke(cli.app, named, catch_exceptions=False)
    assert asked[-1] == ("j", "ab", None, ["huggingface", "onnx", "gguf"], "unhealed")
    with pytest.raises(ValueError, match="not both"):
        CliRunner().invoke(cli.app, ["export", "j", "ab", "--knee"], catch_exceptions=False)
    assert verified({"samples": 2, "formats": {"onnx": {"accuracy": 0.5}}}) == ["  onnx: accuracy 50.00 % on 2 samples"]


def test_the_command_that_heals_says_which_networks_and_for_how_long(monkeypatch) -> None:
    asked: list[Any] = []
    made = {"id": "new"}
    monkeypatch.setattr(Client, "descend", lambda self, *given: (asked.append(given), made)[1])
    for words, part in (
        (["j"], {}),
        (["j", "front", "--most", "3"], {"networks": "front", "most": 3}),
        (["j", "ab", "cd", "--steps", "9"], {"networks": ["ab", "cd"], "steps": 9}),
        (["j", "knee", "--minutes", "2.5"], {"networks": "knee", "minutes": 2.5}),
        (["j", "--tokens", "5", "--set", "lora_rank=4", "--set", "data.source=text"], None),
    ):
        done = CliRunner().invoke(cli.app, ["heal", *words], catch_exceptions=False)
        assert done.exit_code == 0
        if part is None:
            part = {"tokens": 5, "lora_rank": 4, "data": {"source": "text"}}
        assert asked[-1] == ("j", "heal", {"healing": part}, None)
    with pytest.raises(ValueError, match="Give knee or front alone, or ids of networks"):
        CliRunner().invoke(cli.app, ["heal", "j", "knee", "ab"], catch_exceptions=False)


@pytest.mark.parametrize("whole", [True, False])
def test_a_download_is_named_by_job_and_network_and_checked(database, settings, whole: bool, tmp_path: Path) -> None:
    class Archive(Client):
        def __init__(self) -> None:
            self._http = TestClient(app)
            self.url = "here"

    from fastapi import FastAPI, Response

    app = FastAPI()
    app.get("/d")(lambda: Response(b"data"))
    export = {"id": "e", "job_id": "j1", "architecture_id": "ab", "download_url": "/d"}
    export["sha256"] = hashlib.sha256(b"data" if whole else b"other").hexdigest()
    if whole:
        assert Archive().download(export, tmp_path) == tmp_path / "j1-ab.tar.gz"
        assert json.dumps([path.name for path in tmp_path.iterdir()]) == '["j1-ab.tar.gz"]'
    else:
        with pytest.raises(ClientError, match="damaged"):
            Archive().download(export, tmp_path)
        assert list(tmp_path.iterdir()) == []


# --- formats -----------------------------------------------------------------------------------------


def test_formats_are_checked_when_they_are_asked_for(database, settings, ask) -> None:
    shop, ids = with_front(database, settings, 0.9, 0.9)
    plain = ask(shop.job_id, architecture_id=ids[0])[1]
    status, named = ask(shop.job_id, architecture_id=ids[0], formats=["onnx", "winnow", "onnx"])
    assert (status, named["formats"], plain["formats"]) == (202, ["onnx", "winnow"], [])
    assert named["id"] != plain["id"]
    assert ask(shop.job_id, architecture_id=ids[0], formats=["winnow", "onnx"])[1]["id"] == named["id"]
    for formats, says in (
        (["huggingface"], "transformers has no class of such networks. It can have: "),
        (["coreml"], "No export format named 'coreml'. Known: "),
        ([], "formats names none"),
        (["x" * 65], "formats"),
        ("onnx", "formats"),
    ):
        status, answer = ask(shop.job_id, architecture_id=ids[0], formats=formats)
        assert status == 422
        assert says in answer["detail"], answer
    with open_api(settings) as api:
        listed = api.get(f"/v1/jobs/{shop.job_id}/exports").json()
        network = api.get(f"/v1/jobs/{shop.job_id}/architectures/{ids[0]}").json()
    assert {tuple(one["formats"]) for one in listed} == {(), ("onnx", "winnow")}
    assert {"onnx", "winnow"} <= set(network["formats"])
    assert "huggingface" not in network["formats"]


def test_a_download_has_its_digest_and_is_taken_up_where_it_ended(
    database, settings, ask, tmp_path: Path, monkeypatch
) -> None:
    shop, ids = with_front(database, settings, 0.9, 0.9)
    made = ask(shop.job_id, architecture_id=ids[0], formats=["onnx"])[1]
    content = b"an archive of some bytes"
    archive = settings.artifacts_dir / "exports" / "x.tar.gz"
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    with database.transaction() as session:
        row = session.get(Export, made["id"])
        row.state, row.archive, row.folder, row.size_bytes = "succeeded", "exports/x.tar.gz", "exports/x", len(content)
        row.sha256 = sha256
    digest = f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"
    with open_api(settings) as api:
        whole = api.get(f"/v1/exports/{made['id']}/download")
        rest = api.get(f"/v1/exports/{made['id']}/download", headers={"Range": "bytes=3-", "If-Range": f'"{sha256}"'})
        assert (whole.headers["content-digest"], whole.headers["repr-digest"]) == (digest, digest)
        assert (rest.status_code, rest.content, rest.headers["repr-digest"]) == (206, content[3:], digest)
        assert "content-digest" not in rest.headers

        client = Client.__new__(Client)
        client._http, client.url = api, "here"
        export = client._run(client._ask("GET", f"/v1/exports/{made['id']}"))
        name = f"{shop.job_id}-{ids[0]}-onnx.tar.gz"
        folder = tmp_path / "got"
        folder.mkdir()
        (folder / f".{name}.{sha256[:12]}.part").write_bytes(content[:7])
        ranges = []
        real = api.stream
        monkeypatch.setattr(api, "stream", lambda *a, **k: (ranges.append(k["headers"].get("Range")), real(*a, **k))[1])
        assert client.download(export, folder) == folder / name
    assert ranges == ["bytes=7-"]
    assert (folder / name).read_bytes() == content
    assert [path.name for path in folder.iterdir()] == [name]


class Broken(httpx.SyncByteStream):
    """Some bytes, and then the connection is gone; without an end all of them come."""

    def __init__(self, content: bytes, end: int | None) -> None:
        self.content, self.end = content, end

    def __iter__(self) -> Iterator[bytes]:
        yield self.content[: self.end]
        if self.end is not None:
            raise httpx.ReadError("the connection is gone")


def served(content: bytes, ends: list[int | None], ranges: list[str | None]) -> Client:
    """A client of a server that sends so many bytes in answer to each request, and what it was asked for."""
    digest = hashlib.sha256(content).hexdigest()

    def answer(request: httpx.Request) -> httpx.Response:
        wanted = request.headers.get("Range")
        ranges.append(wanted)
        if wanted is None:
            return httpx.Response(200, stream=Broken(content, ends.pop(0)))
        assert request.headers["If-Range"] == f'"{digest}"'
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        return httpx.Response(206, stream=Broken(content[start:], ends.pop(0)))

    return Client("http://here", transport=httpx.MockTransport(answer))


EXPORT = {"id": "e", "job_id": "j1", "architecture_id": "ab", "download_url": "/d"}


def test_an_interrupted_download_goes_on_where_it_ended(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(transfers, "RECONNECT_SECONDS", 0)
    content, ranges = bytes(range(200)), []
    export = {**EXPORT, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    with served(content, [50, 0, 70, None], ranges) as client:
        assert client.download(export, tmp_path).read_bytes() == content
    assert ranges == [None, "bytes=50-", "bytes=50-", "bytes=120-"]
    assert [path.name for path in tmp_path.iterdir()] == ["j1-ab.tar.gz"]


def test_a_download_that_breaks_off_for_good_is_said_and_the_next_goes_on(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(transfers, "RECONNECT_SECONDS", 0)
    content, ranges = bytes(range(200)), []
    export = {**EXPORT, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    ends: list[int | None] = [10] * transfers.DOWNLOAD_ATTEMPTS
    with served(content, [*ends, None], ranges) as client:
        with pytest.raises(
            ClientError, match=r"broke off: the connection is gone\. Ask again, and it goes on where it"
        ):
            client.download(export, tmp_path)
        assert not (tmp_path / "j1-ab.tar.gz").exists()
        assert client.download(export, tmp_path).read_bytes() == content
    assert ranges[-1] == f"bytes={10 * transfers.DOWNLOAD_ATTEMPTS}-"


def test_a_download_without_room_is_said_in_a_line(tmp_path: Path) -> None:
    content = bytes(200)
    export = {**EXPORT, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    (tmp_path / f".j1-ab.tar.gz.{export['sha256'][:12]}.part").symlink_to("/dev/full")
    with served(content, [None], []) as client, pytest.raises(ClientError) as raised:
        client.download(export, tmp_path)
    assert str(raised.value) == (
        f"The download of export e cannot be written in {tmp_path}: No space left on device. Make room, or choose "
        "another folder, and ask again: it goes on where it ended."
    )
