"""Does it pay to choose networks by what they score after a little healing? Hypervolume after healing, equal compute.

A llama of bytes is trained on tinyshakespeare, or a CNN on CIFAR-10, and its neurons, heads and channels are ordered
by importance (`benchmarks.healing`). Per seed `winnow` searches its slices for validation score and cost (parameters of
the llama, MACs of the CNN), perhaps below a limit of that cost, and networks of what it found are healed with the
largest as teacher, all for the same number of steps. Three ways to choose them:

- *plain*: of the slices as they were found;
- *ranks*: networks climb by non-dominated sorting after 0, n and 4n steps (successive halving), and of those after 4n
  some go on to the end; their first 4n steps are not done again;
- *fidelities*: the same with the Gaussian process across fidelities, which also says what the search proposes.

Every way takes as many networks as the compute allows: the front by hypervolume added, then the front of the rest.
Compute is multiply-accumulates: of every evaluation, three times a network's and once its teacher's for every token or
image of a healing. All ways have the same, which is what `plain` takes for `--plain` networks; nobody may spend more.
Judged is the hypervolume of the healed networks and the largest one on test examples, up to the limit and the worst
score that any way of any seed ends with; and up to a second corner, the worst score of the plain way's networks before
healing (where all gains are small). Test examples have chosen nothing. All networks that any way of any seed has
healed, taken together, say what no choice could exceed.

Networks heal alike whatever the seed, so what is healed once is kept. Stopped in between, it goes on from `--cache`.

    python -m benchmarks.select_and_heal [--json] [--size small|medium|full|cnn] [--limit 0.4] [--cache FOLDER]
        [--seeds 0 1 2 3 4] [--evaluations 80] [--candidates 18] [--steps 150] [--rungs 12 48]
        [--plain 8] [--ways ranks fidelities] [--data FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.cache import Cache
from benchmarks.healing import (
    CALIBRATION,
    SHARED,
    STUDIES,
    VALIDATIONS,
    Study,
    data_of,
    judged,
    space_of,
    trained,
    trainer_of,
)
from export.measure import describe_machine
from predictors.cost import macs, params
from search.algorithms import make_algorithm
from search.evaluation import Evaluation
from search.fidelities.correlation import Correlation, correlations
from search.fidelities.known import Fidelities
from search.fidelities.ladder import Chooser, Ladder
from search.fidelities.plan import LadderPlan
from search.fidelities.ranks import ByRank, best
from search.loop import each, run_search
from search.metrics import METRICS
from search.objectives import Objective
from search.pareto import hypervolume
from search_space.architecture import Architecture
from supernet.data import Dataset, Split
from supernet.flat import load_tensors, own_tensors
from supernet.healing import HealingTrainer
from supernet.network import Supernet

WAYS = ("plain", "ranks", "fidelities")
SIZES = ("small", "medium", "full", "cnn")
BATCH = 8


@dataclass
class Patient:
    """A network while it heals: its trainer, and the best of its validations (less is better)."""

    trainer: HealingTrainer
    best: float = math.inf
    kept: dict[str, torch.Tensor] = field(default_factory=dict)


class Clinic:
    """Scores and heals slices of one supernet; what is known is kept.

    Args:
        limit: share of the largest network's cost that no network may exceed; 1: none.

    Attributes:
        goals: the score of the data, and the cost with its limit.
        most: what a network may cost.
        seconds: that healing has taken in this process.
    """

    def __init__(
        self,
        study: Study,
        supernet: Supernet,
        data: Dataset,
        validation: Split,
        cache: Cache,
        rungs: Sequence[int],
        limit: float,
    ) -> None:
        self.study, self.supernet, self.data, self.validation, self._cache = study, supernet, data, validation, cache
        self._rungs = rungs
        self._patients: dict[str, Patient] = {}
        self._found: dict[str, float] = {}
        self.seconds = 0.0
        self.whole = supernet.space.largest()
        self.cost, self._counted = ("params", params) if study.form is None else ("macs", macs)
        self.most = limit * self.costs(self.whole)
        self.goals = (
            Objective(data.metric, METRICS[data.metric].goal),
            Objective(self.cost, limit=self.most if limit < 1 else None),
        )

    @property
    def metric(self) -> str:
        """What networks are scored by."""
        return self.goals[0].metric

    def costs(self, one: Architecture) -> float:
        """The second goal of a network."""
        return float(self._counted(self.supernet.space, one))

    def evaluation(self, one: Architecture, score: float) -> Evaluation:
        """A network with a score."""
        return Evaluation(one, {self.metric: score, self.cost: self.costs(one)})

    def found(self, one: Architecture) -> float:
        """Validation score of a slice."""
        if one.id not in self._found:
            self._found[one.id] = self._judged(self.supernet, one, self.validation)
        return self._found[one.id]

    def tested(self, one: Architecture) -> float:
        """Test score of a slice."""
        made: float = self._cache.result(f"test-{one.id}", lambda: self._judged(self.supernet, one, self.data.test))
        return made

    def on_rung(self, one: Architecture, steps: int) -> float:
        """Validation score after so many steps of its healing."""

        def score() -> float:
            return self._judged(self._after(one, steps).trainer.supernet, one, self.validation)

        made: float = self._cache.result(f"{one.id}-{steps}-of-{self.study.healing_steps}", score)
        return made

    def healed(self, one: Architecture) -> float:
        """Test score of the best validated step of its whole healing."""

        def score() -> float:
            for steps in self._rungs:
                self.on_rung(one, steps)  # on the way: another seed may ask
            patient = self._after(one, self.study.healing_steps)
            student = patient.trainer.supernet
            load_tensors(student, patient.kept)
            del self._patients[one.id]
            return self._judged(student, one, self.data.test)

        made: float = self._cache.result(f"{one.id}-healed-{self.study.healing_steps}", score)
        return made

    def evaluating(self, one: Architecture) -> float:
        """Multiply-accumulates of the validation of a network, and of the calibration before it."""
        calibrating = 0 if self.study.form is None else CALIBRATION
        return float((len(self.validation) + calibrating) * macs(self.supernet.space, one))

    def healing(self, one: Architecture, steps: int) -> float:
        """Multiply-accumulates of so many steps; the validations among them cost every way alike and are left out."""
        space = self.supernet.space
        return float(steps * self.study.training.batch_size * (3 * macs(space, one) + macs(space, self.whole)))

    def _after(self, one: Architecture, steps: int) -> Patient:
        """Goes on with its healing, validated now and then."""
        patient = self._patients.get(one.id)
        if patient is None or patient.trainer.steps_done > steps:
            patient = Patient(trainer_of(self.study, self.supernet, self.data, one))
            self._patients[one.id] = patient
        every, began = max(1, self.study.healing_steps // VALIDATIONS), time.monotonic()
        while (done := patient.trainer.steps_done) < steps:
            patient.trainer.step()
            if (done + 1) % every == 0 or done + 1 == self.study.healing_steps:
                student = patient.trainer.supernet
                score = self.goals[0].cost(self._judged(student, one, self.validation))
                if score < patient.best:
                    patient.best = score
                    patient.kept = {name: tensor.clone() for name, tensor in own_tensors(student).items()}
        self.seconds += time.monotonic() - began
        return patient

    def _judged(self, supernet: Supernet, one: Architecture, split: Split) -> float:
        return judged(self.study, supernet, self.data, one, split)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is the same of every way.

    Attributes:
        limit: share of the largest network's cost that no network may exceed.
    """

    limit: float
    evaluations: int
    plan: LadderPlan
    plain: int
    ways: tuple[str, ...]


