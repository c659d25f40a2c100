"""LINAS (arXiv 2205.10358): measure, fit predictors, evolve on them, repeat."""
