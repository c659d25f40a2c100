"""A user's family files: found, read again when they change, and refused with file and line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search_space import plugins
from search_space.family_files import FamilyFileError, culprit
from search_space.plugins import UnknownPluginError, load_family
from tests.docs.families import documented_files

GOOD = documented_files()["residual.py"]
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes a file into the families folder that plug-ins look into."""
    plugins.use_families_dir(tmp_path)

    def put(name: str, source: str) -> Path:
        path = tmp_path.resolve() / name
        path.write_text(source)
        return path

    yield put
    plugins.use_families_dir(None)
    if str(tmp_path.resolve()) in sys.path:
        sys.path.remove(str(tmp_path.resolve()))


def test_a_users_family_is_found_beside_the_built_in_ones(write: Write) -> None:
    before = plugins.FAMILIES.names()
    write("residual.py", GOOD)
    assert set(plugins.FAMILIES.names()) == {*before, "residual"}
    assert load_family("residual", "digits").size() == 3 * (3 + 9 + 27)
    plugins.use_families_dir(None)
    with pytest.raises(UnknownPluginError, match="No family named 'residual'"):
        load_family("residual", "digits")


def test_helpers_and_folders_are_no_families(write: Write, tmp_path: Path) -> None:
    write("_helper.py", "1 / 0")
    write("not-a-name.py", "1 / 0")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("1 / 0")
    users = plugins.users_families()
    assert users is not None
    assert users.names() == ()
    assert users.refused() == {}


def test_reading_a_users_family_loads_no_torch(tmp_path: Path) -> None:
    (tmp_path / "residual.py").write_text(GOOD)
    script = (
        "import sys; from pathlib import Path; from search_space import plugins; "
        "plugins.use_families_dir(Path(sys.argv[1])); space = plugins.load_family('residual', 'digits'); "
        "space.layers(space.largest()); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)


@pytest.mark.parametrize(
    ("source", "line", "reason"),
    [
        ("x = 1\ndef f(:\n", 2, "SyntaxError"),
        ("x = 1\n\ny = z\n", 3, "NameError: name 'z' is not defined"),
        ("import numpy\nfrom torch import nn\n", 2, "imports torch at the top; do that inside blocks()"),
        ("try:\n    import torch.nn\nexcept ImportError:\n    pass\n", 2, "imports torch.nn at the top"),
        ("import nonsuch_module\n", 1, "ModuleNotFoundError: No module named 'nonsuch_module'"),
        ("raise SystemExit(3)\n", 1, "SystemExit: 3"),
        ("x = int('seven')\n", 1, "ValueError: invalid literal"),
        ("", None, "it needs PRESETS"),
        ("PRESETS = {}\n", None, "at least one named preset"),
        ("PRESETS = {'a': 1}\n", None, "it needs a function space(preset, adjustments)"),
        ("PRESETS = {'a': 1}\ndef space(preset, adjustments): ...\n", None, "it needs a function blocks()"),
    ],
)
def test_a_broken_file_is_one_sentence_with_file_and_line(
    write: Write, source: str, line: int | None, reason: str
) -> None:
    path = write("mine.py", source)
    with pytest.raises(FamilyFileError) as caught:
        load_family("mine", "a")
    assert caught.value.line == line
    assert str(caught.value).startswith(f"Family file {path}{f', line {line}' if line else ''}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert load_family("mobilenet", "digits").size() > 0


@pytest.mark.parametrize(
    ("change", "to", "reason"),
    [
        ('width = values["width"]', 'width = values["breadth"]', "KeyError: 'breadth'"),
        ("FlattenSpec(table", "FlattenSpec(1, table", "TypeError"),
        ("return SearchSpace(", "return (lambda *a, **b: 7)(", "space() gave int, not a SearchSpace"),
        (', takes=ImageInput(1, table["pixels"], classes)', "", "its SearchSpace needs takes="),
        ("options.finish()", "choices.append(choices[0])", "has two choices of one name"),
    ],
)
def test_a_space_that_cannot_be_built_is_found_when_it_is_asked_for(
    write: Write, change: str, to: str, reason: str
) -> None:
    source = GOOD.replace(change, to)
    assert source != GOOD
    write("mine.py", source)
    with pytest.raises(ValueError, match=re.escape(reason)):
        load_family("mine", "digits")


def test_a_mistake_deep_in_the_space_is_traced_to_its_line(write: Write) -> None:
    source = GOOD.replace(
        "ResidualSpec(width, values", "ResidualSpec(width * (1 if values['depth'] != 2 else {}['x']), values"
    )
    path = write("mine.py", source)
    space = load_family("mine", "digits")
    with pytest.raises(KeyError) as caught:
        space.layers(space.architecture(width=16, depth=2, block1_hidden=32, block2_hidden=32))
    blamed = culprit(caught.value)
    assert blamed is not None
    line = source.splitlines().index(next(text for text in source.splitlines() if "{}['x']" in text)) + 1
    assert (blamed.file, blamed.line) == (path, line)
    assert culprit(KeyError("ours")) is None


def test_a_file_with_the_name_of_a_built_in_family_is_refused(write: Write) -> None:
    write("mobilenet.py", GOOD)
    users = plugins.users_families()
    assert users is not None
    assert "'mobilenet' is a built-in family; choose another file name" in users.refused()["mobilenet"]
    assert load_family("mobilenet", "digits").name == "mobilenet/digits"


def test_a_file_is_read_again_when_it_has_changed(write: Write) -> None:
    path = write("mine.py", GOOD)
    assert len(load_family("mine", "digits").choices) == 5
    path.write_text(GOOD.replace('"depths": (1, 2, 3)', '"depths": (1, 2)'))
    os.utime(path, ns=(1, 1))
    assert len(load_family("mine", "digits").choices) == 4
    path.write_text("1 / 0")
    with pytest.raises(FamilyFileError, match="ZeroDivisionError"):
        load_family("mine", "digits")
    path.unlink()
    with pytest.raises(UnknownPluginError):
        load_family("mine", "digits")


def test_a_job_changes_the_choices_of_a_users_family(write: Write) -> None:
    from search_space.adjustments import Adjustments

    write("residual.py", GOOD)
    space = load_family("residual", "digits", Adjustments({"width": (8, 12), "block*_hidden": (16,)}, classes=3))
    assert space.size() == 2 * 3
    assert space.name == "residual/digits/3-classes"
    with pytest.raises(ValueError, match="has no choice 'breadth'"):
        load_family("residual", "digits", Adjustments({"breadth": (1,)}))
    with pytest.raises(ValueError, match="does not start from a pretrained checkpoint"):
        load_family("residual", "digits", checkpoint={"model_type": "llama"})
