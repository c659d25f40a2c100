"""Tables of layers: each different layer of a space is measured once, and what a session costs is taken off.

A layer that is measured alone pays for things that it does not pay for inside a network: the call, and in ONNX
Runtime the reordering of its input and output between the layout of the file and that of its kernels. What that
is for maps of one shape is seen on a probe, a 1x1 convolution once and three times in a row: three cost two more
convolutions than one, and what one costs beyond a convolution is the overhead at that shape. Half of it belongs to
each end of a layer. The ends of the network itself keep their reordering, which a whole network pays for too
(docs/decisions/0020).

Layers that run one after the other share caches and skip conversions, so that their sum is off by a factor and a
constant that differ from machine to machine: some whole networks correct a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from predictors.instrument import Instrument, Layer, Sample, Specimen
from predictors.readings import Results
from predictors.setting import Effort, Setting
from predictors.tables import LatencyTable, Row, key_of
from search_space.architecture import Architecture
from search_space.space import SearchSpace

# A price never falls below this share of what the layer took alone: the correction has an error of its own.
LEAST_SHARE = 0.05
PROBE_COPIES = 3
# Maps of the probe that shows the call alone: so few channels are never reordered.
CALL = (8, 1)
# Share of the progress that the layers of a corrected table take.
LAYERS_SHARE = 0.8


def build_table(
    target: str, layers: Sequence[Layer], instrument: Instrument, progress: Callable[[float], None]
) -> LatencyTable:
    """The latency table of a space's layers on a target.

    Raises:
        Unmeasurable: the target cannot run a layer.
    """
    setting = instrument.setting
    shapes = sorted({maps(end, setting) for layer in layers for end in _inner_ends(layer)} | {CALL})
    probes = {(shape, copies): Specimen.probe(*shape, copies) for shape in shapes for copies in (1, PROBE_COPIES)}
    specimens = {layer: Specimen.layer(layer) for layer in layers}
    share = len(probes) / (len(probes) + len(specimens))
    effort = Effort.quick()
    alone = instrument.measure(list(probes.values()), "probe", effort, lambda done: progress(share * done))
    overhead_ms = {
        shape: overhead(
            median_ms(alone[probes[shape, 1].subject]),
            median_ms(alone[probes[shape, PROBE_COPIES].subject]),
            PROBE_COPIES,
        )
        for shape in shapes
    }
    results = instrument.measure(
        list(specimens.values()), "layer", effort, lambda done: progress(share + (1 - share) * done)
    )
    rows: dict[str, Row] = {}
    for layer, specimen in specimens.items():
        measured = results[specimen.subject][0]
        call = overhead_ms[CALL]
        ends = [call if edge else overhead_ms[maps(end, setting)] for end, edge in _ends(layer)]
        price = max(measured["median_ms"] - sum(ends) / 2, LEAST_SHARE * measured["median_ms"])
        rows[key_of(layer.spec)] = Row(price, spread_ms=measured["mad_ms"], runs=measured["runs"])
    return LatencyTable(target, rows, overhead_ms=overhead_ms[CALL])


def corrected_table(
    target: str,
    space: SearchSpace,
    layers: Sequence[Layer],
    networks: Sequence[Architecture],
    instrument: Instrument,
    seconds: float,
    progress: Callable[[float], None],
) -> LatencyTable:
    """Every layer of a space measured alone, then corrected by whole networks.

    Args:
        seconds: most measuring time of one network.

    Raises:
        Unmeasurable: the target cannot run a layer or a network.
    """
    table = build_table(target, layers, instrument, lambda done: progress(LAYERS_SHARE * done))
    specimens = [Specimen.network(space, one) for one in networks]
    effort = Effort(max_seconds=seconds)
    found = instrument.measure(
        specimens, "network", effort, lambda done: progress(LAYERS_SHARE + (1 - LAYERS_SHARE) * done)
    )
    measured_ms = np.array([median_ms(found[specimen.subject]) for specimen in specimens])
    return corrected(table, np.array([sum(table.layer_prices(space.layers(one))) for one in networks]), measured_ms)


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


def overhead(once_ms: float, chain_ms: float, copies: int) -> float:
    """What a session costs beyond its layers, from a chain of one and a chain of several; at least 0."""
    one_layer = max(0.0, (chain_ms - once_ms) / (copies - 1))
    return max(0.0, once_ms - one_layer)


def maps(end: Sample, setting: Setting) -> tuple[int, int]:
    """Channels and size of the probe for an end of this shape: only ONNX Runtime's maps have one of their own."""
    if len(end.shape) == 4 and setting.how.engine == "onnxruntime" and setting.how.device == "cpu":
        return end.shape[1], end.shape[2]
    return CALL


def median_ms(results: Results) -> float:
    """Index of what was measured first."""
    return float(results[0]["median_ms"])


def _ends(layer: Layer) -> list[tuple[Sample, bool]]:
    """Input and output of a layer, and whether each is the network's own."""
    return [(layer.takes, layer.is_first), (layer.gives, layer.is_last)]


def _inner_ends(layer: Layer) -> list[Sample]:
    return [end for end, edge in _ends(layer) if not edge]
