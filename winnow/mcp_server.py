"""`winnow mcp`: the API as tools of the Model Context Protocol, for agents.

A tool is a route: its name, help and arguments are those of the API's own description (`/openapi.json`), so nothing
is said twice here. An agent gets the routes that its key may use. Those that delete are among them only if the person
who starts the server allows it. One tool is no route: `wait`, because agents have no clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from service.auth.hosts import is_loopback
from service.credentials import headers_for
from service.settings import get_settings
from service.version import version

INSTRUCTIONS = (
    "Winnow searches networks that are Pareto-optimal in quality, latency and size. The shortest way to one: `shrink` "
    "makes a plan of a model, data and limits; `submit_job` takes its `job`; `wait` until that has succeeded; "
    "`request_export_job` takes its `rule`; `wait` for the export. Numbers of a front carry their interval and source; "
    "`docs/trust.md` says what each means."
)
SCOPES = ("read", "write", "admin")
# What an agent has no use for: browsers' sessions, and secrets.
CLOSED = ("/v1/session", "/v1/keys")
JSON = "application/json"
# An answer that would fill an agent's memory is refused, with how to ask for less.
MOST_CHARACTERS = 200_000
OVER = {"succeeded", "failed", "cancelled", "paused"}
LONGEST_WAIT_SECONDS, POLL_SECONDS = 3600.0, 0.5

WAIT = {
    "name": "wait",
    "title": "Wait for a job or an export",
    "description": "Wait until a job or an export is over (succeeded, failed, cancelled or paused), and say how it "
    "is then. Waits for `seconds` at most: ask again while it goes on.",
    "input_schema": {
        "type": "object",
        "properties": {
            "job_id": {"type": "string", "description": "Id of the job; or name an export."},
            "export_id": {"type": "string", "description": "Id of the export; or name a job."},
            "seconds": {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT_SECONDS, "default": 50},
        },
        "additionalProperties": False,
    },
}


@dataclass(frozen=True, slots=True)
class Route:
    """A route as a tool.

    Attributes:
        inside: names of the arguments that are parts of the path.
        query: names of the arguments that follow it.
        has_body: whether the argument `body` is sent.
        reads: whether a key that may only read may use it.
    """

    name: str
    method: str
    path: str
    title: str
    help: str
    schema: dict[str, Any]
    inside: tuple[str, ...]
    query: tuple[str, ...]
    has_body: bool
    reads: bool

    @property
    def deletes(self) -> bool:
        """Whether it removes something."""
        return self.method == "DELETE"


def routes_of(api: Mapping[str, Any], scope: str, *, may_delete: bool) -> dict[str, Route]:
    """The tools of a key, by name.

    Args:
        api: the API's description.
        scope: scope of the key.
        may_delete: whether tools that delete are among them.
    """
    found: dict[str, Route] = {}
    allowed = SCOPES[: SCOPES.index(scope) + 1]
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            if operation.get("x-scope") not in allowed or path.startswith(CLOSED) or not _speaks_json(operation):
                continue
            route = _route(api, method.upper(), path, operation)
            if route.deletes and not may_delete:
                continue
            assert route.name not in found, route.name
            found[route.name] = route
    return found


def _speaks_json(operation: Mapping[str, Any]) -> bool:
    """Whether a route takes and gives JSON: no stream, no file."""
    answers = [a.get("content", {}) for status, a in operation["responses"].items() if status.startswith("2")]
    takes = operation.get("requestBody", {}).get("content", {JSON: None})
    gives_nothing = "204" in operation["responses"]
    return JSON in takes and (gives_nothing or any(JSON in content for content in answers))


def _route(api: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> Route:
    properties: dict[str, Any] = {}
    required: list[str] = []
    places: dict[str, list[str]] = {"path": [], "query": []}
    for parameter in operation.get("parameters", ()):
        if parameter["in"] not in places:
            continue
        name = parameter["name"]
        places[parameter["in"]].append(name)
        said = {"description": parameter["description"]} if "description" in parameter else {}
        properties[name] = {**parameter["schema"], **said}
        if parameter.get("required"):
            required.append(name)
    body = operation.get("requestBody")
    if body is not None:
        properties["body"] = body["content"][JSON]["schema"]
        if body.get("required"):
            required.append("body")
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    schema = _with_definitions(schema, api["components"]["schemas"])
    name = _name(method, path, operation["operationId"])
    inside, query = (tuple(places[place]) for place in ("path", "query"))
    return Route(
        name,
        method,
        path,
        operation["summary"],
        f"{operation['summary']}. {operation['description']}",
        schema,
        inside,
        query,
        has_body=body is not None,
        reads=operation["x-scope"] == SCOPES[0],
    )


def _name(method: str, path: str, operation_id: str) -> str:
    """`list_jobs`, `read_job`, `job_front`, `cancel_job`: what is done, and with what."""
    words = operation_id.split("_v1_")[0]
    first, *rest = path.removeprefix("/v1/").split("/")
    noun = first.rstrip("s")
    if noun in words:
        return words
    is_part = method == "GET" and len(rest) > 1
    return f"{noun}_{words}" if is_part else f"{words}_{noun}"


def _with_definitions(schema: dict[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that stands alone: what it refers to is in it."""
    definitions: dict[str, Any] = {}
    waiting = [*_references(schema)]
    while waiting:
        name = waiting.pop()
        if name not in definitions:
            definitions[name] = components[name]
            waiting.extend(_references(components[name]))
    text = json.dumps({**schema, **({"$defs": definitions} if definitions else {})})
    moved: dict[str, Any] = json.loads(text.replace("#/components/schemas/", "#/$defs/"))
    return moved


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"].rsplit("/", 1)[1]
        part = part.values()
    elif not isinstance(part, list):
        return
    for child in part:
        yield from _references(child)