@dataclass
class Chosen:
    """What one way of one seed ends with."""

    networks: list[Architecture]
    spent: float
    correlations: list[Correlation]
    levels: list[int]


def searched(clinic: Clinic, asked: Asked, seed: int, way: str) -> tuple[list[Evaluation], Fidelities, float]:
    """The search's evaluations, what its ladder knows, and the compute of the ladder's steps."""
    algorithm = make_algorithm(
        "winnow",
        clinic.supernet.space,
        list(clinic.goals),
        seed=seed,
        evaluations=asked.evaluations,
        exact_costs={clinic.cost: clinic.costs},
        batch=BATCH,
    )
    known = Fidelities(clinic.goals, (), len(asked.plan.rungs), {clinic.metric}, clinic.whole.id)
    spent = 0.0
    rungs = (0, *asked.plan.rungs)

    def heal(one: Architecture, level: int) -> Evaluation:
        nonlocal spent
        spent += clinic.healing(one, rungs[level] - rungs[level - 1]) + clinic.evaluating(one)
        return clinic.evaluation(one, clinic.on_rung(one, rungs[level]))

    ladder = None
    if way != "plain":
        chooser: Chooser = ByRank() if way == "ranks" else algorithm.chooser(known)
        ladder = Ladder(asked.plan, chooser, known, heal, asked.evaluations)
    found = run_search(algorithm, each(lambda one: clinic.evaluation(one, clinic.found(one))), {}, ladder)
    return found, known, spent + sum(clinic.evaluating(one.architecture) for one in found)


