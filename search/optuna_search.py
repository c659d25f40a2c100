"""What the algorithms share that are optuna's samplers: choices in, ask and tell out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from search.algorithm import SearchAlgorithm
from search.evaluation import Evaluation
from search.objectives import limits_of
from search.options import OptunaOptions
from search.problem import Problem
from search_space.architecture import Architecture

# Proposals in a row that may repeat known architectures; then a random unknown one takes the place.
MAX_REPEATS = 20
MAX_DRAWS = 10_000


class OptunaSearch(SearchAlgorithm[OptunaOptions]):
    """A study whose parameters are the choices, as categories, and whose trials are the evaluations.

    A proposal that is known already is told its scores again, at no evaluation, and another is asked for. Scores
    that are not finite make a failed trial, which samplers do not learn from.
    """

    # Whether the sampler copes with choices that only some networks have; else it sees every choice always.
    CONDITIONAL = True

    def __init__(self, problem: Problem, *, seed: int, evaluations: int, options: OptunaOptions) -> None:
        super().__init__(problem, seed=seed, evaluations=evaluations, options=options)
        self._rng = np.random.default_rng(seed)
        self._limited = [limited.metric for limited in limits_of(self.objectives, problem.constraints)]
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = self._sampler()
        self._study = optuna.create_study(directions=["minimize"] * len(self.objectives), sampler=sampler)
        self._told: dict[str, Evaluation] = {}
        self._trials: list[optuna.Trial] = []
        for evaluation in problem.warm_start:
            self._add(evaluation)

    def _sampler(self) -> optuna.samplers.BaseSampler:
        raise NotImplementedError

    def _propose(self, room: int) -> list[Architecture]:
        batch: dict[str, Architecture] = {}
        self._trials = []
        seeds = self._unknown(self.problem.seeds)
        repeats = 0
        while len(batch) < min(self.options.batch, room):
            if seeds:
                self._study.enqueue_trial(self._parameters(seeds.pop(0)))
            elif repeats >= MAX_REPEATS:
                unknown = self._random_unknown(batch)
                if unknown is None:
                    break
                self._study.enqueue_trial(self._parameters(unknown))
            trial, architecture = self._next()
            if architecture.id in self._known or architecture.id in batch:
                repeats += 1
                self._finish(trial, self._told.get(architecture.id))
                continue
            repeats = 0
            batch[architecture.id] = architecture
            self._trials.append(trial)
        return list(batch.values())

    def _next(self) -> tuple[optuna.Trial, Architecture]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = self._study.ask()
            genes = [0] * len(self.space.choices)
            position = {choice.name: i for i, choice in enumerate(self.space.choices)}
            for i, choice in enumerate(self.space.choices):
                alive = True
                if choice.when is not None and self.CONDITIONAL:
                    parent = position[choice.when[0]]
                    value = self.space.choices[parent].options[genes[parent]]
                    alive = choice.when[0] in trial.params and value in choice.when[1]
                if alive:
                    genes[i] = trial.suggest_categorical(choice.name, list(range(len(choice.options))))
        return trial, self.space.from_genes(genes)

    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        for trial, evaluation in zip(self._trials, evaluations, strict=True):
            self._told[evaluation.architecture.id] = evaluation
            self._finish(trial, evaluation)

    def _finish(self, trial: optuna.Trial, evaluation: Evaluation | None) -> None:
        """Tell a trial its scores; without finite ones it failed."""
        if evaluation is not None and np.isfinite(self._costs([evaluation])).all():
            for metric, violation in self._limits(evaluation).items():
                trial.set_constraint(metric, violation)
            self._study.tell(trial, self._costs([evaluation])[0].tolist())
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def _limits(self, evaluation: Evaluation) -> dict[str, float]:
        """Violation of each limit by metric: optuna's form of a constraint, met at 0 and below."""
        violations = np.nan_to_num(self._violations([evaluation])[0], nan=1e30, posinf=1e30)
        return dict(zip(self._limited, violations.tolist(), strict=True))

    def _add(self, evaluation: Evaluation) -> None:
        """A finished trial from a stored evaluation."""
        self._told[evaluation.architecture.id] = evaluation
        if np.isfinite(self._costs([evaluation])).all():
            parameters = self._parameters(evaluation.architecture)
            counts = {choice.name: len(choice.options) for choice in self.space.choices}
            self._study.add_trial(
                create_trial(
                    params=parameters,
                    distributions={name: CategoricalDistribution(list(range(counts[name]))) for name in parameters},
                    values=self._costs([evaluation])[0].tolist(),
                    constraints=self._limits(evaluation),
                )
            )

    def _parameters(self, architecture: Architecture) -> dict[str, int]:
        active = self.space.is_active(architecture) if self.CONDITIONAL else [True] * len(self.space.choices)
        genes = zip(self.space.choices, architecture.genes, active, strict=True)
        return {choice.name: gene for choice, gene, is_active in genes if is_active}

    def _random_unknown(self, batch: dict[str, Architecture]) -> Architecture | None:
        for _attempt in range(MAX_DRAWS):
            architecture = self.space.sample(self._rng)
            if architecture.id not in self._known and architecture.id not in batch:
                return architecture
        return None
