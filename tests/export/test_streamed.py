"""Files of tensors that are written one by one are safetensors' own."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from export.streamed import WORDS, Made, save_streamed


def test_safetensors_reads_what_it_would_have_written(tmp_path: Path) -> None:
    kinds = [dtype for dtype in WORDS if dtype != torch.bool]
    tensors = {f"t{n}.{str(d)[6:]}": (torch.arange(n * 3) + n).to(d).reshape(n, 3) for n, d in enumerate(kinds, 1)}
    tensors |= {"flag": torch.tensor([True, False]), "count": torch.tensor(7), "none": torch.zeros(0, 4)}
    save_streamed({name: Made.of(tensor) for name, tensor in tensors.items()}, tmp_path / "ours")
    loaded = load_file(tmp_path / "ours")
    assert loaded.keys() == tensors.keys()
    assert all(
        torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype for name, tensor in tensors.items()
    )


def test_tensors_are_made_one_after_the_other(tmp_path: Path) -> None:
    alive, most = 0, 0

    class Counted(torch.Tensor):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def make() -> torch.Tensor:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return torch.zeros(3).as_subclass(Counted)

    save_streamed({str(number): Made((3,), torch.float32, make) for number in range(5)}, tmp_path / "x")
    assert most <= 2


def test_a_tensor_that_is_another_than_was_said_is_refused(tmp_path: Path) -> None:
    wrong = Made((2,), torch.float32, lambda: torch.zeros(3))
    with pytest.raises(ValueError, match=r"'x' has shape \(3,\)"):
        save_streamed({"x": wrong}, tmp_path / "x")
