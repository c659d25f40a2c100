"""Data, spaces and supernets of the SimQ-NAS benchmark, by family."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.cache import Cache
from search_space.adjustments import Adjustments
from search_space.plugins import load_family
from search_space.space import SearchSpace
from supernet.data import Dataset, load_dataset
from supernet.data.text import read_text
from supernet.methods.alternating.method import Alternating
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions
from supernet.network import Supernet
from supernet.options import AugmentationOptions
from supernet.trainer import Trainer, TrainingMethod, TrainingOptions


@dataclass(frozen=True, slots=True)
class Plan:
    """How large a run is.

    Attributes:
        choices: options instead of the preset's.
        limit: training examples, validation included; None: all.
        validation, test: examples that networks are scored on at most.
        steps: of the training at most; None: all of its epochs.
        warmup_epochs: in which the learning rate rises.
        num_random: random networks in a step of BigNAS.
    """

    preset: str
    limit: int | None
    validation: int
    test: int
    epochs: int
    batch_size: int
    learning_rate: float
    evaluations: int
    population: int
    seeds: int
    choices: dict[str, tuple[int | float | str, ...]] = field(default_factory=dict)
    batch: int = 4
    tie: Literal["layer", "block"] = "layer"
    calibration_examples: int = 100
    calibration_images: int = 512
    steps: int | None = None
    warmup_epochs: float = 0.5
    num_random: int = 2

    def facts(self) -> dict[str, Any]:
        """For the result."""
        return asdict(self)


_IMAGES = Plan(
    "cifar", None, 5000, 10_000, epochs=60, batch_size=256, learning_rate=0.1, evaluations=250, population=50, seeds=3
)
_TEXT = Plan(
    "tiny", None, 692, 1820, epochs=20, batch_size=64, learning_rate=5e-4, evaluations=250, population=50, seeds=3
)
# Sizes that two cores can search. The medium forms train on all of the data as long as it takes, which is minutes
# of a GPU, the small ones as long as two cores can; a ViT needs all images to learn anything: an hour of a core.
_SEARCHED_HERE = replace(_IMAGES, validation=1000, test=2000, population=8)
_SMALL = replace(_SEARCHED_HERE, batch_size=64, evaluations=80, num_random=1)
PLANS: dict[str, dict[str, Plan]] = {
    "mobilenet": {
        "full": _IMAGES,
        "medium": replace(
            _SEARCHED_HERE,
            epochs=24,
            learning_rate=0.2,
            evaluations=200,
            population=10,
            choices={"resolution": (24, 32)},
            batch=8,
            warmup_epochs=1.0,
        ),
        "small": replace(_SMALL, limit=8000, validation=800, epochs=6, population=10, choices={"resolution": (24, 32)}),
    },
    # Needs no files, and five minutes: a check that the benchmark works, on networks of a tenth of a millisecond.
    "digits": {
        "full": replace(_IMAGES, preset="digits", validation=400, test=400, epochs=30, batch_size=64),
        "small": replace(
            _IMAGES, preset="digits", validation=400, test=400, epochs=6, batch_size=64, evaluations=10, population=5
        ),
    },
    "resnet": {
        "full": _IMAGES,
        "small": replace(
            _SMALL, limit=6000, validation=600, test=1500, epochs=5, evaluations=40, choices={"stage*_depth": (1, 3)}
        ),
    },
    "vit": {
        "full": replace(_IMAGES, learning_rate=1e-3),
        "medium": replace(
            _SEARCHED_HERE,
            epochs=20,
            batch_size=128,
            learning_rate=1e-3,
            evaluations=200,
            choices={"depth": (3, 4)},
            batch=8,
            warmup_epochs=2.0,
            num_random=1,
        ),
        "small": replace(_SMALL, epochs=4, learning_rate=5e-4, choices={"depth": (3, 4)}),
    },
    "bert": {
        "full": _TEXT,
        "medium": replace(_TEXT, evaluations=80, population=10),
        "small": replace(
            _TEXT,
            limit=4000,
            validation=600,
            test=1000,
            epochs=4,
            learning_rate=1e-3,
            evaluations=40,
            population=10,
            num_random=1,
        ),
    },
    "llama": {
        "full": replace(_TEXT, evaluations=60, validation=64, test=200),
        "small": replace(
            _TEXT,
            validation=32,
            test=64,
            epochs=1,
            batch_size=16,
            learning_rate=2e-3,
            evaluations=24,
            population=6,
            seeds=1,
            steps=500,
        ),
    },
}
LENGTH = 64
# Of the words of SST-2's training sentences, in pieces: bytes tell 6,919 sentences' sentiment to nobody.
VOCABULARY = 8192
SOURCES = {
    "bert": ("labelled_text", "sst2", {"length": LENGTH}),
    "llama": ("text", "tinyshakespeare/input.txt.gz", {"length": 128}),
}


def read(family: str, plan: Plan, folder: Path, cache: Cache) -> Dataset:
    """The family's data, cut to the plan; exits where it is absent.

    Args:
        cache: keeps the word pieces, whose numbers differ each time that they are made: weights fit to one numbering.
    """
    source, place, own = SOURCES.get(family, ("cifar10", "cifar10", {}))
    options: dict[str, Any] = dict(own)
    if family == "digits":
        return load_dataset("digits", 0)
    path = (folder / place).resolve()
    if not path.exists():
        sys.stderr.write(f"Skipped: {folder / place} is not there. Give the folder of the data with --data.\n")
        raise SystemExit(0)
    if plan.limit is not None:
        options = {**options, "limit": plan.limit}
    with tempfile.TemporaryDirectory() as scratch:
        if family == "bert":
            words = cache.result(f"word-pieces-{VOCABULARY}", lambda: word_pieces(path / "train.tsv.gz"))
            (Path(scratch) / "vocab.txt").write_text("\n".join(words) + "\n")
            (Path(scratch) / "config.json").write_text('{"model_type": "bert"}')
            options = {**options, "tokenizer": scratch}
        data = load_dataset(source, 0, {"path": str(path), **options})
    some = torch.Generator().manual_seed(0)

    def cut(split: Any, most: int) -> Any:
        return split.take(torch.randperm(len(split), generator=some)[:most])

    return replace(data, validation=cut(data.validation, plan.validation), test=cut(data.test, plan.test))


def word_pieces(texts: Path) -> list[str]:
    """The vocabulary of BERT's kind of tokenizer, made from the sentences of a table, in the order of its numbers."""
    from tokenizers import BertWordPieceTokenizer

    sentences = [line.split("\t")[0] for line in read_text(texts).rstrip("\n").split("\n")]
    made = BertWordPieceTokenizer()
    made.train_from_iterator(sentences, vocab_size=VOCABULARY, show_progress=False)
    number_of = made.get_vocab()
    return sorted(number_of, key=lambda word: number_of[word])