def within(clinic: Clinic, evaluations: Sequence[Evaluation], count: int) -> list[Architecture]:
    """So many networks to heal, front after front, by hypervolume added; none beyond the limit, and not the largest."""
    some = [
        one for one in evaluations if one.architecture.id != clinic.whole.id and one.metrics[clinic.cost] <= clinic.most
    ]
    return [one.architecture for one in best(some, clinic.goals, (), min(count, len(some)))]


def chosen(clinic: Clinic, asked: Asked, seed: int, way: str, budget: float) -> Chosen:
    """Networks to heal: of what a way ends with, as many as the compute is enough for."""
    found, known, spent = searched(clinic, asked, seed, way)
    steps = clinic.study.healing_steps
    if way != "plain":
        found, steps = known.at_top(), steps - asked.plan.rungs[-1]
    networks: list[Architecture] = []
    cost = spent
    for count in range(1, len(found) + 1):
        tried = within(clinic, found, count)
        needed = spent + sum(clinic.healing(one, steps) for one in tried)
        if needed <= budget:
            networks, cost = tried, needed
    return Chosen(networks, cost, correlations(known), [len(level) for level in known.levels])


def budget_of(clinic: Clinic, asked: Asked, seed: int) -> float:
    """What a search and the healing of so many of its networks take."""
    found, _, spent = searched(clinic, asked, seed, "plain")
    return spent + sum(clinic.healing(one, clinic.study.healing_steps) for one in within(clinic, found, asked.plain))


