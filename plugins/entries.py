"""What installed packages offer: entry points of the groups `winnow.*`, read once by each process."""

from __future__ import annotations

import sys
import traceback
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib import metadata

PREFIX = "winnow."


@dataclass(frozen=True, slots=True)
class Offer:
    """One entry point.

    Attributes:
        name: name of the plug-in.
        package: what it names: a folder to import, of a family a module.
        distribution: name and version of what was installed, such as `hill-climb 1.0`.
    """

    name: str
    package: str
    distribution: str

    @property
    def advice(self) -> str:
        """What a user can do about a plug-in that does not work."""
        return f"Repair the package, or uninstall it: pip uninstall {self.distribution.split()[0]}."


@cache
def offers() -> dict[str, tuple[Offer, ...]]:
    """Group -> what is offered in it, in the order of names and packages."""
    found: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    for distribution in metadata.distributions():
        for point in distribution.entry_points:
            if point.group.startswith(PREFIX):
                who = f"{distribution.metadata['Name']} {distribution.version}"
                found[point.group].add((point.name, point.value, who))
    return {group: tuple(Offer(*one) for one in sorted(those)) for group, those in found.items()}


def packages_of_others() -> frozenset[str]:
    """Top-level packages of everything offered: what is shipped to people without Winnow must import none of them."""
    return frozenset(offer.package.split(".")[0] for group in offers().values() for offer in group)


def blamed(error: BaseException) -> str | None:
    """What a user is told of an error in the code of an installed plug-in; None if no such code took part in it."""
    by_package = {offer.package.split(".")[0]: offer for group in offers().values() for offer in group}
    files = {
        module.__file__: by_package[name.split(".")[0]]
        for name, module in list(sys.modules.items())
        if name.split(".")[0] in by_package and getattr(module, "__file__", None)
    }
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in files:
            offer = files[frame.filename]
            reason = f"{type(error).__name__}: {error}".rstrip(". ")
            return f"{offer.distribution} failed in {frame.filename}, line {frame.lineno} ({reason}). {offer.advice}"
    return None
