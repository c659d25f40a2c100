"""A network between processes and servers that can be cut, and that can swallow what is sent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

CHUNK = 1 << 16


class Proxy:
    """Forwards connections from a port of loopback to a server's socket, from a thread of its own.

    Args:
        server: the Unix socket that the server listens on.

    Attributes:
        port: that clients connect to.
    """

    def __init__(self, server: Path) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        # Set while bytes pass, and at the end; whether new connections are taken.
        self._passing, self._ended, self._open = asyncio.Event(), asyncio.Event(), True
        self._passing.set()
        self.port = 0

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def cut(self, seconds: float) -> None:
        """Break all connections, and take no new one for so long."""
        self._do(self._cut(seconds), seconds)

    def swallow(self, seconds: float) -> None:
        """Pass nothing for so long, while connections look as if they were there; then break them."""
        self._do(self._swallow(seconds), seconds)

    def _do(self, what: Coroutine[Any, Any, None], seconds: float) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(seconds + 30)

    async def _cut(self, seconds: float) -> None:
        self._open = False
        self._break()
        await asyncio.sleep(seconds)
        self._open = True

    async def _swallow(self, seconds: float) -> None:
        self._passing.clear()
        await asyncio.sleep(seconds)
        self._break()
        self._passing.set()

    def _break(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _run(self, ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:  # cancels what is left, and closes the loop
            runner.run(self._listen(ready))

    async def _listen(self, ready: threading.Event) -> None:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as listening:
            self.port = listening.sockets[0].getsockname()[1]
            ready.set()
            await self._ended.wait()
            self._break()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A connection that is made while bytes are swallowed is made, and nothing answers on it.
        if not self._open:
            writer.transport.abort()
            return
        self._writers.add(writer)
        await self._passing.wait()
        try:
            with suppress(OSError, asyncio.CancelledError):  # cancelled at the end, which nobody waits for
                there, back = await asyncio.open_unix_connection(str(self._server))
                self._writers.add(back)
                await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
                self._writers.discard(back)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort() if writer.transport.is_closing() else writer.close()
