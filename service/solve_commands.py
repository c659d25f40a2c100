"""`winnow solve`: the network of a job by blocks for any limits."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from search.metrics import METRICS
from service.client import Client
from service.plain import make_console, make_table, plain, whole
from service.settings import get_settings
from service.terminal import amount, read_limits

console = make_console()


def solve(
    job_id: Annotated[str, typer.Argument(help="Id of a job that searched with blocks.")],
    under: Annotated[
        list[str] | None, typer.Option(help="Upper limit on a metric, such as latency_ms=5; may be repeated.")
    ] = None,
    over: Annotated[
        list[str] | None, typer.Option(help="Lower limit on a metric, such as tokens_per_second=100; may be repeated.")
    ] = None,
    best: Annotated[str | None, typer.Option(help="Objective to optimize; default: the job's own.")] = None,
    sweep: Annotated[
        str | None, typer.Option(help="Show a front: one network for each of several limits on this metric.")
    ] = None,
    points: Annotated[int, typer.Option(min=2, max=100, help="Number of limits of a sweep.")] = 10,
    target: Annotated[str | None, typer.Option(help="An uploaded table of layers, for latency_ms.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Name the network that is predicted to be best within limits, at once and without evaluating any."""
    limits = limits_of(under or [], over or [])
    swept = None if sweep is None else {"metric": sweep, "points": points}
    with Client(get_settings().url) as client:
        answer = client.solve(job_id, limits, best, swept, target)
    if as_json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return
    for line in said(answer):
        console.print(line, soft_wrap=True)


def limits_of(under: Sequence[str], over: Sequence[str]) -> dict[str, float]:
    """Metric -> the worst value that will do.

    Raises:
        ValueError: no `metric=number`, a metric twice, or a limit on its better side.
    """
    limits = read_limits("--under", under)
    for metric, value in read_limits("--over", over).items():
        if metric in limits:
            raise ValueError(f"{metric} has a limit twice; give it one.")
        limits[metric] = value
        if metric in METRICS and METRICS[metric].goal == "minimize":
            raise ValueError(f"Less of {metric} is better, so it is limited from above: --under {metric}={value:g}.")
    for metric in read_limits("--under", under):
        if metric in METRICS and METRICS[metric].goal == "maximize":
            raise ValueError(
                f"More of {metric} is better, so it is limited from below: --over {metric}={limits[metric]:g}."
            )
    return limits


def said(answer: dict[str, Any]) -> list[Any]:
    """An answer as lines and a table."""
    first = answer["solutions"][0]
    metrics = [answer["objective"], *(m for m in first["predicted"] if m != answer["objective"])]
    # An id that is cut off names nothing.
    table = make_table(whole("architecture"), *metrics)
    for one in answer["solutions"]:
        table.add_row(plain(one["architecture_id"]), *(plain(_number(one, metric)) for metric in metrics))
    lines: list[Any] = [table]
    for one in answer["solutions"]:
        if not one["feasible"]:
            beyond = " and ".join(
                f"{x['metric']} {amount(x['metric'], x['value'])} (limit {amount(x['metric'], x['limit'])})"
                for x in one["beyond"]
            )
            lines.append(plain(f"No network keeps these limits; {one['architecture_id']} comes nearest: {beyond}."))
        if one["gap"]:
            lines.append(plain(f"{one['architecture_id']} is within {one['gap']:.1%} of the best possible sum."))
    trust = next(one for one in answer["metrics"] if one["metric"] == answer["objective"])
    if trust["tau"] is not None and trust["error"]:
        lines.append(
            plain(
                f"Predicted from sums over blocks: on {trust['combinations']} held-out combinations "
                f"{trust['metric']} was off by {trust['error']:.1%}, tau {trust['tau']:.2f}."
            )
        )
    lines += [plain(f"Do not trust this ranking: {reason}") for reason in answer["distrust"]]
    return lines


def _number(one: dict[str, Any], metric: str) -> str:
    """A predicted number, and what was measured of it."""
    found = one["predicted"][metric]
    text = amount(metric, found["value"])
    if not found["exact"] and found["low"] is not None:
        text += f" ({amount(metric, found['low'])} to {amount(metric, found['high'])})"
    measured = (one["evaluated"] or {}).get(metric)
    return text if measured is None or found["exact"] else f"{text}, measured {amount(metric, measured)}"
