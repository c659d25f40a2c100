"""Problems for searches that nobody here wrote, with what the best possible is on each.

- `mixint-fA-dB`: coco's `bbob-biobj-mixint`, function A in B dimensions, first instance: four fifths of the variables
  are whole numbers of 2, 4, 8 or 16 values, the rest are continuous. Its best front is not known; the reference is
  everything that any run found, and 10,000 evaluations of pymoo's NSGA-II.
- `cells-...`: NAS-Bench-201, test error after 200 epochs against measured latency on a device that the search was not
  tuned on (that was done on a Raspberry Pi 4 and a Titan RTX). The front is exact.
- `zdt...`, `dtlz...`: pymoo's continuous problems; `mw...`: its problems with limits.
  Fronts of the former as pymoo gives them.

TUNING names those by which numerical choices in `winnow` were tuned, REPORTED those of the page. They share no
function, dimension and function, or device.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import moocore
import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

SHARED = os.environ.get("WINNOW_BENCHMARK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
CELLS = Path(SHARED) / "nasbench201" / "nasbench201.parquet"
# A gap below this is that of the reference itself, up to its resolution.
SMALLEST_GAP = 1e-4
# Random points by which the region that counts is set, and by how much of the reference's span it exceeds the latter.
DRAWN, BEYOND = 2000, 0.1
# Evaluations of pymoo's NSGA-II for a reference of coco's problems.
LONG = 10_000

REPORTED = (
    *("mixint-f1-d10", "mixint-f13-d5", "mixint-f31-d10", "mixint-f53-d5"),
    *("cells-c100-pixel3", "cells-c10-gold_6226", "cells-c10-samsung_a50-noise"),
    *("zdt1-d8", "dtlz2-d7"),
    *("mw7-d6", "cells-c100-1080ti_1-limit"),
)
TUNING = ("mixint-f5-d5", "mixint-f20-d10", "mixint-f41-d5", "mixint-f46-d10", "zdt2-d6", "mw3-d6")
# Half a point of error and two per cent of latency: what training again and measuring again give.
CELL_NOISE = (0.5, 0.02)


@dataclass(frozen=True)
class Scores:
    """What one evaluation gives: costs (less is better), and by how much each limit is broken (0 and below: kept)."""

    costs: tuple[float, ...]
    limits: tuple[float, ...] = ()


@dataclass(frozen=True)
class Task:
    """One problem.

    Attributes:
        group: the rows of the page that it belongs to.
        distributions: its parameters, as optuna writes them.
        score: true scores of values of all parameters.
        num_costs, num_limits: how many it has.
        front: the best costs that are known, shape (num_points, num_costs).
        noisy: what a search is told of true scores; the true ones where there is no noise.
    """

    name: str
    group: str
    distributions: Mapping[str, BaseDistribution]
    score: Callable[[Mapping[str, Any]], Scores]
    num_costs: int
    num_limits: int
    front: np.ndarray
    noisy: Callable[[Scores, np.random.Generator], Scores] | None = None

    def told(self, scores: Scores, rng: np.random.Generator) -> Scores:
        """What a search is told."""
        return scores if self.noisy is None else self.noisy(scores, rng)


def make_task(name: str) -> Task:
    """A task by its name.

    Raises:
        ModuleNotFoundError: cocoex or pymoo is missing.
        FileNotFoundError: the table of NAS-Bench-201 is missing.
        ValueError: no such task.
    """
    kind = name.split("-", maxsplit=1)[0]
    if kind == "mixint":
        return _mixint(name)
    if kind == "cells":
        return _cells(name)
    if kind.startswith(("zdt", "dtlz", "mw")):
        return _pymoo(name)
    raise ValueError(f"No task {name!r}. Known: {', '.join((*REPORTED, *TUNING))}.")


# --- coco -----------------------------------------------------------------------------------------


def _mixint(name: str) -> Task:
    import cocoex

    _, function, dimension = name.split("-")
    suite = cocoex.Suite(
        "bbob-biobj-mixint", "instances: 1", f"dimensions: {dimension[1:]} function_indices: {function[1:]}"
    )
    problem = suite.get_problem(0)
    whole, low, high = problem.number_of_integer_variables, problem.lower_bounds, problem.upper_bounds
    distributions: dict[str, BaseDistribution] = {
        f"x{i}": IntDistribution(int(low[i]), int(high[i]))
        if i < whole
        else FloatDistribution(float(low[i]), float(high[i]))
        for i in range(problem.dimension)
    }

    # The suite frees its problem when it goes.
    def score(params: Mapping[str, Any], suite: Any = suite) -> Scores:
        return Scores(tuple(problem([float(params[axis]) for axis in distributions])))

    return Task(name, "mixed integers", distributions, score, 2, 0, np.zeros((0, 2)))


def long_front(task: Task) -> np.ndarray:
    """What pymoo's NSGA-II finds on a task of numbers in `LONG` evaluations."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.optimize import minimize

    axes = list(task.distributions.items())
    whole = np.array([isinstance(distribution, IntDistribution) for _, distribution in axes])
    low, high = (np.array([getattr(d, side) for _, d in axes], dtype=float) for side in ("low", "high"))
    edge = np.where(whole, 0.499, 0.0)

    class Rounded(ElementwiseProblem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(
                n_var=len(axes), n_obj=task.num_costs, n_ieq_constr=task.num_limits, xl=low - edge, xu=high + edge
            )

        def _evaluate(self, x: np.ndarray, out: dict[str, Any]) -> None:
            values = np.where(whole, np.round(x), x)
            scores = task.score({key: value for (key, _), value in zip(axes, values, strict=True)})
            out["F"], out["G"] = scores.costs, scores.limits

    found = minimize(Rounded(), NSGA2(pop_size=100), ("n_eval", LONG), seed=1)
    return np.asarray(found.F)


# --- NAS-Bench-201 --------------------------------------------------------------------------------


@lru_cache(1)
def _table() -> dict[str, np.ndarray]:
    import pyarrow.parquet as parquet

    columns = parquet.read_table(CELLS).to_pydict()
    numbers = [name for name in columns if name.endswith("_test_200") or name.startswith("lat_")]
    codes = np.array([[int(digit) for digit in str(code).zfill(6)] for code in columns["op_code"]])
    return {"codes": codes} | {name: np.array(columns[name], float) for name in numbers}


def _cells(name: str) -> Task:
    """A limit is on the latency: the fastest quarter of all cells."""
    _, data, device, *more = name.split("-")
    table = _table()
    costs = np.stack([100 - table[f"{data}_test_200"], table[f"lat_{device}"]], axis=1)
    row_of = {tuple(code): i for i, code in enumerate(table["codes"].tolist())}
    most = float(np.quantile(costs[:, 1], 0.25)) if "limit" in more else None
    distributions = {f"edge{i}": CategoricalDistribution(range(5)) for i in range(6)}

    def score(params: Mapping[str, Any]) -> Scores:
        error, latency = costs[row_of[tuple(int(params[edge]) for edge in distributions)]].tolist()
        return Scores((error, latency), () if most is None else (latency / most - 1,))

    def noisy(scores: Scores, rng: np.random.Generator) -> Scores:
        error, latency = scores.costs
        draws = rng.standard_normal(2)
        return Scores((error + CELL_NOISE[0] * draws[0], latency * (1 + CELL_NOISE[1] * draws[1])), scores.limits)

    kept = costs if most is None else costs[costs[:, 1] <= most]
    front = kept[moocore.is_nondominated(kept)]
    group = "limits" if "limit" in more else "tables of networks"
    return Task(name, group, distributions, score, 2, int(most is not None), front, noisy if "noise" in more else None)


# --- pymoo ----------------------------------------------------------------------------------------


def _pymoo(name: str) -> Task:
    from pymoo.problems import get_problem
    from pymoo.util.ref_dirs import get_reference_directions

    kind, dimension = name.split("-d")
    problem = get_problem(kind, n_var=int(dimension))
    distributions = {
        f"x{i}": FloatDistribution(float(low), float(high))
        for i, (low, high) in enumerate(zip(problem.xl, problem.xu, strict=True))
    }

    def score(params: Mapping[str, Any]) -> Scores:
        x = np.array([params[axis] for axis in distributions], float)
        names = ["F", "G"] if problem.n_ieq_constr else ["F"]
        out = problem.evaluate(x, return_values_of=names, return_as_dictionary=True)
        return Scores(tuple(np.ravel(out["F"]).tolist()), tuple(np.ravel(out.get("G", ())).tolist()))

    if kind.startswith("dtlz"):
        front = problem.pareto_front(get_reference_directions("das-dennis", problem.n_obj, n_partitions=30))
    elif kind.startswith("zdt"):
        front = problem.pareto_front(n_pareto_points=1000)
    else:  # pymoo would fetch it from the internet
        front = np.zeros((0, problem.n_obj))
    group = "limits" if problem.n_ieq_constr else "continuous"
    return Task(name, group, distributions, score, problem.n_obj, problem.n_ieq_constr, np.asarray(front))


# --- what is good ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Yardstick:
    """Scales costs so that the reference front lies in the unit box, and measures the gap to it.

    The reference point is, in each cost, the median of random points, but at least a tenth of the front's span beyond
    the front: a search counts once it is better than random points in all costs. For tables of networks it is the worst
    value, as in `search_efficiency`.
    """

    ideal: np.ndarray
    point: np.ndarray
    best: float

    @classmethod
    def of(cls, task: Task, front: np.ndarray) -> Yardstick:
        """From the best that is known."""
        front = front[moocore.is_nondominated(front)]
        ideal, nadir = front.min(axis=0), front.max(axis=0)
        rng = np.random.default_rng(0)
        drawn = np.array([task.score(random_params(task, rng)).costs for _ in range(DRAWN)])
        within = drawn.max(axis=0) if task.name.startswith("cells") else np.median(drawn, axis=0)
        point = np.maximum(within, nadir + BEYOND * (nadir - ideal))
        best = float(moocore.hypervolume((front - ideal) / (point - ideal), ref=np.ones(len(ideal))))
        return cls(ideal, point, best)

    def gap(self, costs: np.ndarray) -> float:
        """1 - HV / HV of the reference, of feasible costs of shape (num_points, num_costs); 1 of none."""
        if len(costs) == 0:
            return 1.0
        scaled = (costs - self.ideal) / (self.point - self.ideal)
        return max(1 - float(moocore.hypervolume(scaled, ref=np.ones(len(self.ideal)))) / self.best, 0.0)


def random_params(task: Task, rng: np.random.Generator) -> dict[str, Any]:
    """Uniform values of all parameters."""
    drawn: dict[str, Any] = {}
    for name, of in task.distributions.items():
        if isinstance(of, CategoricalDistribution):
            drawn[name] = of.choices[rng.integers(len(of.choices))]
        elif isinstance(of, IntDistribution):
            drawn[name] = int(rng.integers(of.low, of.high + 1))
        else:
            assert isinstance(of, FloatDistribution)
            drawn[name] = float(rng.uniform(of.low, of.high))
    return drawn
