"""The API application. Importing it loads no torch (tests/service/test_imports.py)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plugins.kinds import OPEN
from search_space import plugins
from service.api import (
    access,
    catalog,
    drawing,
    events,
    exports,
    health,
    insight,
    jobs,
    logs,
    metrics,
    problems,
    profile,
    results,
    shrink,
    solving,
    supernets,
    targets,
    uploads,
    verbs,
    webhooks,
    workers,
)
from service.api.deps import brought
from service.api.openapi import describe
from service.api.storable_requests import StorableRequests
from service.auth.door import Door
from service.auth.guard import Gatekeeper, guard
from service.auth.hosts import refuse_open_network
from service.broker_watch import BrokerWatch
from service.dashboard import pages
from service.depot import ANSWER_PATIENCE_SECONDS, depot_of
from service.errors import TooLarge
from service.queue import Queue
from service.settings import Settings, get_settings
from service.store.notices import Notices
from service.store.session import Database
from service.telemetry import spans_of
from service.upload_store import upload_store_of
from service.version import version
from service.webhooks import Courier

log = logging.getLogger(__name__)

DESCRIPTION = """Self-hosted neural architecture search.

Ask what a space costs and whether limits can be met with `POST /v1/profile`. Submit a job with
`POST /v1/jobs`, follow it on `/v1/jobs/{id}/events`, read its Pareto front from `/v1/jobs/{id}/front` and ask
for a network as files with `POST /v1/jobs/{id}/exports`. Every error is an `application/problem+json` document
that says what was got and what is right. Times are seconds, latencies milliseconds,
accuracies shares from 0 to 1.
"""


class Application(FastAPI):
    """The API behind its door, which stands outside of all other middleware so that every answer passes it."""

    def build_middleware_stack(self) -> ASGIApp:
        """See Starlette."""
        state = self.state
        return Door(super().build_middleware_stack(), state.settings, state.database, self._took)

    def _took(self, method: str, route: str, status: int, seconds: float, parent: str | None) -> None:
        self.state.latencies.add(method, route, status, seconds)
        if self.state.spans is not None:
            self.state.spans.answered(method, route, status, seconds, parent)

    def openapi(self) -> dict[str, Any]:
        """The description of the API, with every status that a route may answer."""
        if self.openapi_schema is None:
            self.openapi_schema = describe(super().openapi(), every_route(self))
        return self.openapi_schema


def every_route(app: FastAPI) -> Iterator[tuple[str, str, BaseRoute]]:
    """(method, path, route) of the app's routes, those of included routers too; mounts have no method."""
    for top in app.routes:
        for route in top.effective_route_contexts() if hasattr(top, "effective_route_contexts") else (top,):
            original = getattr(route, "original_route", route)
            for method in sorted(getattr(original, "methods", None) or ()):
                yield method, getattr(route, "path", ""), original


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application, connected to the servers that the settings name.

    Raises:
        ValueError: the settings name no database or broker, or not as a URL, or need no keys on a network, or name a
            collector or a store of artifacts whose packages are not installed.
    """
    settings = settings or get_settings()
    if settings.database_url is None or settings.redis_url is None:
        raise ValueError("Set WINNOW_DATABASE_URL and WINNOW_REDIS_URL, or run `winnow up`, which starts both servers.")
    refuse_open_network(settings)
    plugins.use_families_dir(settings.families_dir)
    _warn_about_plugins()
    database, queue = Database(settings.database_url), Queue(settings.redis_url)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        helpers = (Courier(database, settings), app.state.broker_watch, app.state.notices)
        for helper in helpers:
            helper.start()
        yield
        for helper in helpers:
            helper.stop()
        if app.state.spans is not None:
            app.state.spans.close()
        database.close()

    app = Application(
        title="Winnow",
        version=version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # the dashboard serves it without the internet
        redoc_url=None,
        openapi_url=None,  # a route of the pages, with a guard as all others
        dependencies=[Depends(guard), Depends(brought)],
    )
    app.state.settings, app.state.database, app.state.queue = settings, database, queue
    app.state.latencies = metrics.Latencies()
    app.state.depot = depot_of(settings, ANSWER_PATIENCE_SECONDS)
    app.state.uploads = upload_store_of(settings, ANSWER_PATIENCE_SECONDS)
    app.state.spans = spans_of(settings, "api")
    app.state.broker_watch = BrokerWatch(queue)
    app.state.gatekeeper = gatekeeper = Gatekeeper.of(settings, database, lambda: app.state.notices.live)
    app.state.notices = Notices(database, gatekeeper.known.forget)
    for noun in (
        jobs,
        verbs,
        logs,
        workers,
        webhooks,
        results,
        drawing,
        insight,
        solving,
        events,
        exports,
        supernets,
        targets,
        profile,
        shrink,
        catalog,
        access,
        uploads,
        health,
        metrics,
    ):
        app.include_router(noun.router)
    app.include_router(drawing.together)
    pages.install(app)
    problems.install(app)
    app.add_middleware(StorableRequests)  # inside the limit, which is added last and so comes first
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    return app


def _warn_about_plugins() -> None:
    """What others wrote and cannot be used is told in the log and the catalogue; everything else goes on."""
    for kind in (plugins.FAMILIES, *OPEN):
        for reason in kind.refused().values():
            log.warning(reason)


class BodyLimit:
    """Refuses a request body that is too large, before it is read into memory."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the body as it arrives, whatever Content-Length says."""
        # Parts of uploads are written as they arrive, and counted there.
        if scope["type"] != "http" or (scope["method"] == "PUT" and scope["path"].startswith("/v1/uploads/")):
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await self._refuse(int(declared), scope, receive, send)
            return
        # Read whole before anything is parsed, so that a body without a declared length is refused as well.
        messages = [await receive()]
        read = len(messages[0].get("body", b""))
        while messages[-1].get("more_body") and read <= self._max_bytes:
            messages.append(await receive())
            read += len(messages[-1].get("body", b""))
        if read > self._max_bytes:
            await self._refuse(read, scope, receive, send)
            return

        async def replay() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, replay, send)

    async def _refuse(self, got: int, scope: Scope, receive: Receive, send: Send) -> None:
        answer = problems.problem(TooLarge.status, TooLarge.slug, TooLarge.title, self._detail(got))
        await answer(scope, receive, send)

    def _detail(self, got: int) -> str:
        return f"The body has {got} bytes or more; at most {self._max_bytes} are read (WINNOW_MAX_BODY_BYTES)."
