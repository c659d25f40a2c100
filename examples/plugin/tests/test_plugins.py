"""Winnow's contract tests: one line a plug-in."""

from winnow.testing import AlgorithmContract, FormatContract, MethodContract, SourceContract


class TestHillClimb(AlgorithmContract):
    name = "hill_climb"


class TestBalanced(MethodContract):
    name = "balanced"


class TestStripes(SourceContract):
    name = "stripes"


class TestNumpyWeights(FormatContract):
    name = "numpy_weights"
