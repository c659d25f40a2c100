"""The training stage with two processes: what one of them meets is dealt with by both."""

from pathlib import Path
from typing import Any

import pytest

from tests.torchrun import together


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder, and what two processes found there in one training after the other."""
    folder = tmp_path_factory.mktemp("several")
    return folder, together("tests.pipeline.several", str(folder))


@pytest.mark.thorough
def test_memory_and_divergence_of_one_process_are_answered_by_both(several):
    found = several[1]["trouble"]
    memory, divergence = found["messages"]
    assert "Out of memory with 128 examples at once: batches are cut into 2 micro-batches of 64" in memory
    assert "The loss of step 6 is not finite" in divergence
    assert "Back to step 4 with 0.5 of the learning rate." in divergence
    assert found["sum_of_both"] == 2 * found["sum"]  # both hold the same weights


@pytest.mark.thorough
def test_a_llama_whose_weights_are_spread_is_checkpointed_and_ends_whole(several):
    """The best checkpoint and the finished supernet are whole tensors; two spread processes train what two do."""
    from safetensors.torch import load_file

    from search_space.plugins import load_family
    from supernet.flat import own_tensors
    from supernet.network import Supernet

    folder, found = several[0] / "llama", several[1]["llama"]
    assert found["messages"] == []
    assert found["sum_of_both"] < 1.9 * found["sum"]  # process 1 holds a part
    (file,) = (folder / "artifacts/supernets").iterdir()
    weights = load_file(file)
    expected = own_tensors(Supernet(load_family("llama", "tiny")))
    assert {name: tensor.shape for name, tensor in weights.items()} == {n: t.shape for n, t in expected.items()}
    assert abs(float(sum(tensor.double().abs().sum() for tensor in weights.values())) - found["sum"]) < 1e-6
