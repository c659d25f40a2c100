"""Client of the HTTP API: what the command line talks through, and scripts and notebooks may.

`Client` and `AsyncClient` have the same verbs, which are declared once (`service.client.verbs`).
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import aclosing, closing
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from service.auth.hosts import is_loopback
from service.client.handles import (
    AsyncFrontAnswer,
    AsyncJobAnswer,
    AsyncNetworkAnswer,
    ExportAnswer,
    FrontAnswer,
    JobAnswer,
    JobFailed,
    NetworkAnswer,
)
from service.client.steps import Awaited, Blocking, ClientError, Items, Steps, Told
from service.client.transfers import Event
from service.client.verbs import Verbs
from service.client.wire import Done, acarry, carry
from service.credentials import headers_for

__all__ = [
    "AsyncClient",
    "AsyncFrontAnswer",
    "AsyncJobAnswer",
    "AsyncNetworkAnswer",
    "Client",
    "ClientError",
    "Event",
    "ExportAnswer",
    "FrontAnswer",
    "JobAnswer",
    "JobFailed",
    "NetworkAnswer",
]

T = TypeVar("T")


class Client(Verbs[JobAnswer, FrontAnswer], Blocking):
    """Talks to one API; every verb returns when it is done.

    Args:
        url: such as `http://127.0.0.1:8420`; None: that of the settings (`WINNOW_URL`).
        key: to send; by default that of the environment, or on loopback that of `winnow up` (see `credentials`).
        transport: how requests are sent; None: over the network.

    Raises:
        ClientError: the address cannot be asked through the proxy of the environment.
    """

    def __init__(
        self,
        url: str | None = None,
        timeout_seconds: float = 30,
        key: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = address(url)
        # What raw requests of the same client need as well.
        self.headers = headers_for(self.url, key)
        try:
            self._http = httpx.Client(transport=transport, **_options(self.url, timeout_seconds, self.headers))
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise _unusable(self.url, error) from None
        # One that nobody closes, as at a prompt, closes its connections when nothing holds it any more.
        weakref.finalize(self, self._http.close)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the client's connections."""
        self._http.close()

    def _run(self, steps: Steps[T]) -> T:
        with closing(carry(self._http, steps)) as carried:
            for one in carried:
                if isinstance(one, Done):
                    break
        result: T = one.value
        return result

    def _iterate(self, items: Items[T]) -> Iterator[T]:
        with closing(carry(self._http, items)) as carried:
            for one in carried:
                if isinstance(one, Done):
                    return
                yield one.value

    def _as_job(self, told: Told) -> JobAnswer:
        return JobAnswer(self, told)

    def _as_front(self, told: Told) -> FrontAnswer:
        return FrontAnswer(self, told)


class AsyncClient(Verbs[AsyncJobAnswer, AsyncFrontAnswer], Awaited):
    """Talks to one API; every verb is awaited, and streams are asynchronous iterators.

    Args:
        url: such as `http://127.0.0.1:8420`; None: that of the settings (`WINNOW_URL`).
        key: to send; by default that of the environment, or on loopback that of `winnow up` (see `credentials`).
        transport: how requests are sent; None: over the network.

    Raises:
        ClientError: the address cannot be asked through the proxy of the environment.
    """

    def __init__(
        self,
        url: str | None = None,
        timeout_seconds: float = 30,
        key: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = address(url)
        self.headers = headers_for(self.url, key)
        try:
            self._http = httpx.AsyncClient(transport=transport, **_options(self.url, timeout_seconds, self.headers))
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise _unusable(self.url, error) from None

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the client's connections."""
        await self._http.aclose()

    def _run(self, steps: Steps[T]) -> Coroutine[Any, Any, T]:
        return self._result(steps)

    async def _result(self, steps: Steps[T]) -> T:
        async with aclosing(acarry(self._http, steps)) as carried:
            async for one in carried:
                if isinstance(one, Done):
                    break
        result: T = one.value
        return result

    async def _iterate(self, items: Items[T]) -> AsyncIterator[T]:
        async with aclosing(acarry(self._http, items)) as carried:
            async for one in carried:
                if isinstance(one, Done):
                    return
                yield one.value

    def _as_job(self, told: Told) -> AsyncJobAnswer:
        return AsyncJobAnswer(self, told)

    def _as_front(self, told: Told) -> AsyncFrontAnswer:
        return AsyncFrontAnswer(self, told)


def address(url: str | None) -> str:
    """An address without the slash at its end; None: that of the settings."""
    if url is None:
        from service.settings import get_settings  # most callers name one

        url = get_settings().url
    return url.rstrip("/")


def _options(url: str, timeout_seconds: float, headers: dict[str, str]) -> dict[str, Any]:
    """What either client of httpx takes. A proxy of the environment is for other machines: this one is asked
    directly."""
    direct = is_loopback(urlsplit(url).hostname or "")
    return {"base_url": url, "timeout": timeout_seconds, "headers": headers, "trust_env": not direct}


def _unusable(url: str, error: Exception) -> ClientError:
    return ClientError(f"{url} cannot be asked through the proxy of the environment: {error}")
