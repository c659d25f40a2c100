"""Stitched networks between two ViTs, against the line between their anchors (SN-Net, arXiv 2302.06586).

Two networks of the shape of `vit/cifar`, of different width and with patches of 8 pixels, are trained alone on images
of CIFAR-10, written as checkpoint folders and read again as anchors. Their stitching layers start by least squares on
256 images and are then trained for a few epochs, with the anchors tuned and, in another run, frozen. Fronts are chosen
on validation images and scored on test images: each network's accuracy minus that of the line, over MACs, between the
anchors as they were before, and between those that the stitched training leaves. Last, a supernet of the larger shape
is trained by BigNAS, and after every epoch it is asked whether it has networks as good as the stitched front at its
costs.

    python -m benchmarks.stitching [--json] [--data FOLDER] [--cache FOLDER] [--form short|long] [--epochs 3]
        [--test 5000] [--distillation 0.5] [--anchors tuned|frozen] [--supernet-epochs 0]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from benchmarks.cache import Cache
from benchmarks.simq_nas import say
from export.bundle import BundleContents
from export.formats.huggingface.format import described, to_write, write_weights
from export.measure import describe_machine
from search_space.adjustments import Adjustments
from search_space.architecture import Architecture
from search_space.plugins import load_family
from search_space.space import SearchSpace
from supernet.data import Dataset, Split, load_dataset
from supernet.evaluator import Evaluator
from supernet.inputs import Inputs
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions
from supernet.methods.single.method import Single
from supernet.methods.single.options import SingleOptions
from supernet.methods.stitching.method import Stitching
from supernet.methods.stitching.options import StitchingOptions
from supernet.network import Supernet, extract
from supernet.options import AugmentationOptions, TrainingOptions
from supernet.scores.labels import SplitExam
from supernet.stitching import fit_pair, load_fits, stitches_of, tensors_of
from supernet.trainer import Trainer, TrainingMethod
from supernet.weights import pretrained_supernet

AUGMENT = AugmentationOptions(crop_padding=4, flip=True)
ANCHORS = ("tuned", "frozen")
# MACs and test accuracy.
Point: TypeAlias = tuple[int, float]
# Images for which stitching layers are solved, and those in a pass.
SAMPLES, AT_ONCE = 256, 64


@dataclass(frozen=True, slots=True)
class Plan:
    """How large a run is.

    Attributes:
        images, test: of training (a tenth of them for validation) and of test.
        widths: of the two anchors; heads are 32 wide.
        anchor_epochs, epochs, supernet_epochs: of a network alone, of the stitched ones, of the supernet.
        rate, gentle: of networks from nothing, and of trained ones.
        distillation: share of the stitched loss that is on the large anchor's answers.
    """

    images: int = 6_000
    test: int = 5_000
    widths: tuple[int, int] = (32, 128)
    layers: int = 6
    patch: int = 8
    anchor_epochs: int = 10
    epochs: int = 3
    supernet_epochs: int = 0
    batch_size: int = 64
    rate: float = 1e-3
    gentle: float = 3e-4
    distillation: float = 0.0

    def config(self, width: int) -> dict[str, Any]:
        """What a checkpoint's config.json says."""
        sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": width // 32}
        image = {"image_size": 32, "patch_size": self.patch, "num_labels": 10, "layer_norm_eps": 1e-6}
        return {"model_type": "vit", "num_hidden_layers": self.layers, **sizes, **image}

    def options(self, epochs: int, rate: float) -> TrainingOptions:
        """AdamW with a cosine."""
        return TrainingOptions(
            epochs=epochs,
            batch_size=self.batch_size,
            optimizer="adamw",
            learning_rate=rate,
            schedule="cosine",
            warmup_epochs=min(1.0, 0.1 * epochs),
            lr_decay=1.0,
            lr_decay_epochs=1.0,
            lr_floor=0.01,
            weight_decay=0.05,
            momentum=0.9,
            clip_norm=1.0,
        )


