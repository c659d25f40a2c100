"""Examiner: scores sub-networks of one supernet, sharing between them whatever is the same.

Every number equals, to the last bit, what the extracted and calibrated network scores by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from search.intervals import Interval
from search_space.architecture import Architecture
from supernet.augment import Augmentation
from supernet.calibrate import calibrate, norms_of
from supernet.data.dataset import Split
from supernet.evaluate import scores
from supernet.inputs import Inputs, num_bytes
from supernet.network import Network, Supernet, extract
from supernet.prefixes import Prefixes, in_order
from supernet.scores.exam import Exam, Scores
from supernet.scores.labels import READY_BYTES

# Images in one forward pass of a calibration.
CALIBRATION_BATCH = 256
# Bytes of blocks with statistics of their own that are in memory at once.
BLOCK_BYTES = 2**30


@dataclass(slots=True)
class Examiner:
    """A trained supernet and what its sub-networks are asked.

    The supernet's weights must not change while an examiner uses them.

    Attributes:
        exams: all are taken by every network; their metrics have different names.
        calibration: images that re-estimate batch-norm statistics, as training saw them, the same for every network.
            Ready batches stay on the device while they are small enough.
        full: the supernet whose largest network others are compared with; None: this one.
    """

    supernet: Supernet
    exams: Sequence[Exam]
    calibration: Split | Augmentation
    full: Supernet | None = None
    _ready: list[Inputs] | None = field(default=None, init=False, repr=False)
    _full: dict[int, list[Tensor]] = field(default_factory=dict, init=False, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the supernet is."""
        return self.supernet.device

    def network(self, architecture: Architecture, *, shares: bool = False) -> Network:
        """The architecture as a plain network with its own weights and statistics, ready for use.

        Args:
            shares: as in `extract`.
        """
        network = extract(self.supernet, architecture, shares=shares)
        calibrate(network, self._calibration_inputs())
        return network

    def examine(self, architectures: Sequence[Architecture]) -> list[dict[str, float]]:
        """Metrics of every architecture, in their order; more at once share more."""
        results: list[dict[str, float]] = [{} for _ in architectures]
        for group in self.groups(architectures):
            for index, values in zip(group, self._together([architectures[i] for i in group]), strict=True):
                results[index] = values
        return results

    def scores(self, network: nn.Module) -> Scores:
        """What an extracted network scores in every exam, with intervals."""
        values: dict[str, float] = {}
        intervals: dict[str, Interval] = {}
        for number, exam in enumerate(self.exams):
            found = scores(network, exam, answers=self._answers_of_the_full(number, exam))
            values |= found.values
            intervals |= found.intervals
        return Scores(values, intervals)

    def groups(self, architectures: Sequence[Architecture], most: int | None = None) -> Iterator[list[int]]:
        """Positions of the architectures in groups to examine at once: neighbours, as many as memory allows.

        Args:
            most: architectures in a group; None: any number.
        """
        group: list[int] = []
        num_bytes = 0
        for index in in_order(self.supernet, architectures):
            needed = self._bytes_of_own_blocks(architectures[index])
            if group and (len(group) == most or num_bytes + needed > BLOCK_BYTES):
                yield group
                group, num_bytes = [], 0
            group.append(index)
            num_bytes += needed
        if group:
            yield group

    def _bytes_of_own_blocks(self, architecture: Architecture) -> int:
        """An upper bound of what a network's blocks with batch norms take: as if nothing were shared."""
        total = 0
        for name, spec in self.supernet.layers(architecture).items():
            if norms_of(self.supernet.slot(name).block):
                total += spec.weight_bytes(32)
        return total

    def _together(self, architectures: Sequence[Architecture]) -> list[dict[str, float]]:
        prefixes = Prefixes(self.supernet, architectures)
        prefixes.calibrate(self._calibration_inputs())
        results: list[dict[str, float]] = [{} for _ in architectures]
        for number, exam in enumerate(self.exams):
            tallies = [exam.tally() for _ in architectures]
            full = self._answers_of_the_full(number, exam)
            for batch in exam.batches(self.device):
                theirs = next(full) if exam.against_full else None
                for index, logits in prefixes.answers(batch):
                    tallies[index].add(logits, batch, theirs)
            for values, tally in zip(results, tallies, strict=True):
                values.update(tally.values())
        return results

    def _answers_of_the_full(self, number: int, exam: Exam) -> Iterator[Tensor]:
        """The full network's logits for every batch of an exam; kept if they are small enough."""
        if not exam.against_full:
            return
        if number in self._full:
            yield from self._full[number]
            return
        full = self.full or self.supernet
        prefixes = Prefixes(full, [full.space.largest()])
        prefixes.calibrate(self._calibration_inputs())
        made: list[Tensor] = []
        whole = True
        for batch in exam.batches(self.device):
            ((_, logits),) = prefixes.answers(batch)
            whole = whole and sum(kept.nbytes for kept in made) + logits.nbytes <= READY_BYTES
            if whole:
                made.append(logits)
            yield logits
        if whole:
            self._full[number] = made

    def _calibration_inputs(self) -> Iterator[Inputs]:
        if self._ready is not None:
            yield from self._ready
            return
        made: list[Inputs] = []
        whole = True
        for batch in self.calibration.batches(CALIBRATION_BATCH, self.device):
            inputs = batch.inputs
            whole = whole and sum(map(num_bytes, made)) + num_bytes(inputs) <= READY_BYTES
            if whole:
                made.append(inputs)
            yield inputs
        # Networks without batch norms never come here: they ask for nothing.
        if whole and made:
            self._ready = made
