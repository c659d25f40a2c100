"""optuna's Gaussian process: slow to ask, for expensive evaluations."""
