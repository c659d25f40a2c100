"""Packages offer plug-ins through entry points: found without a line elsewhere, and refused with reasons."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from job.spec import JobSpec
from plugins import entries
from plugins.kinds import ALGORITHMS, FORMATS, METHODS
from plugins.registry import PluginError
from search.algorithms import make_algorithm
from search.objectives import Objective
from search_space import Choice, SearchSpace, plugins
from search_space.family_files import FamilyFileError
from search_space.plugins import FAMILIES, load_family
from service.api import catalog
from tests.docs.families import documented_files

Install = Callable[..., Path]

SPACE = SearchSpace("toy", [Choice(f"c{i}", (0, 1, 2)) for i in range(4)])
OPTIONS = """
from typing import Annotated
from pydantic import Field
from winnow.plugins import Options

class BackwardsOptions(Options):
    batch: Annotated[int, Field(ge=1, le=9, description="Asked for at a time.")] = 3

OPTIONS = BackwardsOptions
"""
ALGORITHM = """
from winnow.plugins import SearchAlgorithm

class Backwards(SearchAlgorithm):
    def _propose(self, room):
        return self._unknown([self.space.largest(), self.space.smallest()])[: min(self.options.batch, room)]

    def _learn(self, evaluations):
        pass

ALGORITHM = Backwards
"""
BACKWARDS = {"__init__.py": "", "options.py": OPTIONS, "algorithm.py": ALGORITHM}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a package with one plug-in, as pip leaves it."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def forget() -> None:
        entries.offers.cache_clear()
        monkeypatch.setattr(plugins, "_installed", None)

    def put(distribution: str, group: str, name: str, files: dict[str, str], value: str | None = None) -> Path:
        package = distribution.replace("-", "_")
        folder = tmp_path / package / name
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").write_text("")
        for file, text in files.items():
            (folder / file).write_text(text)
        facts = tmp_path / f"{package}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[winnow.{group}]\n{name} = {value or f'{package}.{name}'}\n")
        forget()
        return folder

    yield put
    entries.offers.cache_clear()
    for name in set(sys.modules) - before:
        if name.split(".")[0].startswith("acme"):
            del sys.modules[name]


def test_a_package_is_offered_by_jobs_catalogue_and_search_without_a_line_elsewhere(install: Install) -> None:
    install("acme-search", "algorithms", "backwards", BACKWARDS)
    spec = JobSpec.model_validate({"search": {"algorithm": "backwards"}})
    assert spec.search.options == {"batch": 3}
    with pytest.raises(ValueError, match="less than or equal to 9"):
        JobSpec.model_validate({"search": {"algorithm": "backwards", "options": {"batch": 10}}})
    with pytest.raises(ValueError, match="Got batch 10; it must be at least 1 and at most 9"):
        make_algorithm("backwards", SPACE, [Objective("m")], batch=10)
    asked = make_algorithm("backwards", SPACE, [Objective("m")], batch=2).ask()
    assert asked == [SPACE.largest(), SPACE.smallest()]
    offered = catalog._catalog.__wrapped__()
    assert offered["search_algorithms"]["backwards"]["properties"]["batch"]["description"] == "Asked for at a time."
    assert offered["plugins_refused"]["search algorithm"] == {}
    titles = JobSpec.model_json_schema()["$defs"]["SearchSpec"]["properties"]["options"]["anyOf"]
    assert "backwards" in [one["title"] for one in titles]
    # What is shipped to people without Winnow must not import it.
    assert "acme_search" in entries.packages_of_others()


def test_what_is_there_is_read_once(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme-search", "algorithms", "backwards", BACKWARDS)
    assert "backwards" in ALGORITHMS.names()
    monkeypatch.setattr(entries.metadata, "distributions", lambda: 1 / 0)
    assert "backwards" in ALGORITHMS.names()


@pytest.mark.parametrize(
    ("text", "reason"),
    [("import nonsuch", "ModuleNotFoundError: No module named 'nonsuch'"), ("raise SystemExit(3)", "SystemExit: 3")],
)
def test_a_broken_declaration_is_told_where_it_is_named_and_listed(install: Install, text: str, reason: str) -> None:
    install("acme-search", "algorithms", "backwards", {**BACKWARDS, "options.py": text})
    told = (
        "Search algorithm 'backwards' of acme-search 1.0 cannot be used: importing acme_search.backwards.options "
        f"failed ({reason}). Repair the package, or uninstall it: pip uninstall acme-search."
    )
    with pytest.raises(PluginError) as raised:
        make_algorithm("backwards", SPACE, [Objective("m")])
    assert str(raised.value) == told
    with pytest.raises(ValueError, match=r"pip uninstall acme-search"):
        JobSpec.model_validate({"search": {"algorithm": "backwards"}})
    offered = catalog._catalog.__wrapped__()
    assert "backwards" not in offered["search_algorithms"]
    assert offered["plugins_refused"]["search algorithm"] == {"backwards": told}
    assert JobSpec.model_validate({}).search.algorithm == "winnow"


def test_an_implementation_that_cannot_be_imported_is_told(install: Install) -> None:
    install("acme-search", "algorithms", "backwards", {**BACKWARDS, "algorithm.py": "import nonsuch"})
    assert JobSpec.model_validate({"search": {"algorithm": "backwards"}})
    with pytest.raises(PluginError, match=r"importing acme_search.backwards.algorithm failed .*'nonsuch'"):
        make_algorithm("backwards", SPACE, [Objective("m")])


def test_a_mistake_in_a_packages_code_is_told_with_file_and_line(install: Install) -> None:
    broken = ALGORITHM.replace("return self", "1 / 0\n        return self")
    folder = install("acme-search", "algorithms", "backwards", {**BACKWARDS, "algorithm.py": broken})
    with pytest.raises(ZeroDivisionError) as raised:
        make_algorithm("backwards", SPACE, [Objective("m")]).ask()
    assert entries.blamed(raised.value) == (
        f"acme-search 1.0 failed in {folder}/algorithm.py, line 6 (ZeroDivisionError: division by zero). "
        "Repair the package, or uninstall it: pip uninstall acme-search."
    )
    with pytest.raises(ValueError, match="Got 5 objectives") as ours:
        make_algorithm("backwards", SPACE, [Objective(f"m{i}") for i in range(5)])
    assert entries.blamed(ours.value) is None


def test_a_package_that_is_not_there_is_told(install: Install) -> None:
    install("acme-search", "algorithms", "backwards", BACKWARDS, value="acme_search.forwards")
    with pytest.raises(PluginError, match=r"No module named 'acme_search\.forwards'"):
        ALGORITHMS.load("backwards")


def test_the_name_of_a_built_in_one_is_refused_and_the_built_in_one_stays(install: Install) -> None:
    install("acme-search", "algorithms", "nsga2", BACKWARDS)
    told = (
        "Search algorithm 'nsga2' of acme-search 1.0 has the name of a built-in one; give its entry point another name."
    )
    assert ALGORITHMS.refused() == {"nsga2": told}
    assert ALGORITHMS.options("nsga2").OPTIONS.__name__ == "NSGA2Options"


def test_a_name_that_two_packages_offer_is_refused_with_both(install: Install) -> None:
    install("acme-search", "algorithms", "backwards", BACKWARDS)
    install("acme-tools", "algorithms", "backwards", BACKWARDS)
    told = (
        "Search algorithm 'backwards' is offered by acme-search 1.0 and acme-tools 1.0; uninstall all but one of them."
    )
    with pytest.raises(PluginError) as raised:
        ALGORITHMS.load("backwards")
    assert str(raised.value) == told
    assert ALGORITHMS.refused() == {"backwards": told}
    assert "backwards" not in ALGORITHMS.every_options()


def test_groups_are_kept_apart(install: Install) -> None:
    install("acme-search", "algorithms", "backwards", BACKWARDS)
    assert "backwards" not in METHODS.names()
    assert "backwards" not in FORMATS.names()


def test_a_family_is_a_module_of_a_package(install: Install) -> None:
    source = documented_files()["residual.py"]
    install("acme-nets", "families", "acme_residual", {"__init__.py": source})
    assert "acme_residual" in FAMILIES.names()
    assert FAMILIES.refused() == {}
    assert load_family("acme_residual", "digits").size() == 3 * (3 + 9 + 27)
    spec = JobSpec.model_validate({"supernet": {"family": "acme_residual", "preset": "digits"}})
    assert spec.space().size() == 3 * (3 + 9 + 27)


def test_a_broken_family_of_a_package_is_told_with_file_and_line(install: Install) -> None:
    folder = install("acme-nets", "families", "acme_residual", {"__init__.py": "PRESETS = nonsuch\n"})
    reason = f"Family file {folder}/__init__.py, line 1: NameError: name 'nonsuch' is not defined."
    with pytest.raises(FamilyFileError) as raised:
        load_family("acme_residual", "digits")
    assert str(raised.value) == reason
    assert FAMILIES.refused() == {"acme_residual": reason}
