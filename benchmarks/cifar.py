"""What the benchmarks on CIFAR-10 share: data, a space that is small enough, trainings, and their scores."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from search_space.adjustments import Adjustments
from search_space.architecture import Architecture
from search_space.plugins import load_family
from search_space.space import Choice, SearchSpace
from supernet.calibrate import calibrate
from supernet.data import Dataset, load_dataset
from supernet.evaluate import accuracy
from supernet.network import Supernet, extract
from supernet.options import AugmentationOptions
from supernet.trainer import Trainer, TrainingMethod, TrainingOptions

# Calibration: the published recipes' 16,384 images in batches of 256, or all there are (arXiv 2011.09011).
CALIBRATION_IMAGES, CALIBRATION_BATCH = 16_384, 256


@dataclass(frozen=True, slots=True)
class Setting:
    """How large a benchmark is.

    Attributes:
        choices: options instead of the preset's, as in a job's `supernet.choices`.
        limit: training images (validation included); None: all 50,000.
        test_limit: test images; None: all 10,000.
        calibration: images of a calibration, at most.
    """

    preset: str
    choices: dict[str, tuple[int | float | str, ...]]
    limit: int | None
    epochs: int
    batch_size: int
    learning_rate: float
    precision: str
    test_limit: int | None = None
    calibration: int = CALIBRATION_IMAGES

    def space(self) -> SearchSpace:
        """The search space."""
        return load_family("mobilenet", self.preset, Adjustments(dict(self.choices), None, None))

    def options(self, steps_per_epoch: int) -> TrainingOptions:
        """Nesterov SGD with cosine decay and warm-up, AttentiveNAS's choice (arXiv 2011.09011), the same for all."""
        warm = min(1.0, 20 / steps_per_epoch) if self.epochs < 50 else 5.0
        return TrainingOptions(
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer="sgd",
            learning_rate=self.learning_rate,
            lr_decay=1.0,
            lr_decay_epochs=1.0,
            lr_floor=0.0,
            weight_decay=1e-4,
            momentum=0.9,
            clip_norm=0.0,
            schedule="cosine",
            warmup_epochs=warm,
            precision=self.precision,
        )


def read_data(path: Path, setting: Setting, device: torch.device) -> Dataset:
    """CIFAR-10 with a validation split that these benchmarks do not look at; exits where it is absent."""
    if not path.exists():
        sys.stderr.write(f"Skipped: {path} is not there. Give CIFAR-10 as parquet or binary files with --data.\n")
        raise SystemExit(0)
    data = load_dataset("cifar10", 0, {"path": str(path), "limit": setting.limit})
    if setting.test_limit is not None:
        chosen = torch.randperm(len(data.test), generator=torch.Generator().manual_seed(0))[: setting.test_limit]
        data = replace(data, test=data.test.take(chosen))
    return data.to(device)


def train(space: SearchSpace, method: TrainingMethod, data: Dataset, setting: Setting, seed: int = 0) -> Supernet:
    """A trained supernet; progress goes to standard error."""
    device = data.train.stored.device
    torch.manual_seed(seed)
    supernet = Supernet(space).to(device)
    steps_per_epoch = max(1, len(data.train) // setting.batch_size)
    augment = AugmentationOptions(crop_padding=4, flip=True)
    trainer = Trainer(supernet, method, data.train, setting.options(steps_per_epoch), seed, augment)
    began, name = time.monotonic(), type(method).__name__
    while trainer.steps_done < trainer.num_steps:
        losses = trainer.step()
        epoch, within = divmod(trainer.steps_done, trainer.steps_per_epoch)
        if not within:
            shown = ", ".join(f"{key.removeprefix('loss_')} {value:.3f}" for key, value in losses.items())
            spent = time.monotonic() - began
            sys.stderr.write(f"\r{name} {space.name}: epoch {epoch}/{setting.epochs}, {spent:.0f} s, {shown}   ")
    sys.stderr.write("\n")
    return supernet


def alone(space: SearchSpace, architecture: Architecture) -> SearchSpace:
    """A space with this one network, whose supernet has its weights and no others."""
    return SearchSpace(
        f"{space.name}/alone/{architecture.id}",
        [Choice("only", (0,))],
        blueprint=lambda _values: space.layers(architecture),
        takes=space.takes,
    )


def network_of(
    supernet: Supernet, architecture: Architecture, data: Dataset, *, calibrated: bool, images: int = CALIBRATION_IMAGES
) -> nn.Module:
    """The sub-network as it would be shipped; without calibration it has the supernet's own statistics.

    A supernet in training keeps no running averages, so what "without calibration" means is the statistics
    of the largest network: shared by all, as SortedNet's table has it (arXiv 2309.00255).
    """
    network = extract(supernet, architecture)
    if calibrated:
        parts = data.train.stored[:images].split(CALIBRATION_BATCH)
        standardise = data.train.standardisation
        assert standardise is not None
        calibrate(network, (standardise(part) for part in parts))
    return network


def share_statistics(supernet: Supernet, data: Dataset) -> None:
    """Give the supernet the running statistics of its largest network, which sub-networks then take slices of."""
    largest = network_of(supernet, supernet.space.largest(), data, calibrated=True)
    for name, buffer in largest.named_buffers():
        slot, rest = name.split(".", 1)
        whole = supernet.slot(slot).block.get_buffer(rest)
        if whole.shape == buffer.shape:
            whole.copy_(buffer)


def test_accuracy(network: nn.Module, data: Dataset) -> float:
    """On the test split."""
    return accuracy(network, data.test)


def front_architectures(space: SearchSpace, count: int) -> list[Architecture]:
    """Networks spread evenly over MACs, from the smallest to the largest."""
    import numpy as np

    rng = np.random.default_rng(0)
    drawn = {a.id: a for a in (space.sample(rng) for _ in range(64 * count))}
    ends = [space.smallest(), space.largest()]
    pool = sorted([*drawn.values(), *ends], key=lambda a: macs_of(space, a))
    low, high = (macs_of(space, end) for end in ends)
    chosen = []
    for target in np.geomspace(low, high, count):
        chosen.append(min(pool, key=lambda a: (abs(macs_of(space, a) - target), a.id)))
    return list({a.id: a for a in chosen}.values())


def macs_of(space: SearchSpace, architecture: Architecture) -> int:
    """Multiply-accumulates of a network."""
    from predictors.cost import macs

    return macs(space, architecture)


def settings_facts(setting: Setting, data: Dataset) -> dict[str, Any]:
    """What a result must say about how it was obtained."""
    return {
        "preset": setting.preset,
        "choices": {name: list(options) for name, options in setting.choices.items()},
        "training_images": len(data.train),
        "test_images": len(data.test),
        "calibration_images": min(setting.calibration, len(data.train)),
        "epochs": setting.epochs,
        "batch_size": setting.batch_size,
        "learning_rate": setting.learning_rate,
        "optimizer": "SGD with Nesterov momentum 0.9, weight decay 1e-4, cosine",
        "augmentation": "crop with padding 4, flip",
        "precision": setting.precision,
    }
