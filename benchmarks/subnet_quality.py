"""Is a sliced sub-network as good as the same network trained alone?

Trains a BigNAS supernet and a SortedNet supernet on CIFAR-10, then for architectures across the front
compares their test accuracy, sliced and calibrated, with that of the same architecture trained alone for
the same number of epochs with the same optimizer, schedule, augmentation and images. Goal: the mean
difference sliced minus alone is at least 0 and the worst at least -1 point.

    python -m benchmarks.subnet_quality [--json] [--small] [--data FOLDER] [--architectures 8] [--epochs N]

`--small` takes less than 20 minutes on two cores; the full form is for a GPU.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.cifar import (
    Setting,
    alone,
    front_architectures,
    macs_of,
    network_of,
    read_data,
    settings_facts,
    share_statistics,
    test_accuracy,
    train,
)
from export.measure import describe_machine
from supernet.methods.bignas.method import BigNAS
from supernet.methods.single.method import Single
from supernet.methods.single.options import SingleOptions
from supernet.methods.sortednet.method import SortedNet
from supernet.methods.sortednet.options import SortedNetOptions

# Of a supernet's learning rate, relative to that of a network alone. BigNAS adds up the gradients of four networks on
# the whole batch, SortedNet averages those of four draws. With 240 epochs of the small form BigNAS's mean difference
# was -0.2 points at half the rate and +0.6 at a quarter (docs/log.md).
BIGNAS_RATE, SORTEDNET_RATE = 0.25, 0.5
FULL = Setting("cifar", {}, None, 100, 128, 0.1, "bfloat16")
# A few million MACs at most, at one resolution, and so few images that 120 epochs of them are a training to the
# end on two cores: a supernet needs more steps than a network alone, and lags behind where all are cut short.
SMALL = Setting(
    "cifar",
    {
        "resolution": (16,),
        "stem_width": (8,),
        "stage*_depth": (1, 2),
        "stage*_block*_kernel": (3,),
        "stage*_block*_expansion": (2, 3),
    },
    1_000,
    120,
    64,
    0.05,
    "float32",
)
GOALS = {"mean_difference_points": 0.0, "worst_difference_points": -1.0}


def compare(setting: Setting, data_path: Path, count: int, device: torch.device) -> dict[str, Any]:
    """One row per architecture, and the mean and worst differences."""
    began = time.monotonic()
    data = read_data(data_path, setting, device)
    space = setting.space()
    chosen = front_architectures(space, count)

    def at(share: float) -> Setting:
        return replace(setting, learning_rate=share * setting.learning_rate)

    bignas = train(space, BigNAS(), data, at(BIGNAS_RATE))
    sortednet = train(
        space, SortedNet(SortedNetOptions(dimensions="free", distribution="sandwich")), data, at(SORTEDNET_RATE)
    )
    for supernet in (bignas, sortednet):
        share_statistics(supernet, data)
    rows: list[dict[str, Any]] = []
    for architecture in chosen:
        single = alone(space, architecture)
        trained = train(single, Single(SingleOptions(label_smoothing=0.1)), data, setting)
        scores = {
            "alone": test_accuracy(network_of(trained, single.largest(), data, calibrated=True), data),
            **{
                f"{name}{suffix}": test_accuracy(network_of(supernet, architecture, data, calibrated=calibrated), data)
                for name, supernet in (("bignas", bignas), ("sortednet", sortednet))
                for suffix, calibrated in (("", True), ("_uncalibrated", False))
            },
        }
        rows.append({"architecture": architecture.id, "macs": macs_of(space, architecture), **scores})
    differences = [100 * (row["bignas"] - row["alone"]) for row in rows]
    sorted_differences = [100 * (row["sortednet"] - row["alone"]) for row in rows]
    summary = {
        "mean_difference_points": sum(differences) / len(differences),
        "worst_difference_points": min(differences),
        "sortednet_mean_difference_points": sum(sorted_differences) / len(sorted_differences),
        "sortednet_worst_difference_points": min(sorted_differences),
    }
    return {
        "question": "test accuracy of sliced sub-networks minus that of the same networks trained alone",
        "space": space.name,
        "seconds": time.monotonic() - began,
        "setting": {
            **settings_facts(setting, data),
            "supernet_learning_rates": {
                name: share * setting.learning_rate
                for name, share in (("bignas", BIGNAS_RATE), ("sortednet", SORTEDNET_RATE))
            },
        },
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "torch": torch.__version__,
        **describe_machine(),
        "summary": summary,
        "goals": GOALS,
        "met": {name: summary[name] >= goal for name, goal in GOALS.items()},
        "architectures": rows,
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--small", action="store_true", help="for two cores, in less than 20 minutes")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"))
    parser.add_argument("--architectures", type=int, default=8)
    parser.add_argument("--epochs", type=int, help="instead of the form's own")
    arguments = parser.parse_args()
    setting = SMALL if arguments.small else FULL
    if arguments.epochs is not None:
        setting = replace(setting, epochs=arguments.epochs)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = compare(setting, arguments.data, arguments.architectures, device)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    names = ["alone", "bignas", "bignas_uncalibrated", "sortednet", "sortednet_uncalibrated"]
    print(f"{'architecture':<18} {'MACs':>12} " + " ".join(f"{name:>22}" for name in names))
    for row in result["architectures"]:
        print(
            f"{row['architecture']:<18} {row['macs']:>12,} " + " ".join(f"{100 * row[name]:>21.2f}%" for name in names)
        )
    for name, value in result["summary"].items():
        print(f"{name}: {value:+.2f}" + (f" (goal: at least {GOALS[name]:+g})" if name in GOALS else ""))


if __name__ == "__main__":
    main()
