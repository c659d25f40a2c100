"""Weights as NumPy writes them. The source of the network is `network.py`, which every bundle has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor, nn

from quantization.quantizable import applied_to

# The reloaded network runs the same code on the same weights.
TOLERANCE = 0.0

# Runs in a process without Winnow and without this package.
RELOAD = """
def reload(folder):
    import json, sys
    import numpy, torch
    sys.path.insert(0, folder)
    from network import build
    with open(folder + "/architecture.json") as file:
        network = build(json.load(file)["layers"])
    with numpy.load(folder + "/weights.npz") as weights:
        network.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights.files})
    network.eval()
    def run(*given):
        with torch.no_grad():
            return network(*map(torch.from_numpy, given)).numpy()
    return run
"""


def write(network: nn.Module, example: Tensor, folder: Path) -> None:
    """Write `weights.npz`.

    Raises:
        ValueError: the network has a quantization policy, which this format does not know.
    """
    if applied_to(network) is not None:
        raise ValueError("numpy_weights holds no quantized network; export one without a policy, or uninstall it.")
    tensors = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    np.savez(folder / "weights.npz", **tensors)
