"""A bar for whoever waits for a job: at a terminal by rich, in a notebook as HTML that is written over."""

from __future__ import annotations

import html
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Show = Callable[[Mapping[str, Any]], None]


@contextmanager
def bar(wanted: bool | None) -> Iterator[Show]:
    """Something to show a job to, again and again.

    Args:
        wanted: None: where somebody looks, which is at a terminal and in a notebook.
    """
    if wanted is not False and in_notebook():
        yield _notebook()
    elif wanted or (wanted is None and sys.stderr.isatty()):
        with _terminal(wanted is True) as show:
            yield show
    else:
        yield lambda job: None


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def line(job: Mapping[str, Any]) -> str:
    """Where a job is, in a line: its stage or state, and the time that is left."""
    running = job["state"] == "running"
    said = (job.get("stage") if running else None) or job["state"]
    left = job.get("eta_seconds") if running else None
    return f"{said}, about {_duration(left)} left" if left else str(job.get("waits") or said)


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


@contextmanager
def _terminal(forced: bool) -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(bar_width=32), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True, force_terminal=forced or None)
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda job: progress.update(task, completed=job.get("progress") or 0.0, description=_plain(line(job)))


def _plain(text: str) -> str:
    """Text that rich takes for no markup."""
    return text.replace("[", r"\[")


def _notebook() -> Show:
    display: Any = importlib.import_module("IPython.display")
    shown = display.display(display.HTML(""), display_id=True)

    def show(job: Mapping[str, Any]) -> None:
        done = 100 * (job.get("progress") or 0.0)
        shown.update(
            display.HTML(f'<progress value="{done:.0f}" max="100"></progress> {done:.0f} % {html.escape(line(job))}')
        )

    return show
