"""What a zero point for every channel of the weights costs in ONNX Runtime, by kind of layer.

For each different layer of a space's largest network, written as INT8 and run alone, one thread: its time with one part
asymmetric as a share of its time with all of them symmetric, measured in turns. Each number is the median over the
layers that have such a part, with the least and the most.

    python -m benchmarks.zero_points [--json] [--families mobilenet,resnet,vit]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.simq_nas import Timed, opened, share_of_time, show
from export.formats.onnx import traced as onnx_format
from pipeline.traced_layers import layers_of
from predictors.instrument import Layer
from quantization.calibration import with_stated_policy
from search_space.layers import LayerSpec, Precision
from search_space.layers.precision import Policy
from search_space.plugins import load_family
from supernet.network import build_network

SYMMETRIC, ASYMMETRIC = Precision("int8_static"), Precision("int8_static", "asymmetric")


def timed(layer: Layer, policy: Policy) -> Timed:
    """The layer alone under a policy."""
    layers: dict[str, LayerSpec] = {"layer": layer.spec.with_policy(policy)}
    torch.manual_seed(0)
    inputs = torch.randn(layer.takes.shape)
    network = with_stated_policy(build_network(layers).eval(), layers, inputs)
    with tempfile.TemporaryDirectory() as folder:
        onnx_format.write_for_measuring(network, inputs, Path(folder))
        return Timed(opened(Path(folder)), {"input": inputs})


def shares(family: str) -> dict[str, dict[str, float]]:
    """Kind and part of a layer -> median, least and most share of time."""
    space = load_family(family, "cifar")
    largest = set(space.layers(space.largest()).values())
    found: dict[str, list[float]] = {}
    for layer in layers_of(space, 100_000):
        parts = layer.spec.quantizable()
        if layer.spec not in largest or not parts:
            continue
        plain = timed(layer, tuple((name, SYMMETRIC) for name in parts))
        for part, numbers in parts.items():
            policy = tuple((name, ASYMMETRIC if name == part else SYMMETRIC) for name in parts)
            kind = f"{layer.spec.kind}.{part} ({numbers.operation})"
            found.setdefault(kind, []).append(share_of_time(timed(layer, policy), plain))
    return {
        kind: {
            "layers": len(several),
            "median": round(float(np.median(several)), 2),
            "least": round(min(several), 2),
            "most": round(max(several), 2),
        }
        for kind, several in found.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--families", default="mobilenet,resnet,vit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    rows = {family: shares(family) for family in arguments.families.split(",")}
    show({"benchmark": "zero_points", "share_of_symmetric_time": rows}, began, as_json=arguments.json)


if __name__ == "__main__":
    main()
