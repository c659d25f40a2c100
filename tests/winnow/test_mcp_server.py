"""Tools for agents: which a key has, what they take, and how an agent hears of a refusal."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import httpx
import jsonschema
import pytest
from mcp import Client as McpClient

from service.api.app import create_app
from service.auth import keys
from service.auth.scopes import Scope
from service.settings import Settings
from service.stack import Stack
from service.store.models import Job, JobState
from service.store.session import Database
from tests.api import BASE
from tests.conftest import TINY_JOB
from winnow import mcp_server
from winnow.mcp_server import Agent, open_agent, server_of

T = TypeVar("T")
Run = Callable[[Callable[[Agent], Coroutine[Any, Any, T]]], T]


@pytest.fixture
def agent_of(settings: Settings, database: Database) -> Iterator[Callable[..., Any]]:
    """Runs something with an agent that has a key of a scope."""
    app = create_app(settings.model_copy(update={"auth": "on", "allowed_hosts": ""}))

    def run(scope: Scope, use: Callable[[Agent], Coroutine[Any, Any, T]], *, may_delete: bool = False) -> T:
        with database.transaction() as session:
            key = keys.create(session, "agent", scope)[1]

        async def talk() -> T:
            headers = {"X-Winnow": "1", "Authorization": f"Bearer {key}"}
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as http:
                return await use(await open_agent(http, may_delete=may_delete))

        return asyncio.run(talk())

    yield run
    app.state.database.close()


async def routes(agent: Agent) -> dict[str, mcp_server.Route]:
    return dict(agent.routes)


@pytest.mark.thorough
def test_a_key_has_the_tools_of_its_scope_and_none_deletes_unless_allowed(agent_of: Callable[..., Any]) -> None:
    reading, writing = agent_of("read", routes), agent_of("write", routes)
    deleting = agent_of("write", routes, may_delete=True)
    assert all(route.reads for route in reading.values())
    assert {"job_front", "list_jobs", "profile"} <= set(reading)
    assert {"submit_job", "shrink", "request_export_job"} <= set(writing) - set(reading)
    assert not any(route.deletes for route in writing.values())
    assert {route.method for name, route in deleting.items() if name not in writing} == {"DELETE"}
    assert "audit" in set(agent_of("admin", routes)) - set(writing)
    for found in (reading, writing, deleting, agent_of("admin", routes, may_delete=True)):
        assert not any(route.path.startswith(("/v1/keys", "/v1/session")) for route in found.values())


def test_what_a_tool_takes_stands_in_its_schema(agent_of: Callable[..., Any]) -> None:
    for route in agent_of("admin", routes, may_delete=True).values():
        jsonschema.Draft202012Validator.check_schema(route.schema)
        assert "#/components" not in json.dumps(route.schema)
        assert set(route.schema["required"]) <= set(route.schema["properties"])
        assert route.help.startswith(f"{route.title}. ")
    body = agent_of("write", routes)["submit_job"].schema  # what a recipe gives may be left out
    validator = jsonschema.Draft202012Validator(body)
    validator.validate({"body": TINY_JOB})
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"body": {"recipe": 7}})


@pytest.mark.thorough
def test_an_agent_reads_what_it_did_and_why_it_may_not(agent_of: Callable[..., Any]) -> None:
    async def use(agent: Agent) -> list[tuple[str, bool]]:
        made = json.loads((await agent.call("submit_job", {"body": TINY_JOB}))[0])
        job = {"job_id": made["id"]}
        return [
            await agent.call("read_job", job),
            await agent.call("list_jobs", {"limit": 1}),
            await agent.call("retry_job", job),  # of a job that waits
            await agent.call("read_job", {"job_id": "../keys"}),
            await agent.call("read_job", {}),
            await agent.call("read_job", {**job, "verbose": True}),
            await agent.call("submit_job", {"body": {"recipe": "nonsense"}}),
            await agent.call("delete_job", job),
            await agent.call("wait", {}),
            await agent.call("wait", {"minutes": 3}),
        ]

    told = agent_of("write", use)
    assert [refused for _, refused in told] == [False, False, *[True] * 8]
    assert json.loads(told[0][0])["state"] == "queued"
    assert len(json.loads(told[1][0])["jobs"]) == 1
    assert json.loads(told[2][0])["status"] == 409
    assert "allowed" in json.loads(told[2][0])
    assert json.loads(told[3][0])["status"] == 404
    assert "lacks job_id" in told[4][0]
    assert "knows no verbose" in told[5][0]
    assert "recipe" in told[6][0]
    assert "no tool 'delete_job'" in told[7][0]
    assert "Name a job_id or an export_id" in told[8][0]
    assert "wrong arguments" in told[9][0]


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("wait", {"job_id": "x", "seconds": math.nan}, "Got nan seconds; wait for 0 to 3600"),
        ("wait", {"job_id": "x", "seconds": 1e9}, "wait for 0 to 3600"),
        ("wait", {"job_id": "x", "seconds": "soon"}, "wrong arguments"),
        ("submit_job", {"body": {"search": {"evaluations": math.nan}}}, "wrong arguments"),
        ("read_job", {"job_id": "x" * 100_000}, "wrong arguments"),
    ],
)
def test_what_cannot_be_sent_is_said_to_the_agent(
    agent_of: Callable[..., Any], tool: str, arguments: dict[str, Any], said: str
) -> None:
    async def use(agent: Agent) -> tuple[str, bool]:
        return await asyncio.wait_for(agent.call(tool, arguments), 30)

    text, refused = agent_of("write", use)
    assert refused
    assert said in text


def test_waiting_ends_with_the_job_or_with_patience(agent_of: Callable[..., Any], database: Database) -> None:
    async def use(agent: Agent) -> tuple[str, str, int]:
        made = json.loads((await agent.call("submit_job", {"body": TINY_JOB}))[0])
        looks = 0

        async def sleep(_seconds: float) -> None:
            nonlocal looks
            looks += 1
            if looks == 3:
                with database.transaction() as session:
                    job = session.get(Job, made["id"])
                    assert job is not None
                    job.state = JobState.SUCCEEDED

        agent._sleep = sleep
        impatient = await agent.call("wait", {"job_id": made["id"], "seconds": 0})
        patient = await agent.call("wait", {"job_id": made["id"], "seconds": 60})
        return json.loads(impatient[0])["state"], json.loads(patient[0])["state"], looks

    assert agent_of("write", use) == ("queued", "succeeded", 3)


@pytest.mark.thorough
def test_an_answer_that_fills_a_memory_is_refused_with_what_to_do(
    agent_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_server, "MOST_CHARACTERS", 10)

    async def use(agent: Agent) -> tuple[str, bool]:
        return await agent.call("catalog", {})

    text, refused = agent_of("read", use)
    assert refused
    assert "more than 10. Ask for less" in text


@pytest.mark.thorough
def test_a_client_of_the_protocol_lists_and_calls(agent_of: Callable[..., Any]) -> None:
    async def use(agent: Agent) -> tuple[list[Any], Any, Any]:
        async with McpClient(server_of(agent)) as client:
            tools = (await client.list_tools()).tools
            good = await client.call_tool("list_targets", {})
            bad = await client.call_tool("read_target", {"name": "nowhere"})
            return tools, good, bad

    tools, good, bad = agent_of("read", use)
    by_name = {tool.name: tool for tool in tools}
    assert "wait" in by_name
    assert by_name["job_front"].annotations.read_only_hint
    assert (good.is_error, bad.is_error) == (False, True)
    assert "targets" in json.loads(good.content[0].text)
    assert "nowhere" in bad.content[0].text


def test_an_api_that_is_away_or_refuses_is_said_in_one_line(settings: Settings) -> None:
    async def ask(transport: httpx.AsyncBaseTransport) -> None:
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as http:
            await open_agent(http, may_delete=False)

    guarded = create_app(settings.model_copy(update={"auth": "on", "allowed_hosts": ""}))
    with pytest.raises(ValueError, match="WINNOW_API_KEY"):
        asyncio.run(ask(httpx.ASGITransport(guarded)))
    guarded.state.database.close()

    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(ValueError, match="`winnow up` starts it"):
        asyncio.run(ask(httpx.MockTransport(away)))


@pytest.mark.e2e
@pytest.mark.thorough
def test_the_smallest_network_under_a_limit_that_keeps_ninety_percent_takes_eight_calls(stack: Stack) -> None:
    """What AGENTS.md tells an agent to do, done."""
    calls = 0

    async def use() -> tuple[dict[str, Any], dict[str, Any]]:
        async with httpx.AsyncClient(base_url=stack.url, headers={"X-Winnow": "1"}, timeout=60) as http:
            http.headers["Authorization"] = f"Bearer {stack.api_key}"
            agent = await open_agent(http, may_delete=False)

            async def call(name: str, **arguments: Any) -> dict[str, Any]:
                nonlocal calls
                calls += 1
                text, refused = await agent.call(name, arguments)
                assert not refused, text
                answer: dict[str, Any] = json.loads(text)
                return answer

            tiny = {name: TINY_JOB[name] for name in ("training", "search", "hardware")}
            asked = {"model": "mobilenet/digits", "data": "digits", "under": {"latency_ms": 20}, "changes": tiny}
            plan = await call("shrink", body=asked)
            job = await call("submit_job", body=plan["job"])
            over = await call("wait", job_id=job["id"], seconds=300)
            assert over["state"] == "succeeded", over["message"]
            front = await call("job_front", job_id=job["id"])
            best = max(point["metrics"]["accuracy"] for point in front["points"])
            good = [p for p in front["points"] if p["metrics"]["accuracy"] >= 0.9 * best]
            chosen = min(good, key=lambda point: float(point["metrics"]["size_bytes"]))
            made = await call(
                "request_export_job", job_id=job["id"], body={"architecture_id": chosen["architecture_id"]}
            )
            return chosen, await call("wait", export_id=made["id"], seconds=200)

    chosen, export = asyncio.run(use())
    assert calls <= 8
    assert export["state"] == "succeeded", export["message"]
    assert export["architecture_id"] == chosen["architecture_id"]
    assert chosen["metrics"]["latency_ms"] <= 20
