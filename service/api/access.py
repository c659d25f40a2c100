"""Who may come in: sessions of browsers, keys, and the trail of what everybody did."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import event, select

from service.api.cursors import make_cursor, read_cursor
from service.api.deps import ADMIN, OPEN, READ, DatabaseDep, IdentityDep, SessionDep
from service.api.schemas import Answer
from service.auth import keys
from service.auth.guard import Gatekeeper, address_of
from service.auth.keys import Identity, Quota
from service.auth.scopes import Scope
from service.errors import Conflict, Unauthorized
from service.store.models import AuditRow

router = APIRouter(prefix="/v1", tags=["access"])

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]


class SignIn(BaseModel):
    """A key, or the token of a link."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(max_length=200)] | None = Field(default=None, description="A key; or give a `token`.")
    token: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="Token of a link, which works once."
    )

    @model_validator(mode="after")
    def _one(self) -> SignIn:
        if (self.key is None) == (self.token is None):
            raise ValueError("Give a key or the token of a link.")
        return self


class WhoOut(Answer):
    """The key that asks, and what it may do."""

    key_id: str | None = Field(description="Id of the key; null where no keys are needed (WINNOW_AUTH=off).")
    name: str = Field(description="Name of the key.")
    scope: Scope | None = Field(description="What the key may do; null without keys.")
    group: str | None = Field(description="Group of the key, whose jobs may be shared with it.")

    @classmethod
    def of(cls, who: Identity) -> WhoOut:
        """Describe an identity."""
        return cls(key_id=who.key_id, name=who.name, scope=who.scope, group=who.group)


class LinkOut(Answer):
    """A sign-in link that works once."""

    token: str = Field(description="The address is /sign-in#token=TOKEN; it is good for an hour and for one browser.")


class KeyIn(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="Name for people: whose key it is, and what for.")
    scope: Scope = Field(default=Scope.WRITE, description="Each includes those before it.")
    group: Name | None = Field(default=None, description="Keys of one group may share jobs.")
    days: Annotated[float, Field(gt=0, le=36500)] | None = Field(default=None, description="Days until it expires.")
    max_jobs: Annotated[int, Field(ge=0, lt=2**31)] | None = Field(
        default=None, description="Most unfinished jobs at a time."
    )
    max_evaluations: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        default=None, description="Most evaluations of all its jobs; null: any number."
    )
    max_bytes: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        default=None, description="Most bytes of its checkpoints, supernets and exports; null: any number."
    )


class KeyOut(Answer):
    """A key without its secret."""

    id: str = Field(description="Id of the key; it is no secret.")
    name: str = Field(description="Name of the key.")
    scope: Scope = Field(description="What the key may do.")
    group: str | None = Field(description="Group of the key.")
    created_at: datetime = Field(description="When it was made.")
    created_by: str | None = Field(description="Key that made it; null: the command line.")
    expires_at: datetime | None = Field(description="When it expires; null: never.")
    revoked_at: datetime | None = Field(description="When it was revoked; null: it was not.")
    last_used_at: datetime | None = Field(description="When it was last used, to the minute; null: never.")
    max_jobs: int | None = Field(description="Most unfinished jobs; null: any number.")
    max_evaluations: int | None = Field(description="Most evaluations of its unfinished jobs; null: any number.")
    max_bytes: int | None = Field(description="Most bytes that it may store; null: any number.")


class NewKeyOut(KeyOut):
    """A new key, with its secret."""

    key: str = Field(description="The key itself. It is shown this once; nothing stores it.")


class KeyPage(Answer):
    """All keys, newest first."""

    keys: list[KeyOut] = Field(description="All keys.")


class AuditOut(Answer):
    """One request that may have changed something."""

    id: int = Field(description="Number of the entry.")
    at: datetime = Field(description="When the request came.")
    key_id: str | None = Field(description="Key of the request; null: it had none.")
    key_name: str = Field(description="Name of that key.")
    address: str | None = Field(description="Address that the request came from.")
    method: str = Field(description="Method of the request.")
    path: str = Field(description="Path of the request.")
    status: int = Field(description="Status of the answer.")


