"""Steps carried out through either client of httpx: the only code of the client that is there twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, closing
from dataclasses import dataclass
from typing import Any

import httpx

from service.client.steps import Item, Open, Pause, Read, Request, Work


@dataclass(frozen=True, slots=True)
class Done:
    """The end of steps, with their result."""

    value: Any


def carry(http: httpx.Client, steps: Any) -> Generator[Item[Any] | Done, None, None]:
    """Carry steps out: their items, and at last `Done`. What goes wrong is thrown into them."""
    with closing(steps), ExitStack() as opened:
        wire = _Wire(http, opened)
        go: Callable[[Any], Any] = steps.send
        value: Any = None
        while True:
            try:
                effect = go(value)
            except StopIteration as end:
                yield Done(end.value)
                return
            go, value = steps.send, None
            if isinstance(effect, Item):
                yield effect
                continue
            try:
                value = wire.do(effect)
            except Exception as error:
                go, value = steps.throw, error


async def acarry(http: httpx.AsyncClient, steps: Any) -> AsyncGenerator[Item[Any] | Done, None]:
    """The same, awaited."""
    with closing(steps):
        async with AsyncExitStack() as opened:
            wire = _AsyncWire(http, opened)
            go: Callable[[Any], Any] = steps.send
            value: Any = None
            while True:
                try:
                    effect = go(value)
                except StopIteration as end:
                    yield Done(end.value)
                    return
                go, value = steps.send, None
                if isinstance(effect, Item):
                    yield effect
                    continue
                try:
                    value = await wire.do(effect)
                except Exception as error:
                    go, value = steps.throw, error


class _Wire:
    """Effects, one by one; at most one stream is open."""

    def __init__(self, http: httpx.Client, opened: ExitStack) -> None:
        self.http, self.opened = http, opened
        self.answer: httpx.Response | None = None
        self.pieces: Iterator[Any] | None = None

    def do(self, effect: Any) -> Any:
        if isinstance(effect, Request):
            return self.http.request(effect.method, effect.path, **effect.arguments())
        if isinstance(effect, Open):
            self.opened.close()
            wanted = effect.request
            self.pieces = None
            self.answer = self.opened.enter_context(
                self.http.stream(wanted.method, wanted.path, **wanted.arguments())  # closed by the next, or at the end
            )
            return self.answer
        if isinstance(effect, Pause):
            return time.sleep(effect.seconds)
        if isinstance(effect, Work):
            return effect.function()
        return self._read(effect)

    def _read(self, effect: Read) -> Any:
        assert self.answer is not None
        if effect.what == "all":
            return self.answer.read()
        if self.pieces is None:
            self.pieces = self.answer.iter_lines() if effect.what == "lines" else self.answer.iter_bytes()
        return next(self.pieces, None)


class _AsyncWire:
    """The same, awaited; files are read and written beside the loop."""

    def __init__(self, http: httpx.AsyncClient, opened: AsyncExitStack) -> None:
        self.http, self.opened = http, opened
        self.answer: httpx.Response | None = None
        self.pieces: AsyncIterator[Any] | None = None

    async def do(self, effect: Any) -> Any:
        if isinstance(effect, Request):
            return await self.http.request(effect.method, effect.path, **effect.arguments())
        if isinstance(effect, Open):
            await self.opened.aclose()
            wanted = effect.request
            self.pieces = None
            self.answer = await self.opened.enter_async_context(
                self.http.stream(wanted.method, wanted.path, **wanted.arguments())
            )
            return self.answer
        if isinstance(effect, Pause):
            return await asyncio.sleep(effect.seconds)
        if isinstance(effect, Work):
            return await asyncio.to_thread(effect.function)
        return await self._read(effect)

    async def _read(self, effect: Read) -> Any:
        assert self.answer is not None
        if effect.what == "all":
            return await self.answer.aread()
        if self.pieces is None:
            self.pieces = self.answer.aiter_lines() if effect.what == "lines" else self.answer.aiter_bytes()
        return await anext(self.pieces, None)
