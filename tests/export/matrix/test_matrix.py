"""Every kind of network in every format that it can have: written, verified in a clean process, loaded by the tool."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from export.bundle import write_bundle
from export.proof import checked
from export.tools import missing, packages_of
from plugins.kinds import FORMATS
from search_space.space import SearchSpace
from tests.export.matrix.table import ROWS, answer, formats, table
from tests.export.random_networks import (
    DRAWN,
    checkpoint_of,
    random_architecture,
    random_contents,
    samples_of,
    space_of,
)

PAGE = Path(__file__).parents[3] / "docs" / "formats.md"
PAIRS = [(row, column) for row in ROWS for column in formats() if answer(row, column) != "–"]
# Kinds of inputs; every format holds one of these. That an archive is read again depends on no more.
AGAIN = ("llama", "bert", "vit", "mobilenet", "clip")


def labels_of(space: SearchSpace, inputs: Tensor | dict[str, Tensor]) -> Tensor:
    """The next tokens of texts, the number of each pair, or a class for each image or text."""
    if isinstance(inputs, dict):
        return torch.arange(4)[:, None].repeat(1, 2)
    return torch.roll(inputs, -1, 1) if "llama/" in space.name else torch.zeros(4, dtype=torch.int64)


def test_the_page_has_the_table() -> None:
    assert table() in PAGE.read_text()


# Each takes seconds of imports in a clean process; on every run the other files of tests/export go the same ways.
@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("row", "column"), PAIRS)
def test_a_random_network_is_written_and_verified_and_one_of_each_kind_again(
    row: str, column: str, tmp_path: Path
) -> None:
    if (why := missing(FORMATS.load(column))) is not None:
        pytest.skip(why)
    space = space_of(ROWS[row])
    architecture = space.largest() if answer(row, column) == "alike" else random_architecture(space, DRAWN)
    made = random_contents(space, DRAWN, architecture=architecture, checkpoint=checkpoint_of(ROWS[row]))
    contents = replace(made, formats=(column,))
    inputs = samples_of(space, 4)
    bundle = write_bundle(contents, inputs, labels_of(space, inputs), tmp_path / "export")
    assert {name.split()[0] for name in bundle.report["formats"]} == {column}
    if row not in AGAIN:
        return
    told, wrong = checked(bundle.folder)
    assert wrong == []
    assert len(told) == 1 + len(bundle.report["formats"])


def test_every_format_says_how_it_is_opened() -> None:
    for name in FORMATS.built_in():
        options = FORMATS.options(name)
        assert options.MEANING.endswith(".")
        assert hasattr(options, "LOADS")
        module = FORMATS.load(name)
        assert packages_of(module) == module.PACKAGES
