"""What one network scores on a split of data. Many sub-networks of a supernet at once: `examiner`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from supernet.data import Split
from supernet.network import float_type_of
from supernet.scores.exam import Exam, Scores
from supernet.scores.labels import BATCH, TOKENS, SplitExam, batch_size

__all__ = ["BATCH", "TOKENS", "accuracy", "batch_size", "examine", "perplexity", "score", "scores"]


def accuracy(network: nn.Module, split: Split) -> float:
    """Share of correct top-1 predictions, between 0 and 1. The network is left in evaluation mode."""
    return examine(network, SplitExam(split))["accuracy"]


def perplexity(network: nn.Module, split: Split) -> float:
    """exp of the mean cross-entropy of a token, at least 1. The network is left in evaluation mode."""
    return examine(network, SplitExam(split))["perplexity"]


def score(network: nn.Module, split: Split) -> float:
    """What a network is scored by on such data: see `Split.metric`."""
    return examine(network, SplitExam(split))[split.metric]


def examine(network: nn.Module, exam: Exam, full: nn.Module | None = None) -> dict[str, float]:
    """What a network scores in an exam, by metric. See `scores`."""
    return scores(network, exam, full).values


def scores(
    network: nn.Module, exam: Exam, full: nn.Module | None = None, answers: Iterator[Tensor] | None = None
) -> Scores:
    """What a network scores in an exam, with intervals. It is left in evaluation mode.

    Args:
        full: the network with which it is compared, where the exam does that.
        answers: that network's logits for every batch, where they are known.
    """
    network.eval()
    like, dtype = next(network.parameters(), None), float_type_of(network)
    tally = exam.tally()
    with torch.no_grad():
        for batch in exam.batches(torch.device("cpu") if like is None else like.device):
            inputs = [x.to(dtype) if x.is_floating_point() else x for x in batch.inputs.values()]
            theirs = None
            if exam.against_full and answers is not None:
                theirs = next(answers)
            elif exam.against_full and full is not None:
                theirs = full.eval()(*inputs)
            tally.add(network(*inputs).float(), batch, theirs)  # of a network in 16 bits too
    return Scores(tally.values(), tally.intervals())
