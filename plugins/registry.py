"""The registry: a plug-in is a folder, and its folder's name is its own.

A folder such as `search/algorithms` is a registry whose entries are its folders (of simple kinds, its files).
Packages that somebody installed add theirs through entry points. Nothing is registered by an import side effect, and
asking for the names imports none of the entries. `options.py` of an entry is what the API reads; it imports nothing
heavy. Workers alone import the file that implements.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from functools import cache
from types import ModuleType

from plugins.entries import Offer, offers

OPTIONS = "options"


@cache
def _entries(package: str, *, folders: bool) -> tuple[str, ...]:
    """Names of the public folders or files of a package, sorted."""
    spec = importlib.util.find_spec(package)
    assert spec is not None, package
    assert spec.submodule_search_locations is not None, f"{package} is a module, not a folder"
    found = pkgutil.iter_modules(spec.submodule_search_locations)
    return tuple(sorted(entry.name for entry in found if entry.ispkg is folders and not entry.name.startswith("_")))


class UnknownPluginError(ValueError):
    """No plug-in of that name. The message lists the names that are there."""

    def __init__(self, kind: str, got: str, known: tuple[str, ...]) -> None:
        self.kind, self.got, self.known = kind, got, known
        super().__init__(f"No {kind} named {got!r}. Known: {', '.join(known) or 'none'}.")


def one_of(kind: str, got: str, known: tuple[str, ...]) -> str:
    """`got` if it is known.

    Raises:
        UnknownPluginError: it is not.
    """
    if got not in known:
        raise UnknownPluginError(kind, got, known)
    return got


class PluginError(ValueError):
    """A plug-in of an installed package that cannot be used. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of plug-ins.

    Attributes:
        word: for it, in messages.
        package: whose entries are the built-in ones.
        file: file of an entry's folder, that implements it; None: an entry is one file, which has no options.
        group: group of entry points by which packages offer more; None: they cannot.
    """

    word: str
    package: str
    file: str | None = None
    group: str | None = None

    def names(self) -> tuple[str, ...]:
        """Names that can be asked for, sorted; nothing is imported."""
        return tuple(sorted({*self.built_in(), *self._offers()}))

    def built_in(self) -> tuple[str, ...]:
        """Names of those in this repository, sorted."""
        return _entries(self.package, folders=self.file is not None)

    def load(self, name: str) -> ModuleType:
        """The file that implements a plug-in.

        Raises:
            UnknownPluginError: there is none of that name.
            PluginError: it is a package's, and cannot be used.
        """
        return self._part(name, self.file)

    def options(self, name: str) -> ModuleType:
        """The file that says what a plug-in takes.

        Raises:
            UnknownPluginError: there is none of that name.
            PluginError: it is a package's, and cannot be used.
        """
        return self._part(name, OPTIONS)

    def example(self, name: str) -> ModuleType | None:
        """The file that says how contract tests try a plug-in; None: there is none, because they need none."""
        home = self.home(name)
        return importlib.import_module(f"{home}.example") if importlib.util.find_spec(f"{home}.example") else None

    def every_options(self) -> dict[str, ModuleType]:
        """Name -> `options.py` of every plug-in whose file can be imported."""
        found = {}
        for name in self.names():
            try:
                found[name] = self.options(name)
            except PluginError:
                continue  # told by `refused`, and whenever it is named
        return found

    def refused(self) -> dict[str, str]:
        """What packages offer and cannot be used, by name, with the reason in a sentence."""
        reasons = {}
        for name, several in self._offers(clashing=True).items():
            try:
                self._only(name, several)
                if self.file is not None:
                    self.options(name)
            except PluginError as error:
                reasons[name] = str(error)
        return reasons

    def offer(self, name: str) -> Offer | None:
        """Who offers a plug-in; None: it is built in, or not there.

        Raises:
            PluginError: two packages do.
        """
        several = self._offers().get(name)
        return None if several is None else self._only(name, several)

    def _offers(self, *, clashing: bool = False) -> dict[str, list[Offer]]:
        """Name -> the packages that offer it; of names that are built in only if clashes are wanted too."""
        if self.group is None:
            return {}
        taken = () if clashing else self.built_in()
        by_name: dict[str, list[Offer]] = {}
        for offer in offers().get(self.group, ()):
            if offer.name not in taken:
                by_name.setdefault(offer.name, []).append(offer)
        return by_name

    def _only(self, name: str, several: list[Offer]) -> Offer:
        who = " and ".join(offer.distribution for offer in several)
        what = f"{self.word.capitalize()} {name!r}"
        if name in self.built_in():
            raise PluginError(f"{what} of {who} has the name of a built-in one; give its entry point another name.")
        if len(several) > 1:
            raise PluginError(f"{what} is offered by {who}; uninstall all but one of them.")
        return several[0]

    def home(self, name: str) -> str:
        """The package or module of a plug-in.

        Raises:
            UnknownPluginError: there is none of that name.
            PluginError: two packages offer it.
        """
        known = self.names()
        if name not in known:
            raise UnknownPluginError(self.word, name, known)
        offer = self.offer(name)
        return f"{self.package}.{name}" if offer is None else offer.package

    def _part(self, name: str, file: str | None) -> ModuleType:
        home, offer = self.home(name), self.offer(name)
        module = home if file is None else f"{home}.{file}"
        if offer is None:
            return importlib.import_module(module)
        try:
            return importlib.import_module(module)
        except (Exception, SystemExit) as error:  # whatever a stranger's file may do when it is imported
            reason = f"{type(error).__name__}: {error}".rstrip(". ")
            raise PluginError(
                f"{self.word.capitalize()} {name!r} of {offer.distribution} cannot be used: importing {module} failed "
                f"({reason}). {offer.advice}"
            ) from error
