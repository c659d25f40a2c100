"""Does it pay to choose networks by what they score after a little healing? Hypervolume after healing, equal compute.

A llama of bytes is trained on tinyshakespeare, and its neurons and heads are ordered by importance
(`benchmarks.healing`). Per seed `winnow` searches its slices for validation perplexity and parameters, and networks of
what it found are healed with the largest as teacher, all for the same number of steps. Three ways to choose them:

- *plain*: the front of the slices as they were found; as many of it as the compute allows, spread over it;
- *ranks*: networks climb by non-dominated sorting after 0, n and 4n steps (successive halving), and those of the front
  after 4n go on to the end; their first 4n steps are not done again;
- *fidelities*: the same with the Gaussian process across fidelities, which also says what the search proposes.

Compute is multiply-accumulates: of every evaluation, three times a network's and once its teacher's for every token of
a healing. All ways have the same, which is what `plain` takes for `--plain` networks; nobody may spend more. Judged is
the hypervolume of the healed networks and the largest one, in parameters and test perplexity, up to the largest's
parameters and the worst test perplexity that any way of any seed ends with; and up to a second corner, the worst
perplexity of the plain fronts before healing (where all gains are small). Test text has chosen nothing.

Networks heal alike whatever the seed, so what is healed once is kept. Stopped in between, it goes on from `--cache`.

    python -m benchmarks.select_and_heal [--json] [--size small] [--cache FOLDER] [--seeds 0 1 2 3 4]
        [--evaluations 80] [--candidates 18] [--steps 150] [--rungs 12 48]
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
from benchmarks.healing import SHARED, STUDIES, VALIDATIONS, Study, data_of, space_of, trained, trainer_of
from export.measure import describe_machine
from pipeline.healing_choice import spread
from predictors.cost import macs, params
from search.algorithms import make_algorithm
from search.evaluation import Evaluation
from search.fidelities.correlation import Correlation, correlations
from search.fidelities.known import Fidelities
from search.fidelities.ladder import Chooser, Ladder
from search.fidelities.plan import LadderPlan
from search.fidelities.ranks import ByRank
from search.loop import each, run_search
from search.objectives import Objective
from search.pareto import hypervolume, knee, pareto_front
from search_space.architecture import Architecture
from supernet.data import Dataset, Split
from supernet.evaluate import perplexity
from supernet.flat import load_tensors, own_tensors
from supernet.healing import HealingTrainer
from supernet.network import Supernet, extract

WAYS = ("plain", "ranks", "fidelities")
GOALS = (Objective("perplexity"), Objective("params"))
BATCH = 8


@dataclass
class Patient:
    """A network while it heals: its trainer, and the best of its validations."""

    trainer: HealingTrainer
    best: float = math.inf
    kept: dict[str, torch.Tensor] = field(default_factory=dict)


class Clinic:
    """Scores and heals slices of one supernet; what is known is kept.

    Attributes:
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
    ) -> None:
        self.study, self.supernet, self.data, self.validation, self._cache = study, supernet, data, validation, cache
        self._rungs = rungs
        self._patients: dict[str, Patient] = {}
        self._found: dict[str, float] = {}
        self.seconds = 0.0
        self.whole = supernet.space.largest()

    def found(self, one: Architecture) -> float:
        """Validation perplexity of a slice."""
        if one.id not in self._found:
            self._found[one.id] = perplexity(extract(self.supernet, one), self.validation)
        return self._found[one.id]

    def tested(self, one: Architecture) -> float:
        """Test perplexity of a slice."""
        made: float = self._cache.result(
            f"test-{one.id}", lambda: perplexity(extract(self.supernet, one), self.data.test)
        )
        return made

    def on_rung(self, one: Architecture, steps: int) -> float:
        """Validation perplexity after so many steps of its healing."""

        def score() -> float:
            return perplexity(extract(self._after(one, steps).trainer.supernet, one), self.validation)

        made: float = self._cache.result(f"{one.id}-{steps}-of-{self.study.healing_steps}", score)
        return made

    def healed(self, one: Architecture) -> float:
        """Test perplexity of the best validated step of its whole healing."""

        def score() -> float:
            for steps in self._rungs:
                self.on_rung(one, steps)  # on the way: another seed may ask
            patient = self._after(one, self.study.healing_steps)
            student = patient.trainer.supernet
            load_tensors(student, patient.kept)
            del self._patients[one.id]
            return perplexity(extract(student, one), self.data.test)

        made: float = self._cache.result(f"{one.id}-healed-{self.study.healing_steps}", score)
        return made

    def evaluating(self) -> float:
        """Multiply-accumulates of the validation of one network, of the largest's size: an upper bound."""
        return float(len(self.validation) * macs(self.supernet.space, self.whole))

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
                score = perplexity(extract(student, one), self.validation)
                if score < patient.best:
                    patient.best = score
                    patient.kept = {name: tensor.clone() for name, tensor in own_tensors(student).items()}
        self.seconds += time.monotonic() - began
        return patient


@dataclass(frozen=True, slots=True)
class Asked:
    """What is the same of every way."""

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
    space = clinic.supernet.space
    algorithm = make_algorithm(
        "winnow",
        space,
        list(GOALS),
        seed=seed,
        evaluations=asked.evaluations,
        exact_costs={"params": lambda one: float(params(space, one))},
        batch=BATCH,
    )
    known = Fidelities(GOALS, (), len(asked.plan.rungs), {"perplexity"}, clinic.whole.id)
    spent = 0.0
    rungs = (0, *asked.plan.rungs)

    def scored(one: Architecture, score: float) -> Evaluation:
        return Evaluation(one, {"perplexity": score, "params": float(params(space, one))})

    def heal(one: Architecture, level: int) -> Evaluation:
        nonlocal spent
        spent += clinic.healing(one, rungs[level] - rungs[level - 1]) + clinic.evaluating()
        return scored(one, clinic.on_rung(one, rungs[level]))

    ladder = None
    if way != "plain":
        chooser: Chooser = ByRank() if way == "ranks" else algorithm.chooser(known)
        ladder = Ladder(asked.plan, chooser, known, heal, asked.evaluations)
    found = run_search(algorithm, each(lambda one: scored(one, clinic.found(one))), {}, ladder)
    return found, known, spent + asked.evaluations * clinic.evaluating()


