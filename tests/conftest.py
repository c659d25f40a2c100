"""Shared fixtures: one PostgreSQL, Redis, API and worker for the whole run, started from wheels."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from export.clean import kept_warm
from service.client import Client
from service.embedded import EmbeddedServers
from service.settings import Settings
from service.stack import Stack, running_stack
from service.store import schema
from service.store.session import Database
from tests.docs.families import write_documented_family
from tests.tiers import mark_inherited

# The same examples on every run and every machine, however slow it is; `make test-all` names the other profile.
for profile, examples in {"quick": 25, "thorough": 100}.items():
    hypothesis.settings.register_profile(profile, derandomize=True, deadline=None, database=None, max_examples=examples)
hypothesis.settings.load_profile("quick")

# Threads of OpenMP that wait should sleep: where other programs use the cores, spinning ones made a
# training step of these tests six times as slow. The number of threads stays torch's default.
# Read when torch is loaded, so it is set before any test imports it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Test processes share the cores; each gets its part of them, and so do the programs that it starts.
if (processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))

# Short patience, so that tests see recoveries in seconds. The ratios are those of the defaults.
FAST = {
    "WINNOW_POLL_SECONDS": "0.3",
    "WINNOW_REAP_SECONDS": "1",
    "WINNOW_LEASE_SECONDS": "8",
    "WINNOW_HEARTBEAT_SECONDS": "2",
    "WINNOW_CHECKPOINT_SECONDS": "0.5",
}

# Where tests keep the files that their jobs name.
TEMPORARY = str(Path(tempfile.gettempdir()).resolve())

# A job that takes seconds, and is real in every stage.
TINY_JOB = {
    "recipe": "bignas",
    "training": {"epochs": 2},
    "search": {"algorithm": "nsga2", "evaluations": 24, "options": {"population": 12}, "calibration_images": 128},
    "hardware": {"seconds": 0.02},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Which inherited tests are for the thorough run."""
    mark_inherited(items)


# Imports and the collection of tests make next to no garbage, and looking for it takes longer the more there is.
gc.disable()


def pytest_collection_finish() -> None:
    """What is loaded by now stays: each collection of garbage walked through all of it (0.4 s)."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Who runs what, where several processes run the tests."""
    from tests.lanes import Lanes  # xdist need not be there

    return Lanes(config, log)


@pytest.fixture(scope="session", autouse=True)
def _warm_clean_processes() -> Iterator[None]:
    """Exports are checked in clean processes that have imported torch and transformers once for all tests."""
    with kept_warm():
        yield


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder for servers. Run as root, PostgreSQL works as a user of its own, and pytest closes
    its own temporary folders to other users whenever another pytest starts."""
    with tempfile.TemporaryDirectory(prefix="winnow-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The whole service on embedded servers and a free port, with the family of docs/add-a-family.md."""
    os.environ.update(FAST)
    with open_folder() as folder:
        families = write_documented_family(folder / "families")
        (tasks := folder / "tasks").mkdir()
        settings = Settings(
            data_dir=folder,
            database_url=None,
            redis_url=None,
            families_dir=families,
            tasks_dir=tasks,
            data_roots=TEMPORARY,
        )
        with running_stack(settings, port=0) as running:
            yield running


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[Client]:
    """A client of the stack's API."""
    with Client(stack.url, key=stack.api_key) as talking:
        yield talking


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedServers]:
    """Bare servers with the schema, without API or worker."""
    with open_folder() as folder:
        embedded = EmbeddedServers(folder)
        embedded.start()
        schema.upgrade(embedded.database_url)
        yield embedded
        embedded.stop()


@pytest.fixture
def database(servers: EmbeddedServers) -> Iterator[Database]:
    """A connection to the bare servers' database."""
    connected = Database(servers.database_url)
    yield connected
    connected.close()


@pytest.fixture
def settings(servers: EmbeddedServers, tmp_path: Path) -> Settings:
    """Settings that name the bare servers, and need no keys: those have tests of their own."""
    return settings_of(servers, tmp_path)


@pytest.fixture(scope="module")
def lasting_settings(servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The same for all tests of a module: an API's first request costs as much as its next thirty."""
    return settings_of(servers, tmp_path_factory.mktemp("data"))


def settings_of(servers: EmbeddedServers, folder: Path) -> Settings:
    """Settings with a data folder."""
    return Settings(
        data_dir=folder,
        database_url=servers.database_url,
        redis_url=servers.redis_url,
        auth="off",
        allowed_hosts="testserver",
        data_roots=TEMPORARY,
    )
