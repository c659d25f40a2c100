"""Names and texts on a terminal as they are: no markup, no emoji's name, no command to it."""

from __future__ import annotations

import re

from rich.console import Console
from rich.text import Text

# Commands to terminals, and marks that turn the direction of writing around.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def make_console() -> Console:
    """A console that prints what it is given; styles are said beside a text, never inside it."""
    return Console(highlight=False, markup=False, emoji=False)


def visible(text: str) -> str:
    """A text with its control characters written out, such as `\\x1b` or `\\n`."""
    return CONTROLS.sub(lambda found: repr(found.group())[1:-1], text)


def plain(text: object, style: str = "") -> Text:
    """What somebody wrote, as it is shown wherever rich would look for markup in it."""
    return Text(visible(str(text)), style=style)
