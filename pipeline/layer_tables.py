"""Tables of layers: each different layer of a space is measured once, and what a session costs is taken off.

A layer that is measured alone pays for things that it does not pay for inside a network: the call, and in ONNX
Runtime the reordering of its input and output between the layout of the file and that of its kernels. What that
is for maps of one shape is seen on a probe, a 1x1 convolution once and three times in a row: three cost two more
convolutions than one, and what one costs beyond a convolution is the overhead at that shape. Half of it belongs to
each end of a layer. The ends of the network itself keep their reordering, which a whole network pays for too
(docs/decisions/0020).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from export.measure import Effort, MeasurementError, Setting
from export.measure.bench import Results
from pipeline.pricing import Bench, LatencyStore, Layer, Task, layer_task, place_of, probe_task
from predictors.tables import LatencyTable, Row, key_of

# Files that are written and then measured in turns: so many that a burst of somebody else's work, which lasts for
# seconds, falls on one round of blocks and not on all the blocks of a layer.
BATCH, BATCH_BYTES = 256, 256 * 2**20
# A price never falls below this share of what the layer took alone: the correction has an error of its own.
LEAST_SHARE = 0.05
PROBE_COPIES = 3
# Maps of the probe that shows the call alone: so few channels are never reordered.
CALL = (8, 1)


class Unmeasurable(Exception):
    """Something cannot be measured on the target; the message says what and why."""


def measure_tasks(
    tasks: Sequence[Task],
    kind: str,
    setting: Setting,
    bench: Bench,
    store: LatencyStore,
    effort: Effort,
    progress: Callable[[float], None],
) -> dict[str, Results]:
    """Results of every task by its subject; what the store knows is not measured again.

    Args:
        kind: `layer`, `probe` or `network`; numbers of different kinds are kept apart.
        progress: told the share that is done; it may raise to stop, and what was measured stays.

    Raises:
        Unmeasurable: the target cannot run one of them.
    """
    place, where = place_of(bench, setting)
    unique = {task.subject: task for task in tasks}
    found = store.known(place, kind, list(unique))
    missing = [task for subject, task in unique.items() if subject not in found]
    while missing:
        done = len(found)

        def written(files: int, done: int = done) -> None:
            # Writing a file takes about as long as measuring it; how far a measurement is, it does not say.
            progress((done + files / 2) / len(unique))

        with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
            files = _write_batch(missing, Path(folder), written)
            measured = bench.measure(files, [setting], effort, partial(written, len(files)))
        batch, missing = missing[: len(files)], missing[len(files) :]
        for task, results in zip(batch, measured, strict=True):
            if isinstance(results, MeasurementError):
                raise Unmeasurable(f"{task.what}: {results}")
            store.remember(place, where, kind, task.subject, task.what, results)
            found[task.subject] = results
    progress(1.0)
    return found


def _write_batch(tasks: Sequence[Task], folder: Path, written: Callable[[int], None]) -> list[Path]:
    """Files of the first tasks: as many as are measured together, at least one; says how many are written."""
    files: list[Path] = []
    size_bytes = 0
    for task in tasks[:BATCH]:
        own = folder / f"{len(files)}"
        files.append(task.write(own))
        size_bytes += sum(path.stat().st_size for path in own.rglob("*") if path.is_file())
        if size_bytes > BATCH_BYTES:
            break
        written(len(files))
    return files


def build_table(
    target: str,
    layers: Sequence[Layer],
    setting: Setting,
    bench: Bench,
    store: LatencyStore,
    progress: Callable[[float], None],
) -> LatencyTable:
    """The latency table of a space's layers on a target.

    Raises:
        Unmeasurable: the target cannot run a layer.
    """
    shapes = sorted({maps(shape, setting) for layer in layers for shape in _inner_ends(layer)} | {CALL})
    probes = {(shape, copies): probe_task(*shape, copies, setting) for shape in shapes for copies in (1, PROBE_COPIES)}
    tasks = {layer: layer_task(layer, setting) for layer in layers}
    share = len(probes) / (len(probes) + len(tasks))
    effort = Effort.quick()
    alone = measure_tasks(
        list(probes.values()), "probe", setting, bench, store, effort, lambda done: progress(share * done)
    )
    overhead_ms = {
        shape: overhead(
            _ms(alone[probes[shape, 1].subject]), _ms(alone[probes[shape, PROBE_COPIES].subject]), PROBE_COPIES
        )
        for shape in shapes
    }
    results = measure_tasks(
        list(tasks.values()),
        "layer",
        setting,
        bench,
        store,
        effort,
        lambda done: progress(share + (1 - share) * done),
    )
    rows: dict[str, Row] = {}
    for layer, task in tasks.items():
        measured = results[task.subject][0]
        call = overhead_ms[CALL]
        ends = [
            call if edge else overhead_ms[maps(shape, setting)]
            for shape, edge in ((layer.shape, layer.is_first), (layer.out_shape, layer.is_last))
        ]
        price = max(measured["median_ms"] - sum(ends) / 2, LEAST_SHARE * measured["median_ms"])
        rows[key_of(layer.spec)] = Row(price, spread_ms=measured["mad_ms"], runs=measured["runs"])
    return LatencyTable(target, rows, overhead_ms=overhead_ms[CALL])


def overhead(once_ms: float, chain_ms: float, copies: int) -> float:
    """What a session costs beyond its layers, from a chain of one and a chain of several; at least 0."""
    one_layer = max(0.0, (chain_ms - once_ms) / (copies - 1))
    return max(0.0, once_ms - one_layer)


def maps(shape: tuple[int, ...], setting: Setting) -> tuple[int, int]:
    """Channels and size of the probe for an end of this shape: only ONNX Runtime's maps have one of their own."""
    if len(shape) == 4 and setting.how.engine == "onnxruntime" and setting.how.device == "cpu":
        return shape[1], shape[2]
    return CALL


def _inner_ends(layer: Layer) -> list[tuple[int, ...]]:
    return [shape for shape, edge in ((layer.shape, layer.is_first), (layer.out_shape, layer.is_last)) if not edge]


def _ms(results: Results) -> float:
    return float(results[0]["median_ms"])
