"""Forms small enough to train a supernet many times on two cores, and trainings that are kept on disk.

A form is data, a space, twenty networks and a way to train. A recipe is one training in a form: of a supernet, or of
a network alone. Every training and every score lies in a folder under a digest of all that it depends on, so that a
benchmark can be stopped at any time and continued by somebody else. Calibration sees images augmented as in training:
plain ones cost 1.1 points where training crops with padding (docs/log.md).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.cache import Cache
from benchmarks.cifar import Setting, alone, macs_of
from benchmarks.sharing_methods import make_method
from search_space.architecture import Architecture
from search_space.space import SearchSpace
from supernet.augment import Augmentation
from supernet.calibrate import calibrate
from supernet.data import Dataset, Split, load_dataset
from supernet.flat import load_tensors
from supernet.network import Supernet, extract
from supernet.options import AugmentationOptions
from supernet.trainer import Trainer, TrainingMethod, TrainingOptions

# Part of every digest: raise it when a change of the code makes trainings differ.
VERSION = 2
VALIDATION_IMAGES = 5_000
CALIBRATION_IMAGES, CALIBRATION_BATCH = 4_096, 256
# A training that is stopped loses at most so much of its time.
SAVED_EVERY_SECONDS = 60
# Networks of a form besides its two ends: so many in each of three bands of MACs, each within this share of its centre.
BANDS, IN_A_BAND, BAND_WIDTH = 3, 6, 0.1


@dataclass(frozen=True, slots=True)
class Form:
    """Data and space of a benchmark.

    Attributes:
        size: height and width of the images in pixels, to which they are shrunk beforehand (bicubic, antialiased).
        images: to train on; validation has other images of CIFAR-10's training part.
        epochs: of a network alone.
        long: as many times as long a supernet trains whose cost equals that of all networks alone.
        crop_padding: pixels.
    """

    name: str
    size: int
    images: int
    epochs: int
    long: int
    batch_size: int
    crop_padding: int
    choices: dict[str, tuple[int, ...]] = field(hash=False)

    def space(self) -> SearchSpace:
        """The search space."""
        return Setting("cifar", dict(self.choices), None, 1, self.batch_size, 0.1, "float32").space()


def _choices(stem: tuple[int, ...], stages: list[tuple[int, ...]], head: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    widths = {f"stage{s}_width": stage for s, stage in enumerate(stages, 1)}
    depths = {f"stage{s}_depth": (1, 2) if s in (2, 3) else (1,) for s in range(1, 5)}
    shape = {"stage*_block*_kernel": (3,), "stage*_block*_expansion": (2, 4)}
    return {"resolution": (16,), "stem_width": stem, **widths, **depths, "head_width": head, **shape}


FORMS = {
    form.name: form
    for form in (
        Form(
            "underfit",
            *(16, 9_000, 10, 8, 64, 2),
            _choices((4, 8), [(4, 8, 16), (4, 10, 24), (6, 16, 40), (8, 24, 64)], (16, 48, 128)),
        ),
        # The largest network of `underfit`, in a space whose widths differ by at most two times.
        Form(
            "ratio two",
            *(16, 9_000, 10, 8, 64, 2),
            _choices((4, 8), [(8, 12, 16), (12, 16, 24), (20, 28, 40), (32, 48, 64)], (64, 96, 128)),
        ),
        Form(
            "saturated",
            *(16, 1_000, 160, 2, 64, 2),
            _choices((8, 16), [(8, 16, 24), (12, 20, 32), (16, 32, 56), (24, 48, 96)], (48, 96, 192)),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training.

    Attributes:
        method: `alone`, `bignas` or `sortednet`.
        genes: of the network that is trained alone.
        options: of the method, as (name, value).
        seed: of initial weights, batches and sub-networks.
        trainer: fields of `TrainingOptions` that differ from the usual ones, as (name, value).
    """

    form: str
    method: str
    epochs: int
    learning_rate: float = 0.1
    genes: tuple[int, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    seed: int = 0
    trainer: tuple[tuple[str, Any], ...] = ()

    @property
    def digest(self) -> str:
        """What its results are kept under."""
        facts = [VERSION, asdict(self), asdict(FORMS[self.form])]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def train_options(self, steps_per_epoch: int) -> TrainingOptions:
        """Nesterov SGD with cosine decay after 100 steps of warm-up, at most a tenth of the training."""
        base = Setting("cifar", {}, None, self.epochs, FORMS[self.form].batch_size, self.learning_rate, "float32")
        warm = min(100 / steps_per_epoch, self.epochs / 10)
        changed = {**base.options(steps_per_epoch).model_dump(), "warmup_epochs": warm, **dict(self.trainer)}
        return TrainingOptions.model_validate(changed)


class Bench:
    """A form's data and space, and a folder in which trainings and scores are kept.

    Args:
        data_path: CIFAR-10.
        folder: None: nothing is kept.
    """

    def __init__(self, form: Form, data_path: Path, folder: Path | None) -> None:
        self.form, self.folder = form, folder
        self.space = form.space()
        self.cache = Cache(folder)
        self.data_path = data_path

    @property
    def data(self) -> Dataset:
        """Train, validation and test images at the form's size; read when they are first needed."""
        return _read(self.data_path, self.form.size, self.form.images)

    # --- networks -----------------------------------------------------------------------------------

    def networks(self) -> list[Architecture]:
        """Both ends, and networks within narrow bands of MACs, so that a ranking by MACs says little within one."""
        rng = np.random.default_rng(0)
        ends = [self.space.smallest(), self.space.largest()]
        low, high = (macs_of(self.space, end) for end in ends)
        centres = np.geomspace(low, high, BANDS + 2)[1:-1]
        found: list[dict[str, Architecture]] = [{} for _ in centres]
        while any(len(band) < IN_A_BAND for band in found):
            drawn = self.space.sample(rng, "macs")
            for band, centre in zip(found, centres, strict=True):
                if abs(macs_of(self.space, drawn) / centre - 1) < BAND_WIDTH and len(band) < IN_A_BAND:
                    band[drawn.id] = drawn
        return [ends[0], *(drawn for band in found for drawn in band.values()), ends[1]]

    # --- trainings ----------------------------------------------------------------------------------

    def supernet(self, recipe: Recipe) -> Supernet:
        """The trained supernet of a recipe, trained now if that was not done before."""
        space = self.space if recipe.method != "alone" else alone(self.space, self.space.from_genes(recipe.genes))
        torch.manual_seed(recipe.seed)
        supernet = Supernet(space)
        method = make_method(recipe.method, {"label_smoothing": 0.1} | dict(recipe.options))
        trainer = self._trainer(supernet, method, recipe)
        self.cache.weights(recipe.digest, supernet, lambda: self._train(trainer, recipe))
        if self.folder is not None:
            self._half_done(recipe).unlink(missing_ok=True)
        return supernet

    def is_trained(self, recipe: Recipe) -> bool:
        """Whether its weights are kept."""
        return self.folder is not None and (self.folder / f"{recipe.digest}.safetensors").exists()

    def facts(self, recipe: Recipe) -> dict[str, Any]:
        """What a training cost: minutes of a core, steps, and its last losses."""
        assert self.folder is not None
        facts: dict[str, Any] = json.loads((self.folder / f"{recipe.digest}.facts.json").read_text())
        return facts

    def _trainer(self, supernet: Supernet, method: TrainingMethod, recipe: Recipe) -> Trainer:
        steps_per_epoch = max(1, self.form.images // self.form.batch_size)
        options = recipe.train_options(steps_per_epoch)
        return Trainer(supernet, method, self.data.train, options, recipe.seed, self.augment)

    @property
    def augment(self) -> AugmentationOptions:
        """Of every training, and of calibration."""
        return AugmentationOptions(crop_padding=self.form.crop_padding, flip=True)

    def _train(self, trainer: Trainer, recipe: Recipe) -> None:
        spent, curve = self._continued(trainer, recipe)
        began, saved = time.process_time() - spent, time.monotonic()
        while trainer.steps_done < trainer.num_steps:
            losses = trainer.step()
            if trainer.steps_done % max(1, trainer.num_steps // 20) == 0:
                curve.append({name: round(value, 4) for name, value in losses.items()})
            if time.monotonic() - saved > SAVED_EVERY_SECONDS:
                self._keep(trainer, recipe, time.process_time() - began, curve)
                saved = time.monotonic()
        if trainer.average is not None:
            load_tensors(trainer.supernet, trainer.average.tensors())
        minutes = (time.process_time() - began) / 60
        facts = {"core_minutes": round(minutes, 3), "steps": trainer.num_steps, "curve": curve, **asdict(recipe)}
        sys.stderr.write(f"{recipe.method} {recipe.options} {recipe.epochs} epochs: {minutes:.1f} core-minutes\n")
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{recipe.digest}.facts.json").write_text(json.dumps(facts))

    def _half_done(self, recipe: Recipe) -> Path:
        assert self.folder is not None
        return self.folder / f"{recipe.digest}.half.safetensors"

    def _keep(self, trainer: Trainer, recipe: Recipe, spent: float, curve: list[dict[str, float]]) -> None:
        """Write what a training that is stopped here goes on from."""
        if self.folder is None:
            return
        tensors = {name: tensor.detach().contiguous() for name, tensor in trainer.tensors().items()}
        facts = {"steps": str(trainer.steps_done), "spent": str(spent), "curve": json.dumps(curve)}
        file = self._half_done(recipe)
        save_file(tensors, file.with_suffix(".draft"), facts)
        file.with_suffix(".draft").replace(file)

    def _continued(self, trainer: Trainer, recipe: Recipe) -> tuple[float, list[dict[str, float]]]:
        """Go on where the same training was stopped: seconds of a core that were spent, and losses so far."""
        if self.folder is None or not self._half_done(recipe).exists():
            return 0.0, []
        with safe_open(self._half_done(recipe), "pt") as kept:
            facts: dict[str, str] = kept.metadata()
            trainer.restore({name: kept.get_tensor(name) for name in kept.keys()}, int(facts["steps"]))  # noqa: SIM118
        return float(facts["spent"]), json.loads(facts["curve"])

    # --- scores -------------------------------------------------------------------------------------

    def scores(self, recipe: Recipe, architectures: list[Architecture]) -> list[dict[str, float]]:
        """Accuracy in percent and cross-entropy of networks on test and validation images; kept one by one."""
        scored, supernet = [], None
        for architecture in architectures:
            name = f"{recipe.digest}-{hashlib.sha256(architecture.id.encode()).hexdigest()[:12]}"
            if self.folder is None or not (self.folder / f"{name}.json").exists():
                supernet = supernet or self.supernet(recipe)
            scored.append(self.cache.result(name, partial(self._score, supernet, architecture)))
        return scored

    def alone(self, recipe: Recipe, architecture: Architecture) -> dict[str, float]:
        """Scores of a network that was trained alone."""
        recipe = replace(recipe, method="alone", genes=tuple(architecture.genes))
        return self.scores(recipe, [alone(self.space, architecture).largest()])[0]

    def _score(self, supernet: Supernet | None, architecture: Architecture) -> dict[str, float]:
        assert supernet is not None
        network = extract(supernet, architecture)
        calibrate(network, self.augmented())
        return {
            f"{name}_{what}": value
            for name, split in (("test", self.data.test), ("validation", self.data.validation))
            for what, value in _scored(network, split).items()
        }

    def augmented(self) -> Iterator[Tensor]:
        """Training images as training sees them, the same ones every time."""
        augmentation = Augmentation(self.data.train, self.augment, seed=1_000)
        count = min(CALIBRATION_IMAGES, len(self.data.train))
        order = torch.randperm(len(self.data.train), generator=torch.Generator().manual_seed(0))[:count]
        for step, index in enumerate(order.split(CALIBRATION_BATCH)):
            yield augmentation.batch(index, step).x


def _scored(network: nn.Module, split: Split) -> dict[str, float]:
    network.eval()
    right, loss = 0, 0.0
    with torch.no_grad():
        for batch in split.batches(500):
            logits = network(batch.x)
            right += int((logits.argmax(1) == batch.targets).sum())
            loss += float(F.cross_entropy(logits, batch.targets, reduction="sum"))
    return {"accuracy": 100 * right / len(split), "loss": loss / len(split)}


@lru_cache(2)
def _read(path: Path, size: int, images: int) -> Dataset:
    """CIFAR-10, shrunk; validation images come after the training images in one random order."""
    if not path.exists():
        sys.stderr.write(f"Skipped: {path} is not there. Give CIFAR-10 as parquet or binary files with --data.\n")
        raise SystemExit(0)
    data = load_dataset("cifar10", 0, {"path": str(path)})
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    return replace(
        data,
        train=_shrunk(data.train.take(order[:images]), size),
        validation=_shrunk(data.train.take(order[images : images + VALIDATION_IMAGES]), size),
        test=_shrunk(data.test, size),
    )


def _shrunk(split: Split, size: int) -> Split:
    assert isinstance(split.stored, Tensor)
    small = F.interpolate(split.stored.float(), size=size, mode="bicubic", antialias=True)
    return replace(split, stored=small.round().clamp(0, 255).to(torch.uint8))


def polite() -> None:
    """One thread, and the least claim on a core that others want."""
    torch.set_num_threads(1)
    os.nice(19 - os.nice(0))
