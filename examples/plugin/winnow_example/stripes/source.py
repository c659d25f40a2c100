"""Stripes: a wave in the direction of the class, at a random place, with noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from winnow.plugins import Carving, Dataset, Decoding, Labelled, image_dataset
from winnow_example.stripes.options import StripesOptions

TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Stripes:
    """The same images for every seed, which decides only what is held out for validation."""

    options: StripesOptions

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The dataset.

        Raises:
            DataError: the share leaves a split empty.
        """
        asked = self.options
        labels_N = np.repeat(np.arange(asked.directions), asked.count)
        images = Labelled(self._draw(labels_N), labels_N.astype(np.int64))
        carving = Carving(asked.validation_share, TEST_SHARE, limit=None)
        classes = [f"{180 * label / asked.directions:g} degrees" for label in range(asked.directions)]
        return image_dataset("stripes", "drawn by winnow-example", images, None, classes, carving, seed)

    def _draw(self, labels_N: np.ndarray) -> np.ndarray:
        """Grey images, shape (N, 1, size, size), uint8."""
        rng, size = np.random.default_rng(0), self.options.size
        angle_N11 = (np.pi * labels_N / self.options.directions)[:, None, None]
        y_HW, x_HW = np.mgrid[:size, :size] / size
        phase_N11 = rng.uniform(0, 2 * np.pi, (len(labels_N), 1, 1))
        wave_NHW = np.sin(4 * np.pi * (x_HW * np.cos(angle_N11) + y_HW * np.sin(angle_N11)) + phase_N11)
        noisy_NHW = 127.5 + 100 * wave_NHW + rng.normal(0, 10, wave_NHW.shape)
        return np.clip(noisy_NHW, 0, 255).astype(np.uint8)[:, None]


SOURCE = Stripes
