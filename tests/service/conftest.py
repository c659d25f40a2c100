"""Keys and guarded APIs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.auth import keys
from service.auth.keys import Scope
from service.settings import Settings
from service.store.session import Database
from tests.api import BASE, open_api


@pytest.fixture
def guarded(settings: Settings) -> Settings:
    """The same servers, and keys are needed."""
    return settings.model_copy(update={"auth": "on", "allowed_hosts": ""})


@pytest.fixture
def key_of(database: Database) -> Callable[..., str]:
    """Makes keys."""

    def make(name: str, scope: Scope, **options: Any) -> str:
        with database.transaction() as session:
            return keys.create(session, name, scope, **options)[1]

    return make


@pytest.fixture
def admin(guarded: Settings, key_of: Callable[..., str]) -> Iterator[TestClient]:
    """An admin's client."""
    with open_api(guarded, key_of("admin", "admin"), base_url=BASE) as client:
        yield client
