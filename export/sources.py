"""Source of blocks that a user wrote, so that an export loads without Winnow and without the user's files.

`network.py` gets the family's `blocks()` as it stands, and those definitions of its file that it needs. Modules
of the user's own that it imports are copied beside it, whole. Installed packages stay imports.
"""

from __future__ import annotations

import ast
import importlib.util
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from torch import nn

from search_space.family_files import FamilyFileError, file_of
from search_space.packages import own_packages
from supernet.kinds import family_of

INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))
# Files of every bundle, which a helper's copy would overwrite.
RESERVED = frozenset({"network.py", "load.py", "quantized.py"})


def users_families(blocks: list[type[nn.Module]]) -> list[ModuleType]:
    """The users' families that these classes come from, each once."""
    return list({family: None for block in blocks if (family := family_of(block)) is not None})


def blocks_source(family: ModuleType) -> list[str]:
    """Statements that define a family's `blocks()` anywhere, in the order of its file.

    Raises:
        FamilyFileError: they need something of Winnow.
    """
    file = file_of(family)
    source = file.read_text(encoding="utf-8")
    needed = _needed(ast.parse(source, str(file)), "blocks")
    for name, line in _imports(needed, ""):
        if name.split(".")[0] in own_packages():
            raise FamilyFileError(
                file, line, f"what blocks() needs imports {name}; an export has to load where Winnow is not installed."
            )
    return [ast.get_source_segment(source, node) or "" for node in map(_decorated, needed)]


def future_imports(families: list[ModuleType]) -> set[str]:
    """`from __future__` imports of these families' files: they change what the code means."""
    trees = [ast.parse(file_of(family).read_text(encoding="utf-8")) for family in families]
    found = (node for tree in trees for node in tree.body)
    return {ast.unparse(node) for node in found if isinstance(node, ast.ImportFrom) and node.module == "__future__"}


def helper_files(blocks: list[type[nn.Module]]) -> dict[str, str]:
    """Path in the bundle -> source, of every module of the users' own that their blocks import.

    Raises:
        FamilyFileError: such a module would overwrite a file of the bundle, or needs something of Winnow.
    """
    files: dict[str, str] = {}
    for family in users_families(blocks):
        tree = ast.parse(file_of(family).read_text(encoding="utf-8"))
        open_names = [name for name, _ in _imports(_needed(tree, "blocks"), "")]
        while open_names:
            name = open_names.pop()
            found = _own_module(name)
            if found is None or found[0] in files:
                continue
            path, source, package = found
            if path in RESERVED:
                raise FamilyFileError(
                    file_of(family), None, f"its helper {path} has the name of a file of every bundle."
                )
            files[path] = source
            for imported, line in _imports(ast.parse(source).body, package):
                if imported.split(".")[0] in own_packages():
                    raise FamilyFileError(
                        Path(path), line, f"it imports {imported}; an export has to load where Winnow is not installed."
                    )
                open_names.append(imported)
            # A module inside a package loads the package first.
            open_names += [name.rpartition(".")[0]] if "." in name else []
    return files


def _needed(tree: ast.Module, name: str) -> list[ast.stmt]:
    """The top-level statements that a function needs, itself included, in the order of the file."""
    defined: dict[str, list[ast.stmt]] = {}
    for node in tree.body:
        for bound in _bound(node):
            defined.setdefault(bound, []).append(node)
    kept: list[ast.stmt] = []
    names = [name]
    while names:
        for node in defined.pop(names.pop(), []):
            if node not in kept:
                kept.append(node)
                names += [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]
    return [node for node in tree.body if node in kept]


def _bound(node: ast.stmt) -> Iterator[str]:
    """Names that a top-level statement gives a meaning to."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
    else:
        yield from (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _decorated(node: ast.stmt) -> ast.stmt:
    """The node with its decorators, which its own position leaves out."""
    decorators = getattr(node, "decorator_list", [])
    if decorators:
        node.lineno, node.col_offset = decorators[0].lineno, 0
    return node


def _imports(nodes: list[ast.stmt], package: str) -> Iterator[tuple[str, int]]:
    """(module, line) of every import anywhere in these statements."""
    for node in (found for statement in nodes for found in ast.walk(statement)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            name = importlib.util.resolve_name(base, package) if node.level else base
            yield name, node.lineno
            # `from package import module` imports a module, too.
            yield from ((f"{name}.{alias.name}", node.lineno) for alias in node.names)


def _own_module(name: str) -> tuple[str, str, str] | None:
    """(path in the bundle, source, package) of a module that is neither installed nor ours; None for all others."""
    if name.split(".")[0] in own_packages():
        return None
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    origin = Path(spec.origin).resolve()
    if any(origin.is_relative_to(root) for root in INSTALLED):
        return None
    is_package = spec.submodule_search_locations is not None
    path = name.replace(".", "/") + ("/__init__.py" if is_package else ".py")
    return path, origin.read_text(encoding="utf-8"), name if is_package else name.rpartition(".")[0]
