"""The versions that an export is known to load with: from the oldest that Winnow asks for to the one it ran with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import metadata


def oldest(package: str) -> str | None:
    """The oldest version that Winnow's own requirement (`pyproject.toml`) allows; None where it names none."""
    try:
        requirements = metadata.requires("winnow") or []
    except metadata.PackageNotFoundError:  # run from a folder that was never installed
        return None
    for requirement in requirements:
        wanted = requirement.split(";")[0]
        if re.match(rf"{re.escape(package)}(?![\w.-])", wanted) and (found := re.search(r">=\s*([\w.]+)", wanted)):
            return found.group(1)
    return None


def version_range(package: str, ran_with: str) -> str:
    """The range in words, such as `2.11 to 2.13.0`."""
    first = oldest(package)
    return ran_with if first is None or first == ran_with else f"{first} to {ran_with}"


def range_table(packages: Sequence[str], versions: Mapping[str, str]) -> str:
    """A table for the card.

    Args:
        packages: that loading needs.
        versions: package -> the one that the files were reloaded with.
    """
    lines = [f"| {name} | {version_range(name, versions[name])} | {versions[name]} |" for name in packages]
    heading = ["\n## What loading needs\n", "| package | tested | reloaded with |", "|---|---|---|"]
    return "\n".join([*heading, *lines]) + "\n"
