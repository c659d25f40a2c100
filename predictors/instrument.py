"""Instrument: measures specimens, each once. A specimen is a layer alone, a whole network or a probe.

Whoever measures (this machine, a registered one) is a `Bench`; whoever remembers numbers is a `LatencyStore`; whoever
makes a file of layers is a `NetworkWriter`. None of them is known here, so nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from predictors.readings import MeasurementError, Results
from predictors.setting import Effort, Setting, Tick
from predictors.tables import key_of
from search_space.architecture import Architecture
from search_space.inputs import IMAGES, INPUT, TEXTS, ImageInput, PairInput
from search_space.layers import ConvSpec, LayerSpec
from search_space.space import SearchSpace

# Files that are written and then measured in turns: so many that a burst of somebody else's work, which lasts for
# seconds, falls on one round of blocks and not on all the blocks of a layer.
BATCH, BATCH_BYTES = 256, 256 * 2**20


class Unmeasurable(Exception):
    """Something cannot be measured on the target; the message says what and why."""


class Bench(Protocol):
    """Something that measures files: this machine or a registered one."""

    @property
    def place(self) -> Mapping[str, Any]:
        """What numbers depend on besides the setting: device, cores, versions."""

    def measure(
        self, models: Sequence[Path], settings: Sequence[Setting], effort: Effort, tick: Tick
    ) -> list[Results | MeasurementError]:
        """Results for each file, or why there are none."""


class LatencyStore(Protocol):
    """Remembers numbers across jobs."""

    def known(self, place: str, kind: str, subjects: Sequence[str]) -> dict[str, Results]:
        """Those of these subjects that were measured in this place."""

    def remember(
        self, place: str, where: Mapping[str, Any], kind: str, subject: str, what: str, results: Results
    ) -> None:
        """Store what was measured."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a layer or a network takes or gives: shape, with a batch of 1, and torch's name of the type."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    @classmethod
    def of(cls, space: SearchSpace) -> dict[str, Sample]:
        """What a space's networks take, by name; a mask follows from the texts."""
        takes = space.takes
        assert takes is not None, space
        if isinstance(takes, ImageInput):
            return {INPUT: cls((1, takes.channels, takes.size, takes.size))}
        text = cls((1, takes.length), "int64")
        if isinstance(takes, PairInput):
            return {IMAGES: cls((1, takes.channels, takes.size, takes.size)), TEXTS: text}
        return {INPUT: text}


