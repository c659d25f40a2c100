"""Every search algorithm of this repository keeps the contract."""

from plugins.kinds import ALGORITHMS
from winnow.testing import AlgorithmContract


class TestAlgorithms(AlgorithmContract):
    names = ALGORITHMS.built_in()
