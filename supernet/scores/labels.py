"""Scores on a split: accuracy, perplexity, and the divergence from the full network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from search.intervals import Interval, around, ratio_error, wilson
from supernet.data.dataset import IGNORED, Batch, Split
from supernet.losses import divergences_of_examples, losses_of_examples
from supernet.scores.exam import Tally
from supernet.scores.retrieval import Recall

# Images of at most 64x64 pixels in one forward pass of an evaluation; fewer of larger ones.
BATCH = 512
# Tokens in one forward pass: with 32,000 tokens in the vocabulary their logits take half a gigabyte.
TOKENS = 4096
# Ready batches of a split are kept on the device if they take at most so many bytes.
READY_BYTES = 256 * 2**20


@dataclass(slots=True)
class Accuracy:
    """Share of correct top-1 predictions, between 0 and 1."""

    correct: int = 0
    examples: int = 0

    def add(self, logits: Tensor, batch: Batch, full: Tensor | None = None) -> None:
        """See `Tally`."""
        # argmax takes NaN for the largest: what is no number is no answer.
        self.correct += int(((logits.argmax(-1) == batch.targets) & ~logits.isnan().any(-1)).sum())
        self.examples += len(batch)

    def values(self) -> dict[str, float]:
        """See `Tally`."""
        return {"accuracy": self.correct / self.examples}

    def intervals(self) -> dict[str, Interval]:
        """See `Tally`. Wilson's."""
        return {"accuracy": wilson(self.correct, self.examples)}


@dataclass(slots=True)
class Perplexity:
    """exp of the mean cross-entropy of a token that counts, at least 1.

    Attributes:
        total: total of all tokens, in nats; `texts` holds that of each text.
        tokens: number that were predicted; `lengths` holds those of each text.
    """

    total: float = 0.0
    tokens: int = 0
    texts: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def add(self, logits: Tensor, batch: Batch, full: Tensor | None = None) -> None:
        """See `Tally`."""
        losses, counts = (
            losses_of_examples(logits, batch.targets),
            (batch.targets != IGNORED).view(len(batch.targets), -1).sum(1),
        )
        self.total += float(losses.double().sum())
        self.tokens += int(counts.sum())
        self.texts += losses.tolist()
        self.lengths += counts.tolist()

    def values(self) -> dict[str, float]:
        """See `Tally`."""
        # exp() of more than 709 is no number any more; a network that bad is bad enough at this.
        return {"perplexity": math.exp(min(self.total / max(1, self.tokens), 700.0))}

    def intervals(self) -> dict[str, Interval]:
        """See `Tally`. Interval of the logarithm, over texts."""
        ends = around(self.total / max(1, self.tokens), ratio_error(self.texts, self.lengths))
        return {} if ends is None else {"perplexity": (math.exp(min(ends[0], 700.0)), math.exp(min(ends[1], 700.0)))}


@dataclass(slots=True)
class Divergence:
    """Mean over examples, or tokens, of the Kullback-Leibler divergence of the network from the full one, in nats."""

    total: float = 0.0
    count: int = 0
    examples: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def add(self, logits: Tensor, batch: Batch, full: Tensor | None = None) -> None:
        """See `Tally`."""
        assert full is not None
        counted = batch.counted
        found = divergences_of_examples(logits, full, counted)
        each = batch.targets.numel() // max(1, len(found))
        lengths = [each] * len(found) if counted is None else counted.sum(1).tolist()
        self.total += float(found.double().sum())
        self.count += sum(lengths)
        self.examples += found.tolist()
        self.lengths += lengths

    def values(self) -> dict[str, float]:
        """See `Tally`."""
        # Rounding may leave the least bit below zero where a network says what the full one says.
        mean = self.total / self.count
        return {"kl_divergence": 0.0 if mean < 0 else mean}  # max(0.0, NaN) would be 0, the best there is

    def intervals(self) -> dict[str, Interval]:
        """See `Tally`. Over examples or texts."""
        ends = around(self.total / self.count, ratio_error(self.examples, self.lengths))
        return {} if ends is None else {"kl_divergence": (max(0.0, ends[0]), max(0.0, ends[1]))}


@dataclass(slots=True)
class Several:
    """Several tallies of the same answers."""

    tallies: tuple[Tally, ...]

    def add(self, logits: Tensor, batch: Batch, full: Tensor | None = None) -> None:
        """See `Tally`."""
        for tally in self.tallies:
            tally.add(logits, batch, full)

    def values(self) -> dict[str, float]:
        """See `Tally`."""
        return {name: value for tally in self.tallies for name, value in tally.values().items()}

    def intervals(self) -> dict[str, Interval]:
        """See `Tally`."""
        return {name: ends for tally in self.tallies for name, ends in tally.intervals().items()}


@dataclass(slots=True)
class SplitExam:
    """A split: accuracy, or perplexity of a language model; and the divergence from the full network if asked.

    Ready batches stay on the device while they are small enough (`READY_BYTES`).
    """

    split: Split
    against_full: bool = False
    _ready: dict[torch.device, list[Batch]] = field(default_factory=dict, init=False, repr=False)

    def batches(self, device: torch.device) -> Iterator[Batch]:
        """See `Exam`."""
        if device in self._ready:
            yield from self._ready[device]
            return
        made: list[Batch] = []
        num_bytes, whole = 0, True
        for batch in self.split.batches(batch_size(self.split), device):
            num_bytes += batch.num_bytes
            whole = whole and num_bytes <= READY_BYTES
            if whole:
                made.append(batch)
            yield batch
        if whole:
            self._ready[device] = made

    def tally(self) -> Tally:
        """See `Exam`."""
        labels: Tally = Perplexity() if self.split.is_language else Accuracy()
        if self.split.is_pairs:
            labels = Recall()
        return Several((labels, Divergence())) if self.against_full else labels


def batch_size(split: Split) -> int:
    """Examples in one forward pass."""
    shape = split.stored.shape
    if len(shape) == 4:
        most = BATCH * 64 * 64 // (shape[2] * shape[3])
        # Texts become vectors, not logits over a vocabulary: they take less room than those of language models.
        return max(1, min(BATCH, most, BATCH if split.texts is None else 8 * TOKENS // split.texts.shape[1]))
    if split.is_language or split.lengths is not None:
        return max(1, TOKENS // shape[1])
    return BATCH
