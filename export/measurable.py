"""What a runtime reads of a network, written for measuring and for nothing else."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from plugins.kinds import RUNTIMES
from predictors.instrument import Sample
from predictors.setting import Setting
from quantization.calibration import with_stated_policy
from search_space.layers import LayerSpec
from supernet.inputs import Inputs, named
from supernet.network import Network, build_network
from supernet.slot import build_block


def write_measurable(
    network: nn.Module,
    layers: dict[str, LayerSpec],
    inputs: Tensor | Inputs,
    folder: Path,
    setting: Setting,
    *,
    tied: bool = True,
) -> Path:
    """Write the network as the setting's engine reads it; the path to give to `measure`.

    Args:
        layers: the network's specs by slot; an engine may rebuild it from them.
        inputs: by name, or the only one; at least one sample.
        folder: made if it is not there.
        tied: whether parameters that are another slot's are shared; a layer alone has its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if setting.dtype != "float32":
        network = copy.deepcopy(network).to(getattr(torch, setting.dtype))
    written: Path = RUNTIMES.load(setting.how.engine).write(network, layers, named(inputs), folder, tied=tied)
    return written


def write_fresh(
    layers: Mapping[str, LayerSpec], samples: Mapping[str, Sample], folder: Path, setting: Setting, *, tied: bool = True
) -> Path:
    """A `NetworkWriter`: a network of these layers with fresh weights, under the policy that they state."""
    torch.manual_seed(0)
    specs = dict(layers)
    if tied:
        network = build_network(specs)
    else:
        network = Network(OrderedDict((name, build_block(spec)) for name, spec in specs.items()))
    inputs = {name: torch.zeros(one.shape, dtype=getattr(torch, one.dtype)) for name, one in samples.items()}
    return write_measurable(
        with_stated_policy(network.eval(), specs, inputs), specs, inputs, folder, setting, tied=tied
    )