def compared(study: Study, path: Path, folder: Path | None, seeds: Sequence[int], asked: Asked) -> dict[str, Any]:
    """Every seed, every way."""
    cache = Cache(folder)
    data, validation = data_of(study, path)
    supernet = trained(study, space_of(study), data, cache)
    clinic = Clinic(study, supernet, data, validation, cache, asked.plan.rungs, asked.limit)
    score = clinic.goals[0].cost
    rows = [_row(clinic, asked, seed) for seed in seeds]
    points = [point["after"] for row in rows for way in asked.ways for point in row[way]["healed"]]
    before = [point["before"] for row in rows for point in row["plain"]["healed"]]
    corners = {
        "hypervolume": [max(points, key=score), clinic.most],
        "hypervolume_far": [max(before, key=score), clinic.most],
    }
    whole = clinic.evaluation(clinic.whole, clinic.tested(clinic.whole))
    every = [whole]
    for row in rows:
        for way in asked.ways:
            healed = [
                Evaluation(clinic.whole, {clinic.metric: p["after"], clinic.cost: p["cost"]})
                for p in row[way]["healed"]
            ]
            for name, corner in corners.items():
                row[way][name] = hypervolume([*healed, whole], clinic.goals, corner)
            every += healed
    plain = statistics.mean(row["plain"]["hypervolume"] for row in rows)
    names = {point["architecture_id"] for row in rows for way in asked.ways for point in row[way]["healed"]}
    return {
        "question": "hypervolume after healing at equal compute: choosing with fidelities and without",
        "study": asdict(study),
        "asked": asdict(asked),
        "goals": [asdict(goal) for goal in clinic.goals],
        "largest": whole.metrics,
        "corners": corners,
        "gains": {way: _gains(rows, way) for way in asked.ways if way != "plain"},
        # What no choice of as many networks could reach: all that any way of any seed healed, together.
        "networks_healed": len(names),
        "gain_of_all_together": hypervolume(every, clinic.goals, corners["hypervolume"]) / plain - 1,
        "seeds": rows,
        "healing_seconds_of_this_run": round(clinic.seconds, 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **describe_machine(),
    }


def _row(clinic: Clinic, asked: Asked, seed: int) -> dict[str, Any]:
    budget = budget_of(clinic, asked, seed)
    row: dict[str, Any] = {"seed": seed, "budget_macs": budget}
    for way in asked.ways:
        one = chosen(clinic, asked, seed, way, budget)
        healed = [
            {
                "architecture_id": network.id,
                "cost": clinic.costs(network),
                "before": clinic.tested(network),
                "after": clinic.healed(network),
            }
            for network in one.networks
        ]
        row[way] = {
            "spent": one.spent / budget,
            "levels": one.levels,
            "correlations": [asdict(each) for each in one.correlations],
            "healed": healed,
        }
        sys.stderr.write(
            f"seed {seed}, {way}: {len(healed)} networks healed, {one.spent / budget:.1%} of the compute\n"
        )
    return row


def _gains(rows: Sequence[dict[str, Any]], way: str) -> dict[str, Any]:
    """By how much hypervolumes are larger than those of the plain way, as shares."""
    made: dict[str, Any] = {}
    for name in ("hypervolume", "hypervolume_far"):
        shares = [row[way][name] / row["plain"][name] - 1 for row in rows]
        error = statistics.stdev(shares) / math.sqrt(len(shares)) if len(shares) > 1 else None
        made[name] = {"mean": statistics.mean(shares), "standard_error": error, "each": shares}
    return made


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--size", choices=SIZES, default="small", help="of the llama and of everything, or a CNN")
    parser.add_argument("--limit", type=float, default=1.0, help="share of the largest's cost that is allowed; 1: all")
    parser.add_argument("--cache", type=Path, default=None, help="folder that keeps what is done")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--evaluations", type=int, default=80)
    parser.add_argument("--candidates", type=int, default=18)
    parser.add_argument("--steps", type=int, default=None, help="of a healing, instead of the size's")
    parser.add_argument("--rungs", type=int, nargs="+", default=[12, 48])
    parser.add_argument("--plain", type=int, default=8, help="networks that the plain way heals")
    parser.add_argument("--ways", nargs="+", choices=WAYS[1:], default=list(WAYS[1:]), help="besides plain")
    parser.add_argument("--data", type=Path, default=None, help="text file, or folder of CIFAR-10")
    given = parser.parse_args()
    plan = LadderPlan(tuple(given.rungs), given.candidates, 0.5)
    asked = Asked(given.limit, given.evaluations, plan, given.plain, ("plain", *given.ways))
    study = STUDIES[given.size]
    if given.steps is not None:
        study = replace(study, healing_steps=given.steps)
    path = given.data or Path(SHARED) / study.data
    result = compared(study, path, given.cache, given.seeds, asked)
    if given.json:
        print(json.dumps(result, indent=2))
        return
    for row in result["seeds"]:
        volumes = ", ".join(f"{way} {row[way]['hypervolume']:.4g} ({len(row[way]['healed'])})" for way in asked.ways)
        print(f"seed {row['seed']}: hypervolume (networks) {volumes}")
    for way, gain in result["gains"].items():
        near, far = gain["hypervolume"], gain["hypervolume_far"]
        print(f"{way}: {near['mean']:+.1%} over plain (worst after), {far['mean']:+.1%} (worst before)")
    print(f"all {result['networks_healed']} healed networks together: {result['gain_of_all_together']:+.1%}")


if __name__ == "__main__":
    main()
