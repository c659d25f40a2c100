"""What the export format `numpy_weights` is: read by the API, so nothing heavy is imported here."""

from __future__ import annotations

MEANING = "`weights.npz` with `network.py`: the network's source, and its weights as NumPy writes them."