class AuditPage(Answer):
    """One page of the audit trail, newest first."""

    entries: list[AuditOut] = Field(description="Entries, newest first.")
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null at the end.")


@router.post("/session", status_code=status.HTTP_201_CREATED, dependencies=[OPEN])
def sign_in(given: SignIn, request: Request, response: Response, database: DatabaseDep) -> WhoOut:
    """Sign a browser in.

    The browser gives a key, or the token of a link, and gets a cookie.
    """
    door: Gatekeeper = request.app.state.gatekeeper
    if door.keyless:
        raise Conflict("Nobody needs to sign in here: WINNOW_AUTH is off.")
    door.rates.check_wrong_keys(address_of(request))
    try:
        with database.transaction() as session:
            row = keys.find(session, given.key.strip()) if given.key else keys.open_link(session, given.token or "")
            who = keys.identity(row)
    except Unauthorized:
        door.rates.wrong_key(address_of(request))
        raise
    assert who.key_id is not None
    request.state.identity = who
    door.sessions.start(request, response, who.key_id)
    return WhoOut.of(who)


@router.get("/session", dependencies=[READ])
def who_asks(who: IdentityDep) -> WhoOut:
    """Read who you are.

    The answer has the key that you ask with, and what it may do.
    """
    return WhoOut.of(who)


@router.delete("/session", status_code=status.HTTP_204_NO_CONTENT, dependencies=[OPEN])
def sign_out(request: Request, response: Response) -> None:
    """Sign a browser out.

    Its session ends.
    """
    door: Gatekeeper = request.app.state.gatekeeper
    if not door.keyless:
        door.sessions.end(response)


@router.post("/session/links", status_code=status.HTTP_201_CREATED, dependencies=[READ])
def make_link(session: SessionDep, who: IdentityDep) -> LinkOut:
    """Make a sign-in link.

    It signs one browser in as you, once.
    """
    if who.key_id is None:
        raise Conflict("Nobody needs to sign in here: WINNOW_AUTH is off.")
    return LinkOut(token=keys.make_link(session, who.key_id))


@router.get("/keys", dependencies=[ADMIN])
def list_keys(session: SessionDep) -> KeyPage:
    """List keys.

    They come newest first, revoked ones too.
    """
    return KeyPage(keys=[KeyOut.model_validate(row) for row in keys.listed(session)])


@router.post("/keys", status_code=status.HTTP_201_CREATED, dependencies=[ADMIN])
def create_key(given: KeyIn, session: SessionDep, who: IdentityDep) -> NewKeyOut:
    """Make a key.

    Only this answer shows it.
    """
    quota = Quota(given.max_jobs, given.max_evaluations, given.max_bytes)
    row, text = keys.create(
        session, given.name, given.scope, group=given.group, days=given.days, quota=quota, by=who.key_id
    )
    return NewKeyOut(**KeyOut.model_validate(row).model_dump(), key=text)


@router.delete("/keys/{key_id}", dependencies=[ADMIN])
def revoke_key(key_id: str, session: SessionDep, request: Request) -> KeyOut:
    """Revoke a key.

    It and its sessions end at once. Its jobs stay.
    """
    door: Gatekeeper = request.app.state.gatekeeper
    # Other processes hear of it by PostgreSQL, a moment later.
    event.listen(session, "after_commit", lambda _session: door.known.forget(), once=True)
    return KeyOut.model_validate(keys.revoke(session, key_id))


@router.get("/audit", dependencies=[ADMIN])
def audit(
    session: SessionDep,
    key_id: Annotated[str | None, Query(max_length=32, description="Only requests of this key.")] = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditPage:
    """List who did what.

    The list has every request that may have changed something, refused ones too, newest first.
    """
    query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit + 1)
    if key_id is not None:
        query = query.where(AuditRow.key_id == key_id)
    if cursor is not None:
        query = query.where(AuditRow.id < read_cursor(cursor, int)[0])
    rows = session.scalars(query).all()
    page, more = rows[:limit], len(rows) > limit
    return AuditPage(
        entries=[AuditOut.model_validate(row) for row in page],
        next_cursor=make_cursor(page[-1].id) if more else None,
    )
