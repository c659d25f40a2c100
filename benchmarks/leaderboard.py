"""A table of searches on problems that nobody here wrote (`search_tasks`): `winnow` and its peers (`search_peers`).

For every task, seed, search and budget the gap to the best known front is measured (`Yardstick`); shown are the mean
of log10(gap) over seeds, and for every group of tasks and budget the mean rank among the searches that reached it, with
its standard error over tasks. `losses` lists every task and budget at which a peer is ahead of `winnow`, and whether
by more than two standard errors of the difference.

Searches ask for one after another, or for eight at a time (`--batches`). What is asked twice counts twice. Each run is
kept in the cache's folder under a name that says all of it, so a stopped benchmark goes on where it was, and several
processes may share the work (`--share 1/2`). Runs that an interpreter cannot make, because a package is missing, are
taken from the cache if they are there: `make peers`, then

    .venv-peers/bin/python -m benchmarks.leaderboard --cache FOLDER --searches botorch,hebo,smac
    .venv/bin/python -m benchmarks.leaderboard --cache FOLDER [--json] [--quick] [--report]
        [--tasks reported|tuning|NAME,...] [--searches NAME,...] [--seeds 3] [--evaluations 200] [--batches 1,8]
        [--budgets-of botorch=50,optuna-gp=50] [--share 1/2]

`--quick` is two tasks, one seed, 30 evaluations; `--report` runs nothing. With `--json` the report is printed whole.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cache import Cache
from benchmarks.search_peers import NEEDS, NO_LIMITS, missing, run
from benchmarks.search_tasks import REPORTED, SMALLEST_GAP, TUNING, Scores, Task, Yardstick, long_front, make_task

BUDGETS = (30, 50, 100, 200, 400)
PACKAGES = ("numpy", "optuna", "pymoo", "botorch", "smac", "HEBO", "coco-experiment")
FOLDER = Path("~/.cache/winnow/leaderboard").expanduser()


@dataclass(frozen=True)
class Plan:
    """One run."""

    task: str
    search: str
    seed: int
    evaluations: int
    batch: int

    @property
    def file(self) -> str:
        """Its name in the cache; that of our own search says of which code it is."""
        search = f"winnow@{_code()}" if self.search == "winnow" else self.search
        return f"{self.task}-{search}-seed{self.seed}-{self.evaluations}-by{self.batch}"


@lru_cache(1)
def _code() -> str:
    """Digest of everything that our own search is made of."""
    root = Path(__file__).parents[1]
    files = sorted([*root.glob("search/**/*.py"), root / "search_space" / "encoding.py", root / "winnow" / "optuna.py"])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


@dataclass(frozen=True)
class Run:
    """What a run found: feasible or not, in order."""

    plan: Plan
    costs: np.ndarray
    feasible: np.ndarray
    seconds: float


def plans(arguments: argparse.Namespace) -> list[Plan]:
    """Every run that is asked for."""
    return [
        Plan(task, search, seed, min(arguments.evaluations, arguments.budgets_of.get(search, 10**6)), batch)
        for batch in arguments.batches
        for seed in range(arguments.seeds)
        for task in arguments.tasks
        for search in arguments.searches
        if not (search in NO_LIMITS and (task.startswith("mw") or task.endswith("limit")))
    ]


def perform(todo: Sequence[Plan], cache: Cache, folder: Path, absent: dict[str, str], *, make: bool) -> list[Run]:
    """Runs that are kept or can be made here."""
    tasks: dict[str, Task] = {}
    found = []
    for plan in todo:
        kept = (folder / f"{plan.file}.json").exists()
        if not kept and (plan.search in absent or not make):
            continue
        if plan.task not in tasks:
            tasks[plan.task] = make_task(plan.task)
        stored = cache.result(plan.file, lambda plan=plan: _made(plan, tasks[plan.task]))  # type: ignore[misc]
        if not kept:
            sys.stderr.write(f"{plan.file}: {stored['seconds']} s\n")
        costs = np.array([row[0] for row in stored["scores"]], float)
        feasible = np.array([all(limit <= 0 for limit in row[1]) for row in stored["scores"]])
        found.append(Run(plan, costs, feasible, stored["seconds"]))
    return found


def _made(plan: Plan, task: Task) -> dict[str, Any]:
    started = time.process_time()
    scores: list[Scores] = run(plan.search, task, plan.seed, plan.evaluations, plan.batch)
    return {
        "scores": [[list(each.costs), list(each.limits)] for each in scores],
        "seconds": round(time.process_time() - started, 2),
    }


def yardsticks(runs: Sequence[Run], cache: Cache) -> dict[str, Yardstick]:
    """One for each task; of a task whose front is not known, from everything that was found."""
    found = {}
    for name in dict.fromkeys(each.plan.task for each in runs):
        task = make_task(name)
        front = task.front
        if len(front) == 0:
            long = np.array(cache.result(f"{name}-reference", lambda task=task: long_front(task).tolist()))  # type: ignore[misc]
            front = np.concatenate([long, *(each.costs[each.feasible] for each in runs if each.plan.task == name)])
        found[name] = Yardstick.of(task, front)
    return found


# --- the table ------------------------------------------------------------------------------------

Key = tuple[str, int, int, str]


def gaps(runs: Sequence[Run], by_task: dict[str, Yardstick]) -> dict[Key, list[float]]:
    """(task, batch, budget, search) -> log10 of the gap of each seed."""
    found: dict[Key, list[float]] = {}
    for each in runs:
        plan, measure = each.plan, by_task[each.plan.task]
        for budget in BUDGETS:
            if budget <= len(each.costs):
                seen = each.costs[:budget][each.feasible[:budget]]
                value = math.log10(max(measure.gap(seen), SMALLEST_GAP))
                found.setdefault((plan.task, plan.batch, budget, plan.search), []).append(value)
    return found


def by_task(logs: dict[Key, list[float]]) -> list[dict[str, Any]]:
    """A row for each task, batch and budget."""
    rows: dict[tuple[str, int, int], dict[str, list[float]]] = {}
    for (task, batch, budget, search), values in logs.items():
        rows.setdefault((task, batch, budget), {})[search] = values
    return [
        {
            "task": task,
            "batch": batch,
            "budget": budget,
            "mean_log10_gap": {search: round(float(np.mean(of)), 3) for search, of in searches.items()},
            "standard_error": {search: _error(of) for search, of in searches.items()},
            "seeds": {search: len(of) for search, of in searches.items()},
        }
        for (task, batch, budget), searches in sorted(rows.items())
    ]


def _error(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    return round(float(np.std(values, ddof=1) / math.sqrt(len(values))), 3)


def ranks(rows: Sequence[dict[str, Any]], groups: dict[str, str]) -> list[dict[str, Any]]:
    """Mean rank over the tasks of a group, of the searches that ran on all of them; 1 is best."""
    found = []
    for batch, budget in sorted({(row["batch"], row["budget"]) for row in rows}):
        here = [row for row in rows if (row["batch"], row["budget"]) == (batch, budget)]
        for group in (*dict.fromkeys(groups[row["task"]] for row in here), "all"):
            members = [row for row in here if group in ("all", groups[row["task"]])]
            of: dict[str, list[float]] = {}
            for row in members:
                means = row["mean_log10_gap"]
                for search, value in means.items():
                    # Those that are equal share the mean of their ranks.
                    below, same = sum(v < value for v in means.values()), sum(v == value for v in means.values())
                    of.setdefault(search, []).append(1 + below + (same - 1) / 2)
            table = {
                search: {"rank": round(float(np.mean(r)), 2), "error": _error(r), "tasks": len(r)}
                for search, r in sorted(of.items(), key=lambda item: float(np.mean(item[1])))
            }
            found.append({"group": group, "batch": batch, "budget": budget, "tasks": len(members), "ranks": table})
    return found


def duels(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`winnow` against each peer on the tasks that both ran: how many it won, and by how much in log10 of the gap."""
    leads: dict[tuple[int, int, str], list[float]] = {}
    for row in rows:
        means = row["mean_log10_gap"]
        for search, value in means.items():
            if search != "winnow" and "winnow" in means:
                leads.setdefault((row["batch"], row["budget"], search), []).append(value - means["winnow"])
    return [
        {
            "batch": batch,
            "budget": budget,
            "search": search,
            "tasks": len(of),
            "won": sum(lead > 0 for lead in of),
            "mean_lead_log10": round(float(np.mean(of)), 3),
            "standard_error": _error(of),
        }
        for (batch, budget, search), of in sorted(leads.items())
    ]


