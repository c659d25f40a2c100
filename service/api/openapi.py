"""The description of the API: what each operation is called, what it answers, and what it may refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from job.spec import JobSpec
from service.auth.guard import need_of
from service.errors import ServiceError

# Where what a query or body names may not be there: jobs, and supernets that are reused.
NAMES_IN_QUERY_OR_BODY = ("/v1/jobs", "/v1/profile", "/v1/estimate", "/v1/hypervolumes")
# A request that was made before gives what it made then.
REPEATED = "The same request was made before, and this is what it made"
PROBLEM = {"$ref": "#/components/schemas/Problem"}
# Problems that no class of ours stands for.
OTHERS = {"not-json": 400, "method-not-allowed": 405}
# FastAPI's description of an answer where a route declares none.
UNSAID = "Successful Response"
NOTHING = "Done; the answer is empty"
# What parameters mean that several routes have.
PARAMETERS = {
    "job_id": "Id of the job.",
    "architecture_id": "Id of the network.",
    "export_id": "Id of the export.",
    "supernet_id": "Id of the supernet.",
    "upload_id": "Id of the upload.",
    "webhook_id": "Id of the webhook.",
    "measurement_id": "Id of the request to measure.",
    "key_id": "Id of the key.",
    "name": "Name of the target.",
    "limit": "Most rows in the answer.",
    "idempotency-key": "Your name for this request. Sent again under that name, it makes no second job.",
}
# What an answer is about: its `id` is this parameter of other paths.
NAMED_BY_ID = {
    "JobOut": "job_id",
    "ExportOut": "export_id",
    "UploadOut": "upload_id",
    "NewWebhookOut": "webhook_id",
    "NewKeyOut": "key_id",
}
TITLES = {
    400: "The body is not JSON",
    401: "No valid key",
    403: "The key, the host or the origin may not do that",
    404: "Nothing that you may see has that name or id",
    409: "The present state, or what is stored already, does not allow it",
    413: "The body is too large",
    422: "The request can be read, and what it asks for is impossible",
    429: "Too many requests",
    500: "Winnow made a mistake; its log has the details",
    503: "PostgreSQL or Redis is away, or all connections are in use",
}


def describe(schema: dict[str, Any], routes: Iterator[tuple[str, str, Any]]) -> dict[str, Any]:
    """Complete the schema: what each operation is called, what its answers hold, and what it may be refused with.

    Args:
        routes: (method, path, route) of all.
    """
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = _problem()
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "A key of `winnow keys create`."},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "winnow_…",
            "description": "Session of a signed-in browser.",
        },
    }
    for part in _parts_that_recipes_fill():
        components["schemas"].get(part.__name__, {}).pop("required", None)
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    for method, path, route in routes:
        operation = schema["paths"].get(path, {}).get(method.lower())
        if operation is None:
            continue
        _name(operation)
        _say_what_answers_hold(operation, components["schemas"])
        for parameter in operation.get("parameters", ()):
            parameter.setdefault("description", PARAMETERS.get(parameter["name"], ""))
        need = need_of(route)
        if need is not None and need.scope is not None:
            operation["security"] = [{"key": []}, {"session": []}]
            operation["x-scope"] = str(need.scope)
            operation["description"] = f"{operation.get('description', '')}\n\nNeeds scope `{need.scope}`.".strip()
        if _may_be_repeated(operation):
            operation["responses"]["200"] = {**operation["responses"]["201"], "description": REPEATED}
        for status in _refusals(method, path, operation, is_open=need is None or need.scope is None):
            operation["responses"][str(status)] = _answer(status)
    _link(schema["paths"])
    return schema


def _name(operation: dict[str, Any]) -> None:
    """The first paragraph of a route's docstring names the operation, the others describe it."""
    name, _, more = operation.get("description", "").partition("\n\n")
    operation["summary"], operation["description"] = _title(name), more


