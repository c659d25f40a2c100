"""What a runtime reads of a network, written for measuring and for nothing else."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from export.bundle import write_architecture
from export.formats import onnx, safetensors
from export.measure.setting import Setting
from search_space.layers import LayerSpec


def write_measurable(
    network: nn.Module,
    layers: dict[str, LayerSpec],
    inputs: Tensor,
    folder: Path,
    setting: Setting,
    *,
    tied: bool = True,
) -> Path:
    """Write the network as the setting's engine reads it; the path to give to `measure`.

    Args:
        layers: the network's specs by slot; torch rebuilds it from them.
        inputs: at least one sample.
        folder: made if it is not there.
        tied: whether parameters that are another slot's are shared; a layer alone has its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if setting.how.engine == "onnxruntime":
        onnx.write(network, inputs, folder)
        return folder / "model.onnx"
    if setting.dtype != "float32":
        network = copy.deepcopy(network).to(getattr(torch, setting.dtype))
    write_architecture(layers, inputs, folder, {"dtype": setting.dtype}, tied=tied)
    safetensors.write(network, inputs, folder)
    return folder
