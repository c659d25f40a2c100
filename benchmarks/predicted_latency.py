"""Latencies as a job of Winnow gets them: a table of layers, and a predictor fitted to some whole networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cache import Cache
from export.measurable import write_fresh
from job.hardware_spec import HardwareSpec
from pipeline.benches import LocalBench, MemoryStore
from pipeline.hardware import read, to_fit
from pipeline.traced_layers import layers_of
from predictors.instrument import Bench, Instrument, Specimen, place_of
from predictors.latency_fit import Fitted, fit_predictor
from predictors.layer_tables import build_table
from predictors.readings import MeasurementError, Results
from predictors.setting import Effort, Setting
from predictors.tables import LatencyTable
from search.metrics import METRICS
from search_space.space import SearchSpace

TARGET = "cpu-onnxruntime"


class Recorded:
    """A machine by what was measured on it.

    Args:
        place: its facts.
    """

    def __init__(self, place: Mapping[str, Any]) -> None:
        self.place = place

    def measure(
        self, models: Sequence[Path], settings: Sequence[Setting], effort: Effort, tick: Callable[[], None]
    ) -> list[Results | MeasurementError]:
        """Nothing can be measured there any more."""
        raise SystemExit(
            f"{len(models)} layers or networks were not measured on {self.place.get('device')}: its measurements are "
            "of another family or form."
        )


def fitted(
    space: SearchSpace, name: str, cache: Cache, say: Callable[[str], None], elsewhere: Path | None = None
) -> Fitted:
    """A predictor of a machine's latency in ONNX Runtime, one thread, batch 1, with a job's defaults.

    Args:
        name: what the space depends on; the cache keeps the measurements of one machine under it.
        elsewhere: a file of another machine's cache, `latencies-*.json`, instead of measuring this one.
    """
    plan = HardwareSpec()
    setting = Setting(TARGET, plan.threads, plan.batch)
    known = None if elsewhere is None else _measurements(elsewhere)
    bench: Bench = LocalBench(setting.how) if known is None else Recorded(known["place"])
    place, where = place_of(bench, setting)
    networks = to_fit(space, plan.networks, 0)
    specimens = [Specimen.network(space, network) for network in networks]
    layers = layers_of(space, plan.max_layers)
    say(f"latencies: {len(layers)} layers and {len(specimens)} networks")

    def measured(store: MemoryStore) -> tuple[LatencyTable, list[float]]:
        instrument = Instrument(bench, setting, store, write_fresh)
        table = build_table(TARGET, layers, instrument, lambda _done: None)
        found = instrument.measure(specimens, "network", Effort(max_seconds=plan.seconds), lambda _done: None)
        return table, [read(found[specimen.subject], "latency_ms") for specimen in specimens]

    def recorded() -> dict[str, Any]:
        store = MemoryStore()
        measured(store)
        rows = [[kind, subject, results] for (_, kind, subject), results in store.rows.items()]
        return {"place": dict(bench.place), "rows": rows}

    store = MemoryStore()
    for kind, subject, results in (known or cache.result(f"latencies-{name}-{place[:12]}", recorded))["rows"]:
        store.remember(place, where, kind, subject, "", results)
    table, latencies_ms = measured(store)
    return fit_predictor(space, table, networks, latencies_ms, plan.margin_quantile, METRICS["latency_ms"].goal, 0)


def _measurements(file: Path) -> dict[str, Any]:
    """What another machine's cache has kept."""
    try:
        known = json.loads(file.read_text())
        return {"place": known["place"], "rows": known["rows"]}
    except (ValueError, KeyError, TypeError) as error:
        raise SystemExit(
            f"{file} has no measurements of latencies; give a file latencies-*.json of a cache."
        ) from error
