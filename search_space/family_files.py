"""Families that others wrote: one Python file each, outside the repository.

They lie in a folder, which is a setting of the installation (`WINNOW_FAMILIES_DIR`), never a part of a request:
loading such a file runs its code. Files whose names start with an underscore, and folders, are helpers that families
may import. Or they are modules of installed packages that offer them through entry points. A file is read again when
it has changed.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

# A family's module is called this and its name, so that it cannot be mistaken for one of ours.
PREFIX = "winnow_family_"

# What a file may not import while the API reads it: `blocks()` is called by workers alone.
HEAVY = frozenset({"torch", "torchvision", "transformers", "timm"})


class FamilyFileError(ValueError):
    """A user's family file is broken. The message names the file, the line and what is wrong."""

    def __init__(self, file: Path, line: int | None, reason: str) -> None:
        self.file, self.line, self.reason = file, line, reason
        where = f"{file}, line {line}" if line else str(file)
        super().__init__(f"Family file {where}: {reason}")


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A file as it was read: (time of change, bytes), and its module or what is wrong with it."""

    stamp: tuple[int, int]
    module: ModuleType | None
    error: FamilyFileError | None


class FamilyFiles:
    """Families by name, and how a file becomes one.

    Args:
        taken: names of other families; a file of such a name is refused.
    """

    def __init__(self, taken: tuple[str, ...]) -> None:
        self._taken = frozenset(taken)
        self._loaded: dict[str, _Loaded] = {}
        self._lock = threading.Lock()

    def names(self) -> tuple[str, ...]:
        """Names of the families, sorted; nothing is imported and no file is opened."""
        return tuple(name for name in self._files() if name not in self._taken)

    def refused(self) -> dict[str, str]:
        """Files that cannot be used, by name, with the reason in a sentence."""
        reasons = {}
        for name in self._files():
            try:
                self.load(name)
            except FamilyFileError as error:
                reasons[name] = str(error)
        return reasons

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Equal as long as no file has changed."""
        return tuple((name, *_stamp(path)) for name, path in self._files().items())

    def load(self, name: str) -> ModuleType:
        """The module of a family.

        Raises:
            FamilyFileError: its name is another family's, or the file cannot be read, run or used.
        """
        path = self._path(name)
        if name in self._taken:
            raise FamilyFileError(path, None, f"{name!r} is a built-in family; choose another file name.")
        with self._lock:
            loaded = self._loaded.get(name)
            try:
                stamp = _stamp(path)
            except OSError as error:
                raise FamilyFileError(path, None, f"it cannot be read: {error.strerror}.") from None
            if loaded is None or loaded.stamp != stamp:
                loaded = self._loaded[name] = self._read(name, path, stamp)
        if loaded.error is not None:
            raise loaded.error
        assert loaded.module is not None
        return loaded.module

    def _files(self) -> dict[str, Path]:
        """Name -> file of every family."""
        raise NotImplementedError

    def _path(self, name: str) -> Path:
        """The file of a family, whether it is there or not."""
        raise NotImplementedError

    def _prepare(self) -> None:
        """What must be so before a file is run."""

    def _read(self, name: str, path: Path, stamp: tuple[int, int]) -> _Loaded:
        try:
            return _Loaded(stamp, self._run(name, path), None)
        except FamilyFileError as error:
            return _Loaded(stamp, None, error)

    def _run(self, name: str, path: Path) -> ModuleType:
        self._prepare()
        module = ModuleType(PREFIX + name)
        module.__file__ = str(path)
        with blaming(path):
            source = path.read_text(encoding="utf-8")
            _refuse_heavy_imports(path, ast.parse(source, str(path)))
            # Dataclasses and `inspect` look modules up by their name.
            sys.modules[module.__name__] = module
            exec(compile(source, str(path), "exec"), module.__dict__)
        _check(path, module)
        return module


