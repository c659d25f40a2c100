"""What sharing weights costs in this job: two random networks trained alone for as long as the supernet was.

A supernet's networks are delivered as they were trained together. Whether they are as good as they would be by
themselves depends on the space, the data and the length of the training. So a job may look, for a stated share of what
its training costs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from job.spec import JobSpec
from job.training_spec import TrainingSpec
from pipeline.checkpoints import Checkpoints
from pipeline.driver import Course, Driver, NoRoom, Words
from pipeline.materials import fresh_supernet, make_trainer
from pipeline.shipping import rounded
from pipeline.workshop import JobFailed, Workshop, make_evaluator
from plugins.kinds import METHODS
from search_space.architecture import Architecture
from search_space.operations import alone
from search_space.space import SearchSpace
from service.store.records import SharingCost
from supernet.data import Dataset
from supernet.distributed import ALONE, Orders
from supernet.healing import by_itself
from supernet.network import Supernet, extract
from supernet.randomness import derived_rng
from supernet.trainer import Trainer

NETWORKS = 2
# Steps whose members are counted to know what a step costs, and networks that are drawn until two are cheap enough.
STEPS_COUNTED, DRAWS = 64, 256


def measure_sharing(shop: Workshop, data: Dataset, supernet: Supernet) -> None:
    """Train two random networks alone and record what each scores beside the same one sliced; nothing if not asked.

    A network that cannot be trained alone is said, and fails no job.

    Raises:
        Interrupted: the job is to be paused or cancelled; what was done is stored.
    """
    share = shop.spec.training.sharing_check
    if not share or shop.spec.supernet.reuse is not None:
        return
    chosen, costs = affordable(shop.spec, shop.space, share)
    if len(chosen) < NETWORKS:
        shop.reporter.tell(
            "warning",
            f"No network was trained alone to see what sharing costs: {NETWORKS} of them take at least "
            f"{NETWORKS * min(costs):.1%} of what the supernet's training took; training.sharing_check is {share:g}.",
        )
        return
    known = {record.architecture_id for record in shop.reporter.records(SharingCost)}
    for number, architecture in enumerate(chosen):
        if architecture.id in known:
            continue
        try:
            shop.reporter.record(_compared(shop, data, supernet, architecture, number, costs[number]))
        except JobFailed as error:
            shop.reporter.tell("warning", f"What sharing costs {architecture.id} is not known: {error}")


def affordable(spec: JobSpec, space: SearchSpace, share: float) -> tuple[list[Architecture], list[float]]:
    """Random networks whose trainings alone fit in this share of the supernet's, together; the same for the same seed.

    Returns:
        As many as are compared, and the cost of each as a share of the supernet's training; if there are not enough,
        none, and the cost of the smallest.
    """
    rng = derived_rng(spec.training.seed, "networks alone", 0)
    step = cost_of_a_step(spec, space, rng)
    found: dict[str, Architecture] = {}
    for _ in range(DRAWS):
        drawn = space.sample(rng)
        if macs(space, drawn) / step <= share / NETWORKS:
            found.setdefault(drawn.id, drawn)
        if len(found) == NETWORKS:
            chosen = list(found.values())
            return chosen, [macs(space, one) / step for one in chosen]
    return [], [macs(space, space.smallest()) / step]


def cost_of_a_step(spec: JobSpec, space: SearchSpace, rng: np.random.Generator) -> float:
    """Multiply-accumulates of an example in one step of the supernet's method, on average."""
    method = METHODS.load(spec.training.method).METHOD(spec.training.method_options)
    members = getattr(method, "architectures", None)
    if members is None:
        return float(macs(space, space.largest()))
    steps = [sum(macs(space, member) for member in members(space, rng)) for _ in range(STEPS_COUNTED)]
    return sum(steps) / len(steps)


def macs(space: SearchSpace, architecture: Architecture) -> int:
    """Multiply-accumulates of a network for one example."""
    return sum(layer.macs() for layer in space.layers(architecture).values())


@dataclass(slots=True)
class _Unjudged:
    """Nobody validates a network that is trained alone before its end."""

    def seen(self, _training: Trainer, _shown: Mapping[str, float], _checkpoints: Checkpoints) -> None:
        """Nothing to say."""

    def forget(self) -> None:
        """Nothing was collected."""


def _compared(
    shop: Workshop, data: Dataset, supernet: Supernet, architecture: Architecture, number: int, cost: float
) -> SharingCost:
    """Scores of a network, sliced and alone, on the same validation samples."""
    title = f"network {number + 1} of {NETWORKS} alone ({architecture.id})"
    shop.reporter.tell("info", f"Training {title}, to see what sharing its weights costs.")
    spec = shop.spec.model_copy(update={"training": training_alone(shop.spec.training, architecture)})
    course = Course(
        lambda: make_trainer(spec, _fresh(shop, data, architecture), data, ALONE),
        _Unjudged(),
        NoRoom(f"the training of {title}", shop.device),
        Words(f"the training of {title}", "Lower training.learning_rate."),
        Orders(ALONE, shop.device),
        progress=lambda done: shop.reporter.progress((number + done) / NETWORKS),
    )
    checkpoints = Checkpoints(shop.files, shop.settings, shop.reporter.tell, f"a{number}")
    trained = Driver(course, checkpoints, shop.reporter.tell).run(
        lambda trainer: trainer.result, lambda result, _steps: rounded(result, shop.spec)
    )
    scores = [
        make_evaluator(each, weights, data, delivered=True).evaluate([architecture])[0].metrics[data.metric]
        for each, weights in ((shop.spec, supernet), (spec, trained))
    ]
    sliced, by_itself = (float(score) for score in scores)
    return SharingCost(
        architecture_id=architecture.id,
        values=architecture.values,
        metric=data.metric,
        sliced=sliced,
        alone=by_itself,
        samples=len(data.validation),
        error=_error(data.metric, sliced, by_itself, len(data.validation)),
        epochs=spec.training.epochs,
        share=round(cost, 4),
    )


def training_alone(training: TrainingSpec, architecture: Architecture) -> TrainingSpec:
    """The supernet's training with one network in it: everything else is the same."""
    smoothing = getattr(training.method_options, "label_smoothing", 0.0)
    options = {"architecture": ",".join(map(str, architecture.genes)), "label_smoothing": smoothing}
    return training.model_copy(update={"method": "single", "options": options})


def _fresh(shop: Workshop, data: Dataset, architecture: Architecture) -> Supernet:
    """The network's own weights before the training: fresh ones, or its slice of the checkpoint."""
    if shop.spec.supernet.pretrained is None:
        return fresh_supernet(shop.spec, alone(shop.space, architecture), data, shop.device)
    slices = extract(fresh_supernet(shop.spec, shop.space, data, shop.device), architecture)
    return by_itself(shop.space, architecture, slices, shop.device)


def _error(metric: str, sliced: float, by_itself: float, samples: int) -> float | None:
    """Standard error of the difference of two accuracies, as of independent samples; None of other metrics."""
    if metric != "accuracy":
        return None
    return math.sqrt(sum(score * (1 - score) for score in (sliced, by_itself)) / samples)
