"""Names and texts are shown as they are: no markup, no emoji names, no commands to the terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from service import cli, target_commands
from service.client import Client, Event
from service.plain import make_console, plain, visible
from service.terminal import front_table, jobs_table, supernets_table, watch

NAMES = [
    "[/red]",
    "[bold]x[/bold]",
    "[link=http://a]b[/link]",
    "[[x]",
    r"\[x]",
    ":smile: :warning:",
    "<b>&amp;</b> **x** `y` | z",
    "{task.description} %s {0}",
    "[@click=app.bell]x[/]",
]
CONTROLS = {"\x1b[31mred\x1b[0m": r"\x1b[31mred\x1b[0m", "a\nb\tc\r": r"a\nb\tc\r", "\u202egnp.exe": r"\u202egnp.exe"}


def job(name: str, state: str = "succeeded") -> dict[str, Any]:
    return {
        "id": "ab12",
        "name": name,
        "state": state,
        "stage": name,
        "progress": 0.5,
        "eta_seconds": 3.0,
        "created_at": "2026-01-01T10:00:00",
        "finished_at": "2026-01-01T10:00:00",
    }


def printed(what: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=300).print(what)
    return out.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_tables_show_names_as_they_are(name: str) -> None:
    assert printed(jobs_table([job(name)])).count(name) == 2
    scores = {"smallest": 0.1, "largest": None, "random": {"mean": 0.2}}
    supernet = {**job(name), "space": name, "data": {"source": name}, "scores": scores}
    supernet |= {"training": {"method": name, "epochs": 1}, "metric": "accuracy"}
    assert printed(supernets_table([supernet])).count(name) == 4
    point = {"architecture_id": name, "metrics": {"accuracy": None, "macs": 3.0}}
    objectives = [{"metric": "accuracy"}, {"metric": "macs"}]
    assert name in printed(front_table({"objectives": objectives, "points": [point], "knee": name}))


class Told(Client):
    """Events of one job, without an API."""

    def __init__(self, text: str) -> None:
        self._text = text

    def events(self, job_id: str, patience_seconds: float = 60) -> Iterator[Event]:
        yield Event("job", job(self._text, "running"), None)
        yield Event("curve", {"epoch": 1, f"loss_{self._text}": 0.5, "loss_random": None}, "1")
        yield Event("message", {"level": "warning", "text": f"left out: {self._text}"}, "2")
        yield Event("stage", {"at": "2026-01-01T10:00:00", "stage": self._text}, "3")
        yield Event("evaluation", {"number": 1, "metrics": {"accuracy": None}}, "4")

    def job(self, job_id: str) -> dict[str, Any]:
        return job(self._text)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_watch_shows_texts_of_events_as_they_are(name: str, terminal: bool) -> None:
    out = io.StringIO()
    watch(Console(file=out, width=300, force_terminal=terminal, color_system=None), Told(name), "ab12")
    assert f"left out: {name}" in out.getvalue()
    if not terminal:
        assert f"10:00:00  {name}" in out.getvalue()


@pytest.mark.parametrize(("text", "shown"), CONTROLS.items())
def test_commands_to_a_terminal_are_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert printed(jobs_table([job(text)])).count(shown) == 2
    out = io.StringIO()
    watch(Console(file=out, width=300), Told(text), "ab12")
    assert f"left out: {shown}" in out.getvalue()
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_itself_reads_no_markup(name: str, monkeypatch) -> None:
    assert name in _captured(name)
    for module in (cli, target_commands):
        module.console.print(f"{name}")
    page = {"jobs": [job(name)]}
    monkeypatch.setattr(Client, "jobs", lambda self, **filters: page)
    monkeypatch.setattr(cli, "console", Console(file=(out := io.StringIO()), width=300))
    assert CliRunner().invoke(cli.app, ["list"], catch_exceptions=False).exit_code == 0
    assert name in out.getvalue()


def _captured(name: str) -> str:
    console = make_console()
    with console.capture() as got:
        console.print(name)
        with console.status(plain(name)):
            pass
    return got.get()
