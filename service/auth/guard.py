"""The guard of every route: who asks, and whether they may. The only place that decides.

A route says beside its path what it needs, `dependencies=[READ]`; the app runs `guard` before each of them and
refuses a route that says nothing. What a path names (`{job_id}`, `{export_id}` ...) must be the key's own to be
changed, and its own or shared with its group to be seen; anything else does not exist for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from service.auth import keys
from service.auth.hosts import SAFE_METHODS
from service.auth.keys import ANYBODY, NOBODY, Identity
from service.auth.known import KnownKeys
from service.auth.ownership import check_named, names_nothing_owned
from service.auth.rates import Rates
from service.auth.scopes import Scope
from service.auth.sessions import BrowserSession, Sessions
from service.errors import Forbidden, ServiceError, Unauthorized
from service.settings import Settings
from service.store.session import Database


@dataclass(frozen=True, slots=True)
class Need:
    """What a route needs.

    Attributes:
        scope: scope of the key; None: no key at all.
        page: a browser that may not is shown a page instead of a problem document.
        changes: what the path names is changed, so that it must be the key's own.
    """

    scope: Scope | None
    page: bool = False
    changes: bool = False

    def __call__(self) -> None:
        """FastAPI calls dependencies; this one only stands there to be read."""


OPEN, OPEN_PAGE = Depends(Need(None)), Depends(Need(None, page=True))
READ, READ_PAGE = Depends(Need(Scope.READ)), Depends(Need(Scope.READ, page=True))
WRITE = Depends(Need(Scope.WRITE, changes=True))
ADMIN, ADMIN_PAGE = Depends(Need(Scope.ADMIN)), Depends(Need(Scope.ADMIN, page=True))


class PageRefused(Exception):
    """A page that may not be shown; `why` says it as the API would."""

    def __init__(self, why: ServiceError) -> None:
        super().__init__(why.detail)
        self.why = why


@dataclass
class Gatekeeper:
    """What the guard needs, made once for the app."""

    database: Database
    sessions: Sessions
    rates: Rates
    known: KnownKeys
    keyless: bool

    @classmethod
    def of(cls, settings: Settings, database: Database, told: Callable[[], bool] = lambda: False) -> Gatekeeper:
        """Make the gatekeeper that the settings ask for.

        Args:
            told: whether revoked keys are told of now.
        """
        sessions = Sessions(settings.data_dir, settings.session_hours)
        return cls(database, sessions, Rates(settings), KnownKeys(told), settings.auth == "off")


def need_of(route: Any) -> Need | None:
    """What a route needs; None: it does not say. Its own word counts before its router's."""
    needs = [one.dependency for one in getattr(route, "dependencies", ()) if isinstance(one.dependency, Need)]
    return needs[-1] if needs else None


async def guard(request: Request) -> Identity:
    """Let a request in, or refuse it.

    Raises:
        Unauthorized: it needs a key and has none that is valid.
        Forbidden: the key may not do that, or the route does not say what it needs.
        NotFound: what the path names is not this key's to see.
        TooMany: the key sends too many requests.
        PageRefused: one of these, on a page.
    """
    need = need_of(request.scope.get("route"))
    try:
        if need is None:
            raise Forbidden("This address does not say who may use it, so nobody may.")
        known = _at_once(request, need)
        return known if known is not None else await run_in_threadpool(_decide, request, need)
    except ServiceError as error:
        if need is not None and need.page:
            raise PageRefused(error) from None
        raise


def _at_once(request: Request, need: Need) -> Identity | None:
    """What can be decided without asking a server, so without a thread; None: ask."""
    door: Gatekeeper = request.app.state.gatekeeper
    if need.scope is None:
        return _note(request, ANYBODY if door.keyless else NOBODY, None)
    if door.rates.shared:
        return None
    who = ANYBODY if door.keyless else door.known.get(_bearer(request) or "")
    if who is None or not who.may(need.scope) or not names_nothing_owned(who, request.path_params):
        return None
    if not door.keyless:
        door.rates.check_wrong_keys(address_of(request))
    door.rates.count(who.key_id or address_of(request))
    return _note(request, who, None)


def _decide(request: Request, need: Need) -> Identity:
    door: Gatekeeper = request.app.state.gatekeeper
    assert need.scope is not None
    who, visit = ANYBODY, None
    if door.keyless:
        door.rates.count(address_of(request))
    with door.database.transaction() as session:
        if not door.keyless:
            who, visit = _who(request, session, door)
            door.rates.count(who.key_id or "")
        _note(request, who, visit)
        if not who.may(need.scope):
            raise Forbidden(f"Key {who.key_id} has scope {who.scope}; this needs {need.scope}.")
        for name, value in request.path_params.items():
            check_named(session, who, name, value, changes=need.changes)
    return who


def _note(request: Request, who: Identity, visit: BrowserSession | None) -> Identity:
    """Keep who asks for what follows: the audit trail, pages."""
    request.state.identity, request.state.browser_session = who, visit
    return who


def _bearer(request: Request) -> str | None:
    """The key in a request's header; None: it has no such header.

    Raises:
        Unauthorized: it holds something else.
    """
    given = request.headers.get("authorization")
    if given is None:
        return None
    kind, _, text = given.partition(" ")
    if kind.lower() != "bearer":
        raise Unauthorized("Send the key as `Authorization: Bearer KEY`.")
    return text.strip()


def _who(request: Request, session: Session, door: Gatekeeper) -> tuple[Identity, BrowserSession | None]:
    """Whose valid key a request carries, and its session if it came by one."""
    text = _bearer(request)
    if text is not None:
        door.rates.check_wrong_keys(address_of(request))
        if (known := door.known.get(text)) is not None:
            return known, None
        age = door.known.age
        try:
            row = keys.find(session, text)
            who = keys.identity(row)
            door.known.keep(text, who, age, keys.seconds_left(session, row))
            return who, None
        except Unauthorized:
            door.rates.wrong_key(address_of(request))
            raise
    visit = door.sessions.read(request)
    if visit is None:
        door.rates.count(address_of(request))
        raise Unauthorized(
            "Send a key as `Authorization: Bearer KEY`, or sign in on /sign-in. `winnow keys create` makes one; the "
            "command line takes it from WINNOW_API_KEY."
        )
    row = keys.of_id(session, visit.key_id)
    if request.method not in SAFE_METHODS:
        door.sessions.check_csrf(request, visit)
    return keys.identity(row), visit


def address_of(request: Request) -> str:
    """The client's address."""
    return request.client.host if request.client is not None else "unknown"


IdentityDep = Annotated[Identity, Depends(guard)]
