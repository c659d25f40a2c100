"""A search by gradient from its records: networks, probabilities over time, and what each costs on every target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from job.gradient_spec import GradientSpec
from job.spec import JobSpec
from job.versions import read_job
from predictors.targets import named_target
from service.errors import InvalidRequest, NotFound
from service.store import measuring, records
from service.store.models import Job
from service.store.records import CrossTable, Derived, Measured, Prices, SearchPoint, TrainingPoint


def gradient_of(session: Session, job: Job) -> dict[str, Any]:
    """What is known of a job's search by gradient so far.

    Raises:
        NotFound: the job does not search by gradient.
    """
    spec = read_job(job.spec)
    if spec.gradient is None:
        raise NotFound(f"Job {job.id} does not search by gradient. Jobs of recipe 'proxylessnas' do.")
    cross = records.read(session, job.id, CrossTable)
    return {
        "blocks": blocks(spec),
        "prices": {one.target: one.model_dump(exclude={"target"}) for one in records.read(session, job.id, Prices)},
        "networks": _networks(session, job.id, spec.gradient),
        "cross_latency_ms": cross[0].latency_ms if cross else {},
        "baselines": [baseline.model_dump(mode="json") for baseline in spec.gradient.baselines],
    }


def blocks(spec: JobSpec) -> list[dict[str, Any]]:
    """Name and options of every block, in forward order."""
    from search_space.operations import blocks_of  # numpy: not needed to start

    found = blocks_of(spec.supernet.space())
    return [{"name": block.choice, "options": list(block.options)} for block in found.searched]


def check_targets(session: Session, spec: JobSpec) -> None:
    """Refuse targets that do not exist, tables that do not fit, and aims that they rule out.

    A worker judges machines, and tables that cannot be read here.

    Raises:
        InvalidRequest: with the rows that are missing, or the nearest aim.
    """
    if spec.gradient is None:
        return
    from predictors.candidate_prices import price_candidates
    from predictors.table_files import parse_table, read_named_table

    space = spec.supernet.space()
    for target in spec.gradient.targets:
        try:
            named = named_target(target)
            if isinstance(named, Path):
                if not named.is_file():
                    continue
                table = read_named_table(named)
            else:
                name = named.registered
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


def _networks(session: Session, job_id: str, spec: GradientSpec) -> list[dict[str, Any]]:
    """Every network that was asked for, with whatever is known of it."""
    derived = {one.run: one for one in records.read(session, job_id, Derived)}
    measured = {one.run: one for one in records.read(session, job_id, Measured)}
    search, training = records.read(session, job_id, SearchPoint), records.read(session, job_id, TrainingPoint)
    return [
        {
            "number": number,
            "target": target,
            "latency_weight": weight,
            "budget_ms": budget_ms,
            "search": _points(search, number),
            "training": _points(training, number),
            "derived": derived[number].model_dump(exclude={"run", "target"}) if number in derived else None,
            "measured": measured[number].model_dump(exclude={"run"}) if number in measured else None,
        }
        for number, (target, weight, budget_ms) in enumerate(spec.every_aim())
    ]


def _points(points: Sequence[SearchPoint] | Sequence[TrainingPoint], run: int) -> list[dict[str, Any]]:
    """Points of one network by epoch."""
    mine = sorted((point for point in points if point.run == run), key=lambda point: point.epoch)
    return [point.model_dump(exclude={"run"}) for point in mine]
