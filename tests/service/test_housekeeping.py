"""What is too old is removed from the disk, and what is still in use is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

from service.housekeeping import DAY_SECONDS, tidy
from service.settings import Settings
from service.store.session import Database


def test_answers_that_a_dead_healing_left_are_removed(database: Database, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url=None, redis_url=None)
    old, fresh = (tmp_path / "answers" / name for name in ("old", "fresh"))
    for folder in (old, fresh):
        folder.mkdir(parents=True)
        (folder / "a.safetensors").write_bytes(b"x")
    long_ago = time.time() - DAY_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    tidy(database, settings)
    assert not old.exists()
    assert [file.name for file in fresh.iterdir()] == ["a.safetensors"]