class Agent:
    """Calls tools for an agent.

    Args:
        http: asks the API, with the key.
        sleep: waits for some seconds.
    """

    def __init__(
        self, http: httpx.AsyncClient, routes: Mapping[str, Route], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._http, self.routes, self._sleep = http, routes, sleep

    async def call(self, name: str, arguments: Mapping[str, Any]) -> tuple[str, bool]:
        """Call a tool: the answer as text, and whether it is a refusal."""
        try:
            if name == WAIT["name"]:
                return await self._wait(**arguments)
            if name not in self.routes:
                return f"There is no tool {name!r}, or this key may not use it. Tools: {', '.join(self.routes)}.", True
            return await self._ask(self.routes[name], arguments)
        except (TypeError, ValueError, httpx.InvalidURL) as error:
            return f"{name} was called with wrong arguments: {error}", True
        except httpx.HTTPError as error:
            return f"Winnow does not answer at {self._http.base_url}: {type(error).__name__}: {error}", True

    async def _ask(self, route: Route, arguments: Mapping[str, Any]) -> tuple[str, bool]:
        given = dict(arguments)
        known = {*route.inside, *route.query, *(("body",) if route.has_body else ())}
        missing = [name for name in route.schema["required"] if name not in given]
        unknown = sorted(set(given) - known)
        if missing or unknown:
            wrong = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"knows no {', '.join(unknown)}"] * bool(unknown)
            return f"{route.name} {' and '.join(wrong)}; its arguments are {', '.join(sorted(known))}.", True
        path = route.path.format(**{name: quote(str(given[name]), safe="") for name in route.inside})
        query = {name: given[name] for name in route.query if given.get(name) is not None}
        body = given.get("body") if route.has_body else None
        answer = await self._http.request(route.method, path, params=query, json=body)
        return _read(answer)

    async def _wait(
        self, job_id: str | None = None, export_id: str | None = None, seconds: float = 50
    ) -> tuple[str, bool]:
        if (job_id is None) == (export_id is None):
            return "Name a job_id or an export_id, and not both.", True
        if not 0 <= seconds <= LONGEST_WAIT_SECONDS:
            return f"Got {seconds} seconds; wait for 0 to {LONGEST_WAIT_SECONDS:g}, and ask again.", True
        path = f"/v1/jobs/{quote(job_id, safe='')}" if job_id else f"/v1/exports/{quote(export_id or '', safe='')}"
        deadline = time.monotonic() + seconds
        while True:
            answer = await self._http.get(path)
            over = not answer.is_success or answer.json()["state"] in OVER
            if over or time.monotonic() >= deadline:
                return _read(answer)
            await self._sleep(POLL_SECONDS)


