"""How many training images must re-estimate batch-norm statistics until more of them change nothing?

Networks of the underfit form, alone and sliced from a supernet, calibrated several times on so many images: plain
ones, and as training saw them. What is shown is the mean test accuracy, its standard deviation over the images that
were drawn, and the mean difference to calibration on all images, in points.

    python -m benchmarks.calibration_images [--json] [--data FOLDER] [--cache FOLDER]

It trains nothing: run `sharing_causes.py --only alone sandwich` before. Two minutes of a core.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.sharing import FORMS, Bench, Recipe, polite
from benchmarks.sharing_causes import PROBES
from supernet.augment import Augmentation
from supernet.calibrate import calibrate
from supernet.network import extract
from supernet.options import AugmentationOptions

COUNTS = (64, 128, 256, 512, 1024, 2048, 4096)
DRAWS, TESTED, BATCH = 6, 4_000, 256


def accuracy(bench: Bench, network: nn.Module, count: int, draw: int, augment: AugmentationOptions) -> float:
    """Test accuracy in percent after calibration on so many images, drawn by a seed."""
    order = torch.from_numpy(np.random.default_rng(draw).permutation(len(bench.data.train))[:count])
    images = Augmentation(bench.data.train.take(order), augment, seed=draw)
    calibrate(network, (batch.x for batch in images.batches(BATCH)))
    some = bench.data.test.take(torch.arange(TESTED))
    with torch.no_grad():
        right = sum(int((network(b.x).argmax(1) == b.targets).sum()) for b in some.batches(500))
    return 100 * right / TESTED


def table(bench: Bench, network: nn.Module, augment: AugmentationOptions) -> dict[str, dict[str, float]]:
    """Rows by number of images."""
    every = len(bench.data.train)
    whole = np.mean([accuracy(bench, network, every, draw, augment) for draw in range(2)])
    rows = {}
    for count in COUNTS:
        found = np.array([accuracy(bench, network, count, draw, augment) for draw in range(DRAWS)])
        rows[str(count)] = {
            "mean": round(float(found.mean()), 2),
            "deviation": round(float(found.std(ddof=1)), 2),
            "minus_all": round(float((found - whole).mean()), 2),
        }
    return rows | {str(every): {"mean": round(float(whole), 2), "deviation": 0.0, "minus_all": 0.0}}


def networks(bench: Bench) -> dict[str, nn.Module]:
    """What is calibrated: those of the probes that were trained, alone and in a supernet."""
    probes = [bench.networks()[place] for place in PROBES]
    found: dict[str, nn.Module] = {}
    for place, probe in zip(PROBES, probes, strict=True):
        recipe = Recipe("underfit", "alone", 20, genes=tuple(probe.genes))
        if bench.is_trained(recipe):
            supernet = bench.supernet(recipe)
            found[f"alone {place}"] = extract(supernet, supernet.space.largest())
    recipe = Recipe("underfit", "bignas", 20)
    if bench.is_trained(recipe):
        supernet = bench.supernet(recipe)
        found |= {f"sliced {place}": extract(supernet, probe) for place, probe in zip(PROBES, probes, strict=True)}
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"))
    parser.add_argument("--cache", type=Path, default=Path("build/supernet_quality"))
    arguments = parser.parse_args()
    polite()
    bench = Bench(FORMS["underfit"], arguments.data, arguments.cache)
    for name, network in networks(bench).items():
        for kind, augment in (("plain", AugmentationOptions()), ("augmented", bench.augment)):
            rows: dict[str, Any] = table(bench, network, augment)
            if arguments.json:
                print(json.dumps({"network": name, "images": kind, "rows": rows}), flush=True)
                continue
            shown = (f"{count}: {row['mean']:.2f} +- {row['deviation']:.2f}" for count, row in rows.items())
            print(f"{name:<12} {kind:<10}", "  ".join(shown), flush=True)


if __name__ == "__main__":
    main()
