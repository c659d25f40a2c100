"""The documentation names what exists, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from service import errors
from service.api.app import create_app
from service.api.openapi import OTHERS
from service.cli import app as command_line
from service.settings import Settings, get_settings
from service.store.models import EXPORT_STATES, JOB_STATES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \|", re.MULTILINE)


def rows(page: str) -> dict[str, str]:
    """First and second cell of the tables of a page."""
    return {name: second.strip() for name, second in ROW.findall((DOCS / page).read_text())}


def subclasses(kind: type[errors.ServiceError]) -> Iterator[type[errors.ServiceError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from subclasses(child)


def test_every_setting_is_documented() -> None:
    assert set(rows("settings.md")) == {f"WINNOW_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_default_of_a_setting_is_the_documented_one(name: str) -> None:
    default = Settings.model_fields[name].get_default(call_default_factory=True, validated_data={})
    documented = rows("settings.md")[f"WINNOW_{name.upper()}"].strip("`")
    if default is None:
        assert documented == "none"
    else:
        assert Path(documented).expanduser() == default if isinstance(default, Path) else documented == str(default)


@pytest.mark.parametrize(("variable", "value"), [("WINNOW_PORT", "70000"), ("WINNOW_LEASE_SECONDS", "-1")])
def test_a_wrong_value_is_refused_in_one_line(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    get_settings.cache_clear()
    with pytest.raises(ValueError, match=rf"^{variable}: It must be .*; got '?{value}'?\.$"):
        get_settings()


def test_every_route_is_documented() -> None:
    app = create_app(Settings(database_url="postgresql://x/x", redis_url="redis://x"))
    routes = {
        f"{method.upper()} {path}" for path, operations in app.openapi()["paths"].items() for method in operations
    }
    assert {name for name in rows("api.md") if "/" in name} == routes


def test_every_problem_is_documented_with_its_status() -> None:
    documented = rows("api.md")
    for kind in subclasses(errors.ServiceError):
        assert documented[kind.slug] == str(kind.status)


@pytest.mark.parametrize("state", sorted({*JOB_STATES, *EXPORT_STATES}))
def test_every_state_is_documented(state: str) -> None:
    assert f"`{state}`" in (DOCS / "api.md").read_text()


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_commands_that_are_named_exist(page: str) -> None:
    known = typer.main.get_command(command_line).commands  # type: ignore[attr-defined]
    named = re.findall(r"`winnow ([a-z]+)", (DOCS / page).read_text())
    assert set(named) <= set(known)


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_variables_that_are_named_exist(page: str) -> None:
    settings = {f"WINNOW_{name.upper()}" for name in Settings.model_fields}
    named = re.findall(r"\bWINNOW_[A-Z_]+\b", (DOCS / page).read_text())
    assert set(named) <= settings


def test_every_problem_has_something_to_do() -> None:
    told = rows("troubleshooting.md")
    kinds = {kind.slug for kind in subclasses(errors.ServiceError)} | {*OTHERS, "http-error"}
    assert kinds <= set(told)
    assert kinds <= set(rows("api.md"))


def test_messages_that_are_explained_are_messages_of_the_code() -> None:
    folders = ("workers", "pipeline", "service", "supernet", "export", "job")
    source = " ".join(file.read_text() for folder in folders for file in (ROOT / folder).rglob("*.py"))
    said = re.sub(r'["\']\s+f?["\']', "", source)  # a message that goes over several lines
    page = (DOCS / "troubleshooting.md").read_text()
    messages = ROW.findall(page[page.index("## A job failed") :])
    assert len(messages) > 10
    assert [message for message, _ in messages if message not in said] == []


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md") if path.stem != "log"))
def test_files_that_are_named_exist(page: str) -> None:
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_0-9]+\.(?:py|md|yaml|yml|toml))`", (DOCS / page).read_text())
    assert sorted(name for name in named if not (ROOT / name).exists() and not name.startswith("/")) == []
