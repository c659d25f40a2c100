"""Pages of the dashboard. They read what the API reads and change things only through it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from job.versions import Outline, outline
from service import jobs
from service.api.schemas import JobOut
from service.demo_job import DEMO_JOB
from service.errors import NotFound
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
    app.mount("/static", _Static(directory=HERE / "static"), name="static")


@router.get("/", response_class=HTMLResponse)
def job_list(request: Request) -> HTMLResponse:
    """The list of jobs; its rows are fetched by the browser."""
    return page("jobs.html", origin=str(request.base_url).rstrip("/"), filters=FILTERS, demo_job=DEMO_JOB)


@router.get("/families", response_class=HTMLResponse)
def families() -> HTMLResponse:
    """Families and presets with their sizes, and the profile of one; the browser fetches both."""
    return page("families.html")


@router.get("/targets", response_class=HTMLResponse)
def targets() -> HTMLResponse:
    """Devices that latency is measured on; the browser fetches them."""
    return page("targets.html")


@router.get("/docs", response_class=HTMLResponse)
def api_documentation(request: Request) -> HTMLResponse:
    """The OpenAPI description in Swagger UI, from our own copy: the framework's page needs the internet."""
    return get_swagger_ui_html(
        openapi_url=str(request.app.openapi_url),
        title="Winnow API",
        swagger_js_url="/static/vendor/swagger-ui/swagger-ui-bundle.js",
        swagger_css_url="/static/vendor/swagger-ui/swagger-ui.css",
        swagger_favicon_url="/static/favicon.svg",
    )


@router.get("/jobs/new", response_class=HTMLResponse)
def new_job() -> HTMLResponse:
    """A job as text, from a recipe or from another job; the browser fetches what it begins with."""
    return page("new_job.html")


@router.get("/jobs/{job_id}", response_class=HTMLResponse)
def one_job(job_id: str, request: Request) -> HTMLResponse:
    """One job; what changes while it runs is fetched by the browser."""
    # Taken from the app and not from service.api.deps, so that the API's modules may import this one.
    database: Database = request.app.state.database
    try:
        with database.transaction() as session:
            job = JobOut.model_validate(jobs.get(session, job_id))
    except NotFound:
        return page("not_found.html", status=404, job_id=job_id)
    return page("job.html", job=job, data=job.model_dump(mode="json"), stages=stages_of(outline(job.spec)))


# Stages of jobs that ask for a metric of a target, or price operations on one.
ON_TARGET_STAGES = ("measure hardware", "fit predictors")


def stages_of(job: Outline) -> list[str]:
    """The stages that a job goes through: one without a target measures no hardware."""
    needs_target = job.by_gradient or job.target is not None
    return [stage for stage in STAGES if needs_target or stage not in ON_TARGET_STAGES]


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


def page(template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """A rendered template with the headers that every page has."""
    text = templates().get_template(template).render(version=version(), **context)
    return HTMLResponse(text, status_code=status, headers=HEADERS)


class _Static(StaticFiles):
    """Static files: names of vendored ones carry their version, all others are revalidated."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        vendored = path.replace("\\", "/").startswith("vendor/")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if vendored else "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
