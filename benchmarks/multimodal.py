"""Two towers searched jointly with bits, against the full towers in INT8, as SimQ-NAS compares its networks.

A small SigLIP is trained by BigNAS on pairs that are made of CIFAR-10: each image has two texts that say its class, how
bright it is, its dominant colour and its lightest quadrant, all but the class computed from its pixels. Texts of the
same words are one text, right for every image that it describes (`supernet.scores.retrieval`). Networks and policies of
8 and 32 bits are then searched together for `recall_at_1` on validation pairs and bytes; the front is scored again on
test pairs, and its latency is measured in turns with the full towers in INT8 (ONNX Runtime, one thread, batch 1).

    python -m benchmarks.multimodal [--json] [--form small|long|medium] [--data FOLDER] [--cache FOLDER]
        [--epochs 8] [--evaluations 40]
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cache import Cache
from benchmarks.simq_nas import Timed, opened, say, share_of_time
from export.formats.onnx import traced as onnx_format
from export.measure import describe_machine
from pipeline.policies import layer_sensitivity
from predictors.cost import weight_bytes
from quantization.first_policies import candidates_of, divergence_of, seeds_from
from quantization.policies import Quantization
from quantization.quantized_evaluator import QuantizedEvaluator
from quantization.quantized_space import QuantizedSpace
from quantization.sensitivity import sensitivities
from search.algorithms import make_algorithm
from search.evaluation import Evaluation
from search.objectives import Objective
from search.pareto import pareto_front
from search.problem import CostOf
from search_space.adjustments import Adjustments
from search_space.architecture import Architecture
from search_space.plugins import load_family
from search_space.space import SearchSpace
from supernet.data import Dataset, load_dataset
from supernet.data.sources.cifar10.source import CLASSES
from supernet.evaluate import examine
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions
from supernet.network import Supernet
from supernet.options import AugmentationOptions
from supernet.scores.labels import SplitExam
from supernet.scores.retrieval import ZeroShotExam
from supernet.trainer import Trainer, TrainingOptions

OBJECTIVES = (Objective("recall_at_1", "maximize"), Objective("size_bytes"))
COLOURS = ("red", "green", "blue")
TEMPLATES = (
    "a {bright} photo of {name} mostly {colour} lightest in the {quadrant}",
    "{name} in a {bright} {colour} picture with light from the {quadrant}",
)
# Of a class alone, for zero-shot accuracy.
OF_A_CLASS = "a photo of {}"
LENGTH = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """How large a run is.

    Attributes:
        images, test: of training (validation included) and of test.
        width, image_layers, text_layers, patch: of the full towers.
    """

    images: int
    validation: int
    test: int
    epochs: int
    batch_size: int
    evaluations: int
    width: int
    image_layers: int
    text_layers: int
    patch: int
    learning_rate: float = 1e-3

    def config(self, vocab: int) -> dict[str, Any]:
        """What a checkpoint's config.json would say of the full towers."""
        sizes = {"hidden_size": self.width, "intermediate_size": 4 * self.width, "num_attention_heads": 4}
        image = {**sizes, "num_hidden_layers": self.image_layers, "image_size": 32, "patch_size": self.patch}
        text = {**sizes, "num_hidden_layers": self.text_layers, "vocab_size": vocab, "max_position_embeddings": LENGTH}
        return {"model_type": "siglip", "vision_config": image, "text_config": text}


PLANS = {
    "small": Plan(6_000, 500, 1_000, 8, 128, 40, 64, 3, 2, 8),
    "long": Plan(20_000, 2_000, 5_000, 20, 256, 80, 64, 3, 2, 8),
    "medium": Plan(50_000, 2_000, 5_000, 30, 512, 200, 128, 6, 4, 4),
}


# --- data -------------------------------------------------------------------------------------------


def captions(pixels_HWC: np.ndarray, name: str, terciles: tuple[float, float]) -> list[str]:
    """The texts of an image.

    Args:
        terciles: of the brightness of training images.
    """
    light_HW = pixels_HWC.mean(2)
    level = light_HW.mean()
    bright = "dark" if level < terciles[0] else "plain" if level < terciles[1] else "bright"
    means = pixels_HWC.mean((0, 1))
    colour = "grey" if means.max() - means.min() < 8 else COLOURS[int(means.argmax())]
    half = light_HW.shape[0] // 2
    quarters = [light_HW[rows, columns].mean() for rows in _halves(half) for columns in _halves(half)]
    place = int(np.argmax(quarters))
    quadrant = f"{'upper' if place < 2 else 'lower'} {'left' if place % 2 == 0 else 'right'}"
    return [one.format(bright=bright, name=name, colour=colour, quadrant=quadrant) for one in TEMPLATES]


def _halves(half: int) -> tuple[slice, slice]:
    return slice(None, half), slice(half, None)


