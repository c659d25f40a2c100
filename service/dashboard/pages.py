"""Pages of the dashboard. They read what the API reads and change things only through it."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from job.versions import Outline, outline
from service import jobs
from service.api.answers import takes_gzip
from service.api.schemas import JobOut
from service.auth.guard import OPEN_PAGE, READ, READ_PAGE, Gatekeeper, PageRefused
from service.auth.keys import NOBODY, Identity
from service.broker_watch import BrokerWatch
from service.demo_job import DEMO_JOB
from service.errors import NotFound, Unauthorized
from service.folder_lock import troubles
from service.settings import Settings
from service.store import queries
from service.store.models import STAGES
from service.store.session import Database
from service.version import version

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent

# States offered as a filter; `pausing`, `stopping` and `cancelling` do not last and are found under "All".
FILTERS = ("queued", "running", "paused", "succeeded", "failed", "cancelled")

# Everything comes from this server. ECharts positions its tooltip with style attributes, hence
# 'unsafe-inline' for styles; scripts are files, never inline.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

router = APIRouter(include_in_schema=False)


def install(app: FastAPI) -> None:
    """Add the pages and their static files to the app."""
    app.include_router(router)
    app.add_exception_handler(PageRefused, _refused)
    app.mount("/static", _Static(directory=HERE / "static"), name="static")


@router.get("/", response_class=HTMLResponse, dependencies=[READ_PAGE])
def job_list(request: Request) -> HTMLResponse:
    """The list of jobs; the browser fetches its rows."""
    return page(request, "jobs.html", origin=str(request.base_url).rstrip("/"), filters=FILTERS, demo_job=DEMO_JOB)


# Pages that are the same for all who may see them; the browser fetches what they show.
SAME_FOR_ALL = {
    "/families": "families.html",
    "/targets": "targets.html",
    "/workers": "workers.html",
    "/recipes": "recipes.html",
    "/supernets": "supernets.html",
    "/datasets": "datasets.html",
    "/compare": "compare.html",  # what is compared stands in the address
    "/keys": "keys.html",
    "/jobs/new": "new_job.html",
}


def _same(template: str) -> Callable[[Request], HTMLResponse]:
    def same(request: Request) -> HTMLResponse:
        return page(request, template)

    return same


for _path, _template in SAME_FOR_ALL.items():
    router.get(_path, response_class=HTMLResponse, dependencies=[READ_PAGE])(_same(_template))


@router.get("/supernets/{supernet_id}", response_class=HTMLResponse, dependencies=[READ_PAGE])
def one_supernet(supernet_id: str, request: Request) -> HTMLResponse:
    """One supernet and the jobs that searched it; the browser fetches both."""
    database: Database = request.app.state.database
    with database.transaction() as session:
        row = queries.supernet(session, supernet_id)
        shown = None if row is None else {name: getattr(row, name) for name in ("id", "name", "recipe", "job_id")}
    if shown is None:
        detail = f"There is no supernet {supernet_id!r}."
        return page(request, "refused.html", status=404, title="No such supernet", detail=detail)
    return page(request, "supernet.html", supernet=shown)


@router.get("/docs", response_class=HTMLResponse, dependencies=[READ_PAGE])
def api_documentation(request: Request) -> HTMLResponse:
    """The OpenAPI description in Swagger UI, from our own copy: the framework's page needs the internet, and a script
    within the page."""
    return page(request, "docs.html")


@router.get("/openapi.json", response_class=JSONResponse, dependencies=[READ])
def openapi(request: Request) -> JSONResponse:
    """The description of the API for programs."""
    return JSONResponse(request.app.openapi())


@router.get("/sign-in", response_class=HTMLResponse, dependencies=[OPEN_PAGE])
def sign_in(request: Request) -> HTMLResponse:
    """Where a key, or the link that `winnow up` prints, becomes a session."""
    return page(request, "sign_in.html")


@router.get("/jobs/{job_id}", response_class=HTMLResponse, dependencies=[READ_PAGE])
def one_job(job_id: str, request: Request) -> HTMLResponse:
    """One job; the browser fetches what changes while it runs."""
    # Taken from the app and not from service.api.deps, so that the API's modules may import this one.
    database: Database = request.app.state.database
    try:
        with database.transaction() as session:
            job = JobOut.model_validate(jobs.get(session, job_id))
    except NotFound:
        return page(request, "not_found.html", status=404, job_id=job_id)
    return page(request, "job.html", job=job, data=job.model_dump(mode="json"), stages=stages_of(outline(job.spec)))


@router.get("/jobs/{job_id}/networks/{architecture_id}", response_class=HTMLResponse, dependencies=[READ_PAGE])
def one_network(job_id: str, architecture_id: str, request: Request) -> HTMLResponse:
    """One network of a job; the browser fetches its numbers and layers."""
    database: Database = request.app.state.database
    try:
        with database.transaction() as session:
            job = jobs.get(session, job_id)
            jobs.evaluation_of(session, job_id, architecture_id)
            can = "measure" in job.verbs and not outline(job.spec).by_gradient
            shown = {"id": job.id, "name": job.name, "state": job.state, "measures": can}
    except NotFound as error:
        return page(request, "refused.html", status=404, title="No such network", detail=error.detail)
    data = {"job": shown, "architecture_id": architecture_id}
    return page(request, "network.html", job=shown, architecture_id=architecture_id, data=data)


# Stages of jobs that ask for a metric of a target, or price operations on one.
ON_TARGET_STAGES: tuple[str, ...] = ("measure hardware", "fit predictors")
# The stages of jobs that heal networks, and of those that search policies.
HEALING_STAGE, BASELINES_STAGE = "heal", "measure baselines"


def stages_of(job: Outline) -> list[str]:
    """The stages that a job goes through: one without a target measures no hardware, and few have
    baselines or heal networks."""
    skipped = () if job.by_gradient or job.target is not None else ON_TARGET_STAGES
    if not job.heals:
        skipped = (*skipped, HEALING_STAGE)
    if not job.has_baselines:
        skipped = (*skipped, BASELINES_STAGE)
    return [stage for stage in STAGES if stage not in skipped]


@lru_cache(maxsize=1)
def templates() -> Environment:
    """The templates; Jinja is imported with the first page, not with the app."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """A rendered template with the headers that every page has."""
    assets = f"/static/{MARK}{_stamp()}"
    text = templates().get_template(template).render(version=version(), assets=assets, **_who(request), **context)
    return HTMLResponse(text, status_code=status, headers=HEADERS)


def _who(request: Request) -> dict[str, Any]:
    """What every page says of who looks at it: their name, the token of their session, and whether keys are off."""
    who: Identity = getattr(request.state, "identity", NOBODY)
    visit = getattr(request.state, "browser_session", None)
    door: Gatekeeper | None = getattr(request.app.state, "gatekeeper", None)
    return {
        "who": who,
        "csrf_token": door.sessions.csrf_token(visit) if door is not None and visit is not None else "",
        "keyless": door is not None and door.keyless,
        "troubles": _troubles(request) if who.scope is not None else [],
    }


def _troubles(request: Request) -> list[str]:
    """What does not work now: parts of `winnow up`, and the broker."""
    settings: Settings | None = getattr(request.app.state, "settings", None)
    watch: BrokerWatch | None = getattr(request.app.state, "broker_watch", None)
    found = [] if settings is None else troubles(settings.data_dir)
    return [*found, *([watch.trouble] if watch is not None and watch.trouble is not None else [])]


async def _refused(request: Request, error: Exception) -> Response:
    """A page that may not be shown: to the sign-in page without a key, else a page that says why."""
    assert isinstance(error, PageRefused)
    why = error.why
    if isinstance(why, Unauthorized):
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/sign-in?{urlencode({'next': back})}", status_code=303)
    if isinstance(why, NotFound):
        job_id = request.path_params.get("job_id", "")
        return page(request, "not_found.html", status=why.status, job_id=job_id)
    return page(request, "refused.html", status=why.status, title=why.title, detail=why.detail)


# What a folder in the address of a static file begins with that stands for the state of all of them.
MARK = "@"
# Files that are text, and how they are compressed: once, and kept.
TEXTS, PACKED_LEVEL = (".js", ".css", ".svg"), 9


def _stamp() -> str:
    """Digest of all static files as they are now. It changes with any of them, so addresses with it never grow old."""
    files = sorted(path for path in (HERE / "static").rglob("*") if path.is_file())
    return _digest(tuple((str(path), path.stat().st_mtime_ns) for path in files))


@lru_cache(maxsize=4)
def _digest(files: tuple[tuple[str, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _ in files:
        digest.update(Path(name).read_bytes())
    return digest.hexdigest()[:12]


class _Static(StaticFiles):
    """Static files, compressed. Addresses with a stamp, and names that carry a version, are kept for good; all others
    are revalidated."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        parts = Path(path).parts
        stamped = bool(parts) and parts[0].startswith(MARK)
        named = str(Path(*parts[1:])) if stamped else path
        response = await super().get_response(named, scope)
        if isinstance(response, FileResponse) and Path(named).suffix in TEXTS:
            headers = {"ETag": f"W/{response.headers['etag']}", "Vary": "Accept-Encoding"}
            if takes_gzip(Headers(scope=scope).get("accept-encoding")):
                packed = _packed(str(response.path), Path(response.path).stat().st_mtime_ns)
                headers["Content-Encoding"] = "gzip"
                response = Response(packed, media_type=response.media_type, headers=headers)
            else:
                response.headers.update(headers)
        kept = stamped or "vendor" in Path(named).parts
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if kept else "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


@lru_cache(maxsize=256)
def _packed(path: str, _modified: int) -> bytes:
    return gzip.compress(Path(path).read_bytes(), PACKED_LEVEL, mtime=0)
