"""Tree-structured Parzen estimator (Bergstra et al. 2011; multi-objective: Ozaki et al. 2022), optuna's."""

from __future__ import annotations

from optuna.samplers import BaseSampler, TPESampler

from search.optuna_search import OptunaSearch
from search.problem import Problem


class TPESearch(OptunaSearch):
    """Draws options in proportion to how much more often good architectures have them than bad ones.

    Args:
        batch: architectures asked for at a time.
        startup: random architectures before it learns.
    """

    def __init__(self, problem: Problem, *, seed: int, evaluations: int, batch: int = 1, startup: int = 10) -> None:
        self._startup = startup
        super().__init__(problem, seed=seed, evaluations=evaluations, batch=batch)

    def _sampler(self) -> BaseSampler:
        return TPESampler(seed=self.seed, n_startup_trials=self._startup)


ALGORITHM = TPESearch