def trained(family: str, plan: Plan, data: Dataset, cache: Cache) -> tuple[Supernet, SearchSpace]:
    """A supernet trained as its kind of network is, or the one that the cache has."""
    classes = 2 if family == "bert" else None
    length = LENGTH if family == "bert" else None
    space = load_family(
        "mobilenet" if family == "digits" else family, plan.preset, Adjustments(dict(plan.choices), classes, length)
    )
    torch.manual_seed(0)
    supernet = Supernet(space)
    is_image = family in ("mobilenet", "resnet", "digits")
    method: TrainingMethod = Alternating() if family == "llama" else BigNAS(BigNASOptions(num_random=plan.num_random))
    options = TrainingOptions(
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        optimizer="sgd" if is_image else "adamw",
        learning_rate=plan.learning_rate,
        lr_decay=1.0,
        lr_decay_epochs=1.0,
        lr_floor=0.0,
        weight_decay=1e-4 if is_image else 0.01,
        momentum=0.9,
        clip_norm=1.0,
        schedule="cosine",
        warmup_epochs=plan.warmup_epochs,
    )
    augment = AugmentationOptions(crop_padding=4, flip=True) if family in ("mobilenet", "resnet", "vit") else None

    def train() -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        trainer = Trainer(supernet.to(device), method, data.train.to(device), options, 0, augment)
        while trainer.steps_done < min(trainer.num_steps, plan.steps or trainer.num_steps):
            losses = trainer.step()
            if trainer.steps_done % 50 == 0:
                sys.stderr.write(f"step {trainer.steps_done}/{trainer.num_steps}, {losses}\n")

        # Networks are scored where their latency is measured.
        supernet.cpu()

    cache.weights(f"{family}-{plan.epochs}-{plan.limit}-{plan.steps}", supernet, train)
    return supernet, space