def write_pairs(source: Path, folder: Path, plan: Plan) -> None:
    """Tables of images with their texts, and a tokenizer of their words."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    terciles: tuple[float, float] | None = None
    words: set[str] = {word for name in CLASSES for word in OF_A_CLASS.format(name).split()}
    for part, count in (("train", plan.images), ("test", plan.test)):
        table = pq.read_table(source / f"{part}.parquet").slice(0, count).to_pydict()
        images, labels = table.get("img") or table["image"], table["label"]
        pixels = [np.asarray(Image.open(io.BytesIO(one["bytes"])).convert("RGB"), dtype=np.float32) for one in images]
        if terciles is None:
            low, high = np.quantile([one.mean() for one in pixels], (1 / 3, 2 / 3))
            terciles = float(low), float(high)
        names = [CLASSES[label] for label in labels]
        texts = [captions(one, name, terciles) for one, name in zip(pixels, names, strict=True)]
        words |= {word for some in texts for text in some for word in text.split()}
        pq.write_table(pa.table({"image": images, "text": texts, "class": names}), folder / f"{part}.parquet")
    _write_tokenizer(sorted(words), folder)


def _write_tokenizer(words: Sequence[str], folder: Path) -> None:
    """A word a token."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(WordLevel({word: n for n, word in enumerate(["[PAD]", "[UNK]", *words])}, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)


def read(source: Path, plan: Plan, folder: Path) -> Dataset:
    """The pairs; exits where CIFAR-10 is absent."""
    if not (source / "train.parquet").is_file():
        sys.stderr.write(f"Skipped: {source} has no CIFAR-10. Give its folder with --data.\n")
        raise SystemExit(0)
    if not (folder / "tokenizer.json").is_file():
        write_pairs(source, folder, plan)
    options = {"path": str(folder), "size": 32, "length": LENGTH, "tokenizer": str(folder), "label": "class"}
    options |= {"templates": OF_A_CLASS, "validation_share": plan.validation / plan.images}
    return load_dataset("pairs", 0, options)


# --- networks ---------------------------------------------------------------------------------------


def trained(space: SearchSpace, data: Dataset, plan: Plan, cache: Cache) -> tuple[Supernet, dict[str, Any]]:
    """A supernet trained by BigNAS, and how long that took."""
    torch.manual_seed(0)
    supernet = Supernet(space)

    def train() -> None:
        options = TrainingOptions(
            epochs=plan.epochs,
            batch_size=plan.batch_size,
            optimizer="adamw",
            learning_rate=plan.learning_rate,
            weight_decay=0.05,
            warmup_epochs=0.5,
            schedule="cosine",
            lr_decay=1.0,
            lr_decay_epochs=1.0,
            lr_floor=0.0,
            momentum=0.9,
            clip_norm=1.0,
        )
        method = BigNAS(BigNASOptions(num_random=1, label_smoothing=0.0))
        trainer = Trainer(supernet, method, data.train, options, 0, AugmentationOptions(crop_padding=2))
        began = time.monotonic()
        while trainer.steps_done < trainer.num_steps:
            losses = trainer.step()
            if trainer.steps_done % 20 == 0 or trainer.steps_done == trainer.num_steps:
                shown = {name: round(value, 3) for name, value in losses.items()}
                say(f"step {trainer.steps_done}/{trainer.num_steps}, {time.monotonic() - began:.0f} s: {shown}")
        cache.result(f"training-{key_of(plan)}", lambda: {"seconds": round(time.monotonic() - began)})

    cache.weights(f"towers-{key_of(plan)}", supernet, train)
    return supernet.eval(), cache.result(f"training-{key_of(plan)}", dict)


def key_of(plan: Plan) -> str:
    """What weights depend on."""
    facts = asdict(replace(plan, evaluations=0, test=0))
    return "-".join(str(value) for value in facts.values())


def searched(evaluator: QuantizedEvaluator, plan: Plan) -> tuple[list[Evaluation], list[dict[str, Any]]]:
    """Networks with policies, searched together; and the most sensitive layers of the full towers."""
    space, largest = evaluator.policies, evaluator.policies.base.largest()
    found = [
        layer_sensitivity(one)
        for one in sensitivities(evaluator.quantizable(largest), candidates_of(space, largest), evaluator.examples)
    ]
    say(f"{len(found)} layers are as sensitive as {max(divergence_of(one) for one in found):.3g} nats at most")
    size = CostOf(lambda one: float(weight_bytes(space, one)), lambda one: one)
    algorithm = make_algorithm(
        "winnow",
        space,
        list(OBJECTIVES),
        seed=0,
        evaluations=plan.evaluations,
        exact_costs={"size_bytes": size},
        seeds=seeds_from(space, found, plan.evaluations),
        batch=4,
    )
    scored: list[Evaluation] = []
    while len(scored) < plan.evaluations and (batch := algorithm.ask()):
        some = evaluator.evaluate(evaluator.in_order(batch))
        known = {one.architecture.id: one for one in some}
        some = [known[one.id] for one in batch]
        algorithm.tell(some)
        scored += some
        say(f"{len(scored)} networks: best recall {max(one.metrics['recall_at_1'] for one in scored):.3f}")
    most = sorted(found, key=lambda one: -divergence_of(one))[:5]
    return scored, [{"layer": one.layer, "bits": one.bits, "divergence": round(divergence_of(one), 4)} for one in most]


