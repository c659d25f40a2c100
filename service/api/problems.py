"""Every error as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from job.data_spec import DATA_MODELS
from plugins.entries import blamed
from search_space.family_files import culprit
from search_space.plugins import UnknownPluginError
from service.errors import Conflict, InvalidRequest, ServiceError, Unavailable
from service.store.session import first_line

# When somebody who was refused for want of a server or of patience may try again.
RETRY_AFTER_SECONDS = 2


def problem(status: int, slug: str, title: str, detail: str, **extra: Any) -> JSONResponse:
    """One problem document."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if status in (429, 503):
        headers["Retry-After"] = str(extra.get("retry_after_seconds", RETRY_AFTER_SECONDS))
    body = {"type": f"urn:winnow:problem:{slug}", "title": title, "status": status, "detail": detail, **extra}
    return JSONResponse(body, status_code=status, headers=headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Make the app answer every error with a problem document."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ValidationError, _stored_spec_error)
    app.add_exception_handler(OperationalError, _database_error)
    app.add_exception_handler(DataError, _data_error)
    app.add_exception_handler(PoolTimeout, _pool_error)
    app.add_exception_handler(Exception, _internal_error)


# Where a request may hold a mistake: pydantic's paths begin with it.
PLACES = (("body",), ("query",), ("path",), ("header",))


async def _service_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)
    return problem(error.status, error.slug, error.title, error.detail, **error.extra)


async def _stored_spec_error(_request: Request, error: Exception) -> JSONResponse:
    """A stored job that cannot be read any more, as when its family's file was taken away."""
    assert isinstance(error, ValidationError)
    reasons = "; ".join(_explain(item)["message"] for item in error.errors())
    detail = f"What is stored cannot be read by this installation: {reasons}"
    return problem(Conflict.status, Conflict.slug, Conflict.title, detail)


async def _database_error(_request: Request, error: Exception) -> JSONResponse:
    detail = f"PostgreSQL does not answer: {first_line(error)}"
    return problem(Unavailable.status, Unavailable.slug, Unavailable.title, detail)


async def _data_error(_request: Request, error: Exception) -> JSONResponse:
    """A value that PostgreSQL refuses, such as a number beyond its range; its words, without the statement."""
    detail = f"A value of the request cannot be stored or looked for: {first_line(error)}."
    return problem(InvalidRequest.status, InvalidRequest.slug, InvalidRequest.title, detail)


async def _pool_error(_request: Request, _error: Exception) -> JSONResponse:
    detail = "All connections to PostgreSQL are in use. Try again in a moment."
    return problem(Unavailable.status, Unavailable.slug, Unavailable.title, detail)


async def _internal_error(_request: Request, error: Exception) -> JSONResponse:
    """A mistake of ours: uvicorn writes it into its log, and the client learns no more than that. If the
    mistake is in a family that the user wrote, or in an installed plug-in, it is told with file and line."""
    theirs = culprit(error) or blamed(error)
    if theirs is not None:
        return problem(InvalidRequest.status, InvalidRequest.slug, InvalidRequest.title, str(theirs))
    detail = "Winnow made a mistake; the API's log has the details. Report it."
    return problem(ServiceError.status, ServiceError.slug, ServiceError.title, detail)


async def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    slug = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http-error")
    return problem(error.status_code, slug, str(error.detail), str(error.detail))


async def _validation_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [_explain(item) for item in error.errors()]
    malformed = any(item["type"] in ("json_invalid", "value_error.jsondecode") for item in error.errors())
    if malformed:
        return problem(400, "not-json", "The body is not JSON", errors[0]["message"])
    known = {name: value for item in error.errors() for name, value in _known(item).items()}
    detail = "; ".join(f"{e['field']}: {e['message']}" if e["field"] else e["message"] for e in errors)
    return problem(InvalidRequest.status, InvalidRequest.slug, InvalidRequest.title, detail, errors=errors, **known)


def explained(error: ValidationError) -> list[str]:
    """What is wrong with a record that a route has put together, as sentences that name the field."""
    errors = [_explain(item) for item in error.errors()]
    return [f"{e['field']}: {e['message']}" if e["field"] else e["message"] for e in errors]


def _explain(item: Mapping[str, Any]) -> dict[str, str]:
    location: Sequence[Any] = item["loc"][1:] if item["loc"][:1] in PLACES else item["loc"]
    if location[:1] == ("data",) and location[1:2] and location[1] in DATA_MODELS:
        location = (location[0], *location[2:])  # pydantic names the source whose words these are; nobody wrote it
    field = ".".join(str(part) for part in location)
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "json_invalid":
        return {"field": "", "message": f"{item['ctx']['error']} at character {item['loc'][-1]}."}
    if item["type"] == "extra_forbidden":
        return {
            "field": field,
            "message": "There is no such field. GET /v1/catalog shows what a job may say.",
        }
    if "input" in item and isinstance(item["input"], str | int | float | bool):
        message = message if repr(item["input"]) in message else f"{message}, got {item['input']!r}"
    return {"field": field, "message": message}


def _known(item: Mapping[str, Any]) -> dict[str, Any]:
    cause = (item.get("ctx") or {}).get("error")
    return {"known": list(cause.known)} if isinstance(cause, UnknownPluginError) else {}
