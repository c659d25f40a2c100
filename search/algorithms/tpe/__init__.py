"""optuna's tree-structured Parzen estimator."""
