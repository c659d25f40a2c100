"""NSGA-III: for three and four objectives."""
