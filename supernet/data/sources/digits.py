"""scikit-learn's handwritten digits: no download, a minute's training."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from supernet.data.dataset import Dataset
from supernet.data.decoding import Decoding
from supernet.data.images import Carving, Labelled, image_dataset

TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Digits:
    """1,797 images of 8x8 pixels from 0 to 16: 20 % test, and of the rest a share for validation."""

    validation_share: float = 0.25

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The dataset.

        Raises:
            DataError: the share leaves a split empty.
        """
        pixels, labels = read_digits()
        images = Labelled(pixels.reshape(-1, 1, 8, 8).astype(np.uint8), labels.astype(np.int64))
        classes = [str(digit) for digit in range(10)]
        carving = Carving(self.validation_share, TEST_SHARE, limit=None)
        return image_dataset("digits", "scikit-learn load_digits", images, None, classes, carving, seed, full_scale=16)


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """What `load_digits` returns: pixels of shape (1797, 64), labels of shape (1797,).

    Read from its file, because the import of scikit-learn takes as long as that of torch, and every process of a job
    reads its data.
    """
    spec = find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        table = np.loadtxt(file, delimiter=",")
        return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits  # a release that keeps it elsewhere

    pixels, labels = load_digits(return_X_y=True)
    return pixels, labels


SOURCE = Digits
