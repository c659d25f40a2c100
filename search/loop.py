"""The search loop: ask, evaluate what is new, tell. Resume is replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from search.algorithm import SearchAlgorithm
from search.evaluation import Evaluation
from search.fidelities.ladder import Ladder
from search_space.architecture import Architecture


def run_search(
    algorithm: SearchAlgorithm,
    evaluate: Callable[[Sequence[Architecture]], Sequence[Evaluation]],
    known: Mapping[str, Evaluation],
    ladder: Ladder | None = None,
) -> list[Evaluation]:
    """Run an algorithm to its end and return its evaluations in the order in which they were asked.

    Args:
        evaluate: scores what is new of a batch, in any order. It may raise to leave the loop; evaluations made
            so far are the caller's to store.
        known: stored evaluations by architecture id. A fresh algorithm with the same seed asks for
            the same architectures, so feeding it these brings it to where the last run stopped.
        ladder: lets networks heal between batches; None: none do.
    """
    done: list[Evaluation] = []
    while batch := algorithm.ask():
        new = [architecture for architecture in batch if architecture.id not in known]
        found = {e.architecture.id: e for e in evaluate(new)} if new else {}
        told = [known.get(architecture.id) or found[architecture.id] for architecture in batch]
        algorithm.tell(told)
        done.extend(told)
        if ladder is not None:
            ladder.told(told)
    if ladder is not None:
        ladder.finish()
    return done


def each(score: Callable[[Architecture], Evaluation]) -> Callable[[Sequence[Architecture]], list[Evaluation]]:
    """What evaluates a batch, from what scores one architecture."""
    return lambda architectures: [score(architecture) for architecture in architectures]
