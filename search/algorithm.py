"""SearchAlgorithm: the ask/tell contract that every file of `search/algorithms` meets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from search.evaluation import Evaluation
from search.objectives import Objective
from search_space.architecture import Architecture
from search_space.space import SearchSpace


class SearchAlgorithm(ABC):
    """Proposes architectures and learns from their scores.

    Rules that callers may rely on:

    - `ask` returns a batch of architectures, all different and none that was asked before. An empty
      batch means that the search is over: the budget is spent or the space is exhausted.
    - Every batch is told, once and whole, before the next is asked; order within it does not matter.
    - Everything random comes from `seed`: the same seed and the same scores give the same proposals.
      So a search is resumed by replay: make the algorithm again and tell it the stored scores.

    Args:
        evaluations: budget of architectures to propose.
    """

    def __init__(self, space: SearchSpace, objectives: Sequence[Objective], *, seed: int, evaluations: int) -> None:
        if not objectives:
            raise ValueError("A search needs at least one objective.")
        if evaluations < 1:
            raise ValueError(f"Got a budget of {evaluations} evaluations; it must be at least 1.")
        self.space = space
        self.objectives = tuple(objectives)
        self.seed = seed
        self.evaluations = evaluations

    @abstractmethod
    def ask(self) -> list[Architecture]:
        """The next batch; empty when the search is over."""

    @abstractmethod
    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """The scores of the batch asked last."""
