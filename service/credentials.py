"""Which key this machine sends to an API: `WINNOW_API_KEY`, or on loopback what `winnow up` keeps for its user."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from service.auth.hosts import is_loopback
from service.settings import get_settings

ADMIN_KEY_FILE = "admin.key"


def key_for(url: str) -> str | None:
    """The key to send to an address, or None. The file's never leaves this machine."""
    if key := os.environ.get("WINNOW_API_KEY", "").strip():
        return key
    if not is_loopback(urlsplit(url).hostname or ""):
        return None
    return stored_key(get_settings().data_dir)


def stored_key(data_dir: Path) -> str | None:
    """The key that `winnow up` keeps in its data folder; None where there is none, or it is not this user's."""
    try:
        return (data_dir / ADMIN_KEY_FILE).read_text().strip() or None
    except OSError:
        return None


def headers_for(url: str, key: str | None = None) -> dict[str, str]:
    """What a request of ours carries: the key, and a header that no form can send."""
    key = key or key_for(url)
    return {"X-Winnow": "1", **({"Authorization": f"Bearer {key}"} if key else {})}
