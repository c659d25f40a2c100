"""What the export format `safetensors` is."""

from __future__ import annotations

MEANING = "`model.safetensors` with `network.py` and `load.py`: plain PyTorch, which needs no Winnow."

LOADS = "python load.py"
