"""Latencies as a job of Winnow gets them: a table of layers, and a predictor fitted to some whole networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.cache import Cache
from export.measure import Effort, Setting
from predictors.tables import LatencyTable
from search.hardware_spec import HardwareSpec
from search.metrics import METRICS
from search_space.space import SearchSpace
from workers.benches import LocalBench, MemoryStore
from workers.hardware import read, to_fit
from workers.latency_fit import Fitted, fit_predictor
from workers.layer_tables import build_table, measure_tasks
from workers.pricing import layers_of, network_task, place_of

TARGET = "cpu-onnxruntime"


def fitted(space: SearchSpace, name: str, cache: Cache, say: Callable[[str], None]) -> Fitted:
    """A predictor of this machine's latency in ONNX Runtime, one thread, batch 1, with a job's defaults.

    Args:
        name: what the space depends on; the cache keeps the measurements of one machine under it.
    """
    plan = HardwareSpec()
    setting = Setting(TARGET, plan.threads, plan.batch)
    bench = LocalBench(setting.how)
    place, where = place_of(bench, setting)
    networks = to_fit(space, plan.networks, 0)
    tasks = [network_task(space, network, setting) for network in networks]
    layers = layers_of(space, plan.max_layers)
    say(f"latencies: {len(layers)} layers and {len(tasks)} networks")

    def measured(store: MemoryStore) -> tuple[LatencyTable, list[float]]:
        table = build_table(TARGET, layers, setting, bench, store, lambda _done: None)
        effort = Effort(max_seconds=plan.seconds)
        found = measure_tasks(tasks, "network", setting, bench, store, effort, lambda _done: None)
        return table, [read(found[task.subject], "latency_ms") for task in tasks]

    def rows() -> list[Any]:
        store = MemoryStore()
        measured(store)
        return [[kind, subject, list(results)] for (_, kind, subject), results in store.rows.items()]

    store = MemoryStore()
    for kind, subject, results in cache.result(f"latencies-{name}-{place[:12]}", rows):
        store.remember(place, where, kind, subject, "", results)
    table, latencies_ms = measured(store)
    return fit_predictor(space, table, networks, latencies_ms, plan.margin_quantile, METRICS["latency_ms"].goal, 0)
