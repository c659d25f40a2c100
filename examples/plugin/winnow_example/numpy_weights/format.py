"""Weights as NumPy writes them. The source of the network is `network.py`, which every bundle has."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from quantization.quantizable import applied_to
from supernet.network import float_type_of

# The reloaded network runs the same code on the same weights.
TOLERANCE = 0.0

# What loading may import; the card says which versions were tested.
PACKAGES = ("torch", "numpy")

# Runs in a process without Winnow and without this package.
RELOAD = """
def reload(folder):
    import json, os, sys
    import numpy, torch
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    sys.path.insert(0, folder)
    from network import build
    with open(folder + "/architecture.json") as file:
        network = build(json.load(file)["layers"])
    with numpy.load(folder + "/weights.npz") as weights:
        network.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights.files})
    network.eval()
    def run(*given):
        with torch.no_grad():
            return network(*(torch.from_numpy(each).clone() for each in given)).numpy()
    return run
"""


def in_float32(network: nn.Module) -> nn.Module:
    """The network whose logits the file must give: NumPy has no bfloat16, so one of 16-bit weights is held as float32,
    with the same values."""
    return network if float_type_of(network) == torch.float32 else copy.deepcopy(network).float()


REFERENCE = in_float32


def write(network: nn.Module, example: Tensor, folder: Path) -> None:
    """Write `weights.npz`.

    Raises:
        ValueError: the network has a quantization policy, which this format does not know.
    """
    if applied_to(network) is not None:
        raise ValueError("numpy_weights holds no quantized network; export one without a policy, or uninstall it.")
    tensors = {name: value.detach().cpu().numpy() for name, value in in_float32(network).state_dict().items()}
    np.savez(folder / "weights.npz", **tensors)