class NetworkWriter(Protocol):
    """Writes a network with fresh weights as a setting's engine reads it: latency does not depend on weights."""

    def __call__(
        self,
        layers: Mapping[str, LayerSpec],
        samples: Mapping[str, Sample],
        folder: Path,
        setting: Setting,
        *,
        tied: bool = True,
    ) -> Path:
        """The path to measure.

        Args:
            samples: what the network takes, by name.
            tied: whether parameters that are another slot's are shared; a layer alone has its own.
        """


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer to measure alone.

    Attributes:
        takes, gives: its input and its output.
        is_first, is_last: whether its input is the network's input, its output the network's output.
    """

    spec: LayerSpec
    takes: Sample
    gives: Sample
    is_first: bool
    is_last: bool

    def at(self, spec: LayerSpec) -> Layer:
        """The same place in a network with another spec."""
        return replace(self, spec=spec)


@dataclass(frozen=True, slots=True)
class Specimen:
    """Something to measure once: its digest, its name, and the network that shows it.

    Attributes:
        samples: what that network takes, by name.
    """

    subject: str
    what: str
    layers: Mapping[str, LayerSpec]
    samples: Mapping[str, Sample]
    tied: bool = True

    @classmethod
    def layer(cls, layer: Layer) -> Specimen:
        """A network of one layer."""
        subject = digest([key_of(layer.spec), list(layer.takes.shape), f"torch.{layer.takes.dtype}"])
        return cls(subject, key_of(layer.spec), {"layer": layer.spec}, {INPUT: layer.takes}, tied=False)

    @classmethod
    def network(cls, space: SearchSpace, architecture: Architecture) -> Specimen:
        """A whole network."""
        layers, samples = space.layers(architecture), Sample.of(space)
        shapes = [list(sample.shape) for sample in samples.values()]
        # Of one input its shape alone: numbers that were measured before are found by it.
        subject = digest([[key_of(spec) for spec in layers.values()], shapes[0] if len(shapes) == 1 else shapes])
        return cls(subject, f"{space.name} {architecture.id}", layers, samples)

    @classmethod
    def probe(cls, channels: int, size: int, copies: int) -> Specimen:
        """A chain of 1x1 convolutions on maps of one shape."""
        spec = ConvSpec(channels, channels, 1, 1, size, "ReLU")
        layers: dict[str, LayerSpec] = {f"copy{i}": spec for i in range(copies)}
        subject = digest(["probe", channels, size, copies])
        return cls(subject, f"{copies} of {key_of(spec)}", layers, {INPUT: Sample((1, channels, size, size))})


def _unsaid(text: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Instrument:
    """Measures specimens on a bench under a setting; what its store knows is not measured again.

    Attributes:
        write: makes the files.
        says: hears in words how far it is.
    """

    bench: Bench
    setting: Setting
    store: LatencyStore
    write: NetworkWriter
    says: Callable[[str], None] = _unsaid

    def measure(
        self, specimens: Sequence[Specimen], kind: str, effort: Effort, progress: Callable[[float], None]
    ) -> dict[str, Results]:
        """Results of every specimen by its subject.

        Args:
            kind: `layer`, `probe` or `network`; numbers of different kinds are kept apart.
            progress: told the share that is done; it may raise to stop, and what was measured stays.

        Raises:
            Unmeasurable: the target cannot run one of them.
        """
        place, where = place_of(self.bench, self.setting)
        unique = {specimen.subject: specimen for specimen in specimens}
        found = self.store.known(place, kind, list(unique))
        missing = [specimen for subject, specimen in unique.items() if subject not in found]
        while missing:
            done, told = len(found), f"{len(found)} of {len(unique)} {kind}s are measured"

            def written(files: int, done: int = done, told: str = told) -> None:
                # Writing a file takes about as long as measuring it.
                self.says(f"{told}, {files} more are written")
                progress((done + files / 2) / len(unique))

            with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
                files = self._write_batch(missing, Path(folder), written)
                self.says(f"{told}, {len(files)} take turns")
                half = len(files) / 2
                tick = _part(progress, (done + half) / len(unique), half / len(unique))
                measured = self.bench.measure(files, [self.setting], effort, tick)
            batch, missing = missing[: len(files)], missing[len(files) :]
            for specimen, results in zip(batch, measured, strict=True):
                if isinstance(results, MeasurementError):
                    raise Unmeasurable(f"{specimen.what}: {results}")
                self.store.remember(place, where, kind, specimen.subject, specimen.what, results)
                found[specimen.subject] = results
        progress(1.0)
        return found

    def _write_batch(self, specimens: Sequence[Specimen], folder: Path, written: Callable[[int], None]) -> list[Path]:
        """Files of the first specimens: as many as are measured together, at least one; says how many are written."""
        files: list[Path] = []
        size_bytes = 0
        for specimen in specimens[:BATCH]:
            own = folder / f"{len(files)}"
            files.append(self.write(specimen.layers, specimen.samples, own, self.setting, tied=specimen.tied))
            size_bytes += sum(path.stat().st_size for path in own.rglob("*") if path.is_file())
            if size_bytes > BATCH_BYTES:
                break
            written(len(files))
        return files


def _part(progress: Callable[[float], None], begin: float, width: float) -> Tick:
    """Tells of a part of what progress hears; where the share of that part is not known, it stays where it was."""
    at = 0.0

    def tick(done: float | None = None) -> None:
        nonlocal at
        at = at if done is None else done
        progress(begin + width * at)

    return tick


def digest(value: Any) -> str:
    """sha256 of a value's JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def place_of(bench: Bench, setting: Setting) -> tuple[str, dict[str, object]]:
    """Where and how a number was measured: as a digest, and in words."""
    where = {**bench.place, **setting.as_dict()}
    return digest(where), where
