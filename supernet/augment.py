"""Augmentation of whole batches on their device, the same for a step however often it is run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from supernet.data import Batch, Split
from supernet.data.originals import DRAWS, Originals
from supernet.options import AugmentationOptions
from supernet.randomness import derived_rng


class Augmentation:
    """Training batches of a split, augmented.

    Everything random about step `n` is derived from the seed and `n`, so that a resumed training sees the
    images that the interrupted one would have seen.

    Args:
        split: of images, with a standardisation.

    Raises:
        ValueError: the split holds text, or images whose scale is not known; or a policy wants colours.
    """

    def __init__(self, split: Split, options: AugmentationOptions, seed: int) -> None:
        self.split, self.options, self.seed = split, options, seed
        if not options.is_on:
            return
        if split.stored.dim() != 4 or split.standardisation is None:
            raise ValueError("training.augmentation is for images; this data is not. Leave it out.")
        if options.policy == "autoaugment" and split.stored.shape[1] != 3:
            raise ValueError(
                f"AutoAugment wants images of 3 channels; these have {split.stored.shape[1]}. "
                "Choose the policy randaugment or trivialaugment."
            )

    def batch(self, index: Tensor, step: int, part: int = 0, device: torch.device | None = None) -> Batch:
        """Some examples as the networks eat them in this step.

        Args:
            part: of the step, where a step's batch is split over processes or micro-batches.
            device: where they are wanted, and augmented; None: where the split is.
        """
        if not self.options.is_on:
            return self.split.batch(index, device)
        standardisation = self.split.standardisation
        assert standardisation is not None
        pixels_NCHW = self._pixels(index, step, part).to(device).to(torch.float32) / standardisation.full_scale
        with torch.no_grad(), seeded(self.seed, f"augmentation/{part}", step, pixels_NCHW.device):
            augmented_NCHW = self._transforms(pixels_NCHW)
        inputs = standardisation(augmented_NCHW.clamp(0, 1) * standardisation.full_scale)
        return Batch(inputs, self.split.y[index].to(device).long())

    @property
    def reads_ahead(self) -> bool:
        """Whether `expect` does anything."""
        return self._originals is not None or self.split.reads_ahead

    def expect(self, index: Tensor, step: int, part: int = 0) -> None:
        """These examples are wanted next: what lies in files is read while the caller does something else."""
        if self._originals is not None:
            self._originals.expect(index.cpu().numpy(), self._draws(len(index), step, part), self.options.resized_crop)
        else:
            self.split.expect(index)

    @property
    def _originals(self) -> Originals | None:
        """Pictures of which random crops are cut and only then resized, as the papers do; None: of what is stored."""
        return self.split.originals if self.options.resized_crop < 1 else None

    def _pixels(self, index: Tensor, step: int, part: int) -> Tensor:
        """Images as bytes, `NCHW`: as they are stored, or random crops of their originals."""
        if self._originals is None:
            return self.split.stored[index]
        draws = self._draws(len(index), step, part)
        return torch.from_numpy(self._originals.crops(index.cpu().numpy(), draws, self.options.resized_crop))

    def _draws(self, count: int, step: int, part: int) -> np.ndarray:
        return derived_rng(self.seed, f"crops/{part}", step).random((count, *DRAWS))

    @cached_property
    def _transforms(self) -> nn.Sequential:
        # Slow to import (three seconds), and many trainings have no augmentation.
        import kornia.augmentation as K
        from kornia.augmentation import auto

        options, size = self.options, tuple(self.split.stored.shape[-2:])
        chain: list[nn.Module] = []
        if options.resized_crop < 1 and self._originals is None:
            chain.append(K.RandomResizedCrop(size, scale=(options.resized_crop, 1.0), cropping_mode="resample"))
        if options.crop_padding:
            chain.append(K.RandomCrop(size, padding=options.crop_padding))
        if options.flip:
            chain.append(K.RandomHorizontalFlip())
        if options.policy == "autoaugment":
            chain.append(auto.AutoAugment("cifar10" if max(size) <= 64 else "imagenet"))
        elif options.policy == "randaugment":
            chain.append(auto.RandAugment(n=options.policy_ops, m=options.policy_magnitude))
        elif options.policy == "trivialaugment":
            chain.append(auto.TrivialAugment())
        return nn.Sequential(*chain)


@contextmanager
def seeded(seed: int, purpose: str, position: int, device: torch.device) -> Iterator[None]:
    """Inside, torch's global generators are those of this purpose and position; outside, nothing has changed.

    For code that takes no generator, such as dropout and kornia.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(derived_rng(seed, purpose, position).integers(2**62)))
        yield
