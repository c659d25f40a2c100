"""A search by gradient from its events: networks, probabilities over time, and what each costs on every target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from job.spec import JobSpec
from predictors.targets import TargetName
from service.errors import InvalidRequest, NotFound
from service.store import measuring, queries
from service.store.models import Job

# Kind of the events; `proxyless/points.py` writes them.
EVENT = "gradient"


def gradient_of(session: Session, job: Job) -> dict[str, Any]:
    """What is known of a job's search by gradient so far.

    Raises:
        NotFound: the job does not search by gradient.
    """
    spec = JobSpec.model_validate(job.spec)
    if spec.gradient is None:
        raise NotFound(f"Job {job.id} does not search by gradient. Jobs of recipe 'proxylessnas' do.")
    events = queries.events_of_kind(session, job.id, EVENT)
    of_phase = {phase: [e for e in events if e["phase"] == phase] for phase in ("prices", "cross")}
    return {
        "blocks": blocks(spec),
        "prices": {e["target"]: {k: e[k] for k in ("fixed_ms", "blocks_ms")} for e in of_phase["prices"]},
        "networks": [_network(number, events, *aim) for number, aim in enumerate(spec.gradient.every_aim())],
        "cross_latency_ms": of_phase["cross"][0]["latency_ms"] if of_phase["cross"] else {},
        "baselines": [baseline.model_dump(mode="json") for baseline in spec.gradient.baselines],
    }


def blocks(spec: JobSpec) -> list[dict[str, Any]]:
    """Name and options of every block, in forward order."""
    from search_space.operations import blocks_of  # numpy: not needed to start

    found = blocks_of(spec.supernet.space())
    return [{"name": block.choice, "options": list(block.options)} for block in found.searched]


def check_targets(session: Session, spec: JobSpec) -> None:
    """Refuse targets that do not exist, tables that do not fit, and aims that they rule out.

    Tables that cannot be read here, and machines, are judged by a worker.

    Raises:
        InvalidRequest: with the rows that are missing, or the nearest aim.
    """
    if spec.gradient is None:
        return
    from predictors.candidates import price_candidates
    from predictors.table_files import parse_table, read_named_table

    space = spec.supernet.space()
    for target in spec.gradient.targets:
        try:
            if target.startswith("/"):
                if not Path(target).is_file():
                    continue
                table = read_named_table(Path(target))
            else:
                name = TargetName.parse(target).registered
                row = None if name is None else measuring.target(session, name)
                if name is not None and row is None:
                    raise ValueError(f"There is no target {name!r}. GET /v1/targets lists them.")
                if row is None or row.kind != "table":
                    continue
                table = parse_table(row.table or "", f"The table of target {name}")
            prices = price_candidates(space, table)
            spec.gradient.check_target(target, prices.cheapest_ms, prices.dearest_ms)
        except (ValueError, OSError) as error:
            raise InvalidRequest(f"gradient.targets: {error}") from None


def _network(
    number: int, events: Sequence[dict[str, Any]], target: str, weight: float | None, budget_ms: float | None
) -> dict[str, Any]:
    mine = [event for event in events if event.get("run") == number]
    derived = next((event for event in mine if event["phase"] == "derived"), None)
    measured = next((event for event in mine if event["phase"] == "measured"), None)
    return {
        "number": number,
        "target": target,
        "latency_weight": weight,
        "budget_ms": budget_ms,
        "search": _points(mine, "search"),
        "training": _points(mine, "train"),
        "derived": None if derived is None else _without(derived, "phase", "run", "target"),
        "measured": None if measured is None else _without(measured, "phase", "run"),
    }


def _points(events: Sequence[dict[str, Any]], phase: str) -> list[dict[str, Any]]:
    """Points by epoch; a resumed phase says some again, and the last word counts."""
    by_epoch = {event["epoch"]: _without(event, "phase", "run") for event in events if event["phase"] == phase}
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]


def _without(event: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in names}
