"""What a runtime reads of a network, written for measuring and for nothing else."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from export.measure.setting import Setting
from plugins.kinds import RUNTIMES
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
        layers: the network's specs by slot; an engine may rebuild it from them.
        inputs: at least one sample.
        folder: made if it is not there.
        tied: whether parameters that are another slot's are shared; a layer alone has its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: Path = RUNTIMES.load(setting.how.engine).write(network, layers, inputs, folder, tied=tied)
    return written
