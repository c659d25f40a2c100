"""What `winnow --help` shows: every command in one panel, and help for everything that can be given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from service.cli import PANELS, app


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command with its whole name, groups included."""
    yield name, command
    for child, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {child}")


def test_every_command_argument_and_option_has_help() -> None:
    found = dict(commands(typer.main.get_command(app), "winnow"))
    assert len(found) > 50
    silent = [name for name, command in found.items() if not command.help]
    silent += [f"{name} {one.name}" for name, command in found.items() for one in command.params if not one.help]
    assert silent == []


def test_help_lists_every_command_in_one_panel_in_the_panels_order() -> None:
    listed = [name for names in PANELS.values() for name in names]
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert sorted(listed) == sorted(known)
    shown = [(command.rich_help_panel, name) for name, command in known.items()]
    assert list(dict.fromkeys(panel for panel, _ in shown)) == list(PANELS)
    assert all(name in PANELS[panel] for panel, name in shown)
