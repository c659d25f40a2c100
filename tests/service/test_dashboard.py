"""Pages and static files of the dashboard, without a server."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from job.versions import outline
from service.api.schemas import JobOut
from service.dashboard import pages
from service.dashboard.pages import BASELINES_STAGE, HEALING_STAGE, ON_TARGET_STAGES, stages_of
from service.errors import NotFound
from service.store.models import JOB_STATES, STAGES

# Stages that few jobs have.
RARE = (BASELINES_STAGE, HEALING_STAGE)
HERE = Path(pages.__file__).parent
STATIC = HERE / "static"
OWN = [path for path in STATIC.rglob("*") if path.is_file() and "vendor" not in path.parts]

JOB = JobOut(
    id="0123456789ab",
    name='</script><b>digits</b> & "quotes"',
    recipe="bignas",
    state="running",
    stage="search",
    progress=0.5,
    stage_progress=0.2,
    eta_seconds=12.0,
    message=None,
    created_at=datetime(2026, 1, 2, tzinfo=UTC),
    started_at=None,
    finished_at=None,
    environment=None,
    spec={"recipe": "bignas", "search": {"evaluations": 10}},
)


class FakeDatabase:
    """A database whose transactions give nothing; `jobs.get` is replaced beside it."""

    def transaction(self) -> FakeDatabase:
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


class Browser:
    """Asks the app in this process."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://winnow.test") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(ask())


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Browser:
    def get(_session: object, job_id: str) -> JobOut:
        if job_id != JOB.id:
            raise NotFound(job_id)
        return JOB

    app = FastAPI()
    app.state.database = FakeDatabase()
    monkeypatch.setattr(pages.jobs, "get", get)
    pages.install(app)
    return Browser(app)


def test_every_page_has_the_policy_and_no_inline_script(client: Browser) -> None:
    for path, status in (("/", 200), ("/jobs/new", 200), (f"/jobs/{JOB.id}", 200), ("/jobs/unknown", 404)):
        answer = client.get(path)
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["content-security-policy"] == pages.CONTENT_SECURITY_POLICY
        for attributes, body in re.findall(r"<script([^>]*)>(.*?)</script>", answer.text, re.DOTALL):
            assert "src=" in attributes or 'type="application/json"' in attributes
            assert "src=" not in attributes or not body.strip()
        assert not re.search(r"<[^>]+\son[a-z]+=", answer.text), "an inline event handler"


def test_the_policy_allows_scripts_from_here_only() -> None:
    directives = dict(part.strip().split(" ", 1) for part in pages.CONTENT_SECURITY_POLICY.split(";"))
    assert directives["default-src"] == "'self'"
    assert "script-src" not in directives
    assert "http" not in pages.CONTENT_SECURITY_POLICY


def test_a_name_is_text_wherever_it_stands(client: Browser) -> None:
    text = client.get(f"/jobs/{JOB.id}").text
    assert "<b>digits" not in text
    assert "&lt;b&gt;digits" in text
    assert "\\u003c/script\\u003e" in text, "in the job's data, too"


def test_an_unknown_id_is_said_as_text(client: Browser) -> None:
    assert "&lt;i&gt;x" in client.get("/jobs/<i>x").text


def test_the_job_page_has_every_stage_and_hook(client: Browser) -> None:
    text = client.get(f"/jobs/{JOB.id}").text
    assert [stage for stage in STAGES if f'data-stage="{stage}"' not in text] == [*ON_TARGET_STAGES, *RARE]
    for hook in ("state-badge", "stage", "progress", "pareto-plot", "front-table", "detail-panel", "curve"):
        assert f'data-testid="{hook}"' in text


def test_only_a_job_with_a_target_measures_hardware() -> None:
    spec = {"objectives": [{"metric": "accuracy"}, {"metric": "latency_ms", "target": "cpu-torch"}]}
    assert set(STAGES) - set(stages_of(outline(spec))) == set(RARE)
    healed, policies = {"healing": {"networks": "knee"}}, {"quantization": {"bits": [8, 32]}}
    assert set(STAGES) - set(stages_of(outline({**spec, **healed}))) == {BASELINES_STAGE}
    assert set(STAGES) - set(stages_of(outline({**spec, **policies}))) == {HEALING_STAGE}
    without = outline({"objectives": [{"metric": "macs", "target": None}]})
    assert set(STAGES) - set(stages_of(without)) == {*ON_TARGET_STAGES, *RARE}


def test_filters_are_states() -> None:
    assert set(pages.FILTERS) <= set(JOB_STATES)


def test_everything_that_a_page_refers_to_is_served(client: Browser) -> None:
    for path in ("/", "/families", "/jobs/new", f"/jobs/{JOB.id}"):
        addresses = re.findall(r'(?:src|href)="(/static/[^"]+)"', client.get(path).text)
        assert addresses
        for address in addresses:
            assert client.get(address).status_code == 200, address


def test_scripts_import_files_that_are_there() -> None:
    for script in (STATIC / "js").glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"', script.read_text()):
            assert (script.parent / name).is_file(), f"{script.name} imports {name}"


@pytest.mark.parametrize("path", [*sorted((HERE / "templates").glob("*.html")), *sorted(OWN)], ids=lambda p: p.name)
def test_nothing_comes_from_another_server(path: Path) -> None:
    found = re.findall(r"""(?:src|href|url\(|from|import)[=\s("']+https?://[^"'\s)]+""", path.read_text())
    assert found == []


def test_scripts_never_write_markup() -> None:
    for script in (STATIC / "js").glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script.read_text()), (
            script
        )


def test_third_party_code_has_its_licence() -> None:
    assert (STATIC / "vendor" / "echarts-LICENSE.txt").is_file()
    assert (STATIC / "vendor" / "echarts-NOTICE.txt").is_file()


def test_files_are_kept_where_their_address_changes_with_them(client: Browser) -> None:
    assert "immutable" in client.get("/static/vendor/echarts-6.1.0-winnow.min.js").headers["cache-control"]
    assert client.get("/static/winnow.css").headers["cache-control"] == "no-cache"
    (stylesheet,) = re.findall(r'href="(/static/@[^"]+winnow.css)"', client.get("/").text)
    stamped = client.get(stylesheet)
    assert "immutable" in stamped.headers["cache-control"]
    assert stamped.content == client.get("/static/winnow.css").content
    # Modules name one another without a stamp, so that they stay in the folder of the page's.
    assert client.get(stylesheet.replace("winnow.css", "js/api.js")).status_code == 200
    assert client.get(stylesheet.replace("winnow.css", "js/none.js")).status_code == 404
    assert client.get("/static/@x/@y/winnow.css").status_code == 404


def test_texts_are_compressed_for_who_takes_that(client: Browser) -> None:
    packed = client.get("/static/winnow.css", {"Accept-Encoding": "gzip"})
    plain = client.get("/static/winnow.css", {"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2
    assert packed.content == plain.content
    assert packed.headers["content-type"] == plain.headers["content-type"]