class FamilyFolder(FamilyFiles):
    """The families of one folder.

    Args:
        folder: an existing folder.
    """

    def __init__(self, folder: Path, taken: tuple[str, ...]) -> None:
        super().__init__(taken)
        self.folder = folder.resolve()

    def _files(self) -> dict[str, Path]:
        found = sorted(self.folder.glob("*.py"))
        return {path.stem: path for path in found if path.stem.isidentifier() and not path.stem.startswith("_")}

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.py"

    def _prepare(self) -> None:
        if str(self.folder) not in sys.path:
            # At the end: a helper of the user's never takes the place of an installed package.
            sys.path.append(str(self.folder))


class InstalledFamilies(FamilyFiles):
    """Families that installed packages offer.

    Args:
        modules: name -> module whose file is the family's.
    """

    def __init__(self, modules: Mapping[str, str], taken: tuple[str, ...]) -> None:
        super().__init__(taken)
        self._modules = dict(modules)

    def _files(self) -> dict[str, Path]:
        return {name: self._path(name) for name in sorted(self._modules)}

    def _path(self, name: str) -> Path:
        module = self._modules[name]
        try:
            spec = importlib.util.find_spec(module)
        except (Exception, SystemExit) as error:  # packages around it are imported
            reason = f"{type(error).__name__}: {error}".rstrip(". ")
            raise FamilyFileError(Path(module), None, f"importing the package around it failed ({reason}).") from error
        if spec is None or spec.origin is None:
            raise FamilyFileError(Path(module), None, "there is no such module.")
        return Path(spec.origin)


def is_users(module: ModuleType) -> bool:
    """Whether a family's module is a user's file."""
    return module.__name__.startswith(PREFIX)


def file_of(module: ModuleType) -> Path:
    """The file of a user's family."""
    assert module.__file__ is not None
    return Path(module.__file__)


@contextmanager
def blaming(file: Path) -> Iterator[None]:
    """Turn whatever goes wrong in a user's file into one sentence that names file and line.

    A ValueError that our own code raised is for the user as it is.
    """
    try:
        yield
    except FamilyFileError:
        raise
    except SyntaxError as error:
        raise FamilyFileError(file, error.lineno, f"{type(error).__name__}: {error.msg}.") from None
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        in_file = [frame.lineno for frame in frames if frame.filename == str(file)]
        if isinstance(error, ValueError) and frames[-1].filename != str(file):
            raise
        reason = f"{type(error).__name__}: {error}".rstrip(". ")
        raise FamilyFileError(file, in_file[-1] if in_file else None, f"{reason}.") from error


def culprit(error: BaseException) -> FamilyFileError | None:
    """The error of a user's family file behind any error; None if no such file took part in it."""
    if isinstance(error, FamilyFileError):
        return error
    users = {module.__file__ for name, module in list(sys.modules.items()) if name.startswith(PREFIX)}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in users:
            reason = f"{type(error).__name__}: {error}".rstrip(". ")
            return FamilyFileError(Path(frame.filename), frame.lineno, f"{reason}.")
    return None


def _stamp(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size


def _refuse_heavy_imports(path: Path, tree: ast.Module) -> None:
    for node in _run_at_import(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        heavy = [name for name in names if name.split(".")[0] in HEAVY]
        if heavy:
            assert isinstance(node, ast.stmt)
            raise FamilyFileError(
                path,
                node.lineno,
                f"it imports {heavy[0]} at the top; do that inside blocks(), which only workers call.",
            )


def _run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module is imported: everything but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _run_at_import(child)


def _check(path: Path, module: ModuleType) -> None:
    presets = getattr(module, "PRESETS", None)
    if not isinstance(presets, dict) or not presets or not all(isinstance(name, str) for name in presets):
        raise FamilyFileError(path, None, "it needs PRESETS, a dict with at least one named preset.")
    for name in ("space", "blocks"):
        if not callable(getattr(module, name, None)):
            what = "space(preset, adjustments)" if name == "space" else "blocks()"
            raise FamilyFileError(path, None, f"it needs a function {what}.")
