"""The API in this process, asked as our own pages and command line ask it."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from service.api.app import create_app
from service.settings import Settings

# Where guarded APIs are asked.
BASE = "http://127.0.0.1"


def open_api(settings: Settings, key: str | None = None, **options: Any) -> TestClient:
    """A client of an API with these settings; enter it as a context.

    Args:
        key: to send with every request.
        options: of the client.
    """
    headers = {"X-Winnow": "1", **({"Authorization": f"Bearer {key}"} if key else {})}
    return TestClient(create_app(settings), headers=headers, **options)


def client_of(api: TestClient, key: str | None) -> TestClient:
    """Another client of the same app."""
    headers = {"X-Winnow": "1", **({"Authorization": f"Bearer {key}"} if key else {})}
    return TestClient(api.app, base_url=BASE, headers=headers, follow_redirects=False, raise_server_exceptions=False)
