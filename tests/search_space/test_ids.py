"""Ids are part of what is stored: they must be the same in every process and every version."""

import os
import subprocess
import sys

import pytest

from search_space.plugins import load_family

PRINT_IDS = """
import numpy as np
from search_space.plugins import load_family
space = load_family("mobilenet", "digits")
rng = np.random.default_rng(0)
print([space.smallest().id, space.largest().id] + [space.sample(rng).id for _ in range(20)])
"""


def ids_printed_with(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", PRINT_IDS], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_ids_are_the_same_under_every_hash_seed():
    first, *others = [ids_printed_with(seed) for seed in ("0", "1", "4242")]
    assert others == [first, first]


@pytest.mark.parametrize(("which", "pinned"), [("smallest", "8adbc1cdabf0018d"), ("largest", "099d5ed96ecfccec")])
def test_ids_of_the_digits_space_never_change(which, pinned):
    """Stored evaluations and exports are found by these ids; a change orphans them."""
    assert getattr(load_family("mobilenet", "digits"), which)().id == pinned


def test_an_id_has_sixteen_hexadecimal_digits():
    architecture_id = load_family("mobilenet", "digits").smallest().id
    assert len(architecture_id) == 16
    assert set(architecture_id) <= set("0123456789abcdef")