# `short` stops long before its anchors are trained; `long` takes an hour of a core. Widths that differ by two, as the
# paper's do, gave anchors that hardly differ (docs/log.md).
FORMS = {
    "short": Plan(),
    "long": Plan(images=20_000, test=10_000, anchor_epochs=25, epochs=8, distillation=0.5),
}


def key_of(plan: Plan, **without: Any) -> str:
    """What weights depend on."""
    return "-".join(str(value).replace(" ", "") for value in asdict(replace(plan, test=0, **without)).values())


def read(path: Path, plan: Plan) -> Dataset:
    """CIFAR-10; exits where it is absent."""
    if not path.exists():
        sys.stderr.write(f"Skipped: {path} is not there. Give CIFAR-10 as parquet or binary files with --data.\n")
        raise SystemExit(0)
    data = load_dataset("cifar10", 0, {"path": str(path), "limit": plan.images})
    chosen = torch.randperm(len(data.test), generator=torch.Generator().manual_seed(0))[: plan.test]
    return replace(data, test=data.test.take(chosen))


# --- trainings --------------------------------------------------------------------------------------


def train(
    supernet: Supernet,
    method: TrainingMethod,
    data: Dataset,
    options: TrainingOptions,
    each_epoch: Callable[[int], bool] = lambda epoch: False,
) -> float:
    """Seconds of a training; `each_epoch` hears how many are done and may end it."""
    trainer, began, apart = Trainer(supernet, method, data.train, options, 0, AUGMENT), time.monotonic(), 0.0
    while trainer.steps_done < trainer.num_steps:
        losses = trainer.step()
        epoch, within = divmod(trainer.steps_done, trainer.steps_per_epoch)
        if not within:
            looked = time.monotonic()
            shown = {name: round(value, 3) for name, value in losses.items() if name.startswith("loss")}
            say(f"{type(method).__name__} epoch {epoch}/{options.epochs}, {looked - began:.0f} s: {shown}")
            ended = each_epoch(epoch)
            apart += time.monotonic() - looked
            if ended:
                break
    return time.monotonic() - began - apart


def anchor(width: int, data: Dataset, plan: Plan, cache: Cache, home: Path) -> tuple[Path, float]:
    """The folder of a network that was trained alone, and the seconds that this took."""
    config = plan.config(width)
    space = load_family("vit", None, Adjustments(), config)
    torch.manual_seed(0)
    supernet = Supernet(space)
    name = f"anchor-{width}-{key_of(plan, epochs=0, supernet_epochs=0, widths=(0, 0), distillation=0)}"
    method = Single(SingleOptions(architecture="largest", label_smoothing=0.0))

    def run() -> None:
        seconds = train(supernet, method, data, plan.options(plan.anchor_epochs, plan.rate))
        cache.result(f"{name}-seconds", lambda: round(seconds))

    cache.weights(name, supernet, run)
    folder = home / name
    folder.mkdir(parents=True, exist_ok=True)
    largest = space.largest()
    facts = {"space": space.name, "checkpoint": config, "preprocessing": {}}
    contents = BundleContents(extract(supernet.eval(), largest), space.layers(largest), facts, "")
    written, places = described(contents)
    write_weights(to_write(contents, places, str(written["model_type"])), folder)
    (folder / "config.json").write_text(json.dumps(written))
    return folder, cache.result(f"{name}-seconds", lambda: 0)


def solve(supernet: Supernet, data: Dataset) -> list[float]:
    """Start stitching layers by least squares; the shares of variance that they leave."""
    chosen = data.train.take(torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:SAMPLES])

    def batches() -> Iterator[Inputs]:
        return (batch.inputs for batch in chosen.batches(AT_ONCE, torch.device("cpu")))

    (stitches,) = stitches_of(supernet.space)
    fits = fit_pair(supernet, stitches, batches)
    load_fits(supernet, tensors_of(fits))
    return [round(fit.left, 4) for fit in fits.values()]


