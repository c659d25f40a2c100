"""The format `litert`, whose converter has a Python of its own; with WINNOW_LITERT_PYTHON it is really used."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from export.formats.litert import format as litert
from export.tools import CannotWrite, MissingTool, missing
from export.verify import run_clean
from job.formats import refusal
from tests.export.random_networks import answers, random_contents, samples_of, space_of, subject_of


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """An interpreter that does this."""
    file = folder / "python"
    file.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    file.chmod(0o755)
    monkeypatch.setenv("WINNOW_LITERT_PYTHON", str(file))


def test_without_an_interpreter_the_commands_that_make_one_are_told(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("WINNOW_LITERT_PYTHON", raising=False)
    space = space_of("mobilenet/digits")
    with pytest.raises(MissingTool, match=r"no litert-torch: it needs a Python of its own.*pip install litert-torch"):
        litert.write_contents(random_contents(space), samples_of(space), tmp_path)
    assert "WINNOW_LITERT_PYTHON=" in str(missing(litert))
    monkeypatch.setenv("WINNOW_LITERT_PYTHON", "/nowhere/python")
    with pytest.raises(MissingTool, match="there is no program '/nowhere/python'"):
        litert.python()


@pytest.mark.thorough
def test_a_converter_that_fails_fails_the_export_with_its_words(tmp_path, monkeypatch) -> None:
    space = space_of("mobilenet/digits")
    program(tmp_path, monkeypatch, "sys.exit('no lowering of aten.unheard')")
    with pytest.raises(CannotWrite, match=r"could not convert the network: .*no lowering of aten.unheard"):
        litert.write_contents(random_contents(space), samples_of(space), tmp_path)
    # One that says it is done and leaves no file has not converted anything either.
    program(tmp_path, monkeypatch, "")
    with pytest.raises(CannotWrite):
        litert.write_contents(random_contents(space), samples_of(space), tmp_path)


def test_its_own_interpreter_runs_the_file(tmp_path, monkeypatch) -> None:
    """As exports and `winnow verify` run it."""
    told = tmp_path / "told"
    program(tmp_path, monkeypatch, f"open({str(told)!r}, 'w').write(sys.argv[1]); print('{{}}')")
    assert run_clean(litert, tmp_path, [np.zeros((1, 2), np.float32)], [1], "litert", tmp_path) == {}
    assert told.read_text() == "-I"


def test_what_it_cannot_hold_is_refused() -> None:
    llama, images = (subject_of(random_contents(space_of(name))) for name in ("llama", "mobilenet/digits"))
    assert "cache" in str(refusal("litert", llama))
    assert refusal("litert", images) is None


@pytest.mark.thorough
@pytest.mark.skipif("WINNOW_LITERT_PYTHON" not in os.environ, reason="no WINNOW_LITERT_PYTHON")
@pytest.mark.parametrize("name", ["mobilenet/digits", "vit", "bert", "resnet/cifar"])
def test_a_random_network_comes_back(name: str, tmp_path) -> None:
    space = space_of(name)
    contents, inputs = random_contents(space, seed=6), samples_of(space)
    litert.write_contents(contents, inputs, tmp_path)
    given = [inputs.numpy(), np.ones(inputs.shape, bool)] if name == "bert" else [inputs.numpy()]
    facts = run_clean(litert, tmp_path, given, [1], "litert", tmp_path)
    assert facts["leaked"] == []
    got = np.concatenate([np.load(tmp_path / f"outputs-1-{number}.npy") for number in range(len(inputs))])
    right = answers(contents.network, inputs)
    assert np.abs(got - right).max() <= litert.TOLERANCE * max(1, np.abs(right).max())
