"""What the export format `winnow` is."""

from __future__ import annotations

MEANING = "`load.py`, `network.py`, `architecture.json` and `model.safetensors` in a folder: plain PyTorch, no Winnow."

WHEN_ASKED = True

LOADS = "python load.py"
