"""How well latency is predicted, from how few measurements.

Part a, on this machine: networks of mobilenet `cifar` and vit `cifar`, in fp32 and with a random mix of int8 and fp32
layers, written and timed in ONNX Runtime, 100 to fit and 100 others to test (see `measured_networks.py`). Goals: RMSPE
at most 5 %, within 10 % at least 99 %, tau at least 0.95; the best published figure, nn-Meter's, is 99 % within 10 %.

Part b, numbers alone: NAS-Bench-201's seven devices, tau and Spearman on 2,000 cells that were not seen, against the
number of random measurements:

- `macs`: a line through MACs and latency, nothing else known;
- `ridge`: on one-hot encodings with the grid of DyNAS-T's (its predictor is the better of this and `svr`);
- `svr`: its support vector machine, likewise;
- `gp`: scikit-learn's Gaussian process on one-hot encodings, RBF and white noise, as it is;
- `winnow`: `make_predictor("latency", space)`, encodings alone;
- `winnow+macs`: it is told the MACs, which the space has no layers to count;
- `winnow+devices`: it is told the six other devices as well.

Goals: best or equal at every size; mean Spearman at least 0.95 from 20 measurements with six known devices (HELP
reports 0.93 from 10).

    python -m benchmarks.latency_prediction [--json] [--small] [--parts a,b] [--seeds 5] [--sizes 10,20,50,100,200]
        [--families mobilenet,vit] [--precisions fp32,mixed]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau, spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.svm import SVR

from predictors import make_predictor
from predictors.devices import Device
from predictors.report import Report, held_out
from search_space import Choice, SearchSpace
from search_space.architecture import Architecture
from search_space.encoding import encode

SHARED = os.environ.get("WINNOW_BENCHMARK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
DATA = Path(SHARED) / "nasbench201" / "nasbench201.parquet"
SPACE = SearchSpace("nasbench201", [Choice(f"edge{i}", (0, 1, 2, 3, 4)) for i in range(6)])
SIZES = (10, 20, 50, 100, 200)
TESTED = 2000
BASELINES = ("macs", "ridge", "svr", "gp")
OURS = ("winnow", "winnow+macs", "winnow+devices")
# Differences in tau below this are ties.
TIE = 0.005
VERSIONS = ("numpy", "scipy", "scikit-learn", "onnxruntime")


@dataclass(frozen=True)
class Cells:
    """All cells of NAS-Bench-201.

    Attributes:
        latencies_ms: by device, shape (num_cells,).
        macs: in millions, shape (num_cells,).
    """

    architectures: list[Architecture]
    one_hot: np.ndarray
    latencies_ms: dict[str, np.ndarray]
    macs: np.ndarray

    def macs_of(self) -> Callable[[Architecture], float]:
        """The MACs of one cell."""
        by_id = {a.id: float(m) for a, m in zip(self.architectures, self.macs, strict=True)}
        return lambda architecture: by_id[architecture.id]

    def device(self, name: str) -> Device:
        """Every cell on a device."""
        return Device(name, tuple(self.architectures), tuple(self.latencies_ms[name].tolist()))


def load() -> Cells:
    """The table."""
    import pyarrow.parquet as parquet

    columns = parquet.read_table(DATA).to_pydict()
    codes = [str(code).zfill(6) for code in columns["op_code"]]
    cells = [SPACE.from_genes([int(digit) for digit in code]) for code in codes]
    latencies = {name: np.array(of, float) for name, of in columns.items() if name.startswith("lat_")}
    return Cells(cells, encode(SPACE, cells), latencies, np.array(columns["flops_c10_M"], float))


# --- part b ---------------------------------------------------------------------------------------


def by_baseline(method: str, cells: Cells, latencies: np.ndarray, seen: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """What a baseline predicts."""
    y = latencies[seen]
    if method == "macs":
        slope, intercept = np.polyfit(cells.macs[seen], y, 1)
        return np.asarray(max(slope, 0.0) * cells.macs[unseen] + intercept)
    x = cells.one_hot
    if method == "gp":
        kernel = ConstantKernel() * RBF(np.sqrt(len(SPACE.choices))) + WhiteKernel(1e-2)
        process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
        return np.asarray(process.fit(x[seen], y).predict(x[unseen]))
    folds = KFold(5, shuffle=True, random_state=0)
    if method == "ridge":
        search = GridSearchCV(
            Ridge(), {"alpha": np.geomspace(0.1, 10, 10)}, scoring="neg_mean_absolute_percentage_error", cv=folds
        )
    else:
        search = GridSearchCV(
            SVR(kernel="rbf", gamma="auto", epsilon=0.0),
            {"C": np.geomspace(1, 100, 10)},
            scoring="neg_mean_absolute_percentage_error",
            cv=folds,
        )
    # DyNAS-T's unit: one or two digits before the point.
    unit = 10 ** (np.floor(np.log10(np.abs(y).max())) - 1)
    return np.asarray(unit * search.fit(x[seen], y / unit).predict(x[unseen]))


def compare(sizes: tuple[int, ...], seeds: int) -> dict[str, Any]:
    """Part b."""
    cells = load()
    macs_of, devices = cells.macs_of(), {name: cells.device(name) for name in cells.latencies_ms}
    scores: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for target, latencies in cells.latencies_ms.items():
        others = [device for name, device in devices.items() if name != target]
        options: dict[str, dict[str, Any]] = {
            "winnow": {},
            "winnow+macs": {"known": {"macs": macs_of}},
            "winnow+devices": {"known": {"macs": macs_of}, "devices": others},
        }
        for seed in range(seeds):
            order = np.random.default_rng(seed).permutation(len(latencies))
            unseen = order[-TESTED:]
            tested = [cells.architectures[i] for i in unseen.tolist()]
            for size in sizes:
                seen = order[:size]
                examples = [cells.architectures[i] for i in seen.tolist()]
                for method in BASELINES:
                    score = _ranked(latencies[unseen], by_baseline(method, cells, latencies, seen, unseen))
                    scores.setdefault((target, method, size), []).append(score)
                for method in OURS:
                    predictor = make_predictor("latency", SPACE, seed=seed, **options[method])
                    predictor.fit(examples, latencies[seen])
                    report = held_out(predictor, tested, latencies[unseen])
                    scores.setdefault((target, method, size), []).append((report.kendall_tau, report.spearman))
    return _summary(scores, tuple(cells.latencies_ms), sizes, seeds)


def _ranked(true: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    if np.ptp(predicted) == 0:
        return 0.0, 0.0
    return float(kendalltau(true, predicted).statistic), float(spearmanr(true, predicted).statistic)


def _summary(
    scores: dict[tuple[str, str, int], list[tuple[float, float]]],
    targets: tuple[str, ...],
    sizes: tuple[int, ...],
    seeds: int,
) -> dict[str, Any]:
    def mean(method: str, size: int, which: int, of: tuple[str, ...] = targets) -> float:
        return round(float(np.mean([score[which] for target in of for score in scores[target, method, size]])), 4)

    methods = (*BASELINES, *OURS)
    tau = {method: [mean(method, size, 0) for size in sizes] for method in methods}
    spearman = {method: [mean(method, size, 1) for size in sizes] for method in methods}
    by_device = {
        target: {method: [mean(method, size, 0, (target,)) for size in sizes] for method in methods}
        for target in targets
    }
    best = {ours: [tau[ours][i] >= max(tau[b][i] for b in BASELINES) - TIE for i in range(len(sizes))] for ours in OURS}
    worse = [
        f"{target} at {size}: {of['winnow+macs'][i]} against {max(of[b][i] for b in BASELINES)}"
        for target, of in by_device.items()
        for i, size in enumerate(sizes)
        if of["winnow+macs"][i] < max(of[b][i] for b in BASELINES) - TIE
    ]
    verdict: dict[str, Any] = {"best_or_equal_in_mean_tau": best, "devices_where_a_baseline_beats_winnow+macs": worse}
    if 20 in sizes:
        verdict["spearman_from_20_with_six_known"] = spearman["winnow+devices"][sizes.index(20)]
        verdict["goal"] = 0.95
    return {
        "sizes": list(sizes),
        "seeds": seeds,
        "tested": TESTED,
        "mean_tau": tau,
        "mean_spearman": spearman,
        "tau_by_device": by_device,
        "verdict": verdict,
    }


# --- part a ---------------------------------------------------------------------------------------


def on_this_machine(small: bool, families: list[str], precisions: list[str]) -> dict[str, Any]:
    """Part a."""
    from benchmarks.measured_networks import measured

    fitted = tested = 30 if small else 100
    results: dict[str, Any] = {}
    for family, precision in product(families, precisions):
        mixed = precision == "mixed"
        networks = measured(family, "cifar", fitted + tested, rounds=8 if small else 25, mixed=mixed)
        examples, values = networks.architectures[:fitted], networks.latencies_ms[:fitted]
        rest, true = networks.architectures[fitted:], networks.latencies_ms[fitted:]
        rows: dict[str, Any] = {"measuring": networks.facts}
        for name, model in (("winnow", None), ("gaussian_process", "gaussian_process"), ("ridge", "ridge")):
            predictor = make_predictor("latency", networks.space, model=model)
            predictor.fit(examples, values)
            rows[name] = _row(held_out(predictor, rest, true))
        for size in (10, 20, 50):
            if size < fitted:
                predictor = make_predictor("latency", networks.space)
                predictor.fit(examples[:size], values[:size])
                rows[f"winnow from {size}"] = _row(held_out(predictor, rest, true))
        slope, intercept = np.polyfit(networks.macs[:fitted], values, 1)
        line = slope * networks.macs[fitted:] + intercept
        rows["macs"] = _row(Report.of(true, line, np.ones(len(true)), fitted, "hold-out"))
        best = rows["winnow"]
        rows["meets"] = {
            "rmspe_at_most_5": best["rmspe_percent"] <= 5,
            "within_10_at_least_99": best["within_percent"][10] >= 0.99,
            "tau_at_least_0.95": best["kendall_tau"] >= 0.95,
        }
        results[f"{family}/cifar {precision}"] = rows
    return results


def _row(report: Report) -> dict[str, Any]:
    names = ("rmspe_percent", "within_percent", "kendall_tau", "spearman", "inside_95")
    return {name: _rounded(getattr(report, name)) for name in names}


def _rounded(value: Any) -> Any:
    return {k: round(v, 4) for k, v in value.items()} if isinstance(value, dict) else round(value, 4)


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--small", action="store_true", help="two sizes and one seed; 60 networks instead of 200")
    parser.add_argument("--parts", default="a,b")
    parser.add_argument("--seeds", type=int, default=5, help="of part b")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="of part b")
    parser.add_argument("--families", default="mobilenet,vit", help="of part a")
    parser.add_argument("--precisions", default="fp32,mixed", help="of part a: fp32, mixed (int8 and fp32)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # the baseline's own, at its bounds
    load = os.getloadavg()[0]
    report: dict[str, Any] = {
        "question": "how well latency is predicted from how few measurements",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform()}",
        "load_before": round(load, 1),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
    }
    parts, sizes = arguments.parts.split(","), tuple(int(size) for size in arguments.sizes.split(","))
    if "a" in parts:
        report["a"] = on_this_machine(arguments.small, arguments.families.split(","), arguments.precisions.split(","))
    if "b" in parts and not DATA.exists():
        report["b"] = (
            f"Skipped: there is no {DATA.name}. WINNOW_BENCHMARK_DATA names the folder that holds nasbench201/."
        )
    elif "b" in parts:
        report["b"] = compare((20, 100), 1) if arguments.small else compare(sizes, arguments.seeds)
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    for space, rows in report.get("a", {}).items():
        print(space, rows.pop("measuring"), rows.pop("meets"))
        for name, row in rows.items():
            print(f"  {name:18}", row)
    if isinstance(report.get("b"), dict):
        for method, taus in report["b"]["mean_tau"].items():
            print(f"{method:15}", *taus, " Spearman", *report["b"]["mean_spearman"][method])
        print(report["b"]["verdict"])
    elif "b" in report:
        print(report["b"])


if __name__ == "__main__":
    main()