def on_test(evaluator: QuantizedEvaluator, data: Dataset, architecture: Architecture) -> dict[str, float]:
    """Scores on what no search has seen."""
    network = evaluator.network(architecture)
    values = examine(network, SplitExam(data.test)) | examine(network, ZeroShotExam(data.test))
    return {name: round(value, 4) for name, value in values.items() if not name.endswith(("_at_10", "_at_5"))} | {
        "recall_at_5": round(values["recall_at_5"], 4)
    }


def timed(evaluator: QuantizedEvaluator, data: Dataset, architecture: Architecture) -> Timed:
    """The exported integer network in ONNX Runtime: one pair at a time."""
    example = data.test.inputs(slice(0, 1))
    with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
        onnx_format.write_for_measuring(evaluator.network(architecture), example, Path(folder))
        return Timed(opened(Path(folder)), example)


def report(
    evaluator: QuantizedEvaluator, data: Dataset, scored: Sequence[Evaluation], chosen: int = 8
) -> dict[str, Any]:
    """The front against the full towers."""
    space = evaluator.policies
    ends = {
        "full_fp32": space.quantized(space.base.largest(), 32),
        "full_int8": space.quantized(space.base.largest(), 8),
    }
    full = {name: evaluator.evaluate([one])[0] for name, one in ends.items()}
    reference = timed(evaluator, data, ends["full_int8"])
    front = sorted(pareto_front(list(scored), list(OBJECTIVES)), key=lambda one: one.metrics["size_bytes"])
    some = [front[i] for i in sorted({round(n) for n in np.linspace(0, len(front) - 1, min(chosen, len(front)))})]

    def row(one: Evaluation) -> dict[str, Any]:
        share = share_of_time(timed(evaluator, data, one.architecture), reference)
        values, bits = one.architecture.values, space.policy(one.architecture)
        return {
            "size_bytes": int(one.metrics["size_bytes"]),
            "validation_recall_at_1": round(one.metrics["recall_at_1"], 4),
            "test": on_test(evaluator, data, one.architecture),
            "latency_share_of_int8": round(share, 3),
            "depths": [values["image_depth"], values["text_depth"]],
            "layers_in_32_bits": sum(precision.is_full for precision in bits.values()),
        }

    rows = [row(one) for one in some]
    baseline = row(full["full_int8"])
    good = [one for one in rows if one["test"]["recall_at_1"] >= baseline["test"]["recall_at_1"]]
    return {
        "full_fp32": row(full["full_fp32"]),
        "full_int8": baseline,
        "front": rows,
        "networks_on_the_front": len(front),
        "best_ratio_without_loss_of_test_recall": {
            "size": round(max((baseline["size_bytes"] / one["size_bytes"] for one in good), default=0.0), 3),
            "latency": round(max((1 / one["latency_share_of_int8"] for one in good), default=0.0), 3),
        },
    }


def numbers_of(data: Dataset) -> Iterator[tuple[str, dict[str, int]]]:
    """Images, texts and different texts of every split."""
    for name, split in data.splits.items():
        yield name, {"images": len(split.stored), "texts": len(split), "different": len(split.y[:, 1].unique())}


def main() -> None:
    """Train, search and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--form", choices=PLANS, default="small")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--epochs", type=int, help="instead of the form's")
    parser.add_argument("--evaluations", type=int, help="instead of the form's; weights do not depend on it")
    given = parser.parse_args()
    torch.set_num_threads(1)
    plan, cache = PLANS[given.form], Cache(given.cache)
    asked = {name: getattr(given, name) for name in ("epochs", "evaluations") if getattr(given, name) is not None}
    plan = replace(plan, **asked)
    with tempfile.TemporaryDirectory(prefix="winnow-") as work:
        home = Path(work) if given.cache is None else given.cache / f"pairs-{plan.images}-{plan.test}"
        home.mkdir(parents=True, exist_ok=True)
        data = read(given.data, plan, home)
        space = load_family("two_tower", None, Adjustments(), plan.config(data.preprocessing["vocab"]))
        supernet, training = trained(space, data, plan, cache)
        policies = QuantizedSpace(space, Quantization((8, 32), tie="block"))
        evaluator = QuantizedEvaluator(supernet, data, 0, 0, policies, observer="kl", calibration_examples=100)
        began = time.monotonic()
        scored, sensitive = searched(evaluator, plan)
        seconds = round(time.monotonic() - began)
        found = {
            "machine": describe_machine(),
            "plan": asdict(plan),
            "data": dict(numbers_of(data)),
            "training": training,
            "search": {"evaluations": len(scored), "seconds": seconds},
            "most_sensitive": sensitive,
            **report(evaluator, data, scored),
        }
    sys.stdout.write(json.dumps(found, indent=None if given.json else 2) + "\n")


if __name__ == "__main__":
    main()
