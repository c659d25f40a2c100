"""Jobs that have ended, for tests that look at them or make others of them: each kind is run once for each process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from service.store.session import Database
from tests.workers.test_faults import Bench

Ended = Callable[[str, dict[str, Any]], Bench]


@pytest.fixture(scope="package")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of such jobs, and of those that are made of them."""
    return tmp_path_factory.mktemp("ended")


@pytest.fixture(scope="package")
def ids_of_ended() -> dict[str, str]:
    """By a name for the kind of job."""
    return {}


@pytest.fixture
def ended(database: Database, settings: Settings, shared_folder: Path, ids_of_ended: dict[str, str]) -> Ended:
    """A job of a kind that has succeeded. Whoever changes its rows puts them back."""

    def of(kind: str, spec: dict[str, Any]) -> Bench:
        if kind not in ids_of_ended:
            bench = Bench(database, shared_folder, spec)
            bench.run()
            assert bench.job().state == "succeeded", bench.job().message
            ids_of_ended[kind] = bench.id
        return Bench(database, shared_folder, None, ids_of_ended[kind])

    return of
