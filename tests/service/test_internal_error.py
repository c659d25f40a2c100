"""What the framework or a mistake of ours refuses is a problem document as well, and tells no secrets."""

from __future__ import annotations

import asyncio

import httpx

from service.api.app import create_app
from service.auth.guard import OPEN
from service.settings import Settings


def test_a_mistake_of_ours_is_a_problem_document() -> None:
    app = create_app(Settings(database_url="postgresql://x/x", redis_url="redis://x"))

    @app.get("/broken", dependencies=[OPEN])
    def broken() -> None:
        raise ZeroDivisionError("a secret")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return await http.get("/broken")

    answer = asyncio.run(ask())
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:winnow:problem:internal-error"
    assert "secret" not in answer.text


def test_an_address_that_nothing_answers_is_a_page_for_people_and_a_problem_for_programs() -> None:
    app = create_app(Settings(database_url="postgresql://x/x", redis_url="redis://x", auth="off"))

    async def ask(method: str, path: str, accept: str) -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return await http.request(method, path, headers={"Accept": accept})

    page = asyncio.run(ask("GET", "/nowhere", "text/html,*/*"))
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is nothing at /nowhere." in page.text
    problem = asyncio.run(ask("GET", "/nowhere", "*/*"))
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["detail"] == "There is nothing at /nowhere. GET /openapi.json lists every route."
    method = asyncio.run(ask("GET", "/v1/session/links", "*/*"))
    assert method.status_code == 405
    assert method.json()["detail"].startswith("/v1/session/links does not take GET.")
