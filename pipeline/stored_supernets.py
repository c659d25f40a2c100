"""Trained supernets as resources: stored with what a later job, and a person, must know of them."""

from __future__ import annotations

from typing import TypedDict

from job.spec import JobSpec
from pipeline.artifacts import Written
from pipeline.checkpoints import JobFiles
from pipeline.reporter import Reporter
from pipeline.workshop import JobFailed, make_evaluator
from service.store.models import Artifact, TrainedSupernet
from service.store.records import CurvePoint
from supernet.data import Dataset
from supernet.flat import own_tensors
from supernet.network import Supernet
from supernet.randomness import derived_rng

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


def stored(reuse: str | None, files: JobFiles, reporter: Reporter) -> Artifact | None:
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


def store(supernet: Supernet, spec: JobSpec, data: Dataset, step: int, files: JobFiles, reporter: Reporter) -> Supernet:
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
