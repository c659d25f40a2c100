"""SearchAlgorithm: the ask/tell contract that every file of `search/algorithms` meets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Generic

import numpy as np
from typing_extensions import TypeVar

from plugins.options import Options
from search.evaluation import Evaluation
from search.fidelities.known import Fidelities
from search.fidelities.ladder import Chooser
from search.fidelities.ranks import ByRank
from search.objectives import limits_of
from search.problem import Problem
from search_space.architecture import Architecture

# The record of options that an algorithm declares.
OptionsT = TypeVar("OptionsT", bound=Options, default=Options)


class SearchAlgorithm(ABC, Generic[OptionsT]):
    """Proposes architectures and learns from their scores.

    Rules that callers may rely on:

    - `ask` returns a batch of architectures, all different and none that was asked before or that the
      warm start knows. An empty batch means that the search is over: the budget is spent or the space
      is exhausted.
    - Every batch is told, once and whole, before the next is asked; order within it does not matter.
    - Everything random comes from `seed`: the same seed and the same scores give the same proposals.
      So a search is resumed by replay: make the algorithm again and tell it the stored scores.

    A plug-in writes `_propose` and `_learn`; this class keeps the books.

    Args:
        evaluations: budget of architectures to propose.
        options: what the plug-in's `options.py` declares, checked.
    """

    def __init__(self, problem: Problem, *, seed: int, evaluations: int, options: OptionsT) -> None:
        if evaluations < 1:
            raise ValueError(f"Got a budget of {evaluations} evaluations; it must be at least 1.")
        self.problem = problem
        self.space = problem.space
        self.objectives = problem.objectives
        self.seed = seed
        self.evaluations = evaluations
        self.options = options
        self._num_asked = 0
        self._known = {evaluation.architecture.id for evaluation in problem.warm_start}
        self._pending: list[Architecture] | None = None

    def ask(self) -> list[Architecture]:
        """The next batch; empty when the search is over.

        Raises:
            ValueError: the last batch was not told.
        """
        if self._pending is not None:
            raise ValueError(f"{len(self._pending)} architectures were asked and not told; tell their scores first.")
        room = self.evaluations - self._num_asked
        batch = self._propose(room) if room > 0 else []
        assert len(batch) <= room, "more than the budget was proposed"
        assert not self._known & {architecture.id for architecture in batch}, "a known architecture was proposed"
        if batch:
            self._num_asked += len(batch)
            self._known.update(architecture.id for architecture in batch)
            self._pending = batch
        return list(batch)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """The scores of the batch asked last, in any order.

        Raises:
            ValueError: nothing was asked, or these are not the evaluations of what was asked.
        """
        if self._pending is None:
            raise ValueError("Nothing was asked, so there is nothing to tell.")
        by_id = {evaluation.architecture.id: evaluation for evaluation in evaluations}
        if set(by_id) != {architecture.id for architecture in self._pending} or len(by_id) != len(evaluations):
            raise ValueError(
                f"Got evaluations of {len(by_id)} architectures that are not the {len(self._pending)} asked last; "
                "tell each batch once and whole."
            )
        ordered = [by_id[architecture.id] for architecture in self._pending]
        self._pending = None
        self._learn(ordered)

    def chooser(self, known: Fidelities) -> Chooser:
        """Who says which networks heal a little in this search (`search.fidelities`); it is asked for once.

        Args:
            known: scores of networks before and on every rung. It grows as the search goes on, and an algorithm may
                learn from it what to propose.
        """
        return ByRank()

    @abstractmethod
    def _propose(self, room: int) -> list[Architecture]:
        """Up to `room` new architectures; empty when there are no more."""

    @abstractmethod
    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        """The scores of what was proposed last, in that order."""

    # --- what plug-ins share ----------------------------------------------------------------------

    def _unknown(self, architectures: Iterable[Architecture]) -> list[Architecture]:
        """Those that were neither asked nor known before, each once."""
        found = {a.id: a for a in architectures if a.id not in self._known}
        return list(found.values())

    def _costs(self, evaluations: Sequence[Evaluation]) -> np.ndarray:
        """Scores as costs, less is better, shape (num_evaluations, num_objectives); may hold NaN and infinity."""
        return np.array(
            [[o.cost(e.metrics[o.metric]) for o in self.objectives] for e in evaluations], dtype=float
        ).reshape(len(evaluations), len(self.objectives))

    def _violations(self, evaluations: Sequence[Evaluation]) -> np.ndarray:
        """Violation of each limit, shape (num_evaluations, num_limits); infinite for NaN."""
        limited = limits_of(self.objectives, self.problem.constraints)
        return np.array(
            [[x.violation(e.metrics[x.metric]) for x in limited] for e in evaluations], dtype=float
        ).reshape(len(evaluations), len(limited))
