"""What took a benchmark long, kept in a folder from one run to the next."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from supernet.flat import load_tensors, own_tensors


class Cache:
    """Results and weights under names; a name says everything that they depend on, as nothing else is checked.

    Args:
        folder: made if it is not there; None: nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def result(self, name: str, make: Callable[[], Any]) -> Any:
        """What is kept under a name as JSON, or is made now."""
        if self._folder is None:
            return make()
        file = self._folder / f"{name}.json"
        if not file.exists():
            made = json.dumps(make())
            self._write(file, lambda draft: draft.write_text(made))
        return json.loads(file.read_text())

    def weights(self, name: str, module: nn.Module, train: Callable[[], None]) -> None:
        """Load the weights that are kept under a name into a module, or train it now."""
        file = None if self._folder is None else self._folder / f"{name}.safetensors"
        if file is not None and file.exists():
            load_tensors(module, load_file(file))
            return
        train()
        if file is not None:
            tensors = {name: tensor.contiguous() for name, tensor in own_tensors(module).items()}
            self._write(file, lambda draft: save_file(tensors, draft))

    def _write(self, file: Path, write: Callable[[Path], object]) -> None:
        """A file is there whole or not at all, whenever the benchmark is stopped."""
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{os.getpid()}.draft")
        write(draft)
        draft.replace(file)