def losses(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where a peer's mean is better than `winnow`'s."""
    found = []
    for row in rows:
        means, errors = row["mean_log10_gap"], row["standard_error"]
        if "winnow" not in means:
            continue
        for search, value in means.items():
            lead = means["winnow"] - value
            if lead > 0:
                known = errors[search] is not None and errors["winnow"] is not None
                error = math.hypot(errors[search], errors["winnow"]) if known else None
                found.append(
                    {
                        **{key: row[key] for key in ("task", "batch", "budget")},
                        "search": search,
                        "lead_log10": round(lead, 3),
                        "beyond_two_errors": None if error is None else lead > 2 * error,
                    }
                )
    return found


def report(runs: Sequence[Run], cache: Cache, absent: dict[str, str]) -> dict[str, Any]:
    """Everything that the page says."""
    rows = by_task(gaps(runs, yardsticks(runs, cache)))
    groups = {name: make_task(name).group for name in dict.fromkeys(row["task"] for row in rows)}
    seconds: dict[str, list[float]] = {}
    for each in runs:
        seconds.setdefault(each.plan.search, []).append(each.seconds / len(each.costs))
    return {
        "question": "log10 of the hypervolume gap to the best known front, and mean ranks",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform()}",
        "load": round(os.getloadavg()[0], 1),
        "versions": {name: _version(name) for name in PACKAGES},
        "not_run_here": absent,
        "seconds_of_processor_an_evaluation": {name: round(float(np.mean(of)), 3) for name, of in seconds.items()},
        "ranks": ranks(rows, groups),
        "duels": duels(rows),
        "losses": losses(rows),
        "results": rows,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def show(found: dict[str, Any]) -> None:
    """Ranks and losses as text."""
    for row in found["ranks"]:
        table = (
            f"{name} {of['rank']}" + (f" ({of['error']})" if of["error"] is not None else "")
            for name, of in row["ranks"].items()
        )
        print(f"{row['group']:20} by {row['batch']} at {row['budget']:3}, {row['tasks']} tasks:", ", ".join(table))
    for row in found["duels"]:
        print(
            f"winnow against {row['search']} by {row['batch']} at {row['budget']}: won {row['won']} of {row['tasks']}, "
            f"ahead by {row['mean_lead_log10']} ({row['standard_error']})"
        )
    for row in found["losses"]:
        print(
            f"behind {row['search']} on {row['task']} by {row['batch']} at {row['budget']}: {row['lead_log10']}"
            + (" (beyond two standard errors)" if row["beyond_two_errors"] else "")
        )


# --- the command ----------------------------------------------------------------------------------


def _tasks(text: str) -> list[str]:
    named = {"reported": REPORTED, "tuning": TUNING}
    return list(named[text]) if text in named else text.split(",")


def _searches(text: str) -> list[str]:
    unknown = sorted(set(text.split(",")) - set(NEEDS))
    if unknown:
        raise argparse.ArgumentTypeError(f"No {unknown[0]!r}. Known: {', '.join(NEEDS)}.")
    return text.split(",")


def _numbers(text: str) -> dict[str, int]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    return {name: int(number) for name, _, number in pairs}


def read(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--cache", type=Path, default=FOLDER)
    parser.add_argument("--tasks", type=_tasks, default="reported")
    parser.add_argument("--searches", type=_searches, default=",".join(NEEDS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--batches", type=lambda text: [int(part) for part in text.split(",")], default="1")
    parser.add_argument("--budgets-of", type=_numbers, default={}, help="largest budgets, such as botorch=50")
    parser.add_argument("--share", default="1/1", help="of several processes with one cache, such as 1/2")
    found = parser.parse_args(arguments)
    if found.quick:
        found.tasks, found.seeds, found.evaluations = ["zdt1-d8", "mw2-d6"], 1, 30
        found.searches = [name for name in found.searches if name in ("winnow", "random", "optuna-tpe", "pymoo-nsga2")]
    return found


def main() -> None:
    """Run what is missing, and report."""
    arguments = read()
    absent = {name: reason for name in arguments.searches if (reason := missing(name))}
    cache = Cache(arguments.cache)
    todo = plans(arguments)
    which, of = (int(part) for part in arguments.share.split("/"))
    if of > 1:
        perform(todo[which - 1 :: of], cache, arguments.cache, absent, make=True)
        return
    runs = perform(todo, cache, arguments.cache, absent, make=not arguments.report)
    if not runs:
        print(f"Nothing was run and nothing is kept in {arguments.cache}. Absent: {absent}")
        return
    found = report(runs, cache, absent)
    print(json.dumps(found, indent=2)) if arguments.json else show(found)


if __name__ == "__main__":
    main()
