"""Observers: which range of an activation is stored, from what calibration saw of it.

`minmax` keeps everything; `percentile` gives up the rarest values; `kl` cuts where the distribution that is left
differs least from the whole (Migacz, "8-bit inference with TensorRT", 2017), which is what SimQ-NAS calibrates with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

OBSERVERS = ("minmax", "percentile", "kl")
# Bins of a histogram, levels that a cut distribution is squeezed into, and bins between two tried cuts.
BINS, LEVELS, STEP = 1024, 128, 16
# Values of one tensor that are counted at most: a hundred a bin say enough about its shape.
SAMPLES = 1 << 17
# Share of the values that `percentile` keeps on each side.
KEPT = 0.9999


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in `BINS` equal bins from `least` to `most`."""

    least: float
    most: float
    counts: Tensor

    @classmethod
    def of(cls, tensors: list[Tensor], least: float, most: float) -> Histogram:
        """The histogram of tensors whose values lie between `least` and `most`; large ones give evenly spaced values.

        Zeros are left out.
        """
        counts = torch.zeros(BINS, dtype=torch.float64)
        for tensor in tensors if most > least else []:
            some = tensor.reshape(-1)[:: -(-tensor.numel() // SAMPLES)]
            some = some[some != 0]  # stored exactly whatever the range; after a ReLU they would outweigh all else
            counts += torch.histc(some.float(), BINS, least, most).cpu()
        return cls(least, most, counts)

    def __add__(self, other: Histogram) -> Histogram:
        assert (self.least, self.most) == (other.least, other.most)
        return Histogram(self.least, self.most, self.counts + other.counts)

    def percentile(self) -> tuple[float, float]:
        """The range that leaves out the rarest values on each side."""
        shares = self.counts.cumsum(0) / self.counts.sum()
        width = (self.most - self.least) / BINS
        low = int(torch.searchsorted(shares, 1 - KEPT))
        high = int(torch.searchsorted(shares, KEPT))
        return self.least + low * width, min(self.least + (high + 1) * width, self.most)

    def folded(self) -> Tensor:
        """Counts by distance from zero, in `BINS` equal bins up to the largest distance."""
        middles = self.least + (torch.arange(BINS, dtype=torch.float64) + 0.5) * (self.most - self.least) / BINS
        places = (middles.abs() / self.size * BINS).long().clamp(max=BINS - 1)
        return torch.zeros(BINS, dtype=torch.float64).index_add(0, places, self.counts)

    @property
    def size(self) -> float:
        """The largest distance from zero."""
        return max(-self.least, self.most)


def kl_ranges(histograms: list[Histogram]) -> list[tuple[float, float]]:
    """For each histogram the range that loses least information, cut at the same distance from zero on both sides.

    All are worked on together, which took a network of 44 tensors a quarter of the time (docs/log.md).
    """
    counts = torch.stack([histogram.folded() for histogram in histograms])
    cuts = list(range(LEVELS, BINS + 1, STEP))
    best = torch.stack([_lost(counts, cut) for cut in cuts]).argmin(0).tolist()
    ranges = []
    for histogram, index in zip(histograms, best, strict=True):
        cut = histogram.size * cuts[index] / BINS
        ranges.append((max(histogram.least, -cut), min(histogram.most, cut)))
    return ranges


def _lost(counts: Tensor, cut: int) -> Tensor:
    """Kullback-Leibler divergence from distributions cut at a bin to the same in `LEVELS` levels.

    Args:
        counts: shape (histograms, BINS).
    """
    kept = counts[:, :cut]
    reference = kept.clone()
    reference[:, -1] += counts[:, cut:].sum(1)
    level = torch.arange(cut) * LEVELS // cut
    there = (kept > 0).double()
    empty = torch.zeros(len(counts), LEVELS, dtype=torch.float64)
    sums, filled = empty.index_add(1, level, kept), empty.index_add(1, level, there)
    squeezed = (sums / filled.clamp(min=1))[:, level] * there
    p = reference / reference.sum(1, keepdim=True)
    q = squeezed / squeezed.sum(1, keepdim=True).clamp(min=1e-300)
    return torch.where(p > 0, p * (p.clamp(min=1e-300) / q.clamp(min=1e-12)).log(), 0.0).sum(1)
