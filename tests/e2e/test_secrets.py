"""Secrets of a running service, its command line, and paths that only a worker can judge."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.client import Client, ClientError
from service.credentials import key_for
from service.settings import get_settings
from service.stack import Stack
from tests.conftest import TINY_JOB
from tests.e2e.helpers import is_finished, wait_for

pytestmark = pytest.mark.e2e


def winnow(stack: Stack, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "WINNOW_API_KEY"}
    return subprocess.run(
        [sys.executable, "-m", "service.cli", *arguments],
        env={**clean, **stack.environment(), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.thorough
def test_the_command_line_is_signed_in_and_makes_keys_both_ways(stack: Stack, client: Client) -> None:
    by_api = winnow(stack, "keys", "create", "ada", "--scope", "read", "--group", "g", WINNOW_DATABASE_URL="")
    by_database = winnow(stack, "keys", "create", "bob", "--days", "1")
    for made in (by_api, by_database):
        assert made.returncode == 0, made.stderr
        assert made.stdout.strip() not in made.stderr
        with Client(stack.url, key=made.stdout.strip()) as theirs:
            assert theirs.jobs()["jobs"] == []
    ada = by_api.stdout.strip()
    assert winnow(stack, "keys", "link").stdout.startswith(f"{stack.url}/sign-in#token=")
    assert winnow(stack, "keys", "revoke", ada.split("_")[1]).returncode == 0
    gone = winnow(stack, "list", WINNOW_API_KEY=ada)
    assert (gone.returncode, "was revoked" in gone.stderr) == (1, True)


def test_a_stored_key_never_leaves_this_machine(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINNOW_API_KEY", raising=False)
    monkeypatch.setenv("WINNOW_DATA_DIR", str(stack.data_dir))
    get_settings.cache_clear()
    try:
        assert key_for(stack.url) == stack.api_key
        assert key_for("http://[::1]:8420") == stack.api_key
        assert key_for("http://10.0.0.5:8420") is None
        assert key_for("https://localhost.evil.example") is None
    finally:
        get_settings.cache_clear()


def test_secrets_stand_in_no_command_line_log_or_event_and_files_are_private(
    stack: Stack, client: Client, finished: dict[str, Any]
) -> None:
    assert stack.api_key is not None
    secret = stack.api_key.split("_", 2)[2].encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                assert secret not in (folder / "cmdline").read_bytes()
            except OSError:
                continue
    logs = list((stack.data_dir / "logs").iterdir())
    assert any(log.name == f"job-{finished['id']}.log" for log in logs)
    for log in logs:
        assert secret not in log.read_bytes(), log
    assert secret.decode() not in str([event.data for event in client.events(finished["id"])])
    stored = [path for path in (stack.data_dir / "artifacts").rglob("*") if path.is_file()]
    assert stored
    for path in (*logs, *stored, stack.data_dir / "admin.key"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_link_within_the_data_is_refused_by_the_worker(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
        (folder / name / "out.png").symlink_to("/etc/passwd")
    data = {"source": "images", "path": str(folder), "size": 8, "channels": 1}
    supernet = {"family": "mobilenet", "preset": "digits", "classes": 2}
    job = client.submit({**TINY_JOB, "data": data, "supernet": supernet})
    ended = wait_for(client, job["id"], is_finished)
    assert ended["state"] == "failed"
    assert "is a link that leads out of what is open" in ended["message"]
    assert "root:" not in ended["message"]
    with pytest.raises(ClientError, match="WINNOW_DATA_ROOTS"):
        client.submit({**TINY_JOB, "data": {**data, "path": "/etc"}, "supernet": supernet})
