"""Gaussian processes over architectures: regression, beliefs, expected improvement."""
