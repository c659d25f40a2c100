"""scikit-learn's handwritten digits: no download, a minute's training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from supernet.data.dataset import DataError, Dataset, Split, Standardisation
from supernet.data.decoding import Decoding


@dataclass(frozen=True, slots=True)
class Digits:
    """1,797 images of 8x8 pixels from 0 to 16: 20 % test, and of the rest a share for validation.

    The test split is the same for every seed, so that test accuracies of different jobs compare;
    the seed divides the rest between training and validation. All splits are stratified by class.
    """

    validation_share: float = 0.25

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The dataset."""
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        pixels, labels = load_digits(return_X_y=True)
        images = pixels.reshape(-1, 1, 8, 8).astype(np.uint8)
        rest, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
        if not 10 <= self.validation_share * len(rest) <= len(rest) - 10:
            raise DataError(
                f"data.validation_share is {self.validation_share:g}; with {len(rest)} digits of 10 classes it must "
                f"lie between {10 / len(rest):.2g} and {1 - 10 / len(rest):.2g}."
            )
        train, validation = train_test_split(
            rest, test_size=self.validation_share, random_state=seed, stratify=labels[rest]
        )
        seen = images[train].astype(np.float32)
        mean, std = float(seen.mean()), float(seen.std())
        standardisation = Standardisation((mean,), (std,), full_scale=16.0)

        def split(index: np.ndarray) -> Split:
            return Split(
                torch.from_numpy(images[index]), torch.from_numpy(labels[index].astype(np.int64)), standardisation
            )

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


SOURCE = Digits