def chosen(clinic: Clinic, asked: Asked, seed: int, way: str, budget: float) -> Chosen:
    """Networks to heal: of the front that a way ends with, as many as the compute is enough for."""
    found, known, spent = searched(clinic, asked, seed, way)
    if way == "plain":
        front = [one for one in pareto_front(found, GOALS) if one.architecture.id != clinic.whole.id]
        steps = clinic.study.healing_steps
    else:
        front, steps = known.front(), clinic.study.healing_steps - asked.plan.rungs[-1]
    by_name = {one.architecture.id: one.architecture for one in front}
    best = knee(front, GOALS)

    def cost(names: Sequence[str]) -> float:
        return spent + sum(clinic.healing(by_name[name], steps) for name in names)

    some: list[str] = []
    for count in range(1, len(front) + 1):
        tried = spread(list(by_name), count, None if best is None else best.architecture.id)
        if cost(tried) <= budget:
            some = tried
    networks = [by_name[name] for name in some]
    return Chosen(networks, cost(some), correlations(known), [len(level) for level in known.levels])


def budget_of(clinic: Clinic, asked: Asked, seed: int) -> float:
    """What a search and the healing of so many networks of its front take."""
    found, _, spent = searched(clinic, asked, seed, "plain")
    front = [one.architecture for one in pareto_front(found, GOALS) if one.architecture.id != clinic.whole.id]
    names = spread([one.id for one in front], asked.plain, None)
    some = [one for one in front if one.id in names]
    return spent + sum(clinic.healing(one, clinic.study.healing_steps) for one in some) * asked.plain / len(some)


def compared(study: Study, path: Path, folder: Path | None, seeds: Sequence[int], asked: Asked) -> dict[str, Any]:
    """Every seed, every way."""
    cache = Cache(folder)
    data, validation = data_of(study, path)
    space = space_of(study)
    clinic = Clinic(study, trained(study, space, data, cache), data, validation, cache, asked.plan.rungs)
    rows = [_row(clinic, asked, seed) for seed in seeds]
    points = [point for row in rows for way in asked.ways for point in row[way]["healed"]]
    corner = [max(point["perplexity"] for point in points), float(params(space, clinic.whole))]
    before = [point["before"] for row in rows for point in row["plain"]["healed"]]
    far = [max(before), corner[1]]
    whole = {"perplexity": clinic.tested(clinic.whole), "params": corner[1]}
    for row in rows:
        for way in asked.ways:
            ended = [
                Evaluation(clinic.whole, {name: point[name] for name in ("perplexity", "params")})
                for point in [*row[way]["healed"], whole]
            ]
            row[way]["hypervolume"] = hypervolume(ended, GOALS, corner)
            row[way]["hypervolume_far"] = hypervolume(ended, GOALS, far)
    return {
        "question": "hypervolume after healing at equal compute: choosing with fidelities and without",
        "study": asdict(study),
        "asked": asdict(asked),
        "params": int(corner[1]),
        "largest_perplexity": whole["perplexity"],
        "corner": corner,
        "far_corner": far,
        "gains": {way: _gains(rows, way) for way in asked.ways if way != "plain"},
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
                "params": params(clinic.supernet.space, network),
                "before": clinic.tested(network),
                "perplexity": clinic.healed(network),
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
    parser.add_argument(
        "--size", choices=("small", "medium", "full"), default="small", help="of the llama and of everything"
    )
    parser.add_argument("--cache", type=Path, default=None, help="folder that keeps what is done")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--evaluations", type=int, default=80)
    parser.add_argument("--candidates", type=int, default=18)
    parser.add_argument("--steps", type=int, default=None, help="of a healing, instead of the size's")
    parser.add_argument("--rungs", type=int, nargs="+", default=[12, 48])
    parser.add_argument("--plain", type=int, default=8, help="networks that the plain way heals")
    parser.add_argument("--ways", nargs="+", choices=WAYS[1:], default=list(WAYS[1:]), help="besides plain")
    parser.add_argument("--data", type=Path, default=Path(SHARED) / "tinyshakespeare" / "input.txt.gz")
    given = parser.parse_args()
    asked = Asked(
        given.evaluations, LadderPlan(tuple(given.rungs), given.candidates, 0.5), given.plain, ("plain", *given.ways)
    )
    study = STUDIES[given.size]
    if given.steps is not None:
        study = replace(study, healing_steps=given.steps)
    result = compared(study, given.data, given.cache, given.seeds, asked)
    if given.json:
        print(json.dumps(result, indent=2))
        return
    for row in result["seeds"]:
        volumes = ", ".join(f"{way} {row[way]['hypervolume']:.4g} ({len(row[way]['healed'])})" for way in asked.ways)
        print(f"seed {row['seed']}: hypervolume (networks) {volumes}")
    for way, gain in result["gains"].items():
        near, far = gain["hypervolume"], gain["hypervolume_far"]
        print(f"{way}: {near['mean']:+.1%} over plain (worst after), {far['mean']:+.1%} (worst before)")


if __name__ == "__main__":
    main()
