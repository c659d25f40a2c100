"""What a verb of the client is: steps that ask for effects, so that one declaration serves both clients.

A verb is a generator. It yields what it needs of the world (a request, a pause) and is sent what came of it; it knows
neither httpx client. `Client` carries the effects out at once, `AsyncClient` awaits them (`service.client.wire`).
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Concatenate, Generic, ParamSpec, TypeAlias, TypeVar, overload

import httpx

P = ParamSpec("P")
T = TypeVar("T")
# JSON of the API, as it came.
Told: TypeAlias = dict[str, Any]


class ClientError(Exception):
    """The API refused, or cannot be reached. The message is one line for a person."""

    def __init__(self, message: str, problem: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.problem = problem or {}


# --- effects: what steps yield, and what they are sent for it -------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """A request; the answer is a whole `httpx.Response`.

    Attributes:
        timeout: None: that of the client.
    """

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    timeout: float | httpx.Timeout | None = None

    def arguments(self) -> dict[str, Any]:
        """What either client of httpx takes besides method and path."""
        given: dict[str, Any] = {"headers": dict(self.headers)}
        if self.params:  # empty ones would take away those of the address
            given["params"] = dict(self.params)
        if self.json is not None:
            given["json"] = self.json
        if self.content is not None:
            given["content"] = self.content
        if self.timeout is not None:
            given["timeout"] = self.timeout
        return given


@dataclass(frozen=True, slots=True)
class Open:
    """A request whose body is read bit by bit; the answer is the open `httpx.Response`. It closes the one before."""

    request: Request


@dataclass(frozen=True, slots=True)
class Read:
    """The next piece of what was opened: a line, or bytes; None at the end. Or all of it, where it is an error."""

    what: str  # lines, bytes or all


@dataclass(frozen=True, slots=True)
class Pause:
    """A time in which nothing is done."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """A function that reads or writes files; the answer is what it returns."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """Something for the caller, of steps that have many results."""

    value: T


Effect: TypeAlias = Request | Open | Read | Pause | Work
# Steps to one result, and steps that give items.
Steps: TypeAlias = Generator[Effect, Any, T]
Items: TypeAlias = Generator[Effect | Item[T], Any, None]


def collected(items: Items[T]) -> Steps[list[T]]:
    """All items at once."""
    found: list[T] = []
    go: Callable[[Any], Any] = items.send
    value: Any = None
    while True:
        try:
            effect = go(value)
        except StopIteration:
            return found
        go, value = items.send, None
        if isinstance(effect, Item):
            found.append(effect.value)
            continue
        try:
            value = yield effect
        except Exception as error:
            go, value = items.throw, error


# --- who carries them out -------------------------------------------------------------------------


class Blocking:
    """One whose verbs return when they are done."""

    def _run(self, steps: Steps[T]) -> T:
        raise NotImplementedError

    def _iterate(self, items: Items[T]) -> Iterator[T]:
        raise NotImplementedError


class Awaited:
    """One whose verbs are awaited."""

    def _run(self, steps: Steps[T]) -> Coroutine[Any, Any, T]:
        raise NotImplementedError

    def _iterate(self, items: Items[T]) -> AsyncIterator[T]:
        raise NotImplementedError


# --- declarations ---------------------------------------------------------------------------------


class asked(Generic[P, T]):  # noqa: N801 - a decorator
    """A method that is declared once as steps: its result in a `Blocking` owner, to be awaited in an `Awaited` one."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self.steps = steps

    @overload
    def __get__(self, instance: None, owner: type) -> Callable[..., Any]: ...
    @overload
    def __get__(self, instance: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: Awaited, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: Blocking | Awaited | None, owner: type) -> Callable[..., Any]:
        if instance is None:
            return described(self.steps, owner)
        runner = instance

        @functools.wraps(self.steps)
        def call(*arguments: P.args, **named: P.kwargs) -> Any:
            return runner._run(self.steps(runner, *arguments, **named))

        return call


class streamed(Generic[P, T]):  # noqa: N801 - a decorator
    """A method that is declared once as steps and gives items: an iterator, or an asynchronous one."""

    def __init__(self, items: Callable[Concatenate[Any, P], Items[T]]) -> None:
        self.items = items

    @overload
    def __get__(self, instance: None, owner: type) -> Callable[..., Any]: ...
    @overload
    def __get__(self, instance: Blocking, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, instance: Awaited, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, instance: Blocking | Awaited | None, owner: type) -> Callable[..., Any]:
        if instance is None:
            return described(self.items, owner)
        runner = instance

        @functools.wraps(self.items)
        def call(*arguments: P.args, **named: P.kwargs) -> Any:
            return runner._iterate(self.items(runner, *arguments, **named))

        return call


class fetched(Generic[T]):  # noqa: N801 - a decorator
    """An attribute that is asked for each time: its value, or something to await."""

    def __init__(self, steps: Callable[[Any], Steps[T]]) -> None:
        self.steps = steps
        self.__doc__ = steps.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> fetched[T]: ...
    @overload
    def __get__(self, instance: Blocking, owner: type) -> T: ...
    @overload
    def __get__(self, instance: Awaited, owner: type) -> Coroutine[Any, Any, T]: ...
    def __get__(self, instance: Blocking | Awaited | None, owner: type) -> Any:
        return self if instance is None else instance._run(self.steps(instance))


def described(steps: Callable[..., Any], owner: type) -> Callable[..., Any]:
    """What `help` and the reference see of a verb: a function with its docstring, that returns the result.

    Type variables of the class that declares it become what the owner has put in their place.
    """

    @functools.wraps(steps)
    def call(instance: Any, *arguments: Any, **named: Any) -> Any:
        return getattr(instance, steps.__name__)(*arguments, **named)

    signature = inspect.signature(steps)
    kind, inner = re.fullmatch(r"(Steps|Items)\[(.*)\]", str(signature.return_annotation), re.DOTALL).groups()  # type: ignore[union-attr]
    for base in (base for one in owner.__mro__ for base in getattr(one, "__orig_bases__", ())):
        variables = getattr(getattr(base, "__origin__", None), "__parameters__", ())
        for variable, given in zip(variables, getattr(base, "__args__", ()), strict=False):
            inner = re.sub(rf"\b{variable.__name__}\b", getattr(given, "__name__", str(given)), inner)
    waits = issubclass(owner, Awaited)
    shown = {
        "Steps": f"Awaitable[{inner}]" if waits else inner,
        "Items": f"{'Async' if waits else ''}Iterator[{inner}]",
    }
    call.__signature__ = signature.replace(return_annotation=_Name(shown[kind]))  # type: ignore[attr-defined]
    return call


class _Name(str):
    """An annotation that shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