# --- scores -----------------------------------------------------------------------------------------


def macs(space: SearchSpace, architecture: Architecture) -> int:
    """Of one image."""
    return sum(layer.macs() for layer in space.layers(architecture).values())


def scores(supernet: Supernet, data: Dataset, networks: Sequence[Architecture], *splits: Split) -> list[list[float]]:
    """Accuracies of networks on each split; layers that they begin with alike run once."""
    columns = []
    for split in splits:
        evaluator = Evaluator(supernet, data, 0, 0, exams=[SplitExam(split)])
        columns.append([round(one.metrics["accuracy"], 4) for one in evaluator.evaluate(list(networks))])
    return [list(row) for row in zip(*columns, strict=True)]


def against_line(rows: list[dict[str, Any]], ends: tuple[Point, Point], trained: tuple[Point, Point]) -> dict[str, Any]:
    """The front on validation images, and where its networks lie on test images beside two lines.

    Args:
        ends: MACs and test accuracy of the anchors before any stitching.
        trained: those after it; where anchors are tuned they have learned on.
    """
    best, front = -1.0, []
    for row in sorted(rows, key=lambda row: row["macs"]):
        if row["validation"] > best:
            best = row["validation"]
            lines = {"above_line": ends, "above_line_of_tuned": trained}
            front.append(
                {**row, **{name: round(row["test"] - _line(row["macs"], *two), 4) for name, two in lines.items()}}
            )
    inner = [row for row in front if ends[0][0] < row["macs"] < ends[1][0]]
    found: dict[str, Any] = {"front": front, "between_the_anchors": len(inner)}
    for name in ("above_line", "above_line_of_tuned"):
        found[name] = {
            "networks_below": sum(row[name] < 0 for row in inner),
            "least": min((row[name] for row in inner), default=None),
            "mean": round(sum(row[name] for row in inner) / len(inner), 4) if inner else None,
        }
    return found


def _line(macs: int, one: Point, other: Point) -> float:
    (low, worse), (high, better) = one, other
    return worse + (better - worse) * (macs - low) / (high - low)


def stitched(
    folders: Sequence[Path], data: Dataset, plan: Plan, cache: Cache, anchors: str
) -> tuple[SearchSpace, dict[str, Any]]:
    """All networks: as solved for, and after the training."""
    supernet, _ = pretrained_supernet(folders)
    left, space = solve(supernet, data), supernet.space
    every = list(space.every())
    name = f"stitched-{anchors}-{key_of(plan, supernet_epochs=0)}"

    def asked(key: str) -> list[dict[str, Any]]:
        splits = data.validation, data.test
        found = cache.result(f"{key}-{plan.test}", lambda: scores(supernet, data, every, *splits))
        return [
            {"path": one.values["path"], "macs": macs(space, one), "validation": validation, "test": test}
            for one, (validation, test) in zip(every, found, strict=True)
        ]

    before = asked(f"solved-{key_of(plan, epochs=0, supernet_epochs=0, distillation=0)}")

    def run() -> None:
        how = StitchingOptions(anchors="frozen" if anchors == "frozen" else "tuned", distillation=plan.distillation)
        seconds = train(supernet, Stitching(how), data, plan.options(plan.epochs, plan.gentle))
        cache.result(f"{name}-seconds", lambda: round(seconds))

    cache.weights(name, supernet, run)
    after = asked(f"{name}-trained")
    ends, tuned = _ends(before), _ends(after)
    return space, {
        "variance_left_by_least_squares": left,
        "anchors_before": [{"macs": cost, "test": score} for cost, score in ends],
        "anchors_after": [row for row in after if str(row["path"]).startswith("anchor")],
        "seconds": cache.result(f"{name}-seconds", lambda: 0),
        "solved": against_line(before, ends, ends),
        "trained": against_line(after, ends, tuned),
        "networks": after,
    }


