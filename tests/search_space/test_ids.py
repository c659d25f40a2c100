"""Ids are part of what is stored: they must be the same in every process and every version."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_space.architecture import IdWriter
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


@given(
    st.text(max_size=5),
    st.dictionaries(
        st.text(min_size=1, max_size=5),
        st.lists(
            st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.booleans(),
            min_size=1,
            max_size=3,
            unique=True,
        ),
        min_size=1,
        max_size=5,
    ),
    st.randoms(),
)
def test_an_id_is_the_digest_of_sorted_json(space, options, random):
    genes = [random.randrange(len(known)) for known in options.values()]
    active = [random.random() < 0.7 for _ in options]
    values = {
        name: known[gene] for (name, known), gene, alive in zip(options.items(), genes, active, strict=True) if alive
    }
    text = json.dumps([space, values], sort_keys=True, separators=(",", ":"))
    written = IdWriter(space, [(name, tuple(known)) for name, known in options.items()]).write(genes, active)
    assert written == hashlib.sha256(text.encode()).hexdigest()[:16]
