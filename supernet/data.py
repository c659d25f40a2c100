"""Data sources: what a job trains, searches and tests on.

Every source gives three splits. The supernet trains on `train`; the search ranks architectures on
`validation`; `test` is touched once, for the final front.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from search_space.plugins import UnknownPluginError


@dataclass(frozen=True, slots=True)
class Split:
    """Inputs `x_NCHW` (float32, standardised) with labels `y_N` (int64)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device) -> Split:
        """The same split on a device."""
        return Split(self.x.to(device), self.y.to(device))


@dataclass(frozen=True, slots=True)
class Dataset:
    """A named source with its splits.

    Attributes:
        origin: where the data came from, for model cards.
        preprocessing: what turns a raw input into what the network expects, as JSON-able facts.
    """

    name: str
    origin: str
    preprocessing: dict[str, Any]
    train: Split
    validation: Split
    test: Split
    num_classes: int

    def to(self, device: torch.device) -> Dataset:
        """The same dataset on a device."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
        )


def digits(seed: int) -> Dataset:
    """1,797 handwritten digits of 8x8 pixels that ship with scikit-learn: 60 % train, 20 %, 20 %.

    The test split is the same for every seed, so that test accuracies of different jobs compare;
    the seed divides the rest between training and validation. All splits are stratified by class.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    images = pixels.reshape(-1, 1, 8, 8).astype(np.float32)
    everything = np.arange(len(labels))
    rest, test = train_test_split(everything, test_size=0.2, random_state=0, stratify=labels)
    train, validation = train_test_split(rest, test_size=0.25, random_state=seed, stratify=labels[rest])
    mean, std = float(images[train].mean()), float(images[train].std())

    def split(index: np.ndarray) -> Split:
        x = torch.from_numpy((images[index] - mean) / std)
        return Split(x, torch.from_numpy(labels[index].astype(np.int64)))

    preprocessing = {
        "input": "pixels from 0 to 16, shape (batch, 1, 8, 8), float32",
        "formula": "(pixels - mean) / std",
        "mean": mean,
        "std": std,
        "labels": [str(digit) for digit in range(10)],
    }
    return Dataset(
        name="digits",
        origin="scikit-learn load_digits",
        preprocessing=preprocessing,
        train=split(train),
        validation=split(validation),
        test=split(test),
        num_classes=10,
    )


SOURCES: dict[str, Callable[[int], Dataset]] = {"digits": digits}


def load_dataset(source: str, seed: int) -> Dataset:
    """The dataset of a source; the seed decides which training examples are held out for validation.

    Raises:
        UnknownPluginError: there is no such source.
    """
    if source not in SOURCES:
        raise UnknownPluginError("data source", source, tuple(SOURCES))
    return SOURCES[source](seed)
