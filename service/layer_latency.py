"""What each layer of a network costs on a job's target: measured alone, or by an uploaded table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field
from sqlalchemy import ARRAY, String, any_, literal, select
from sqlalchemy.orm import Session

from job.versions import read_job
from search.metrics import Source
from service.store import measuring, queries
from service.store.models import Job, Latency

if TYPE_CHECKING:
    from search_space.layers import LayerSpec

# What decides where a number belongs, besides the target's name.
CONDITIONS = ("device", "runtime", "threads", "batch")


class LayerTime(BaseModel):
    """Latency of one layer."""

    slot: str = Field(description="Position of the layer in the supernet.")
    latency_ms: float = Field(description="What it takes.")
    interval_ms: tuple[float, float] | None = Field(description="95 % interval: where a second measurement would fall.")


class LayerTimes(BaseModel):
    """Latency by layer. A layer that runs alone pays for a call of its own, so that the sum may exceed the whole."""

    target: str = Field(description="Name of the target.")
    source: Source = Field(description="`measured` alone on the target, or `predicted` by an uploaded table.")
    conditions: dict[str, Any] = Field(description="Device, runtime, threads, batch and versions.")
    layers: list[LayerTime] = Field(description="Time of each layer.")
    missing: list[str] = Field(description="Layers that nobody has measured there.")
    sum_ms: float = Field(description="Sum over the layers that are known.")


def layer_times(session: Session, job: Job, layers: Mapping[str, LayerSpec]) -> LayerTimes | None:
    """Latency by layer on the job's target; None where nothing is known of it.

    Args:
        layers: layers of a network of the job, by slot.
    """
    from predictors.tables import key_of  # not needed to start
    from predictors.targets import TargetName

    target = read_job(job.spec).target
    if target is None or not layers:
        return None
    registered = TargetName.parse(target).registered
    row = None if registered is None else measuring.target(session, registered)
    if row is not None and row.kind == "table":
        return _by_table(target, row.table or "", layers)
    where = _conditions(session, job.id)
    if where is None:
        return None
    keys = {slot: key_of(spec) for slot, spec in layers.items()}
    facts, times = _measured_alone(session, where, list(dict.fromkeys(keys.values())))
    known = [
        LayerTime(slot=slot, latency_ms=times[key]["median_ms"], interval_ms=times[key].get("interval_ms"))
        for slot, key in keys.items()
        if key in times
    ]
    missing = [slot for slot, key in keys.items() if key not in times]
    return _times(target, Source.MEASURED, facts, known, missing) if known else None


def _times(
    target: str, source: Source, conditions: Mapping[str, Any], known: Sequence[LayerTime], missing: Sequence[str]
) -> LayerTimes:
    return LayerTimes(
        target=target,
        source=source,
        conditions=dict(conditions),
        layers=list(known),
        missing=list(missing),
        sum_ms=sum(one.latency_ms for one in known),
    )


def _conditions(session: Session, job_id: str) -> dict[str, Any] | None:
    """Conditions under which the job's networks were measured; None before that."""
    for finalist in queries.finalists(session, job_id):
        for one in finalist.measurements:
            return {name: one[name] for name in CONDITIONS if one.get(name) is not None}
    return None


def _measured_alone(
    session: Session, where: Mapping[str, Any], keys: Sequence[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The place with these conditions that knows most of these layers, the newest of equals: what it is in words, and
    its results by the layer's key."""
    rows = session.scalars(
        select(Latency)
        .where(Latency.kind == "layer", Latency.what == any_(literal(list(keys), ARRAY(String))))
        .order_by(Latency.created_at)
    )
    places: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {}
    for row in rows:
        alike = all(row.where.get(name, value) == value for name, value in where.items())
        if alike and row.results and "median_ms" in row.results[0]:
            places.setdefault(row.place, (row.where, {}))[1][row.what] = row.results[0]
    return max(reversed(places.values()), key=lambda one: len(one[1]), default=({}, {}))


def _by_table(target: str, text: str, layers: Mapping[str, LayerSpec]) -> LayerTimes | None:
    from predictors.table_files import parse_table
    from predictors.tables import MissingRow

    table = parse_table(text, f"The table of target {target}")
    try:
        prices = table.layer_prices(layers)
    except MissingRow:
        return None
    known = [
        LayerTime(slot=slot, latency_ms=price, interval_ms=None) for slot, price in zip(layers, prices, strict=True)
    ]
    return _times(target, Source.PREDICTED, {"table": target, "overhead_ms": table.overhead_ms}, known, [])
