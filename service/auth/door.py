"""The door: what every request passes, and what every answer carries."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from job import paths
from service.auth.hosts import SAFE_METHODS, allowed_hosts, refusal
from service.auth.keys import NOBODY, Identity
from service.auth.sessions import SECRET_FILE, read_or_make
from service.auth.trail import Trail
from service.settings import Settings
from service.store.session import Database
from service.telemetry import PARENT

# Of answers that are no page; pages bring their own policy.
ANSWER_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HEADERS = {
    "Content-Security-Policy": ANSWER_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
HSTS = "max-age=31536000"
# Requests that were refused for their number are counted, not written down.
TOO_MANY = 429


# Method, route, status, seconds, and the header `traceparent`.
Took = Callable[[str, str, int, float, str | None], None]


def _unheard(_method: str, _route: str, _status: int, _seconds: float, _parent: str | None) -> None:
    """Nobody counts."""


class Door:
    """Checks host and origin, gives every answer its headers, and writes down who changed what.

    Args:
        took: hears method, route, status and seconds to the first byte of every answer, and of which trace it is.
    """

    def __init__(self, app: ASGIApp, settings: Settings, database: Database, took: Took = _unheard) -> None:
        self._app, self._trail, self._took = app, Trail(database), took
        self._allowed = allowed_hosts(settings.allowed_hosts, settings.host)
        self._keyless = settings.auth == "off"
        self._paths = settings.path_policy()
        self._secret_path = settings.data_dir / SECRET_FILE
        self._secret_read: bytes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let an HTTP request through, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        from service.api.problems import problem  # the door stands before the API, and answers as it does

        scope.setdefault("state", {})  # where the guard says who asks
        answering = self._with_headers(scope, send)
        why = refusal(scope, _flat(scope), self._allowed, keyless=self._keyless)
        if why is not None:
            await problem(403, "forbidden", "Not allowed", why)(scope, receive, answering)
            return
        from service.api.cursors import SECRET

        token, signing = paths.POLICY.set(self._paths), SECRET.set(self._secret())
        try:
            await self._app(scope, receive, answering)
        finally:
            paths.POLICY.reset(token)
            SECRET.reset(signing)

    def _secret(self) -> bytes:
        """Secret of the installation; read once."""
        if self._secret_read is None:
            self._secret_read = read_or_make(self._secret_path).encode()
        return self._secret_read

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        changes, began = scope["method"] not in SAFE_METHODS, time.perf_counter()

        async def answering(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Not the path: it holds ids, of which there are any number.
                route = getattr(scope.get("route"), "path", "none")
                seconds, parent = time.perf_counter() - began, Headers(scope=scope).get(PARENT)
                self._took(scope["method"], route, message["status"], seconds, parent)
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", HSTS)
                if changes and message["status"] != TOO_MANY:
                    await run_in_threadpool(self._write_down, scope, message["status"])
            await send(message)

        return answering

    def _write_down(self, scope: Scope, status: int) -> None:
        """One row of the audit trail. The answer waits for it; without a database nothing was changed either."""
        who: Identity = scope.get("state", {}).get("identity", NOBODY)
        client = scope.get("client")
        row = {
            "key_id": who.key_id,
            "key_name": who.name,
            "address": client[0] if client else None,
            "method": scope["method"],
            "path": scope["path"].replace("\0", "?")[:500],
            "status": status,
        }
        self._trail.write(row)


def _flat(scope: Scope) -> dict[str, str]:
    """Headers by lower-case name; one that is sent twice with different values counts as both, which fits nothing."""
    headers = Headers(scope=scope)
    return {name: ",".join(dict.fromkeys(headers.getlist(name))) for name in headers}
