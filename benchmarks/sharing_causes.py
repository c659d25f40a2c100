"""Why is a sliced network worse than the same one trained alone? One change of the recipe at a time.

Trains supernets of the underfit form for a quarter of its long training, each with one thing changed, and compares
four of its networks with the same ones trained alone for as many epochs with the same seeds.

    python -m benchmarks.sharing_causes [--json] [--only NAME ...] [--seeds 1] [--epochs 20] [--data FOLDER]
        [--cache FOLDER]

A sandwich's training takes 3 minutes of a core, a network alone one; everything is kept in the cache.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.cifar import macs_of
from benchmarks.sharing import FORMS, Bench, Recipe, polite
from export.measure import describe_machine

# Positions among the form's networks: the smallest, one of each of the two upper bands, the largest.
PROBES = (0, 10, 16, 19)
# Others, whose accuracy is compared between supernets only: that takes no training of theirs.
OTHERS = (2, 5, 8, 13, 15, 17)

# What is changed, as fields of a recipe; `start` of late shrinking as a share of the steps.
CAUSES: dict[str, dict[str, Any]] = {
    "sandwich": {},
    "ends only": {"options": (("num_random", 0),)},
    "quarter of the rate": {"learning_rate": 0.025},
    "half of the rate": {"learning_rate": 0.05},
    "mean by use": {"options": (("use_power", 1.0),)},
    "root by use": {"options": (("use_power", 0.5),)},
    "own weights": {"options": (("own_weights", 1.0),)},
    "own weights, 3": {"options": (("own_weights", 3.0),)},
    "late": {"method": "late", "options": (("start", 0.5),)},
    "always the same four": {"method": "members", "options": (("fixed", True),)},
    "always the same four, own weights": {"method": "members", "options": (("fixed", True), ("own_weights", 1.0))},
    "no smallest": {"method": "members", "options": (("smallest_every", 0),)},
    "ratio two": {"form": "ratio two"},
    "ratio two, own weights": {"form": "ratio two", "options": (("own_weights", 1.0),)},
    "half labels for students": {"method": "taught", "options": (("labels", 0.5),)},
    "temperature 2": {"method": "taught", "options": (("temperature", 2.0),)},
    "averaged weights": {"trainer": (("ema_decay", 0.999),)},
    "half of the weight decay": {"trainer": (("weight_decay", 5e-5),)},
    "SortedNet, same batch": {
        "method": "sortednet",
        "options": (("batches", "same"), ("dimensions", "free"), ("distribution", "sandwich")),
    },
}


def recipe_of(bench: Bench, name: str, epochs: int, seed: int) -> Recipe:
    """The recipe of a cause."""
    changed: dict[str, Any] = {"form": "underfit", "method": "bignas", "epochs": epochs, "seed": seed} | CAUSES[name]
    if changed["method"] == "members" and ("fixed", True) in changed["options"]:
        # The two probes between the ends are the members of every step.
        genes = tuple(tuple(bench.networks()[place].genes) for place in PROBES[1:-1])
        changed["options"] = tuple((key, genes if key == "fixed" else value) for key, value in changed["options"])
    steps = epochs * (bench.form.images // bench.form.batch_size)
    options = [(key, int(value * steps) if key == "start" else value) for key, value in changed.get("options", ())]
    return Recipe(**changed | {"options": tuple(options)})


def compare(bench: Bench, name: str, epochs: int, seed: int, more: tuple[int, ...]) -> dict[str, Any]:
    """Accuracies and losses of the probes in one supernet, and minus those alone."""
    form = CAUSES.get(name, {}).get("form", "underfit")
    bench = bench if form == bench.form.name else Bench(FORMS[form], bench.data_path, bench.folder)
    probes = [bench.networks()[place] for place in PROBES]
    if name == "alone":
        of_alone = [bench.alone(Recipe(form, "alone", epochs, seed=seed), probe) for probe in probes]
        return {"cause": name, "seed": seed, "accuracy": [score["test_accuracy"] for score in of_alone]}
    recipe = recipe_of(bench, name, epochs, seed)
    scores = bench.scores(recipe, probes)
    others = bench.scores(recipe, [bench.networks()[place] for place in more])
    singles = [bench.alone(Recipe(form, "alone", epochs, seed=seed), probe) for probe in probes]
    return {
        "cause": name,
        "seed": seed,
        "core_minutes": bench.facts(recipe)["core_minutes"],
        "accuracy": [score["test_accuracy"] for score in scores],
        "others": [score["test_accuracy"] for score in others],
        "minus_alone": [a["test_accuracy"] - b["test_accuracy"] for a, b in zip(scores, singles, strict=True)],
        "loss_minus_alone": [a["test_loss"] - b["test_loss"] for a, b in zip(scores, singles, strict=True)],
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="all of it as JSON, at the end")
    parser.add_argument("--only", nargs="+", choices=["alone", *CAUSES], default=["alone", *CAUSES])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--probes-only", action="store_true", help="score no networks but those trained alone")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"))
    parser.add_argument("--cache", type=Path, default=Path("build/supernet_quality"))
    arguments = parser.parse_args()
    more = () if arguments.probes_only else OTHERS
    polite()
    bench = Bench(FORMS["underfit"], arguments.data, arguments.cache)
    costs = [macs_of(bench.space, bench.networks()[place]) // 1000 for place in PROBES]
    told = sys.stderr if arguments.json else sys.stdout
    print(f"{'kMACs':<30}", *(f"{cost:>8}" for cost in costs), file=told, flush=True)
    rows = []
    for seed in arguments.seeds:
        for name in arguments.only:
            row = compare(bench, name, arguments.epochs, seed, more)
            rows.append(row)
            shown = row.get("minus_alone", row["accuracy"])
            others = f" others {sum(row['others']) / len(more):.2f}" if row.get("others") else ""
            plain = f"{name:<30} {seed:>3} " + " ".join(f"{value:8.2f}" for value in shown) + others
            print(plain, file=told, flush=True)
    if arguments.json:
        print(json.dumps({"epochs": arguments.epochs, "kmacs": costs, "rows": rows, **describe_machine()}, indent=2))


if __name__ == "__main__":
    main()
