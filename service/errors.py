"""Errors that a client is told about, each with its HTTP status.

    ServiceError
    ├── InvalidRequest     422  the request is understood and cannot be honoured
    │   └── Infeasible     422  a limit that no architecture of the space can meet
    ├── Unauthorized       401  no key, or none that is valid
    ├── Forbidden          403  the key, the host or the origin may not do that
    │   └── QuotaExceeded  403  the key has used what it may
    ├── NotFound           404
    ├── Conflict           409  the job is not in a state that allows the verb
    ├── TooLarge           413
    ├── TooMany            429  more requests than a key may send
    └── Unavailable        503  PostgreSQL or Redis cannot be reached

`extra` holds what a program may want to read besides the sentence: known names, the nearest network.
"""

from __future__ import annotations

from typing import Any, ClassVar


class ServiceError(Exception):
    """Root of all errors that become a `application/problem+json` answer."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class InvalidRequest(ServiceError):
    """The request is well-formed and asks for something that cannot be."""

    status, slug, title = 422, "invalid-request", "The request cannot be honoured"


class Infeasible(InvalidRequest):
    """A limit that no architecture of the space can meet."""

    slug, title = "infeasible", "No architecture meets the limits"


class Unauthorized(ServiceError):
    """There is no key, or none that is valid."""

    status, slug, title = 401, "unauthorized", "A valid key is needed"


class Forbidden(ServiceError):
    """It is known who asks, and they may not."""

    status, slug, title = 403, "forbidden", "Not allowed"


class QuotaExceeded(Forbidden):
    """The key has used what it may."""

    slug, title = "quota-exceeded", "The quota of the key is used up"


class NotFound(ServiceError):
    """Nothing of that name or id."""

    status, slug, title = 404, "not-found", "Not found"


class Conflict(ServiceError):
    """The thing exists and is not in a state that allows the verb."""

    status, slug, title = 409, "conflict", "Not possible now"


class TooLarge(ServiceError):
    """The body is larger than the service reads."""

    status, slug, title = 413, "too-large", "The request is too large"


class TooMany(ServiceError):
    """More requests than a key, or an address without one, may send."""

    status, slug, title = 429, "too-many-requests", "Too many requests"


class Unavailable(ServiceError):
    """A server that this one needs cannot be reached."""

    status, slug, title = 503, "unavailable", "A needed server is not reachable"
