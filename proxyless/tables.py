"""The latency table of a target, for a search by gradient: uploaded, a CSV file, or measured layer by layer.

A measured table is corrected by some whole networks: layers that run one after the other share caches and skip
conversions, so that their sum is off by a factor and a constant that differ from machine to machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from export.measure import Effort
from pipeline.benches import RowStore
from pipeline.hardware import Hardware, Place, place_of_target
from pipeline.layer_tables import Unmeasurable, build_table, measure_tasks
from pipeline.pricing import LatencyStore, layers_of, network_task
from pipeline.workshop import JobFailed, Workshop
from predictors.latency_fit import Fitted
from predictors.table_files import read_named_table
from predictors.tables import LatencyTable, Row
from search_space.architecture import Architecture
from search_space.distinct import TooManyLayers
from search_space.space import SearchSpace
from supernet.randomness import derived_rng

# Whole networks that correct a table of layers, besides the smallest and the largest.
CORRECTING = 10
# Share of the progress that the layers take.
LAYERS_SHARE = 0.8


def table_of(shop: Workshop, target: str, progress: Callable[[float], None]) -> LatencyTable:
    """The table of a target with every layer of the job's space.

    Raises:
        JobFailed: there is no such target, it cannot measure the space, or the file cannot be read.
        ValueError: the file is not a table.
        Interrupted: the job is to be paused or cancelled; what was measured is stored.
    """
    if target.startswith("/"):
        try:
            return read_named_table(Path(target))
        except OSError as error:
            raise JobFailed(f"The latency table {target!r} cannot be read: {error.strerror}.") from error
    place = place_of_target(shop, target)
    if place.table is not None:
        return place.table
    hardware = shop.spec.hardware
    try:
        return measured_table(
            target, shop.space, place, RowStore(shop.reporter), hardware.max_layers, hardware.seconds, progress
        )
    except (Unmeasurable, TooManyLayers) as error:
        raise JobFailed(f"Target {target} cannot measure the layers of {shop.space.name}. {error}") from error


def measured_table(
    target: str,
    space: SearchSpace,
    place: Place,
    store: LatencyStore,
    max_layers: int,
    seconds: float,
    progress: Callable[[float], None],
) -> LatencyTable:
    """Every layer of a space measured alone, then corrected by whole networks.

    Raises:
        Unmeasurable: the target cannot run a layer or a network.
        TooManyLayers: there are more than `max_layers` different ones.
    """
    assert place.bench is not None
    assert place.setting is not None
    layers = layers_of(space, max_layers)
    table = build_table(target, layers, place.setting, place.bench, store, lambda done: progress(LAYERS_SHARE * done))
    networks = correcting_networks(space)
    tasks = [network_task(space, one, place.setting) for one in networks]
    found = measure_tasks(
        tasks,
        "network",
        place.setting,
        place.bench,
        store,
        Effort(max_seconds=seconds),
        lambda done: progress(LAYERS_SHARE + (1 - LAYERS_SHARE) * done),
    )
    measured_ms = np.array([found[task.subject][0]["median_ms"] for task in tasks])
    return corrected(table, np.array([sum(table.layer_prices(space.layers(one))) for one in networks]), measured_ms)


def correcting_networks(space: SearchSpace) -> list[Architecture]:
    """The networks that correct a space's table, the same every time."""
    rng = derived_rng(0, "networks that correct a table", 0)
    drawn = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(CORRECTING))]
    return list({one.id: one for one in drawn}.values())


def corrected(table: LatencyTable, layers_ms: np.ndarray, measured_ms: np.ndarray) -> LatencyTable:
    """The table with a factor on every row and an overhead that fit whole networks best, neither negative.

    Relative errors are squared, so that small networks count as much as large ones. If layers that cost more would
    lower the sum, the table says nothing and stays as it was.

    Args:
        layers_ms: sums of the table's rows, shape (networks,), without the overhead.
        measured_ms: the same networks measured whole.
    """
    weighted = np.stack([layers_ms / measured_ms, 1 / measured_ms], axis=1)
    factor, overhead_ms = np.linalg.lstsq(weighted, np.ones(len(measured_ms)), rcond=None)[0]
    if overhead_ms < 0 or factor <= 0:
        only = weighted[:, 0]
        factor, overhead_ms = float(only.sum() / (only @ only)), 0.0
    if factor <= 0:
        return table
    rows = {
        key: Row(
            float(factor) * row.latency_ms, None if row.spread_ms is None else float(factor) * row.spread_ms, row.runs
        )
        for key, row in table.rows.items()
    }
    return replace(table, rows=rows, overhead_ms=float(overhead_ms))


def measuring_of(shop: Workshop) -> Hardware:
    """How the metrics of the job's objectives are obtained: every network is measured, or priced by a table."""
    if shop.spec.target is None:
        return Hardware()
    metrics = shop.spec.metrics_on_target
    place = place_of_target(shop, shop.spec.target)
    if place.table is None:
        return Hardware(metrics, {}, place.bench, place.setting)
    table = place.table
    priced = Fitted(lambda one: table.price(shop.space.layers(one)), margin=0.0, report={"kind": "uploaded table"})
    return Hardware(metrics, {"latency_ms": priced})
