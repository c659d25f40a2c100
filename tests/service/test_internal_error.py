"""A mistake of ours is a problem document as well, and tells no secrets."""

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
