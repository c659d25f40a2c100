"""`winnow demo`, which `make demo` runs: the journey that it tells, with a job of seconds."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from service import demo
from service.stack import Stack
from tests.conftest import TINY_JOB

pytestmark = [pytest.mark.thorough, pytest.mark.e2e]


def test_the_demo_ends_with_an_export_that_was_loaded(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "DEMO_JOB", TINY_JOB)
    told = io.StringIO()
    demo.run_demo(Console(file=told, width=200), stack, tmp_path)
    for words in ("Submitted job", "Evaluated 24 architectures", "unpacked and loaded again", "The whole journey took"):
        assert words in told.getvalue()
    assert "DIFFERENT" not in told.getvalue()
    assert len(list(tmp_path.glob("*.tar.gz"))) == 1
