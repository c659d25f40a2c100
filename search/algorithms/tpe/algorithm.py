"""Tree-structured Parzen estimator (Bergstra et al. 2011; multi-objective: Ozaki et al. 2022), optuna's."""

from __future__ import annotations

from optuna.samplers import BaseSampler, TPESampler

from search.optuna_search import OptunaSearch


class TPESearch(OptunaSearch):
    """Draws options in proportion to how much more often good architectures have them than bad ones."""

    def _sampler(self) -> BaseSampler:
        return TPESampler(seed=self.seed, n_startup_trials=self.options.startup)


ALGORITHM = TPESearch
