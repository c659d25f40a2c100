"""Which top-level packages are Winnow's own: those that its build found, so that no list of them can be out of date."""

from __future__ import annotations

from functools import cache
from importlib.metadata import distribution


@cache
def own_packages() -> frozenset[str]:
    """Names such as `search_space`. What is shipped to people who have no Winnow must import none of them."""
    names = distribution("winnow").read_text("top_level.txt")
    assert names, "setuptools writes the names of the packages into the installed distribution"
    return frozenset(names.split())
