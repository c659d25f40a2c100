"""NSGA-II on the genes of a search space."""
