"""SortedNet's 160 sub-models of one training: the share of the full model's accuracy that each keeps.

MobileNetV2 on CIFAR-10 with ten widths and sixteen depths, trained once by random draws; then every nested
sub-model is evaluated once, calibrated and not, which is SortedNet's search-free selection. The paper reports
that all keep at least 96 %.

    python -m benchmarks.sortednet_160 [--json] [--small] [--data FOLDER] [--epochs N] [--distribution sandwich]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.cifar import (
    Setting,
    macs_of,
    network_of,
    read_data,
    settings_facts,
    share_statistics,
    test_accuracy,
    train,
)
from export.measure import describe_machine
from search_space.architecture import Architecture
from search_space.nesting import Nesting
from supernet.methods.sortednet.method import SortedNet
from supernet.methods.sortednet.options import SortedNetOptions

# 200 epochs, batch 128, rate 0.1: the setting that the paper's comparison follows (arXiv 2110.04252).
FULL = Setting("mobilenet_v2", {}, None, 200, 128, 0.1, "bfloat16")
# All 160, of half the width at most, few images and few epochs.
SMALL = Setting(
    "mobilenet_v2",
    {"width": tuple(round(0.05 * tenth, 2) for tenth in range(1, 11))},
    5_000,
    24,
    64,
    0.05,
    "float32",
    1_000,
    512,
)
GOAL = 0.96


def evaluate_all(setting: Setting, data_path: Path, distribution: str, device: torch.device) -> dict[str, Any]:
    """One row per nested sub-model."""
    began = time.monotonic()
    data = read_data(data_path, setting, device)
    space = setting.space()
    supernet = train(space, SortedNet(SortedNetOptions(distribution=distribution)), data, setting)
    share_statistics(supernet, data)
    models = Nesting(space).all()

    def scored(architecture: Architecture, *, calibrated: bool) -> float:
        network = network_of(supernet, architecture, data, calibrated=calibrated, images=setting.calibration)
        return test_accuracy(network, data)

    full = scored(space.largest(), calibrated=True)
    rows = []
    for number, architecture in enumerate(models, 1):
        calibrated, shared = (scored(architecture, calibrated=on) for on in (True, False))
        rows.append(
            {
                **architecture.values,
                "macs": macs_of(space, architecture),
                "accuracy": calibrated,
                "accuracy_uncalibrated": shared,
                "kept": calibrated / full,
                "kept_uncalibrated": shared / full,
            }
        )
        sys.stderr.write(f"\r{number}/{len(models)} sub-models")
    sys.stderr.write("\n")
    kept = [float(row["kept"]) for row in rows]
    return {
        "question": "share of the full model's accuracy that each nested sub-model keeps",
        "space": space.name,
        "distribution": distribution,
        "seconds": time.monotonic() - began,
        "setting": settings_facts(setting, data),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "torch": torch.__version__,
        **describe_machine(),
        "summary": {
            "sub_models": len(rows),
            "full_accuracy": full,
            "least_kept": min(kept),
            "mean_kept": sum(kept) / len(kept),
            "share_of_sub_models_that_keep_96_percent": sum(share >= GOAL for share in kept) / len(kept),
        },
        "goals": {"least_kept": GOAL},
        "met": {"least_kept": min(kept) >= GOAL},
        "sub_models": rows,
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--small", action="store_true", help="narrower, fewer images: half an hour on two cores")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"))
    parser.add_argument("--epochs", type=int, help="instead of the form's own")
    parser.add_argument("--distribution", choices=("uniform", "sandwich"), default="uniform")
    arguments = parser.parse_args()
    setting = SMALL if arguments.small else FULL
    if arguments.epochs is not None:
        setting = replace(setting, epochs=arguments.epochs)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = evaluate_all(setting, arguments.data, arguments.distribution, device)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for row in sorted(result["sub_models"], key=lambda row: -row["macs"]):
        print(
            f"width {row['width']:<4} depth {row['depth']:<3} {row['macs']:>12,} MACs  {100 * row['accuracy']:6.2f} %  "
            f"keeps {100 * row['kept']:6.2f} %  uncalibrated {100 * row['kept_uncalibrated']:6.2f} %"
        )
    for name, value in result["summary"].items():
        print(f"{name}: {value:.4f}")


if __name__ == "__main__":
    main()
