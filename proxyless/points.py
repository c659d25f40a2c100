"""What a search by gradient tells on its way: probabilities, entropy, expected latency; and the trainings after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from job.spec import JobSpec
from pipeline.checkpoints import Checkpoints
from pipeline.curve import Curve
from pipeline.driver import Steps
from pipeline.reporter import Reporter
from pipeline.workshop import make_evaluator
from proxyless.derive import most_likely
from proxyless.expected_latency import Latencies
from proxyless.parameters import ArchitectureParameters
from proxyless.search import PathSearch
from service.store.records import SearchPoint, TrainingPoint
from supernet.data import Dataset
from supernet.evaluate import score
from supernet.trainer import Trainer

# Points of a phase that are told, and those at which a network is validated.
POINTS, VALIDATIONS = 60, 10
# Decimals of the probabilities that are told.
DECIMALS = 4
# Share of a guess's cross-entropy above which paths have learned too little to compare candidates by.
HARDLY_LEARNED = 0.95


@dataclass(frozen=True, slots=True)
class Distribution:
    """Where the distribution over networks stands.

    Attributes:
        probabilities: probabilities of every block's options, rounded to `DECIMALS`.
        entropy: mean over blocks, in nats.
        expected_ms, most_likely_ms: latency of a network that is drawn, and of the likeliest one.
    """

    probabilities: tuple[tuple[float, ...], ...]
    entropy: float
    expected_ms: float
    most_likely_ms: float


class _Points:
    """Means of what steps show, told at most `POINTS` times a phase."""

    def __init__(self, reporter: Reporter, run: int) -> None:
        self._reporter, self._run = reporter, run
        self._sums: dict[str, list[float]] = {}

    def forget(self) -> None:
        """The training went back: what was collected since its checkpoint is not part of it."""
        self._sums = {}

    def _collect(self, training: Steps, shown: Mapping[str, float]) -> dict[str, float] | None:
        """Count a step; at a point, the means since the last one."""
        for name, value in shown.items():
            self._sums.setdefault(name, []).append(value)
        if not _is_point(training.steps_done, training.num_steps, POINTS):
            return None
        means = {name: sum(values) / len(values) for name, values in self._sums.items()}
        self._sums = {}
        return means


class WarmUpPoints:
    """The curve of the training of all paths."""

    def __init__(self, curve: Curve) -> None:
        self._curve = curve

    def seen(self, training: Trainer, shown: Mapping[str, float], _checkpoints: Checkpoints) -> None:
        """Count a step. Where a path's score falls does not say that the weights are lost."""
        self._curve.add(training, shown)

    def forget(self) -> None:
        """The training went back."""
        self._curve.forget()


class SearchPoints(_Points):
    """Points of the search for one network."""

    def __init__(self, reporter: Reporter, run: int, spec: JobSpec, data: Dataset, latencies: Latencies) -> None:
        super().__init__(reporter, run)
        self._spec, self._data, self._latencies = spec, data, latencies
        self._judged = False

    def seen(self, training: PathSearch, shown: Mapping[str, float], _checkpoints: Checkpoints) -> None:
        """Count a step."""
        means = self._collect(training, shown)
        if means is None:
            return
        if "loss_held_out" in means:
            self._judge_warm_up(means["loss_held_out"])
        if _is_point(training.steps_done, training.num_steps, VALIDATIONS):
            path = most_likely(training.parameters.probabilities())
            # Batch normalisation of the path is calibrated; its weights are shared with other paths.
            evaluator = make_evaluator(self._spec, training.trainer.supernet, self._data)
            network = evaluator.network(training.parameters.architecture(path))
            means[f"most_likely_{self._data.metric}"] = score(network, self._data.validation)
        epoch = round(training.steps_done / training.trainer.steps_per_epoch, 3)
        where = asdict(self.distribution(training.parameters))
        self._reporter.record(SearchPoint(run=self._run, epoch=epoch, **where, **means))

    def _judge_warm_up(self, loss: float) -> None:
        """Warn, once per search, where the architecture begins to move before the weights know anything."""
        if self._judged:
            return
        self._judged = True
        known = (point for point in self._reporter.records(SearchPoint) if point.run == self._run)
        part = self._spec.gradient
        if self._data.metric != "accuracy" or any("loss_held_out" in point.shown for point in known):
            return
        guess = _guess(self._data)
        if part is not None and loss > HARDLY_LEARNED * guess:
            text = (
                f"Network {self._run + 1}: its architecture begins to move while paths hardly do better than a guess "
                f"(cross-entropy {loss:.3f} on held-out examples; a guess has {guess:.3f}), so candidates are compared "
                f"by chance. Train the weights longer first: gradient.warmup_epochs is {part.warmup_epochs}, "
                f"gradient.first_epoch {part.first_epoch}; fewer blocks or candidates learn sooner."
            )
            self._reporter.tell("warning", text)

    def distribution(self, parameters: ArchitectureParameters) -> Distribution:
        """Where the distribution over networks stands."""
        p = parameters.probabilities()
        entropies = parameters.entropies()
        return Distribution(
            probabilities=tuple(tuple(round(float(one), DECIMALS) for one in row) for row in p),
            entropy=sum(entropies) / len(entropies),
            expected_ms=float(self._latencies.expected([alpha.detach().softmax(0) for alpha in parameters.alphas])),
            most_likely_ms=self._latencies.of_path(most_likely(p)),
        )


class TrainingPoints(_Points):
    """Points of the training of one derived network.

    Args:
        epochs: epochs of the training.
    """

    def __init__(self, reporter: Reporter, run: int, epochs: int) -> None:
        super().__init__(reporter, run)
        self._epochs = epochs

    def seen(self, training: Trainer, shown: Mapping[str, float], _checkpoints: Checkpoints) -> None:
        """Count a step."""
        means = self._collect(training, shown)
        if means is not None:
            epoch = round(training.steps_done * self._epochs / training.num_steps, 3)
            self._reporter.record(TrainingPoint(run=self._run, epoch=epoch, **means))


def _guess(data: Dataset) -> float:
    """Cross-entropy in nats of an answer that knows how common the classes are, and nothing else."""
    shares = data.train.y.bincount().double() / len(data.train)
    return float(-(shares * shares.clamp_min(1e-12).log()).sum())


def _is_point(steps_done: int, num_steps: int, points: int) -> bool:
    """Whether a step ends one of so many equal parts."""
    return steps_done * points // num_steps > (steps_done - 1) * points // num_steps
