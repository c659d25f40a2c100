"""The page of the architecture names files and packages that are there, all of them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_named_files_exist() -> None:
    named = set(re.findall(r"`([a-z_]+/[a-z_/]*(?:\.py)?)`", PAGE))
    assert len(named) > 40
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_every_package_has_its_row_in_the_order_of_the_imports() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (rows,) = (one["layers"] for one in contracts["contracts"] if one["type"] == "layers")
    levels = {package: level for level, row in enumerate(rows) for package in row.split(" | ")}
    listed = re.findall(r"^\| `([a-z_]+)/`", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(levels)
    assert [levels[package] for package in listed] == sorted(levels.values())
