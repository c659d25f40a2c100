"""Names and texts on a terminal as they are: no markup, no emoji's name, no command to it."""

from __future__ import annotations

import re

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

# Commands to terminals, and marks that turn the direction of writing around.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def make_console() -> Console:
    """A console that prints what it is given; styles are said beside a text, never inside it."""
    return Console(highlight=False, markup=False, emoji=False)


def make_table(*columns: Column | str, tight: bool = False) -> Table:
    """A table that cuts nothing: what is too wide for its column goes on in the next line.

    Args:
        tight: leave out every second blank, for tables of many columns.
    """
    folding = [Column(one, overflow="fold") if isinstance(one, str) else one for one in columns]
    return Table(*folding, collapse_padding=tight)


def whole(header: str) -> Column:
    """A column of ids and names that people type again: others shrink first, and it is never cut."""
    return Column(header, no_wrap=True, overflow="fold")


def visible(text: str) -> str:
    """A text with its control characters written out, such as `\\x1b` or `\\n`."""
    return CONTROLS.sub(lambda found: repr(found.group())[1:-1], text)


def plain(text: object, style: str = "") -> Text:
    """What somebody wrote, as it is shown wherever rich would look for markup in it."""
    return Text(visible(str(text)), style=style)
