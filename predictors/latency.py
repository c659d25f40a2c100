"""Latency predictors: from measured networks, a table of layers, other devices, or any of them together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from predictors.columns import Source, cost_columns, known_columns, price_column
from predictors.devices import Device, device_columns
from predictors.learned import Candidate, LearnedPredictor
from predictors.tables import LatencyTable
from predictors.transfer import TransferPredictor
from search_space.architecture import Architecture
from search_space.space import SearchSpace

# The best guess first. Latencies add up, so the plain scale suits them; the logarithm suits spaces whose latencies span
# decades. Boosted trees need many examples and are offered last.
CANDIDATES = (
    Candidate("gaussian_process", "plain"),
    Candidate("gaussian_process", "log"),
    Candidate("ridge", "plain"),
    Candidate("ridge", "log"),
    Candidate("support_vectors", "log"),
    Candidate("boosting", "log"),
)
TABLE = Candidate("table", "plain")


def latency_predictor(
    space: SearchSpace,
    *,
    table: LatencyTable | None = None,
    devices: Sequence[Device] = (),
    known: Mapping[str, Callable[[Architecture], float]] | None = None,
    candidates: Sequence[Candidate] | None = None,
    seed: int = 0,
) -> LearnedPredictor | TransferPredictor:
    """A predictor of latency in ms on one target.

    Args:
        table: layers' latencies on the target; their sum becomes a column, and stretching it a candidate.
        devices: measurements of architectures of the space on other targets.
        known: numbers that are known of any architecture, by name, such as the MACs of a space without layers.
        candidates: models to choose from; None: `CANDIDATES`, and `TABLE` if there is one.

    Raises:
        ValueError: a table for a space without layers, or a device measured on another space.
    """
    if table is not None and not space.has_layers:
        raise ValueError(f"Space {space.name!r} has no layers, so the table of {table.target!r} cannot price it.")
    for device in devices:
        strangers = [a for a in device.architectures if a not in space]
        if strangers:
            raise ValueError(
                f"Device {device.name!r} was measured on {strangers[0]!r}, which is not of {space.name!r}."
            )
    costs, given = known_sources(space, known)
    price = None if table is None else price_column(space, table)
    if candidates is None:
        candidates = CANDIDATES if table is None else (*CANDIDATES[:1], TABLE, *CANDIDATES[1:])

    def learned(models: Sequence[Candidate], more: Sequence[Source] = ()) -> LearnedPredictor:
        return LearnedPredictor(
            space, models, costs=costs, given=[*given, *more], price=price, relative=True, seed=seed
        )

    if not devices:
        return learned(candidates)
    columns = known_device_columns(space, devices, known, seed)

    def told(models: Sequence[Candidate], some: Sequence[Device]) -> LearnedPredictor:
        return learned(models, [columns[device.name] for device in some])

    # Dozens are fitted to find out how much devices are worth: with the model that takes any number of examples.
    return TransferPredictor(
        space, devices, lambda some: told(candidates, some), lambda some: told(CANDIDATES[:1], some), seed
    )


def known_sources(
    space: SearchSpace, known: Mapping[str, Callable[[Architecture], float]] | None
) -> tuple[list[Source], list[Source]]:
    """Columns of what is known of every architecture: its costs, and the numbers that are given."""
    return [cost_columns(space)] if space.has_layers else [], [known_columns(known)] if known else []


def known_device_columns(
    space: SearchSpace,
    devices: Sequence[Device],
    known: Mapping[str, Callable[[Architecture], float]] | None,
    seed: int,
) -> dict[str, Source]:
    """By device, the column of its latencies.

    A device is predicted with what is known of every architecture, by the model that needs no choosing, and once for
    all who are told it.

    Args:
        known: numbers that are known of any architecture, by name.

    Raises:
        ValueError: two devices of one name.
    """
    costs, given = known_sources(space, known)
    return device_columns(devices, lambda: LearnedPredictor(space, CANDIDATES[:1], costs=costs, given=given, seed=seed))
