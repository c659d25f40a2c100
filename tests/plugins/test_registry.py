"""The name of the file or folder is the registry."""

import sys

import pytest

from plugins.registry import Kind, UnknownPluginError
from search_space import plugins


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder of plug-ins: `beta.py`, `alpha.py`, a private file, and one that cannot be imported."""
    folder = tmp_path / "some_plugins"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "beta.py").write_text("NAME = 'beta'\n")
    (folder / "alpha.py").write_text("NAME = 'alpha'\n")
    (folder / "_private.py").write_text("")
    (folder / "broken.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield Kind("letter", "some_plugins")
    for name in [name for name in sys.modules if name.split(".")[0] == "some_plugins"]:
        del sys.modules[name]


def test_names_are_the_public_files_in_order(package):
    assert package.names() == ("alpha", "beta", "broken")


def test_asking_for_names_imports_no_plug_in(package):
    package.names()
    assert [name for name in sys.modules if name.startswith("some_plugins.")] == []


def test_a_plug_in_is_loaded_by_its_file_name(package):
    assert package.load("alpha").NAME == "alpha"


def test_an_unknown_plug_in_is_refused_with_the_known_ones(package):
    with pytest.raises(UnknownPluginError) as raised:
        package.load("gamma")
    assert str(raised.value) == "No letter named 'gamma'. Known: alpha, beta, broken."


@pytest.mark.parametrize("name", ["_private", "__init__", "../alpha", "alpha.py", ""])
def test_what_is_no_plug_in_is_not_loaded(package, name):
    with pytest.raises(UnknownPluginError):
        package.load(name)


def test_an_error_inside_a_plug_in_is_not_hidden(package):
    with pytest.raises(RuntimeError, match="imported"):
        package.load("broken")


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(UnknownPluginError, match=r"No family named 'tiny'. Known: .*mobilenet"):
        plugins.load_family("tiny", "digits")


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(UnknownPluginError, match=r"No preset of family 'mobilenet' named 'huge'. Known: .*digits"):
        plugins.load_family("mobilenet", "huge")


def test_presets_of_an_unknown_family_are_refused():
    with pytest.raises(UnknownPluginError, match="No family named 'tiny'"):
        plugins.presets("tiny")


def test_an_empty_folder_knows_none():
    assert str(UnknownPluginError("letter", "a", ())) == "No letter named 'a'. Known: none."
