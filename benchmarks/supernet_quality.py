"""Is a sliced network as good as the same one trained alone, and does a supernet rank networks?

Two forms that can fail: in `underfit` every network would gain from more epochs; in `saturated` the largest alone
learns its few images by heart (`--only pilot` shows both). Twenty networks: both ends and three narrow bands of MACs,
within which a ranking by MACs says little. Three comparisons: supernet and networks alone both for the form's epochs
(`equal epochs`); a supernet so much longer that it costs what all networks alone cost (`equal compute`); both for that
longer time (`equal epochs, long`). Learning rates are chosen by validation images, for networks alone too.

    python -m benchmarks.supernet_quality [--json] [--form underfit|saturated] [--only STAGE ...] [--seeds 3]
        [--option NAME=VALUE ...] [--part I/N] [--report] [--data FOLDER] [--cache FOLDER]

Hours on two cores; stop it at any time and start it again: every training and every score is kept in the cache.
`--part 0/2` does every second piece of work, for a second process beside. `--report` shows what there is, training
nothing. `--option` sets an option of BigNAS, to compare another recipe.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cifar import macs_of
from benchmarks.sharing import BANDS, FORMS, IN_A_BAND, Bench, Recipe, polite
from benchmarks.sharing_statistics import differences, ranking
from export.measure import describe_machine

STAGES = ("pilot", "rates", "bignas", "sortednet", "alone", "alone long")
RATES = {"alone": (0.05, 0.1, 0.2, 0.4), "bignas": (0.025, 0.05, 0.1), "sortednet": (0.05, 0.1, 0.2)}
# Positions of the networks whose validation accuracy decides on a rate: one of each band and both ends.
DECIDING = (0, 3, 9, 15, 19)
# Seeds of the trainings that decide, which no result uses.
DECIDING_SEED = 1_000
SORTEDNET = (("dimensions", "free"), ("distribution", "sandwich"))


class Comparison:
    """The trainings of a form, and what they show.

    Args:
        options: of BigNAS, as (name, value).
    """

    def __init__(self, bench: Bench, seeds: int, options: tuple[tuple[str, Any], ...]) -> None:
        self.bench, self.seeds, self.form = bench, seeds, bench.form
        self.networks = bench.networks()
        self.options = {"bignas": options, "sortednet": SORTEDNET, "alone": ()}

    def recipe(self, method: str, epochs: int, seed: int, rate: float | None = None) -> Recipe:
        """The training of a method at the rate that was chosen for it."""
        rate = rate if rate is not None else self.rate(method)
        return Recipe(self.form.name, method, epochs, rate, options=self.options[method], seed=seed)

    # --- rates --------------------------------------------------------------------------------------

    def rate(self, method: str) -> float:
        """The rate of the highest mean validation accuracy among those that were tried; 0.1 where none was."""
        tried = {rate: scores for rate in RATES[method] if (scores := self.deciding(method, rate)) is not None}
        if len(tried) < len(RATES[method]):
            return 0.1
        return max(tried, key=lambda rate: tried[rate])

    def deciding(self, method: str, rate: float, train: bool = False) -> float | None:
        """Mean validation accuracy of the deciding networks, or None if it is not known."""
        recipe = self.recipe(method, self.form.epochs, DECIDING_SEED, rate)
        scores = [self.score(recipe, place, train) for place in DECIDING]
        return None if None in scores else float(np.mean([s["validation_accuracy"] for s in scores if s]))

    # --- scores -------------------------------------------------------------------------------------

    def score(self, recipe: Recipe, place: int, train: bool) -> dict[str, float] | None:
        """Scores of one network; None if its training is not there and must not be done."""
        if recipe.method == "alone":
            of = replace(recipe, genes=tuple(self.networks[place].genes))
            return self.bench.alone(recipe, self.networks[place]) if train or self.bench.is_trained(of) else None
        if not train and not self.bench.is_trained(recipe):
            return None
        return self.bench.scores(recipe, [self.networks[place]])[0]

    def table(self, method: str, epochs: int, what: str) -> np.ndarray | None:
        """(seeds, networks) of a score: the seeds of which every network is there; None if there are none."""
        rows = []
        for seed in range(self.seeds):
            recipe = self.recipe(method, epochs, seed)
            scores = [self.score(recipe, place, train=False) for place in range(len(self.networks))]
            if None not in scores:
                rows.append([score[what] for score in scores if score])
        return np.array(rows) if rows else None

    # --- work ---------------------------------------------------------------------------------------

    def work(self, stages: list[str], part: tuple[int, int]) -> None:
        """Train and score what is missing; this process does every n-th piece."""
        for stage in stages:
            for number, (recipe, places) in enumerate(self.pieces(stage)):
                if number % part[1] == part[0]:
                    for place in places:
                        self.score(recipe, place, train=True)
                    sys.stderr.write(f"{self.form.name}: {stage}, piece {number + 1} is there\n")

    def pieces(self, stage: str) -> list[tuple[Recipe, list[int]]]:
        """Trainings of a stage, each with the networks that it scores."""
        form, everything = self.form, list(range(len(self.networks)))
        short, long = form.epochs, form.epochs * form.long
        if stage == "pilot":
            return [(self.recipe("alone", epochs, 0, 0.1), [19]) for epochs in (short // 2, short, 2 * short)]
        if stage == "rates":
            return [
                (self.recipe(method, short, DECIDING_SEED, rate), [place] if method == "alone" else list(DECIDING))
                for method, rates in RATES.items()
                for rate in rates
                for place in (DECIDING if method == "alone" else (0,))
            ]
        if stage in ("bignas", "sortednet"):
            lengths = [(epochs, seed) for seed in range(self.seeds) for epochs in (short, long)]
            return [(self.recipe(stage, epochs, seed), everything) for epochs, seed in lengths]
        epochs = short if stage == "alone" else long
        return [(self.recipe("alone", epochs, seed), [place]) for seed in range(self.seeds) for place in everything]

    # --- result -------------------------------------------------------------------------------------

    def result(self) -> dict[str, Any]:
        """Everything that the cache allows to say."""
        form = self.form
        short, long = form.epochs, form.epochs * form.long
        costs = [macs_of(self.bench.space, network) for network in self.networks]
        bands = [-1, *(band for band in range(BANDS) for _ in range(IN_A_BAND)), BANDS]
        lengths = {"equal epochs": (short, short), "equal compute": (long, short), "equal epochs, long": (long, long)}
        found: dict[str, Any] = {}
        for method in ("bignas", "sortednet"):
            for name, (epochs, alone_epochs) in lengths.items():
                sliced, alone = self.table(method, epochs, "test_accuracy"), self._alone(alone_epochs)
                if sliced is None or alone is None:
                    continue
                scores = self.table(method, epochs, "validation_accuracy")
                assert scores is not None
                found[f"{method}, {name}"] = {
                    "seeds": [len(sliced), len(alone)],
                    "core_minutes": self._minutes(method, epochs),
                    "core_minutes_alone": self._minutes("alone", alone_epochs),
                    **differences(sliced, alone),
                    **ranking(scores, alone.mean(0), costs, bands),
                }
        return {
            "question": "test accuracy of sliced networks minus that of the same networks trained alone, in points",
            "form": form.name,
            "images": form.images,
            "epochs": {"short": short, "long": long},
            "options": dict(self.options["bignas"]),
            "rates": {method: self.rate(method) for method in RATES},
            "macs": costs,
            "pilot": self._pilot(),
            "comparisons": found,
            **describe_machine(),
        }

    def _alone(self, epochs: int) -> np.ndarray | None:
        return self.table("alone", epochs, "test_accuracy")

    def _pilot(self) -> dict[str, float]:
        """Test accuracy of the largest network alone, by epochs."""
        scored = {recipe.epochs: self.score(recipe, 19, train=False) for recipe, _ in self.pieces("pilot")}
        return {f"{epochs} epochs": score["test_accuracy"] for epochs, score in scored.items() if score is not None}

    def _minutes(self, method: str, epochs: int) -> float:
        """Core-minutes of a training of a supernet, or of all networks alone; of the first seed."""
        recipe = self.recipe(method, epochs, 0)
        recipes = [recipe]
        if method == "alone":
            recipes = [replace(recipe, genes=tuple(network.genes)) for network in self.networks]
        return round(sum(float(self.bench.facts(each)["core_minutes"]) for each in recipes), 2)


def show(result: dict[str, Any]) -> None:
    """Print a result as a table."""
    print(f"{result['form']}: rates {result['rates']}, options {result['options']}, largest alone {result['pilot']}")
    head = ("mean", "worst", "tau", "of MACs", "in bands", "of MACs", "regret", "of MACs", "minutes")
    print(f"{'':<32}", *(f"{name:>14}" for name in head))
    for name, row in result["comparisons"].items():
        pairs = [("mean", "mean_error"), ("worst", "worst_error")]
        pairs += [(f"{t}{of}", f"{t}{of}_error") for t in ("tau", "tau_in_bands") for of in ("", "_of_macs")]
        shown = [f"{row[a]:.2f}" + (f" +- {row[b]:.2f}" if row[b] is not None else "") for a, b in pairs]
        shown += [f"{np.mean(row[which]):.2f}" for which in ("regret", "regret_of_macs")] + [f"{row['core_minutes']}"]
        print(f"{name:<32}", *(f"{value:>14}" for value in shown))


def option(text: str) -> tuple[str, Any]:
    """`name=value` as a name and a value of JSON, or a word."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--form", choices=list(FORMS), action="append", help="both of `underfit` and `saturated`")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--option", type=option, action="append", default=[])
    parser.add_argument("--part", type=lambda text: tuple(map(int, text.split("/"))), default=(0, 1))
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"))
    parser.add_argument("--cache", type=Path, default=Path("build/supernet_quality"))
    arguments = parser.parse_args()
    polite()
    results = []
    for name in arguments.form or ("underfit", "saturated"):
        bench = Bench(FORMS[name], arguments.data, arguments.cache)
        comparison = Comparison(bench, arguments.seeds, tuple(sorted(arguments.option)))
        if not arguments.report:
            comparison.work(arguments.only, arguments.part)
        results.append(comparison.result())
    for result in results:
        if not arguments.json:
            show(result)
    if arguments.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
