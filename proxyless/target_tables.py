"""The latency table of a target, for a search by gradient: uploaded, a CSV file, or measured layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.hardware import Hardware, Meter, Targets
from pipeline.traced_layers import layers_of
from pipeline.workshop import JobFailed
from predictors.instrument import Unmeasurable
from predictors.latency_fit import Fitted
from predictors.layer_tables import corrected_table
from predictors.table_files import read_named_table
from predictors.tables import LatencyTable
from predictors.targets import named_target
from search_space.architecture import Architecture
from search_space.distinct import TooManyLayers
from search_space.space import SearchSpace
from supernet.randomness import derived_rng

# Whole networks that correct a table of layers, besides the smallest and the largest.
CORRECTING = 10


def table_of(targets: Targets, target: str, space: SearchSpace, progress: Callable[[float], None]) -> LatencyTable:
    """The table of a target with every layer of a space.

    Raises:
        JobFailed: there is no such target, it cannot measure the space, or the file cannot be read.
        ValueError: the file is not a table.
        Interrupted: the job is to be paused or cancelled; what was measured is stored.
    """
    named = named_target(target)
    if isinstance(named, Path):
        try:
            return read_named_table(named)
        except OSError as error:
            raise JobFailed(f"The latency table {target!r} cannot be read: {error.strerror}.") from error
    gives = targets.named(target)
    if isinstance(gives, LatencyTable):
        return gives
    hardware = targets.spec.hardware
    try:
        layers = layers_of(space, hardware.max_layers)
        networks = correcting_networks(space)
        return corrected_table(target, space, layers, networks, gives, hardware.seconds, progress)
    except (Unmeasurable, TooManyLayers) as error:
        raise JobFailed(f"Target {target} cannot measure the layers of {space.name}. {error}") from error


def correcting_networks(space: SearchSpace) -> list[Architecture]:
    """The networks that correct a space's table, the same every time."""
    rng = derived_rng(0, "networks that correct a table", 0)
    drawn = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(CORRECTING))]
    return list({one.id: one for one in drawn}.values())


def measuring_of(targets: Targets, space: SearchSpace) -> Hardware:
    """How the metrics of the job's objectives are obtained: every network is measured, or priced by a table."""
    spec = targets.spec
    if spec.target is None:
        return Hardware()
    gives = targets.named(spec.target)
    if not isinstance(gives, LatencyTable):
        return Hardware(spec.metrics_on_target, {}, Meter(spec.target, space, gives, spec.hardware.seconds))
    priced = Fitted(lambda one: gives.price(space.layers(one)), margin=0.0, report={"kind": "uploaded table"})
    return Hardware(spec.metrics_on_target, {"latency_ms": priced})
