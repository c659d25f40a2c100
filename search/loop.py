"""The search loop: ask, evaluate what is new, tell. Resume is replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from search.algorithm import SearchAlgorithm
from search.evaluation import Evaluation
from search_space.architecture import Architecture


def run_search(
    algorithm: SearchAlgorithm,
    evaluate: Callable[[Architecture], Evaluation],
    known: Mapping[str, Evaluation],
) -> list[Evaluation]:
    """Run an algorithm to its end and return its evaluations in the order in which they were asked.

    Args:
        evaluate: scores one architecture; called only for those not in `known`. It may raise to leave
            the loop; evaluations made so far are the caller's to store.
        known: stored evaluations by architecture id. A fresh algorithm with the same seed asks for
            the same architectures, so feeding it these brings it to where the last run stopped.
    """
    done: list[Evaluation] = []
    while batch := algorithm.ask():
        told = [known.get(architecture.id) or evaluate(architecture) for architecture in batch]
        algorithm.tell(told)
        done.extend(told)
    return done
