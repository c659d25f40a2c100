"""How good or how costly an architecture is, without running it. No torch at import."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from predictors.devices import Device
    from predictors.predictor import Predictor
    from predictors.tables import LatencyTable
    from search_space.architecture import Architecture
    from search_space.space import SearchSpace

METRICS = ("latency", "accuracy")


def make_predictor(
    metric: str,
    space: SearchSpace,
    *,
    table: LatencyTable | None = None,
    devices: Sequence[Device] = (),
    known: Mapping[str, Callable[[Architecture], float]] | None = None,
    model: str | None = None,
    seed: int = 0,
) -> Predictor:
    """A predictor of a metric for a space; fit it, then ask.

        predictor = make_predictor("latency", space)
        predictor.fit(measured, latencies_ms)
        mean, std = predictor.predict(others)

    Args:
        metric: `latency`, in ms, or `accuracy`, for accuracy and other scores.
        table: layers' latencies on the same target (latency only).
        devices: measurements on other targets; 10 to 50 on the new one then go far (latency only).
        known: numbers that are known of any architecture without measuring, by name.
        model: one of `predictors/models`; None: the one that validation chooses.
        seed: seed of everything random about it.

    Raises:
        ValueError: no such metric, or an option that this metric has not.
        UnknownPluginError: no such model.
    """
    # Imported late: the costs beside this file are asked for where scikit-learn is not installed.
    from predictors.accuracy import CANDIDATES as ACCURACY
    from predictors.accuracy import accuracy_predictor
    from predictors.latency import CANDIDATES as LATENCY
    from predictors.latency import TABLE, latency_predictor
    from predictors.learned import only

    if metric == "latency":
        chosen = None if model is None else only(model, (*LATENCY, TABLE))
        if model == TABLE.model and table is None:
            raise ValueError("Model 'table' stretches a latency table; give one.")
        return latency_predictor(space, table=table, devices=devices, known=known, candidates=chosen, seed=seed)
    if metric == "accuracy":
        if table is not None or devices:
            raise ValueError("A latency table and other devices say nothing about accuracy; leave them out.")
        chosen = None if model is None else only(model, ACCURACY)
        return accuracy_predictor(space, known=known, candidates=chosen, seed=seed)
    raise ValueError(f"No predictor of {metric!r}. There are predictors of: {', '.join(METRICS)}.")
