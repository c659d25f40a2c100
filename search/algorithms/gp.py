"""Gaussian process with expected improvement, optuna's: slow to ask, for expensive evaluations."""

from __future__ import annotations

from optuna.samplers import BaseSampler, GPSampler

from search.optuna_search import OptunaSearch
from search.problem import Problem


class GPSearch(OptunaSearch):
    """A Matern kernel on parameters as they are; knows nothing of inactive choices, so it sees all of them.

    Needs torch, which optuna's sampler is written in. An ask takes about 0.2 s at 100 evaluations.

    Args:
        batch: architectures asked for at a time.
        startup: random architectures before it learns.
    """

    CONDITIONAL = False

    def __init__(self, problem: Problem, *, seed: int, evaluations: int, batch: int = 1, startup: int = 10) -> None:
        self._startup = startup
        super().__init__(problem, seed=seed, evaluations=evaluations, batch=batch)

    def _sampler(self) -> BaseSampler:
        return GPSampler(
            seed=self.seed,
            n_startup_trials=self._startup,
            deterministic_objective=False,
        )


ALGORITHM = GPSearch