def _say_what_answers_hold(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """What an answer holds is what its model is, unless the route declares it (`response_description`)."""
    for status, answer in operation["responses"].items():
        if answer["description"] != UNSAID:
            continue
        if status == "204":
            answer["description"] = NOTHING
        elif (model := _model_of(answer)) in schemas:
            answer["description"] = _title(schemas[model]["description"].partition("\n\n")[0])


def _model_of(answer: dict[str, Any]) -> str:
    """Name of the model of an answer; empty: it has none."""
    schema: dict[str, str] = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return schema.get("$ref", "").rpartition("/")[2]


def _title(paragraph: str) -> str:
    """A paragraph of a docstring as a title: in one line, without a full stop."""
    return " ".join(paragraph.split()).removesuffix(".")


def _link(paths: dict[str, Any]) -> None:
    """Say what may be asked of what an operation has made: OpenAPI's links, from an answer's id to every path that has
    a place for it."""
    every = [(path, operation) for path, operations in paths.items() for operation in operations.values()]
    for _, maker in every:
        for status, answer in maker["responses"].items():
            parameter = NAMED_BY_ID.get(_model_of(answer))
            if parameter is None or not status.startswith("2"):
                continue
            answer["links"] = {
                operation["operationId"]: {
                    "operationId": operation["operationId"],
                    "parameters": {parameter: "$response.body#/id"},
                }
                for path, operation in every
                if f"{{{parameter}}}" in path
            }


def _parts_that_recipes_fill() -> Iterator[type[BaseModel]]:
    """Parts of a job whose fields a recipe gives where a client leaves them out, so that none is required of it. Not
    `data`: which fields those have depends on their source."""
    for name, field in JobSpec.model_fields.items():
        for found in (field.annotation, *get_args(field.annotation)):
            if name != "data" and isinstance(found, type) and issubclass(found, BaseModel):
                yield found


def _may_be_repeated(operation: dict[str, Any]) -> bool:
    """Whether a request may find that it was made before: it has a key for that."""
    return any(one["name"] == "idempotency-key" for one in operation.get("parameters", ()))


def _refusals(method: str, path: str, operation: dict[str, Any], *, is_open: bool) -> list[int]:
    """Statuses of problems: what the door and the guard may say, what a path, a body and a verb may meet."""
    found = {403, 422} if operation.get("parameters") or "requestBody" in operation else {403}
    if path != "/healthz":
        found |= {500, 503}
    if not is_open or path == "/v1/session":
        found |= {401, 429}
    if "{" in path or path in NAMES_IN_QUERY_OR_BODY:
        found.add(404)
    if method != "GET" or "{job_id}" in path or path.endswith("/download"):
        found.add(409)
    if "requestBody" in operation:
        found |= {400, 413}
    elif method != "GET":
        found.add(413)
    return sorted(found)


def _answer(status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": TITLES[status],
        "content": {"application/problem+json": {"schema": _problem_of(status)}},
    }
    if status in (429, 503):
        answer["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return answer


def _problem_of(status: int) -> dict[str, Any]:
    """A problem of this status: one of the types that have it."""
    slugs = {kind.slug for kind in _kinds(ServiceError) if kind.status == status}
    slugs |= {slug for slug, its in OTHERS.items() if its == status}
    types = [f"urn:winnow:problem:{slug}" for slug in sorted(slugs)]
    return {"allOf": [PROBLEM, {"properties": {"type": {"enum": types}, "status": {"enum": [status]}}}]}


def _problem() -> dict[str, Any]:
    """RFC 9457, with the types that there are."""
    slugs = sorted({*OTHERS, "http-error", *(kind.slug for kind in _kinds(ServiceError))})
    return {
        "title": "Problem",
        "description": "Why a request was refused (RFC 9457). Some carry more, such as `errors` or `known`.",
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {
                "type": "string",
                "enum": [f"urn:winnow:problem:{slug}" for slug in slugs],
                "description": "The kind of refusal, for programs.",
            },
            "title": {"type": "string", "description": "The kind of refusal, in words."},
            "status": {"type": "integer", "description": "Status of the answer."},
            "detail": {"type": "string", "description": "What was got, what is right and what to do."},
        },
    }


def _kinds(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)
