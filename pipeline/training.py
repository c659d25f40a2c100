"""The stage that trains a supernet: what is special about its training, and the finished resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import structlog

from job.spec import JobSpec
from job.training_spec import TrainingSpec
from pipeline.artifacts import Written
from pipeline.checkpoints import Checkpoints, JobFiles
from pipeline.curve import Curve, fallen, is_better
from pipeline.driver import Course, Driver, Words
from pipeline.materials import fresh_supernet, make_trainer
from pipeline.reporter import Reporter, Tell
from pipeline.shipping import rounded
from pipeline.stitching import fitted_stitches
from pipeline.workshop import JobFailed, make_evaluator
from search_space.space import SearchSpace
from service.store.models import Artifact, Stage, TrainedSupernet
from service.store.records import CurvePoint
from supernet.data import Dataset
from supernet.distributed import Orders
from supernet.flat import load_tensors, own_tensors
from supernet.memory import fits
from supernet.network import Supernet
from supernet.randomness import derived_rng
from supernet.stitching import is_stitched
from supernet.trainer import Trainer

log = structlog.get_logger()

MORE_MICRO_BATCHES = "Raise training.micro_batches, use more processes, activation_checkpointing or bfloat16."
# Random sub-networks whose scores are stored with a supernet.
NUM_RANDOM = 10


class RandomScores(TypedDict):
    """Scores of random sub-networks."""

    count: int
    mean: float
    min: float
    max: float


class Scores(TypedDict):
    """What sub-networks of a supernet score on the validation split."""

    smallest: float
    largest: float
    random: RandomScores


def train_supernet(
    spec: JobSpec, space: SearchSpace, data: Dataset, orders: Orders, files: JobFiles, reporter: Reporter
) -> Supernet:
    """A trained supernet: the job's own if it is stored, another one's to reuse, or trained now.

    Args:
        space: space of the supernet's networks.

    Raises:
        Interrupted: the job is to be paused or cancelled; what was done is stored.
        JobFailed: it diverged too often, or its steps do not fit in memory.
    """
    device, training = orders.device, spec.training
    file = stored_supernet(spec.supernet.reuse, files, reporter)
    if file is not None:
        orders.stop()
        supernet = Supernet(space).to(device)
        load_tensors(supernet, files.load(file))
        return supernet
    stitches = None
    if spec.supernet.pretrained is not None and is_stitched(space):
        stitches = fitted_stitches(spec, space, data, device, files, reporter)

    def untrained() -> Supernet:
        return fresh_supernet(spec, space, data, device, stitches)

    def store(supernet: Supernet, steps: int) -> Supernet:
        return store_supernet(rounded(supernet, spec), spec, data, steps, files, reporter)

    if training.epochs == 0:
        orders.stop()
        reporter.stage(Stage.TRAIN_SUPERNET)
        return store(untrained(), 0)

    def fresh() -> Trainer:
        trainer = make_trainer(spec, untrained(), data, orders.group)
        trainer.before_gathering = orders.gather
        return trainer

    course = Course(
        fresh,
        LargestNetwork(Curve(spec, space, data, device, reporter.record), data.metric),
        SmallerParts(training, orders, reporter.tell),
        Words(
            "",
            f"Lower training.learning_rate (now {training.learning_rate:g}), clip gradients (training.clip_norm), or "
            "look for broken examples in the data.",
        ),
        orders,
        progress=reporter.progress,
        begin=lambda done: reporter.stage(Stage.TRAIN_SUPERNET, done),
    )
    return Driver(course, files.checkpoints(), reporter.tell).run(lambda trainer: trainer.result, store)


def stored_supernet(reuse: str | None, files: JobFiles, reporter: Reporter) -> Artifact | None:
    """The file of the supernet that a job need not train: its own, or the one that it reuses.

    Args:
        reuse: id of the supernet that it reuses.

    Raises:
        JobFailed: the supernet to reuse is gone.
    """
    if own := files.recorded("supernet"):
        return own[0]
    if reuse is None:
        return None
    row = reporter.supernet(reuse)
    if row is None:
        raise JobFailed(f"Supernet {reuse} is not there any more. GET /v1/supernets lists them.")
    files.record("supernet", row.step, Written(row.path, row.sha256, row.size_bytes))
    reporter.tell("info", f"Supernet {row.id} is reused: nothing is trained.")
    return files.recorded("supernet")[0]


def store_supernet(
    supernet: Supernet, spec: JobSpec, data: Dataset, step: int, files: JobFiles, reporter: Reporter
) -> Supernet:
    """Store a trained supernet: its file, data, recipe, curve, and what its sub-networks score."""
    written = files.write(f"supernets/{files.job_id}.safetensors", own_tensors(supernet))
    row = TrainedSupernet(
        id=files.job_id,
        job_id=files.job_id,
        name=spec.title,
        recipe=spec.recipe.value,
        space=supernet.space.name,
        version=spec.version,
        supernet=spec.supernet.model_dump(mode="json"),
        data=spec.data.model_dump(mode="json"),
        training=spec.training.model_dump(mode="json"),
        curve=[point.data() for point in reporter.records(CurvePoint)],
        metric=data.metric,
        scores=sub_network_scores(spec, data, supernet),
        step=step,
        path=written.path,
        sha256=written.sha256,
        size_bytes=written.size_bytes,
    )
    reporter.trained(row)
    files.record("supernet", step, written)
    return supernet


def sub_network_scores(spec: JobSpec, data: Dataset, supernet: Supernet) -> Scores:
    """Validation scores of the smallest and the largest network, and of some random ones."""
    evaluator = make_evaluator(spec, supernet, data)
    space, rng = supernet.space, derived_rng(spec.training.seed, "scores of a supernet", 0)
    chosen = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(NUM_RANDOM))]
    smallest, largest, *random = (evaluation.metrics[data.metric] for evaluation in evaluator.evaluate(chosen))
    return {
        "smallest": smallest,
        "largest": largest,
        "random": {"count": NUM_RANDOM, "mean": sum(random) / NUM_RANDOM, "min": min(random), "max": max(random)},
    }


class LargestNetwork:
    """Judges a supernet by its largest network's score, which is validated now and then.

    Args:
        metric: metric of the data.
    """

    def __init__(self, curve: Curve, metric: str) -> None:
        self._curve, self._metric = curve, metric

    def seen(self, training: Trainer, shown: Mapping[str, float], checkpoints: Checkpoints) -> str | None:
        """Count a step; a reason to go back where the score has fallen. The best is saved."""
        scores = self._curve.add(training, shown)
        if scores is None:
            return None
        largest, metric, best = scores["largest"], self._metric, training.best_score
        if best is not None and fallen(metric, largest, best):
            return f"{metric.capitalize()} of the largest network fell to {largest:.4g} from {best:.4g}."
        if is_better(metric, largest, best):
            training.best_score = largest
            if training.steps_done < training.num_steps:
                checkpoints.save_best(training)
        return None

    def forget(self) -> None:
        """What was collected since the checkpoint is not part of the curve."""
        self._curve.forget()


class SmallerParts:
    """Cuts batches into twice as many parts, once; the second time says what would fit."""

    def __init__(self, training: TrainingSpec, orders: Orders, tell: Tell) -> None:
        self._training, self._device, self._orders, self._tell = training, orders.device, orders, tell

    def make(self, training: Trainer) -> None:
        """Halve the micro-batches.

        Raises:
            JobFailed: it was done before, or the parts would be too small.
        """
        asked = self._training
        now = asked.batch_size // self._orders.group.size // training.micro_batches
        if training.train.is_pairs:
            raise JobFailed(
                f"Out of memory with {now} pairs at once on {self._device}, and a batch of pairs is not cut: choose a "
                "smaller training.batch_size, activation_checkpointing or bfloat16."
            )
        halved = training.micro_batches > asked.micro_batches
        if halved or now % 2 or now < 4:
            advice = self._advice(training)
            raise JobFailed(f"Out of memory with {now} examples at once on {self._device}. {advice}")
        training.micro_batches *= 2
        self._orders.cut(training.micro_batches)
        text = (
            f"Out of memory with {now} examples at once: batches are cut into {training.micro_batches} micro-batches "
            f"of {now // 2}. The batch of {asked.batch_size} that a step learns from is unchanged."
        )
        self._tell("warning", text)
        log.warning("micro-batch halved", micro_batches=training.micro_batches)

    def refusal(self) -> str:
        """What a sharded training says where a step does not fit."""
        return f"Out of memory. {MORE_MICRO_BATCHES}"

    def _advice(self, trainer: Trainer) -> str:
        """Sizes that fit, found by trying."""
        parts = fitting_micro_batches(trainer, self._orders)
        if parts is None:
            return "Not even 2 examples fit: choose a smaller space, activation_checkpointing or bfloat16."
        size = self._training.batch_size // (parts * self._orders.group.size)
        batch = size * self._orders.group.size
        return (
            f"{size} examples at once do fit: set training.micro_batches to {parts}, or training.batch_size to {batch}."
        )


def fitting_micro_batches(trainer: Trainer, orders: Orders) -> int | None:
    """The fewest micro-batches, doubling from the current number, whose gradients fit in memory; None: none do."""
    count = trainer.micro_batches * 2
    while trainer.options.batch_size // (count * trainer.group.size) >= 2:
        orders.try_step(count)
        if fits(trainer, count):
            return count
        count *= 2
    return None
