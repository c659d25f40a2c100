"""Gaussian process with expected improvement, optuna's: slow to ask, for expensive evaluations."""

from __future__ import annotations

from optuna.samplers import BaseSampler, GPSampler

from search.optuna_search import OptunaSearch


class GPSearch(OptunaSearch):
    """A Matern kernel on parameters as they are; knows nothing of inactive choices, so it sees all of them.

    Needs torch, which optuna's sampler is written in. An ask takes about 0.2 s at 100 evaluations.
    """

    CONDITIONAL = False

    def _sampler(self) -> BaseSampler:
        return GPSampler(
            seed=self.seed,
            n_startup_trials=self.options.startup,
            deterministic_objective=False,
        )


ALGORITHM = GPSearch
