"""Augmentation policies: which operations an image gets, and how strong. Every image draws its own.

RandAugment (arXiv 1909.13719), TrivialAugment in its wide space (2103.10158) and AutoAugment's policies for CIFAR-10
and ImageNet (1805.09501, appendix).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from supernet.image_operations import OPERATIONS

# Strengths of RandAugment and TrivialAugment go from 0 to this, those of AutoAugment from 0 to 9.
STRONGEST, STRONGEST_OF_AUTO = 30, 9


@dataclass(frozen=True, slots=True)
class Range:
    """What an operation is given, from no strength to the greatest.

    Attributes:
        signed: whether a coin decides on the sign (of an enhancement: on less or more).
        about: what the sign is about: 1 for factors, of which 1 changes nothing.
    """

    weakest: float
    strongest: float
    signed: bool = False
    about: float = 0.0

    def at(self, share_N: np.ndarray, sign_N: np.ndarray) -> np.ndarray:
        """The values for shares of the strength, from 0 to 1."""
        values: np.ndarray = self.weakest + (self.strongest - self.weakest) * share_N
        return self.about + values * (sign_N if self.signed else 1)


def _ranges(shear: float, shift: float, turn: float, factor: float, bits: float) -> dict[str, Range]:
    enhanced = dict.fromkeys(("brightness", "colour", "contrast", "sharpness"), Range(0, factor, True, 1.0))
    return {
        "identity": Range(0, 0),
        **dict.fromkeys(("shear_x", "shear_y"), Range(0, shear, True)),
        **dict.fromkeys(("translate_x", "translate_y"), Range(0, shift, True)),
        "rotate": Range(0, turn, True),
        **enhanced,
        "posterize": Range(8, bits),
        "solarize": Range(1, 0),
        "auto_contrast": Range(0, 0),
        "equalize": Range(0, 0),
        "invert": Range(0, 0),
    }


# AutoAugment's images had 331 pixels, and moved by up to 150.
NARROW = _ranges(0.3, 150 / 331, 30, 0.9, 4)
# TrivialAugment's images had 32 pixels, and moved by up to as many.
WIDE = _ranges(0.99, 1.0, 135, 0.99, 2)
DRAWN = tuple(name for name in NARROW if name != "invert")

# (operation, probability, strength) twice.
SubPolicy: TypeAlias = tuple[tuple[str, float, int], tuple[str, float, int]]

CIFAR10: tuple[SubPolicy, ...] = (
    (("invert", 0.1, 7), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("auto_contrast", 0.5, 8), ("equalize", 0.9, 2)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("colour", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 5), ("equalize", 0.5, 1)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("colour", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 7), ("auto_contrast", 0.4, 8)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("colour", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 3)),
    (("equalize", 0.2, 0), ("auto_contrast", 0.6, 0)),
    (("equalize", 0.2, 8), ("equalize", 0.6, 4)),
    (("colour", 0.9, 9), ("equalize", 0.6, 6)),
    (("auto_contrast", 0.8, 4), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("colour", 0.7, 0)),
    (("solarize", 0.4, 5), ("auto_contrast", 0.9, 3)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("auto_contrast", 0.9, 2), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 8), ("invert", 0.1, 3)),
    (("translate_y", 0.7, 9), ("auto_contrast", 0.9, 1)),
)

IMAGENET: tuple[SubPolicy, ...] = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 5)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 4), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 7)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 2)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 8), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("colour", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 2)),
    (("equalize", 0.0, 7), ("equalize", 0.8, 8)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("colour", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("colour", 1.0, 2)),
    (("colour", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 8)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 9)),
    (("colour", 0.4, 0), ("equalize", 0.6, 3)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 5)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("colour", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
)
# Images of at most so many pixels get the policy for CIFAR-10.
SMALL = 64


def rand_augment(x_NCHW: Tensor, rng: np.random.Generator, operations: int, magnitude: int) -> Tensor:
    """So many operations of one strength, drawn with replacement."""
    share_N = np.full(len(x_NCHW), magnitude / STRONGEST)
    for _ in range(operations):
        x_NCHW = _drawn(x_NCHW, rng, NARROW, share_N)
    return x_NCHW


def trivial_augment(x_NCHW: Tensor, rng: np.random.Generator) -> Tensor:
    """One operation of any strength."""
    return _drawn(x_NCHW, rng, WIDE, rng.integers(STRONGEST + 1, size=len(x_NCHW)) / STRONGEST)


def auto_augment(x_NCHW: Tensor, rng: np.random.Generator, policy: tuple[SubPolicy, ...]) -> Tensor:
    """One pair of operations, each with its probability and strength."""
    pair_N = rng.integers(len(policy), size=len(x_NCHW))
    for half in (0, 1):
        steps = [pair[half] for pair in policy]
        on_N = rng.random(len(x_NCHW)) < np.array([probability for _, probability, _ in steps])[pair_N]
        names = [steps[pair][0] if on else "identity" for pair, on in zip(pair_N, on_N, strict=True)]
        share_N = np.array([strength for _, _, strength in steps])[pair_N] / STRONGEST_OF_AUTO
        x_NCHW = _applied(x_NCHW, rng, NARROW, names, share_N)
    return x_NCHW


def policy_for(size: int) -> tuple[SubPolicy, ...]:
    """AutoAugment's policy for images of this height or width, the larger of the two."""
    return CIFAR10 if size <= SMALL else IMAGENET


def _drawn(x_NCHW: Tensor, rng: np.random.Generator, ranges: Mapping[str, Range], share_N: np.ndarray) -> Tensor:
    names = [DRAWN[number] for number in rng.integers(len(DRAWN), size=len(x_NCHW))]
    return _applied(x_NCHW, rng, ranges, names, share_N)


def _applied(
    x_NCHW: Tensor, rng: np.random.Generator, ranges: Mapping[str, Range], names: list[str], share_N: np.ndarray
) -> Tensor:
    """Every image with its operation; those that share one are done together."""
    sign_N = np.where(rng.random(len(names)) < 0.5, -1.0, 1.0)
    done = x_NCHW.clone()
    for name in sorted(set(names) - {"identity"}):
        which = [number for number, own in enumerate(names) if own == name]
        strength = ranges[name].at(share_N[which], sign_N[which])
        index = torch.tensor(which, device=x_NCHW.device)
        given = torch.from_numpy(np.asarray(strength, np.float32)).to(x_NCHW.device)
        done[index] = OPERATIONS[name](x_NCHW[index], given)
    return done


# What a job may ask for, as a function of the images and a generator; None: nothing.
Policy: TypeAlias = Callable[[Tensor, np.random.Generator], Tensor]


def policy_of(
    name: Literal["none", "autoaugment", "randaugment", "trivialaugment"], operations: int, magnitude: int
) -> Policy | None:
    """The policy of that name.

    Args:
        operations, magnitude: operations and magnitude of RandAugment.
    """
    if name == "autoaugment":
        return lambda x, rng: auto_augment(x, rng, policy_for(max(x.shape[-2:])))
    if name == "randaugment":
        return lambda x, rng: rand_augment(x, rng, operations, magnitude)
    return trivial_augment if name == "trivialaugment" else None
