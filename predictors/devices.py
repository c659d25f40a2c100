"""What other devices say about a new one: calibration from 10 to 50 measurements.

Latencies on two devices are seldom a function of each other, but most of a new device is a mixture of known ones and a
little of its own. So each known device's latency is a column of the new device's predictor, beside the encoding and
the costs, and the marginal likelihood finds which of them matter. On NAS-Bench-201's seven devices 20 measurements of
a new one give a mean Spearman correlation of 0.97 when the six others are known (docs/predictors.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from predictors.columns import Source
from predictors.predictor import Predictor
from search_space.architecture import Architecture

# A device with fewer measured architectures teaches more noise than anything.
MIN_MEASURED = 10


@dataclass(frozen=True)
class Device:
    """Measurements on a known device.

    Attributes:
        name: name of the device and runtime.
        architectures: those measured, all of one space; any part of it.
        latencies_ms: one for each.

    Raises:
        ValueError: fewer than 10 measurements, lengths that differ, or a latency that is not positive and finite.
    """

    name: str
    architectures: tuple[Architecture, ...]
    latencies_ms: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.architectures) != len(self.latencies_ms):
            raise ValueError(
                f"Device {self.name!r} has {len(self.architectures)} architectures and {len(self.latencies_ms)} "
                f"latencies."
            )
        if len(self.architectures) < MIN_MEASURED:
            raise ValueError(
                f"Device {self.name!r} has {len(self.architectures)} measurements; at least {MIN_MEASURED} are needed "
                f"to learn from it. Leave it out."
            )
        for architecture, latency in zip(self.architectures, self.latencies_ms, strict=True):
            if not (latency > 0 and np.isfinite(latency)):
                raise ValueError(f"Device {self.name!r} has {latency} ms for {architecture!r}; leave it out.")


def device_columns(devices: Sequence[Device], make: Callable[[], Predictor]) -> Source:
    """A column for each device: what was measured, and what its own predictor says where nothing was.

    Args:
        make: a predictor for a known device, asked for once a device lacks an architecture.

    Raises:
        ValueError: two devices of one name.
    """
    names = [device.name for device in devices]
    if len(set(names)) != len(names):
        raise ValueError(f"Known devices must have different names; got {', '.join(names)}.")
    columns = [_Column(device, make) for device in devices]

    def give(architectures: Sequence[Architecture]) -> list[dict[str, float]]:
        by_device = [column.of(architectures) for column in columns]
        return [
            {f"on {name}": float(of[i]) for name, of in zip(names, by_device, strict=True)}
            for i in range(len(architectures))
        ]

    return give


class _Column:
    """One device's latency of any architecture."""

    def __init__(self, device: Device, make: Callable[[], Predictor]) -> None:
        self._device, self._make = device, make
        measured: dict[str, list[float]] = {}
        for architecture, latency in zip(device.architectures, device.latencies_ms, strict=True):
            measured.setdefault(architecture.id, []).append(latency)
        self._measured = {key: float(np.median(of)) if len(of) > 1 else of[0] for key, of in measured.items()}
        self._predictor: Predictor | None = None

    def of(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """Latencies in ms."""
        latencies = np.array([self._measured.get(a.id, np.nan) for a in architectures])
        absent = np.flatnonzero(np.isnan(latencies))
        if len(absent):
            if self._predictor is None:
                self._predictor = self._make()
                self._predictor.fit(self._device.architectures, self._device.latencies_ms)
            latencies[absent] = self._predictor.predict([architectures[i] for i in absent.tolist()])[0]
        return latencies
