"""Keys: random, shown once, stored as a digest. `winnow_ID_SECRET`, where the id finds the row."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from service.auth.scopes import Scope
from service.errors import InvalidRequest, NotFound, Unauthorized
from service.store import notices
from service.store.models import ApiKey, SignInLink

# Each includes those before it.
SCOPES = tuple(Scope)

SHAPE = re.compile(r"winnow_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
# `last_used_at` is written at most this often, so that reading costs no write.
USE_SECONDS = 60.0
# A link that was not opened by then is of no more use.
LINK_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks. Without keys (`WINNOW_AUTH=off`) everybody is `ANYBODY`.

    Attributes:
        limited: whether the key has a quota.
    """

    key_id: str | None
    name: str
    scope: Scope | None
    group: str | None = None
    limited: bool = False

    def may(self, scope: Scope) -> bool:
        """Whether the scope is one of this identity's."""
        return self.scope is not None and SCOPES.index(self.scope) >= SCOPES.index(scope)

    @property
    def is_admin(self) -> bool:
        """Whether everything of everybody is open to it."""
        return self.scope == Scope.ADMIN

    def sees(self, owner_id: str | None, shared_with: str | None) -> bool:
        """Whether a job of this owner, shared with this group, is visible."""
        return self.owns(owner_id) or (self.group is not None and shared_with == self.group)

    def owns(self, owner_id: str | None) -> bool:
        """Whether what this key made, or anything for an admin, may be changed."""
        return self.is_admin or (self.key_id is not None and owner_id == self.key_id)


ANYBODY = Identity(None, "anybody", Scope.ADMIN)
# Routes that need no key are asked by nobody in particular.
NOBODY = Identity(None, "nobody", None)


@dataclass(frozen=True, slots=True)
class Quota:
    """What a key may use; None: no limit.

    Attributes:
        jobs: unfinished at a time.
        evaluations: made by all its jobs, with what unfinished ones may still make.
        size_bytes: what its checkpoints, supernets and exports may take together.
    """

    jobs: int | None = None
    evaluations: int | None = None
    size_bytes: int | None = None


def digest(secret: str) -> str:
    """What is stored. A secret has 256 random bits, so that a fast digest keeps it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create(
    session: Session,
    name: str,
    scope: Scope,
    *,
    group: str | None = None,
    days: float | None = None,
    quota: Quota | None = None,
    by: str | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its text, which nobody can ever read again.

    Args:
        days: until it expires; None: never.
        by: id of the key that made it.
    """
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    quota = quota or Quota()
    row = ApiKey(
        id=key_id,
        name=name,
        scope=scope,
        group=group,
        secret_sha256=digest(secret),
        expires_at=None if days is None else datetime.now(UTC) + timedelta(days=days),
        created_by=by,
        max_jobs=quota.jobs,
        max_evaluations=quota.evaluations,
        max_bytes=quota.size_bytes,
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row, f"winnow_{key_id}_{secret}"


def find(session: Session, text: str) -> ApiKey:
    """The valid key of a text; its use is noted.

    Raises:
        Unauthorized: it is none. The sentence is the same for all wrong ones, but for one that was right once.
    """
    parts = SHAPE.fullmatch(text)
    row = None if parts is None else session.get(ApiKey, parts[1])
    expected = "0" * 64 if row is None else row.secret_sha256
    if not hmac.compare_digest(digest("" if parts is None else parts[2]), expected) or row is None:
        raise Unauthorized("This key is not known here. `winnow keys create` makes one.")
    return checked(session, row)


def of_id(session: Session, key_id: str) -> ApiKey:
    """The valid key behind a session.

    Raises:
        Unauthorized: it is gone, revoked or expired.
    """
    row = session.get(ApiKey, key_id)
    if row is None:
        raise Unauthorized("The key of this session is not known here. Sign in again.")
    return checked(session, row)


def checked(session: Session, row: ApiKey) -> ApiKey:
    """The key if it is neither revoked nor expired, by the database's clock.

    Raises:
        Unauthorized: it is.
    """
    now = _now(session)
    if row.revoked_at is not None:
        raise Unauthorized(f"Key {row.id} was revoked. Ask an admin for another one.")
    if row.expires_at is not None and row.expires_at <= now:
        raise Unauthorized(f"Key {row.id} has expired. Ask an admin for another one.")
    if row.last_used_at is None or (now - row.last_used_at).total_seconds() > USE_SECONDS:
        session.execute(update(ApiKey).where(ApiKey.id == row.id).values(last_used_at=func.now()))
    return row


def _now(session: Session) -> datetime:
    return session.execute(select(func.now())).scalar_one()


def seconds_left(session: Session, row: ApiKey) -> float | None:
    """Until a key expires, by the database's clock; None: it does not."""
    return None if row.expires_at is None else (row.expires_at - _now(session)).total_seconds()


def identity(row: ApiKey) -> Identity:
    """Who a key is."""
    limited = (row.max_jobs, row.max_evaluations, row.max_bytes) != (None, None, None)
    return Identity(row.id, row.name, row.scope, row.group, limited)


def revoke(session: Session, key_id: str) -> ApiKey:
    """End a key, its sessions and its links, at once. Revoking it again changes nothing.

    Raises:
        NotFound: there is none of that id.
        InvalidRequest: it is the last admin, without whom nobody could make another.
    """
    admins = session.scalars(
        select(ApiKey)
        .where(
            ApiKey.scope == Scope.ADMIN,
            ApiKey.revoked_at.is_(None),
            or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()),
        )
        .with_for_update()
    ).all()
    row = session.get(ApiKey, key_id, with_for_update=True)
    if row is None:
        raise NotFound(f"There is no key {key_id!r}. `winnow keys list` shows them.")
    if [admin.id for admin in admins] == [key_id]:
        raise InvalidRequest(f"Key {key_id} is the last admin's; make another one first.")
    row.revoked_at = row.revoked_at or session.scalar(select(func.now()))
    notices.tell(session, notices.KEYS, key_id)
    return row


def listed(session: Session) -> list[ApiKey]:
    """All keys, newest first."""
    return list(session.scalars(select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id)))


# --- links: a key's way into a browser, without showing the key --------------------------------------


def make_link(session: Session, key_id: str) -> str:
    """A token that signs in once, within an hour, as a key."""
    token = secrets.token_urlsafe(32)
    expires_at = datetime.now(UTC) + timedelta(seconds=LINK_SECONDS)
    session.add(SignInLink(token_sha256=digest(token), key_id=key_id, expires_at=expires_at))
    return token


def open_link(session: Session, token: str) -> ApiKey:
    """The key of a token, which is used up: one UPDATE decides between two that open it at once.

    Raises:
        Unauthorized: it is unknown, used or too old, or its key is no more.
    """
    key_id = session.execute(
        update(SignInLink)
        .where(
            SignInLink.token_sha256 == digest(token),
            SignInLink.used_at.is_(None),
            SignInLink.expires_at > func.now(),
        )
        .values(used_at=func.now())
        .returning(SignInLink.key_id)
    ).scalar_one_or_none()
    if key_id is None:
        raise Unauthorized("This link was used already, or is too old. `winnow keys link` makes another one.")
    return of_id(session, key_id)
