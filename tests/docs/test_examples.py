"""Every file of examples/ runs beside a service as a reader runs it, and prints what its tutorial shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.kinds import RECIPES
from service.stack import Stack
from tests.docs.blocks import BLOCKS, PAGES, ROOT, Block

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
TUTORIALS = [page for page in PAGES if page.parent.name == "tutorials" and page.name != "index.md"]
# Numbers, ids and where dots and signs of them stand differ from run to run and machine to machine.
# A minus between an id and the next one is no sign.
NUMBER = re.compile(r"\b[0-9a-f]{12,}\b|((?<!\w)[-+])?\d[\d,]*(\.\d+)?(e[-+]?\d+)?")


def masked(text: str) -> set[str]:
    """The lines of an output without what differs from run to run."""
    return {" ".join(NUMBER.sub("#", line).split()) for line in text.splitlines() if line.strip()}


def unlaid(code: str) -> str:
    """Code without its layout: less indented, a formatter breaks lines elsewhere."""
    return re.sub(r"\s+|,\s*(?=[)\]}])", "", code)


def environment(stack: Stack) -> dict[str, str]:
    """That of a reader whose service is this one."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "WINNOW_URL": stack.url, "WINNOW_API_KEY": stack.api_key, "PATH": path}


def shown_by(example: str) -> list[Block]:
    """The outputs of an example that pages show."""
    return [block for block in BLOCKS if block.info == f'text title="python {example}"']


def test_there_is_an_example_of_each_recipe() -> None:
    assert {name.replace("-", "_") for name in RECIPES.names()} <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("page", TUTORIALS, ids=str)
def test_tutorials_quote_their_files(page: Path) -> None:
    quoted = [block for block in BLOCKS if block.page == str(page) and block.info.startswith("python title=")]
    assert quoted
    for block in quoted:
        file = block.info.split('"')[1]
        assert unlaid(block.text) in unlaid((ROOT / file).read_text()), f"{block} is not in {file}"


@pytest.mark.parametrize("page", TUTORIALS, ids=str)
def test_tutorials_show_what_was_printed(page: Path) -> None:
    assert [block for block in BLOCKS if block.page == str(page) and block.info.startswith("text title=")]


@pytest.mark.thorough
@pytest.mark.e2e
@pytest.mark.timeout(0)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_and_prints_what_is_shown(example: Path, stack: Stack, tmp_path: Path) -> None:
    families = stack.families_dir
    assert families is not None
    for family in (ROOT / "examples" / "families").glob("*.py"):
        shutil.copy(family, families)
    done = subprocess.run(
        [sys.executable, str(example)],
        cwd=tmp_path,
        env=environment(stack),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = masked(done.stdout)
    for block in shown_by(f"examples/{example.name}"):
        assert masked(block.text) <= printed, f"{block}: {masked(block.text) - printed}"


@pytest.mark.thorough
@pytest.mark.e2e
@pytest.mark.timeout(0)
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(notebook: Path, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    for name, value in environment(stack).items():
        monkeypatch.setenv(name, value)
    read = nbformat.read(notebook, as_version=4)
    NotebookClient(read, timeout=None, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert all(cell.outputs for cell in read.cells if cell.cell_type == "code" and cell.metadata.get("shows", True))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_with_small_outputs(notebook: Path) -> None:
    import nbformat

    read = nbformat.read(notebook, as_version=4)
    nbformat.validate(read)
    code = [cell for cell in read.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert [cell for cell in code if cell.outputs]
    assert not [out for cell in code for out in cell.outputs if out.output_type == "error"]
    assert notebook.stat().st_size < 200_000


def test_an_output_that_has_changed_is_found() -> None:
    printed = masked("a1b2c3d4e5f6: accuracy 0.91, 12,345 MACs\nloaded: Network answers (1, 10)\n")
    assert masked("0123456789ab: accuracy 0.5, 1 MACs") <= printed
    assert not masked("0123456789ab: precision 0.5, 1 MACs") <= printed


def test_ids_and_signs_are_masked_wherever_digits_stand_in_them() -> None:
    assert masked("9a5ccd62b0b4-857de3eef2ae25c1-onnx.tar.gz") == masked("0fa51c79b6e0-fb7de3eef2ae25c1-onnx.tar.gz")
    assert masked("better by -0.5 in INT8") == masked("better by 12,000 in INT4")