def _read(answer: httpx.Response) -> tuple[str, bool]:
    """An answer for an agent: JSON as it is; of a refusal what is wrong and what may be done."""
    if answer.is_success:
        if len(answer.text) > MOST_CHARACTERS:
            return (
                f"The answer has {len(answer.text):,} characters, more than {MOST_CHARACTERS:,}. Ask for less: most "
                "lists take `limit` and `cursor`.",
                True,
            )
        return answer.text or "Done.", False
    try:
        problem = answer.json()
        said = {name: value for name, value in problem.items() if name not in ("type", "instance")}
        return json.dumps(said), True
    except (ValueError, AttributeError):
        return f"{answer.status_code} {answer.reason_phrase}", True


async def open_agent(http: httpx.AsyncClient, *, may_delete: bool) -> Agent:
    """An agent with the tools of the key that a client sends.

    Raises:
        ValueError: the API does not answer, or not to this key.
    """
    found = []
    for path in ("/v1/session", "/openapi.json"):
        try:
            answer = await http.get(path)
        except httpx.HTTPError as error:
            raise ValueError(f"Winnow does not answer at {http.base_url}: {error}. `winnow up` starts it.") from None
        if not answer.is_success:
            raise ValueError(
                f"Winnow at {http.base_url} refuses: {_read(answer)[0]}. "
                "Give a key of `winnow keys create` in WINNOW_API_KEY."
            )
        found.append(answer.json())
    who, api = found
    return Agent(http, routes_of(api, who["scope"], may_delete=may_delete), asyncio.sleep)


def server_of(agent: Agent) -> Any:
    """An MCP server with an agent's tools."""
    from mcp import types
    from mcp.server.lowlevel import Server

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        tools = [types.Tool(**WAIT, annotations=types.ToolAnnotations(read_only_hint=True))]
        for route in agent.routes.values():
            hints = types.ToolAnnotations(read_only_hint=route.reads, destructive_hint=route.deletes)
            tools.append(
                types.Tool(
                    name=route.name,
                    title=route.title,
                    description=route.help,
                    input_schema=route.schema,
                    annotations=hints,
                )
            )
        return types.ListToolsResult(tools=tools)

    async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        text, refused = await agent.call(params.name, params.arguments or {})
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=refused)

    return Server(
        "winnow", version=version(), instructions=INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool
    )


async def serve(url: str, *, may_delete: bool) -> None:
    """Serve one agent over standard input and output.

    Raises:
        ValueError: the API does not answer, or not to this key.
    """
    from mcp.server.stdio import stdio_server

    direct = is_loopback(urlsplit(url).hostname or "")
    async with httpx.AsyncClient(base_url=url, headers=headers_for(url), timeout=60, trust_env=not direct) as http:
        server = server_of(await open_agent(http, may_delete=may_delete))
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())


def main() -> int:
    """Serve the agent that started this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--allow-delete", action="store_true")
    arguments = parser.parse_args()
    try:
        import mcp  # noqa: F401
    except ImportError:
        sys.stderr.write("This installation has no package `mcp`: pip install 'winnow[mcp]'.\n")
        return 2
    try:
        asyncio.run(serve(get_settings().url, may_delete=arguments.allow_delete))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
