"""The guard of every route: who asks, and whether they may. The only place that decides.

A route says beside its path what it needs, `dependencies=[READ]`; the app runs `guard` before each of them and
refuses a route that says nothing. What a path names (`{job_id}`, `{export_id}` ...) must be the key's own to be
changed, and its own or shared with its group to be seen; anything else does not exist for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from service.auth import keys
from service.auth.hosts import SAFE_METHODS
from service.auth.keys import ANYBODY, NOBODY, Identity
from service.auth.ownership import check_named
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
    keyless: bool

    @classmethod
    def of(cls, settings: Settings, database: Database) -> Gatekeeper:
        """Make the gatekeeper that the settings ask for."""
        sessions = Sessions(settings.data_dir, settings.session_hours)
        return cls(database, sessions, Rates(settings), settings.auth == "off")


def need_of(route: Any) -> Need | None:
    """What a route needs; None: it does not say. Its own word counts before its router's."""
    needs = [one.dependency for one in getattr(route, "dependencies", ()) if isinstance(one.dependency, Need)]
    return needs[-1] if needs else None


def guard(request: Request) -> Identity:
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
        return _decide(request, need)
    except ServiceError as error:
        if need is not None and need.page:
            raise PageRefused(error) from None
        raise


def _decide(request: Request, need: Need | None) -> Identity:
    if need is None:
        raise Forbidden("This address does not say who may use it, so nobody may.")
    door: Gatekeeper = request.app.state.gatekeeper
    who, visit = NOBODY, None
    if need.scope is None:
        return _note(request, ANYBODY if door.keyless else NOBODY, None)
    if door.keyless:
        door.rates.count(address_of(request))
        who = ANYBODY
    with door.database.transaction() as session:
        if not door.keyless:
            row, visit = _key_of(request, session, door)
            who = keys.identity(row)
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


def _key_of(request: Request, session: Session, door: Gatekeeper) -> tuple[Any, BrowserSession | None]:
    """The valid key that a request carries, and its session if it came by one."""
    given = request.headers.get("authorization")
    if given is not None:
        kind, _, text = given.partition(" ")
        if kind.lower() != "bearer":
            raise Unauthorized("Send the key as `Authorization: Bearer KEY`.")
        door.rates.check_wrong_keys(address_of(request))
        try:
            return keys.find(session, text.strip()), None
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
    return row, visit


def address_of(request: Request) -> str:
    """The client's address."""
    return request.client.host if request.client is not None else "unknown"


IdentityDep = Annotated[Identity, Depends(guard)]