def _ends(rows: Sequence[dict[str, Any]]) -> tuple[Point, Point]:
    found = {row["path"]: (row["macs"], row["test"]) for row in rows}
    return found["anchor1"], found["anchor2"]


def supernet_epochs(front: Sequence[dict[str, Any]], data: Dataset, plan: Plan, cache: Cache) -> dict[str, Any]:
    """After each epoch of BigNAS, by how much its networks miss the front on validation images at its costs."""
    space = load_family("vit", None, Adjustments(), plan.config(plan.widths[1]))
    costs = [row for row in front if row["macs"] >= macs(space, space.smallest())]

    def run() -> dict[str, Any]:
        torch.manual_seed(0)
        supernet, seen = Supernet(space), list[dict[str, Any]]()
        rng = torch.Generator().manual_seed(0)
        drawn = [space.smallest(), space.largest(), *(space.sample(_rng(rng), "macs") for _ in range(10))]

        def look(epoch: int) -> bool:
            supernet.eval()
            scored = scores(supernet, data, drawn, data.validation)
            found = [(macs(space, one), score) for one, (score,) in zip(drawn, scored, strict=True)]
            best = [max((score for cost, score in found if cost <= row["macs"]), default=0.0) for row in costs]
            missing = [round(row["validation"] - score, 4) for row, score in zip(costs, best, strict=True)]
            seen.append({"epoch": epoch, "missing_at_costs": missing, "largest": found[1][1]})
            say(f"missing at the front's costs: {missing}")
            return all(miss <= 0 for miss in missing)

        method = BigNAS(BigNASOptions(num_random=2, label_smoothing=0.0))
        seconds = train(supernet, method, data, plan.options(plan.supernet_epochs, plan.rate), look)
        return {"costs": [row["macs"] for row in costs], "epochs": seen, "seconds": round(seconds)}

    found: dict[str, Any] = cache.result(f"supernet-{key_of(plan)}", run)
    return found


def _rng(generator: torch.Generator) -> Any:
    import numpy as np

    return np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))


def main() -> None:
    """Train, stitch and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--form", choices=tuple(FORMS), default="short", help="of anchors, images and widths")
    parser.add_argument("--epochs", type=int, help="of the stitched networks, instead of the form's")
    parser.add_argument("--test", type=int, help="test images, instead of the form's")
    parser.add_argument("--distillation", type=float, help="see the method `stitching`, instead of the form's")
    parser.add_argument("--anchors", choices=ANCHORS, action="append", help="runs; both unless named")
    parser.add_argument(
        "--supernet-epochs", type=int, default=0, help="of a supernet to compare with, at most; 0: none"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    own = {name: getattr(given, name) for name in ("epochs", "test", "distillation", "supernet_epochs")}
    asked = {name: value for name, value in own.items() if value is not None}
    plan, cache = replace(FORMS[given.form], **asked), Cache(given.cache)
    data = read(given.data, plan)
    with tempfile.TemporaryDirectory(prefix="winnow-") as work:
        home = given.cache or Path(work)
        made = [anchor(width, data, plan, cache, home) for width in plan.widths]
        folders = [folder for folder, _ in made]
        runs = {kind: stitched(folders, data, plan, cache, kind)[1] for kind in given.anchors or ANCHORS}
        found: dict[str, Any] = {
            "machine": describe_machine(),
            "plan": asdict(plan),
            "standard_error_of_a_test_accuracy": round(math.sqrt(0.25 / len(data.test)), 4),
            "anchor_seconds": [seconds for _, seconds in made],
            **runs,
        }
        if plan.supernet_epochs:
            front = next(iter(runs.values()))["trained"]["front"]
            found["supernet"] = supernet_epochs(front, data, plan, cache)
    sys.stdout.write(json.dumps(found, indent=None if given.json else 2) + "\n")


if __name__ == "__main__":
    main()
