"""What sharing weights costs in this job: two random networks trained alone for as long as the supernet was.

A supernet's networks are delivered as they were trained together. Whether they are as good as they would be by
themselves depends on the space, the data and the length of the training. So a job may look, for a stated share of what
its training costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from job.spec import JobSpec
from job.training_spec import TrainingSpec
from pipeline.checkpoints import Checkpoints, JobFiles
from pipeline.driver import Course, Driver, NoRoom, Words
from pipeline.materials import fresh_supernet, make_trainer
from pipeline.reporter import Reporter
from pipeline.shipping import rounded
from pipeline.workshop import JobFailed, make_evaluator
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


def measure_sharing(spec: JobSpec, data: Dataset, supernet: Supernet, files: JobFiles, reporter: Reporter) -> None:
    """Train two random networks alone and record what each scores beside the same one sliced.

    A network that cannot be trained alone is said, and fails no job.

    Raises:
        Interrupted: the job is to be paused or cancelled; what was done is stored.
    """
    share = spec.training.sharing_check
    chosen, costs = affordable(spec, supernet.space, share)
    if len(chosen) < NETWORKS:
        reporter.tell(
            "warning",
            f"No network was trained alone to see what sharing costs: {NETWORKS} of them take at least "
            f"{NETWORKS * min(costs):.1%} of what the supernet's training took; training.sharing_check is {share:g}.",
        )
        return
    known = {record.architecture_id for record in reporter.records(SharingCost)}
    for number, architecture in enumerate(chosen):
        if architecture.id in known:
            continue
        title = f"network {number + 1} of {NETWORKS} alone ({architecture.id})"
        reporter.tell("info", f"Training {title}, to see what sharing its weights costs.")

        def progress(done: float, number: int = number) -> None:
            reporter.progress((number + done) / NETWORKS)

        trial = _Trial(spec, data, supernet, architecture)
        try:
            training = Driver(trial.course(title, progress), files.checkpoints(f"a{number}"), reporter.tell)
            trained = training.run(lambda trainer: trainer.result, lambda result, _steps: rounded(result, spec))
            reporter.record(trial.outcome(trained, costs[number]))
        except JobFailed as error:
            reporter.tell("warning", f"What sharing costs {architecture.id} is not known: {error}")


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


@dataclass(frozen=True, slots=True)
class _Trial:
    """A network of a supernet, which is trained alone to be compared with."""

    spec: JobSpec
    data: Dataset
    supernet: Supernet
    architecture: Architecture

    @property
    def alone(self) -> JobSpec:
        """The job with this network alone."""
        return self.spec.model_copy(update={"training": training_alone(self.spec.training, self.architecture)})

    def course(self, title: str, progress: Callable[[float], None]) -> Course[Trainer]:
        """The network's training, by its title for people."""
        spec, device = self.alone, self.supernet.device
        return Course(
            lambda: make_trainer(spec, self._fresh(), self.data, ALONE),
            _Unjudged(),
            NoRoom(f"the training of {title}", device),
            Words(f"the training of {title}", "Lower training.learning_rate."),
            Orders(ALONE, device),
            progress=progress,
        )

    def outcome(self, trained: Supernet, cost: float) -> SharingCost:
        """Scores of the network, sliced and alone, on the same validation samples.

        Args:
            cost: cost of its training, as a share of the supernet's.
        """
        data, architecture = self.data, self.architecture
        sliced, by_itself = (
            float(make_evaluator(spec, weights, data, delivered=True).evaluate([architecture])[0].metrics[data.metric])
            for spec, weights in ((self.spec, self.supernet), (self.alone, trained))
        )
        return SharingCost(
            architecture_id=architecture.id,
            values=architecture.values,
            metric=data.metric,
            sliced=sliced,
            alone=by_itself,
            samples=len(data.validation),
            error=_error(data.metric, sliced, by_itself, len(data.validation)),
            epochs=self.spec.training.epochs,
            share=round(cost, 4),
        )

    def _fresh(self) -> Supernet:
        """The network's own weights before the training: fresh ones, or its slice of the checkpoint."""
        spec, space, device = self.spec, self.supernet.space, self.supernet.device
        if spec.supernet.pretrained is None:
            return fresh_supernet(spec, alone(space, self.architecture), self.data, device)
        slices = extract(fresh_supernet(spec, space, self.data, device), self.architecture)
        return by_itself(space, self.architecture, slices, device)


def training_alone(training: TrainingSpec, architecture: Architecture) -> TrainingSpec:
    """The supernet's training with one network in it: everything else is the same."""
    smoothing = getattr(training.method_options, "label_smoothing", 0.0)
    options = {"architecture": ",".join(map(str, architecture.genes)), "label_smoothing": smoothing}
    return training.model_copy(update={"method": "single", "options": options})


def _error(metric: str, sliced: float, by_itself: float, samples: int) -> float | None:
    """Standard error of the difference of two accuracies, as of independent samples; None of other metrics."""
    if metric != "accuracy":
        return None
    return math.sqrt(sum(score * (1 - score) for score in (sliced, by_itself)) / samples)
