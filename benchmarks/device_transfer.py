"""Known devices on NAS-Bench-201, split hard: what they give, and whether they ever hurt.

The new device is of another kind than all known ones: phones from GPUs, CPUs from GPUs, GPUs from phones and a
Raspberry Pi; and, beside that, each device from all six others. Every method measures ten cells, and
knows the MACs unless told otherwise:

- `alone`: no known device;
- `columns`: every known device is a column, and the marginal likelihood decides (what Winnow did until 2026-11-30);
- `weighed`: `make_predictor("latency", space, devices=...)`: validation decides (`predictors.transfer`);
- `weighed, chosen`: the same, from cells that `predictors.selection` chooses instead of random ones.

The rule by which validation decides was chosen on other targets: CPUs from phones, GPUs from CPUs, and the Raspberry Pi
from GPUs, with other seeds.

Goal: known devices never hurt, that is, `weighed` is at least `alone` in every task, up to 0.005 of Spearman's
correlation.

    python -m benchmarks.device_transfer [--json] [--seeds 3] [--without-macs] [--hard] [--cache FOLDER]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.cache import Cache
from benchmarks.latency_prediction import DATA, SPACE, TIE, Cells, load
from predictors import make_predictor
from predictors.columns import Source, known_columns
from predictors.devices import device_columns
from predictors.latency import CANDIDATES
from predictors.learned import LearnedPredictor
from predictors.predictor import Predictor
from predictors.selection import telling_networks

GPUS, CPUS = ("lat_titan_rtx_256", "lat_1080ti_1"), ("lat_gold_6226", "lat_silver_4114")
PHONES, PI = ("lat_pixel3", "lat_samsung_a50"), "lat_raspi4"
HARD = {
    "phones from GPUs": (GPUS, PHONES),
    "CPUs from GPUs": (GPUS, CPUS),
    "GPUs from phones and a Raspberry Pi": ((*PHONES, PI), GPUS),
}
ALIKE = "each from six others"
FEW, DRAWN_CELLS = 10, 1000
TRANSFERS = ("alone", "columns", "weighed", "weighed, chosen")


def transfer(seeds: int, with_macs: bool, alike: bool, cache: Cache) -> dict[str, Any]:
    """Every task."""
    cells = load()
    splits = [(name, known, target) for name, (known, targets) in HARD.items() for target in targets]
    every = tuple(cells.latencies_ms)
    if alike:
        splits += [(ALIKE, tuple(name for name in every if name != target), target) for target in every]
    scores: dict[tuple[str, str, str], list[float]] = {}
    for name, known, target in splits:
        for seed in range(seeds):
            key = f"transfer-{name}-{target}-{seed}-{with_macs}".replace(" ", "_")
            made = cache.result(key, lambda k=known, t=target, s=seed: _transferred(cells, k, t, s, with_macs))  # type: ignore[misc]
            for method, score in made.items():
                scores.setdefault((name, target, method), []).append(score)
    tasks: list[dict[str, Any]] = [
        {
            "split": name,
            "target": target,
            "spearman": {m: round(float(np.mean(scores[name, target, m])), 4) for m in TRANSFERS},
            "standard_error": {m: _error(scores[name, target, m]) for m in TRANSFERS},
            # Paired: the same cells and seeds.
            "weighed_minus_alone": _paired(scores[name, target, "weighed"], scores[name, target, "alone"]),
        }
        for name, _, target in splits
    ]
    means = {
        name: {m: round(float(np.mean([t["spearman"][m] for t in tasks if t["split"] == name])), 4) for m in TRANSFERS}
        for name in dict.fromkeys(task["split"] for task in tasks)
    }
    hurt = [f"{t['split']}: {t['target']}" for t in tasks if t["weighed_minus_alone"][0] < -TIE]
    return {"measured": FEW, "seeds": seeds, "tasks": tasks, "mean_spearman": means, "hurt_by_known_devices": hurt}


def _transferred(cells: Cells, known: tuple[str, ...], target: str, seed: int, with_macs: bool) -> dict[str, float]:
    """Spearman's correlation of each method on cells that none of them measured."""
    latencies, macs = cells.latencies_ms[target], {"macs": cells.macs_of()} if with_macs else {}
    order = np.random.default_rng(seed).permutation(len(latencies))
    devices = [cells.device(name) for name in known]
    by_id = {a.id: i for i, a in enumerate(cells.architectures)}
    chosen = [by_id[a.id] for a in telling_networks(SPACE, FEW, devices=devices, known=macs, seed=seed)]
    unseen = np.setdiff1d(order[-DRAWN_CELLS:], chosen)
    columns: list[Source] = [known_columns(macs), *device_columns(devices, _nothing_absent).values()]
    methods: dict[str, tuple[Predictor, np.ndarray]] = {
        "alone": (make_predictor("latency", SPACE, known=macs, seed=seed), order[:FEW]),
        "columns": (LearnedPredictor(SPACE, CANDIDATES, given=columns, relative=True, seed=seed), order[:FEW]),
        "weighed": (make_predictor("latency", SPACE, known=macs, devices=devices, seed=seed), order[:FEW]),
        "weighed, chosen": (
            make_predictor("latency", SPACE, known=macs, devices=devices, seed=seed),
            np.array(chosen),
        ),
    }
    tested = [cells.architectures[i] for i in unseen.tolist()]
    found = {}
    for method, (predictor, seen) in methods.items():
        predictor.fit([cells.architectures[i] for i in seen.tolist()], latencies[seen])
        found[method] = float(spearmanr(latencies[unseen], predictor.predict(tested)[0]).statistic)
    return found


def _nothing_absent() -> Predictor:
    raise AssertionError("every cell was measured on every device")


def _error(values: list[float]) -> float | None:
    return round(float(np.std(values, ddof=1) / np.sqrt(len(values))), 4) if len(values) > 1 else None


def _paired(ours: list[float], others: list[float]) -> tuple[float, float | None]:
    """Mean difference and its standard error."""
    differences = np.subtract(ours, others)
    return round(float(differences.mean()), 4), _error(differences.tolist())


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--without-macs", action="store_true", help="nothing is known of a cell but its encoding")
    parser.add_argument("--hard", action="store_true", help="without each device from all six others")
    parser.add_argument("--cache", type=Path, default=None)
    arguments = parser.parse_args()
    if not DATA.exists():
        print(f"Skipped: there is no {DATA.name}. WINNOW_BENCHMARK_DATA names the folder that holds nasbench201/.")
        return
    started = time.monotonic()
    report = {
        "question": "Spearman's correlation from ten measurements with known devices of another kind",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform()}",
        "load_before": round(os.getloadavg()[0], 1),
        "versions": {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "scikit-learn")},
        **transfer(arguments.seeds, not arguments.without_macs, not arguments.hard, Cache(arguments.cache)),
    }
    report["seconds"] = round(time.monotonic() - started)
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    for split, means in report["mean_spearman"].items():
        print(f"{split:36}", *(f"{method} {value}" for method, value in means.items()))
    print("hurt by known devices:", report["hurt_by_known_devices"] or "none")


if __name__ == "__main__":
    main()
