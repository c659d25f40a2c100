"""What a file scores on the samples it is verified with, and whether that is what the front says of its network.

docs/decisions/0091 says why the tolerances are what they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from supernet.scores.retrieval import recalls

# Of an accuracy: half a point, five answers in a thousand. Of a perplexity: a hundredth of it.
ACCURACY_TOLERANCE, PERPLEXITY_TOLERANCE = 0.005, 0.01
# Standard errors that a score of some samples may be off the score of all: one right file in 16,000 fails.
SIGMAS = 4.0
NORMAL_95 = 1.959964
# Target of a position whose prediction does not count, as torch's cross-entropy has it.
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Promise:
    """What the front says of a network.

    Attributes:
        metric: its name there, such as `test_accuracy`.
        of: samples that the number was obtained on. The samples that a file is verified with are drawn from them.
    """

    metric: str
    value: float
    of: int


@dataclass(slots=True)
class Score:
    """Counts answers: accuracy, perplexity of a language model, or recall of pairs, with its 95 % interval.

    Attributes:
        language: whether every position has a target of its own.
        pairs: whether an answer is two vectors, and its target the numbers of image and text.
    """

    language: bool
    pairs: bool = False
    _vectors: list[np.ndarray] = field(default_factory=list)
    _numbers: list[np.ndarray] = field(default_factory=list)
    right: int = 0
    answers: int = 0
    # Per text: summed -log p of its next tokens, and their number.
    lost: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    samples: int = 0
    _recall: float = 0.0

    def add(self, logits: np.ndarray, targets: np.ndarray) -> None:
        """Count the answers to some samples.

        Args:
            logits: (N, K), or (N, T, K) of a language model.
            targets: (N,) or (N, T); `IGNORED` does not count; for pairs (N, 2).
        """
        if self.pairs:
            self._vectors.append(logits)
            self._numbers.append(targets)
            self.samples += len(targets)
            return
        counts = targets != IGNORED
        known = ~np.isnan(logits).any(-1)
        self.right += int(((logits.argmax(-1) == targets) & counts & known).sum())
        self.answers += int(counts.sum())
        self.samples += len(targets)
        if self.language:
            # No copy in float64: a vocabulary is large. Sums are in float64.
            top = logits.max(-1, keepdims=True)
            total = top[..., 0] + np.log(np.exp(logits - top).sum(-1, dtype=np.float64))
            chosen = np.take_along_axis(logits, np.where(counts, targets, 0)[..., None], -1)[..., 0]
            self.lost += [float(v) for v in np.where(counts, total - chosen, 0.0).sum(1)]
            self.tokens += [int(v) for v in counts.sum(1)]

    @property
    def metric(self) -> str:
        """`accuracy`, `perplexity` or `recall_at_1`."""
        if self.pairs:
            return "recall_at_1"
        return "perplexity" if self.language else "accuracy"

    @property
    def accuracy(self) -> float:
        """Share of right answers; of a language model, of next tokens; of pairs, mean of both directions' recall."""
        if self.pairs:
            return self._recall
        return self.right / max(1, self.answers)

    @property
    def value(self) -> float:
        """The metric."""
        return math.exp(min(self._log_perplexity, 700.0)) if self.language else self.accuracy

    def finish(self) -> None:
        """Everything was added: pairs are searched both ways."""
        if not self.pairs:
            return
        vectors, numbers = np.concatenate(self._vectors), torch.from_numpy(np.concatenate(self._numbers))
        both = torch.from_numpy(vectors)
        self._recall, self.answers = recalls(both[:, 0], both[:, 1], numbers)["recall_at_1"]
        self.right = round(self._recall * self.answers)

    @property
    def _log_perplexity(self) -> float:
        return sum(self.lost) / max(1, sum(self.tokens))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the metric over all data that the samples were drawn from: Wilson's, or of the mean
        of -log p over texts."""
        if self.language:
            log, error = self._log_perplexity, NORMAL_95 * self.error
            return math.exp(min(log - error, 700.0)), math.exp(min(log + error, 700.0))
        n, z = max(1, self.answers), NORMAL_95
        middle = (self.accuracy + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(self.accuracy * (1 - self.accuracy) / n + z * z / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)

    @property
    def error(self) -> float:
        """Standard error of the accuracy, or of the logarithm of the perplexity (ratio estimator over texts)."""
        if not self.language:
            share = (self.right + 2) / (self.answers + 4)  # never 0 where every answer is right (Agresti, Coull 1998)
            return math.sqrt(share * (1 - share) / max(1, self.answers))
        if len(self.lost) < 2:
            return math.inf
        each = np.asarray(self.lost) - self._log_perplexity * np.asarray(self.tokens)
        return float(np.sqrt(len(each) / (len(each) - 1) * (each**2).sum()) / max(1, sum(self.tokens)))

    def report(self) -> dict[str, Any]:
        """The scores as the report shows them."""
        low, high = self.interval
        extra = {self.metric: self.value} if self.language or self.pairs else {}
        return {"metric": self.metric, "accuracy": self.accuracy, **extra, "interval_95": [low, high]}


def against(promise: Promise, score: Score) -> dict[str, Any]:
    """How far a file is from what the front says, and how far it may be.

    Returns:
        `difference` and `tolerance`: of accuracies, or of the logarithms of perplexities; `kept`: whether it is near.
    """
    whole = score.samples >= promise.of
    left_out = 0.0 if whole else math.sqrt((promise.of - score.samples) / max(1, promise.of - 1))
    sampling = SIGMAS * score.error * left_out if left_out else 0.0
    if score.language:
        tolerance = PERPLEXITY_TOLERANCE + sampling
        sound = math.isfinite(promise.value) and math.isfinite(score.value) and min(promise.value, score.value) > 0
        difference = abs(math.log(score.value) - math.log(promise.value)) if sound else math.inf
    else:
        tolerance = max(ACCURACY_TOLERANCE, 1 / max(1, score.answers)) + sampling
        difference = abs(score.value - promise.value)
    # A hair of room: 1/n and a difference of two shares of n are the same number with other roundings.
    kept = difference <= tolerance + 1e-9
    return {"difference": difference, "tolerance": tolerance, "kept": bool(kept)}
