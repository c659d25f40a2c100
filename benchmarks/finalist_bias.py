"""How far predictions of finalists are off, and how many networks that a job delivers break its limit.

On mobilenet (`digits`) and vit (`cifar`, 2,000 images), in fp32 and with policies of 8 and 32 bits, a predictor is
fitted to measured networks as in a job, and several searches with different seeds and limits each end in a front, by
the product's own stages (`search_problem`, `measure_front`). Supernets are not trained: their accuracies rank networks
at random, and latency does not depend on weights. Every network that is delivered is then measured once more, in
processes of their own. Reported:

- `bias`: mean of (measured - predicted) / predicted over the networks of all fronts, where predicted is
  `predicted_latency_ms` as the front shows it: corrected by what the other finalists showed, never by its own
  measurement. Goal: within 1 %. Over all finalists that mean is zero by construction; on fronts it can fail, because
  networks are there for their measured numbers, so that those which are faster than predicted are there more often.
- `search_bias`: of all finalists, for what the search believed: the machine's drift, and networks whose predictions
  were lucky.
- `beyond`: share of delivered networks whose second measurement is beyond the limit. Goal: at most 5 %.
- `beyond_by_prediction`: the same share of networks on the search's own front, by the first measurement: what would be
  delivered if the front were that of predictions.
- `dominated_by_prediction`: share of these that another of them dominates as measured.

    python -m benchmarks.finalist_bias [--json] [--fronts 5] [--networks 40] [--evaluations 60] [--seconds 0.5]
        [--table] [--families mobilenet,vit] [--bits 32,8]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from export.measurable import write_fresh
from export.measure import describe_machine
from job.hardware_spec import with_margin
from job.resolve import resolve
from job.spec import JobSpec
from pipeline.artifacts import ArtifactStore
from pipeline.benches import LocalBench, MemoryStore
from pipeline.finalists import PREDICTED, Lab
from pipeline.front import measure_front
from pipeline.hardware import Hardware, Meter, read, to_fit
from pipeline.materials import prepare_data
from pipeline.reporter import Reporter
from pipeline.stages import search_problem
from pipeline.traced_layers import layers_of
from pipeline.workshop import JobFailed, Workshop, make_evaluator
from predictors.instrument import Instrument, Specimen
from predictors.latency_fit import fit_predictor
from predictors.layer_tables import build_table
from predictors.setting import Effort, Setting
from search.algorithms import algorithm_for
from search.evaluation import Evaluation
from search.loop import run_search
from search.metrics import METRICS
from search.pareto import pareto_front
from search_space.architecture import Architecture
from service.settings import Settings
from service.store.models import EvaluationRow, Finalist
from service.store.records import FrontRecord
from supernet.evaluator import Evaluator
from supernet.network import Supernet

TARGET, CPU = "cpu-onnxruntime", torch.device("cpu")
SHARED = Path(os.environ.get("WINNOW_BENCHMARK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
# Preset and data of each family.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenet": ("digits", {"source": "digits"}),
    "vit": ("cifar", {"source": "cifar10", "path": str(SHARED / "cifar10"), "limit": 2000}),
}
# Limits of the searches of a setting: quantiles of predicted latencies of random networks.
LIMITS = (0.3, 0.5, 0.7)
_PREDICTED = f"{PREDICTED}latency_ms"
GOALS = {"bias": 0.01, "beyond": 0.05, "fronts": 20}


@dataclass
class Notebook:
    """A reporter that remembers finalists and the front, and tells nobody."""

    job_id: str = "job"
    measured: list[Finalist] = field(default_factory=list)
    record: FrontRecord | None = None

    def finalists(self) -> list[Finalist]:
        return self.measured

    def finalist(self, finalist: Finalist) -> None:
        self.measured.append(finalist)

    def front(
        self, record: FrontRecord, positions: Mapping[str, int], metrics: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.record = record
        for one in self.measured:
            one.position = positions.get(one.architecture_id)
            one.metrics = {**one.metrics, **metrics.get(one.architecture_id, {})}

    def reference(self, _row: EvaluationRow) -> None: ...
    def stage(self, _name: str, _done: float = 0.0) -> None: ...
    def progress(self, _done: float, *, force: bool = False) -> None: ...
    def items(self, _done: int, _total: int, *, within: float = 0.0, force: bool = False) -> None: ...
    def doing(self, _told: str) -> None: ...
    def listen(self, done: float | None = None) -> None: ...
    def tell(self, _level: str, _text: str) -> None: ...


@dataclass(frozen=True)
class Place:
    """A supernet, and a predictor of its networks' latencies on this machine.

    Attributes:
        name: of the setting.
        body: of its jobs, without limits and seeds.
        typical_ms: predicted latencies of random networks, sorted.
    """

    name: str
    body: Mapping[str, Any]
    evaluator: Evaluator
    hardware: Hardware
    report: Mapping[str, Any]
    typical_ms: Sequence[float]


def place(family: str, bits: Sequence[int], asked: argparse.Namespace, folder: Path) -> Place:
    """Measure networks, fit the predictor."""
    preset, source = FAMILIES[family]
    body: dict[str, Any] = {
        "recipe": "bignas",
        "supernet": {"family": family, "preset": preset},
        "data": source,
        "search": {"calibration_images": 128, "evaluations": asked.evaluations, "algorithm": "winnow"},
        "hardware": {"seconds": asked.seconds, "networks": asked.networks},
    }
    if len(bits) > 1:
        body["quantization"] = {"bits": list(bits), "sensitivity": False}
    spec, shop = job(body, None, 0, folder)
    data = prepare_data(spec, shop.space, CPU)
    torch.manual_seed(0)
    supernet = Supernet(shop.space)
    setting = Setting(TARGET, 1, 1)
    instrument = Instrument(LocalBench(setting.how), setting, MemoryStore(), write_fresh)
    networks = to_fit(shop.searched, asked.networks, 0)
    specimens = {one.id: Specimen.network(shop.searched, one) for one in networks}
    table = None
    if asked.table:
        table = build_table(TARGET, layers_of(shop.searched, 2000), instrument, lambda _done: None)
    effort = Effort(max_seconds=asked.seconds)
    found = instrument.measure(list(specimens.values()), "network", effort, lambda _done: None)
    values = [read(found[specimens[one.id].subject], "latency_ms") for one in networks]
    fitted = fit_predictor(shop.searched, table, networks, values, 0.95, METRICS["latency_ms"].goal, 0)
    hardware = Hardware(
        ("latency_ms",), {"latency_ms": fitted}, Meter(TARGET, shop.searched, instrument, asked.seconds)
    )
    rng = np.random.default_rng(0)
    typical = sorted(fitted.value(shop.searched.sample(rng)) for _ in range(200))
    evaluator = make_evaluator(spec, supernet, data)
    return Place(
        f"{family} {'int8 and fp32' if len(bits) > 1 else 'fp32'}", body, evaluator, hardware, fitted.report, typical
    )


def job(body: Mapping[str, Any], limit: float | None, seed: int, folder: Path) -> tuple[JobSpec, Workshop]:
    """A job of a setting, and its workshop without a database."""
    objectives = [{"metric": "accuracy"}, {"metric": "latency_ms", "limit": limit}]
    search = {**body["search"], "seed": seed}
    spec = resolve(JobSpec.model_validate({**body, "objectives": objectives, "search": search}))
    settings = Settings(data_dir=folder, database_url=None, redis_url=None)
    reporter = cast(Reporter, Notebook())
    return spec, Workshop("job", spec, spec.supernet.space(), reporter, ArtifactStore(folder), settings, CPU)


def one_front(where: Place, seed: int, folder: Path) -> dict[str, Any]:
    """A search, its front, and every network of it measured again."""
    limit = float(np.quantile(where.typical_ms, LIMITS[seed % len(LIMITS)]))
    spec, shop = job(where.body, limit, seed, folder)
    notebook = cast(Notebook, shop.reporter)
    problem = search_problem(spec, shop.searched, where.hardware)
    plan = spec.search
    algorithm = algorithm_for(problem, plan.algorithm, seed=seed, evaluations=plan.evaluations, options=plan.options)

    def evaluate(architectures: Sequence[Architecture]) -> list[Evaluation]:
        scored = where.evaluator.evaluate(where.evaluator.in_order(architectures))
        return [where.hardware.added_to(one, lambda: None) for one in scored]

    evaluations = run_search(algorithm, evaluate, {})
    lab = Lab(spec, where.evaluator, where.evaluator, where.hardware)
    believed = pareto_front(evaluations, *with_margin(*spec.goals, where.hardware.margins))
    try:
        measure_front(lab, evaluations, shop.reporter)
    except JobFailed as failed:
        return {"setting": where.name, "seed": seed, "limit_ms": limit, "failed": str(failed)}
    record = notebook.record
    assert record is not None
    measured = {one.architecture_id: one for one in notebook.measured}
    points = [measured[point.architecture_id] for point in record.points]
    known = {one.architecture.id: one for one in evaluations}
    delivered = [point.architecture_id for point in points if point.architecture_id in known]
    again = lab.tested([known[name].architecture for name in delivered], notebook.listen)
    first = {one.architecture.id: measured[one.architecture.id].metrics["latency_ms"] for one in believed}
    costs = {one.architecture.id: (-one.metrics["accuracy"], first[one.architecture.id]) for one in believed}
    return {
        "setting": where.name,
        "seed": seed,
        "limit_ms": limit,
        "networks": len(points),
        "measured": len(measured),
        "stable": record.stable,
        "errors": [_error(one) for one in points if _PREDICTED in one.metrics],
        "search_errors": [
            one.metrics["latency_ms"] / known[one.architecture_id].metrics["latency_ms"] - 1
            for one in notebook.measured
            if one.architecture_id in known
        ],
        "repeated": [
            one.metrics["latency_ms"] / measured[name].metrics["latency_ms"] - 1
            for name, one in zip(delivered, again, strict=True)
        ],
        "beyond": [a.metrics["latency_ms"] > limit for a in again],
        "beyond_by_prediction": [latency > limit for latency in first.values()],
        "dominated_by_prediction": [
            any(other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in costs.values())
            for own in costs.values()
        ],
    }


def _error(finalist: Finalist) -> float:
    """(measured - predicted) / predicted of its latency."""
    return float(finalist.metrics["latency_ms"] / finalist.metrics[_PREDICTED] - 1)


def summary(fronts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over all networks of some fronts."""
    done = [front for front in fronts if "failed" not in front]

    def mean(name: str) -> float:
        every = [float(value) for front in done for value in front[name]]
        return float(np.mean(every)) if every else float("nan")

    deviation = [value for front in done for value in front["errors"]]
    return {
        "fronts": len(done),
        "networks": sum(front["networks"] for front in done),
        "measured": sum(front["measured"] for front in done),
        "stable": sum(front["stable"] for front in done),
        "bias": mean("errors"),
        "deviation": float(np.std(deviation)) if deviation else float("nan"),
        "search_bias": mean("search_errors"),
        "measured_again": mean("repeated"),
        "beyond": mean("beyond"),
        "beyond_by_prediction": mean("beyond_by_prediction"),
        "dominated_by_prediction": mean("dominated_by_prediction"),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--fronts", type=int, default=5, help="of each of the four settings")
    parser.add_argument("--networks", type=int, default=40, help="measured to fit the predictor")
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.5, help="most measuring time of one network")
    parser.add_argument("--table", action="store_true", help="measure every layer alone too, as jobs do")
    parser.add_argument("--families", default="mobilenet,vit")
    parser.add_argument("--bits", default="32,8", help="narrowest of a setting; the widest is 32")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    fronts: list[dict[str, Any]] = []
    predictors: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for family in asked.families.split(","):
            for narrowest in map(int, asked.bits.split(",")):
                bits = sorted({narrowest, 32})
                where = place(family, bits, asked, Path(folder))
                predictors[where.name] = {
                    name: where.report[name] for name in ("rmspe_percent", "within_percent", "kendall_tau", "model")
                }
                print(where.name, predictors[where.name], file=sys.stderr)
                for seed in range(asked.fronts):
                    fronts.append(one_front(where, seed, Path(folder)))
                    print(json.dumps({**summary(fronts[-1:]), "seed": seed}), file=sys.stderr)
    found = summary(fronts)
    settings = sorted({front["setting"] for front in fronts})
    result = {
        "question": "how far predictions of finalists are off; how many networks delivered break a limit",
        **describe_machine(),
        "asked": vars(asked),
        "predictors": predictors,
        **found,
        "by_setting": {name: summary([f for f in fronts if f["setting"] == name]) for name in settings},
        "goals": GOALS,
        "met": {
            "bias": abs(found["bias"]) <= GOALS["bias"],
            "beyond": found["beyond"] <= GOALS["beyond"],
            "fronts": found["fronts"] >= GOALS["fronts"],
        },
        "each": fronts,
    }
    if asked.json:
        print(json.dumps(result, indent=2))
        return
    for name, of in {"all": found, **result["by_setting"]}.items():
        print(
            f"{name}: {of['fronts']} fronts, {of['networks']} networks, bias {of['bias']:+.2%} "
            f"(the search's {of['search_bias']:+.2%}), beyond the limit {of['beyond']:.1%} "
            f"(by prediction {of['beyond_by_prediction']:.1%})"
        )


if __name__ == "__main__":
    main()
