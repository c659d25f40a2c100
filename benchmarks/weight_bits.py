"""What seven and eight bits of INT8 weights give, and what eight are worth where kernels saturate.

A network of each preset is trained on scikit-learn's digits (`vit` and `resnet` see them enlarged) and quantized
whole, activations in bytes. For 7 and 8 bits: the mean over layers of the weights' signal to noise in decibels, that of
the logits against full precision (fake quantization), test accuracy, and from its file in ONNX Runtime on this machine
the same of the logits, as its kernels give them and with the session option that is exact everywhere.

    python -m benchmarks.weight_bits [--json] [--epochs 20]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.simq_nas import show
from export.formats.onnx import traced as onnx_format
from export.runtimes.onnxruntime.exactness import EXACTLY, exact_weight_bits
from quantization.calibration import calibrate_activations
from quantization.policies import Quantization
from quantization.quantizable import QuantizableNetwork
from quantization.quantized_space import QuantizedSpace
from search_space.adjustments import Adjustments
from search_space.inputs import ImageInput
from search_space.plugins import load_family
from supernet.data import load_dataset
from supernet.network import build_network

PRESETS = {
    "mobilenet": ("digits", Adjustments()),
    "resnet": ("cifar", Adjustments({"stage*_depth": (1, 2)}, classes=10)),
    "vit": ("cifar", Adjustments({"depth": (2, 3)}, classes=10)),
}
BATCH, LEARNING_RATE, CALIBRATION = 64, 2e-3, 128


def decibels(signal: Tensor, noisy: Tensor) -> float:
    """Power of a signal over that of its error."""
    return float(10 * torch.log10(signal.double().pow(2).sum() / (noisy - signal).double().pow(2).sum()))


def fitted(images_NCHW: Tensor, takes: ImageInput) -> Tensor:
    """Digits in the size and channels that a network takes."""
    if images_NCHW.shape[-1] != takes.size:
        images_NCHW = nn.functional.interpolate(images_NCHW, takes.size, mode="bilinear")
    return images_NCHW.expand(-1, takes.channels, -1, -1).contiguous()


def trained(network: nn.Module, images_NCHW: Tensor, labels_N: Tensor, epochs: int) -> nn.Module:
    """The network after plain training."""
    steps = epochs * (len(images_NCHW) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    network.train()
    for _ in range(steps):
        rows = torch.randint(len(images_NCHW), (BATCH,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images_NCHW[rows]), labels_N[rows]).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def in_onnxruntime(network: nn.Module, images_NCHW: Tensor, exactly: bool) -> Tensor:
    """Logits of the network's file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if exactly:
        options.add_session_config_entry(EXACTLY, "1")
    with tempfile.TemporaryDirectory() as folder:
        onnx_format.write_for_measuring(network, {"input": images_NCHW}, Path(folder))
        session = onnxruntime.InferenceSession(f"{folder}/model.onnx", options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images_NCHW.numpy()})[0])


def rows(family: str, epochs: int) -> list[dict[str, Any]]:
    """A row for each number of bits."""
    preset, adjustments = PRESETS[family]
    base, data = load_family(family, preset, adjustments), load_dataset("digits", 0, {})
    assert isinstance(base.takes, ImageInput)
    train, test = (fitted(split.batch(slice(None)).inputs["input"], base.takes) for split in (data.train, data.test))
    torch.manual_seed(0)
    layers = base.layers(base.largest())
    network = trained(build_network(layers), train, data.train.y.long(), epochs)
    made = QuantizableNetwork(network, layers, {"input": train[:2]})
    calibrate_activations(made, layers, lambda: [{"input": train[:CALIBRATION]}], "kl")
    found = []
    with torch.no_grad():
        full = made.folded(test)
        for bits in (7, 8):
            space = QuantizedSpace(base, Quantization((8, 32), weight_bits=bits))
            policy = space.policy(space.quantized(base.largest(), 8))
            whole = made.with_policy(policy)
            plans = made.plans(policy)
            weights = [
                decibels(made.layer(name).weight, plan.weight.dequantized())
                for name, plan in plans.items()
                if plan.weight is not None
            ]
            logits = {
                "scored": whole(test),
                "file": in_onnxruntime(whole, test, exactly=False),
                "file_exactly": in_onnxruntime(whole, test, exactly=True),
            }
            found.append(
                {
                    "weight_bits": bits,
                    "layers": len(weights),
                    "weights_db": round(float(np.mean(weights)), 1),
                    **{f"logits_db_{name}": round(decibels(full, got), 1) for name, got in logits.items()},
                    **{
                        f"accuracy_{name}": round(float((got.argmax(1) == data.test.y).float().mean()), 4)
                        for name, got in {"fp32": full, **logits}.items()
                    },
                }
            )
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    result = {
        "benchmark": "weight_bits",
        "exact_here": exact_weight_bits(),
        "epochs": arguments.epochs,
        "rows": {family: rows(family, arguments.epochs) for family in PRESETS},
    }
    show(result, began, as_json=arguments.json)


if __name__ == "__main__":
    main()
