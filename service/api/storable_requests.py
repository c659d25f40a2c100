"""Storable requests: text and numbers of a request that no row can hold are refused before a route sees them.

PostgreSQL's text cannot hold NUL, UTF-8 has no lone surrogates, JSON has no NaN and no infinity. Whatever carries one
of them (path, query, header, body) is refused here, once for every route.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import problems
from service.errors import InvalidRequest, NotFound, ServiceError

# A job has a handful of levels; far deeper ones exhaust the stacks of those who read them.
DEEPEST = 64
NUL, LEAST_SURROGATE, LAST_SURROGATE = "\0", "\ud800", "\udfff"


def unstorable(text: str) -> str | None:
    """What in a text no row can hold, in words; None where it can be stored."""
    if NUL in text:
        return "the character NUL (\\u0000)"
    found = next((char for char in text if LEAST_SURROGATE <= char <= LAST_SURROGATE), None)
    return None if found is None else f"half of a surrogate pair (\\u{ord(found):04x}), which is no character"


def check_text(where: str, text: str) -> None:
    """Refuse a text that no row can hold.

    Args:
        where: it stands, in words that the user knows.

    Raises:
        InvalidRequest: it holds NUL or a lone surrogate.
    """
    if (reason := unstorable(text)) is not None:
        raise InvalidRequest(f"{where} holds {reason}; take it out.")


def check_body(body: bytes) -> None:
    """Refuse JSON with a key or value that no row can hold. What is no JSON is left to the route, which says so.

    Raises:
        InvalidRequest: with the place.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return
    for place, value in _values(given):
        if isinstance(value, str):
            check_text(place, value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise InvalidRequest(f"{place} is {value}, which is no finite number; give one, or leave it out.")


def _values(given: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value with its place, such as `search.options.batch`."""
    open_values: list[tuple[str, Any, int]] = [("", given, 0)]
    while open_values:
        place, value, depth = open_values.pop()
        if depth > DEEPEST:
            raise InvalidRequest(f"The body has more than {DEEPEST} levels at {place[:100]}; a job has a handful.")
        if isinstance(value, dict):
            for key, inner in value.items():
                check_text(f"A name in {place or 'the body'}", key)
                open_values.append((f"{place}.{key}" if place else key, inner, depth + 1))
        elif isinstance(value, list):
            open_values += [(f"{place}[{number}]", inner, depth + 1) for number, inner in enumerate(value)]
        else:
            yield place or "The body", value


class StorableRequests:
    """Refuses requests with text or numbers that no row can hold. The body must be limited before."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check path, query, headers, then the body once all of it has come."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        messages: list[Message] = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        try:
            self._check(scope, b"".join(message.get("body", b"") for message in messages))
        except ServiceError as error:
            answer = problems.problem(error.status, error.slug, error.title, error.detail)
            await answer(scope, receive, send)
            return

        async def replay() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, replay, send)

    def _check(self, scope: Scope, body: bytes) -> None:
        if (reason := unstorable(scope["path"])) is not None:
            raise NotFound(f"There is nothing at an address that holds {reason}.")
        for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
            check_text("A parameter's name", name)
            check_text(f"Parameter {name}", value)
        for name, value in scope["headers"]:
            check_text(f"Header {name.decode('latin-1')}", value.decode("latin-1"))
        if body:
            check_body(body)
