"""The search loop: what is known is never evaluated again."""

import pytest

from search.algorithms import make_algorithm
from search.evaluation import Evaluation
from search.loop import run_search
from search.objectives import Objective
from search_space import Choice, SearchSpace
from tests.tiers import mostly_thorough

SPACE = SearchSpace("loop", [Choice(f"c{i}", (0, 1, 2, 3)) for i in range(6)])
OBJECTIVES = [Objective("up"), Objective("down")]


class Counter:
    """Scores by formula, last first, and remembers what it was called for; may give up after some."""

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self.called: list[str] = []
        self.stored: dict[str, Evaluation] = {}

    def __call__(self, architectures) -> list[Evaluation]:
        return [self.score(architecture) for architecture in reversed(architectures)]

    def score(self, architecture) -> Evaluation:
        if len(self.called) == self.most:
            raise KeyboardInterrupt
        self.called.append(architecture.id)
        genes = architecture.genes
        scores = {"up": float(sum(genes)), "down": float(sum((3 - g) ** 2 for g in genes))}
        evaluation = self.stored[architecture.id] = Evaluation(architecture, scores, "analytic")
        return evaluation


def algorithm(evaluations: int = 60):
    return make_algorithm("nsga2", SPACE, OBJECTIVES, seed=3, evaluations=evaluations, population=10)


def ids(evaluations) -> list[str]:
    return [evaluation.architecture.id for evaluation in evaluations]


def test_evaluations_come_back_in_the_order_asked():
    counter = Counter()
    done = run_search(algorithm(), counter, known={})
    assert ids(done) != counter.called
    assert sorted(ids(done)) == sorted(counter.called)
    assert ids(done)[:10] == counter.called[9::-1]
    assert len(done) == 60


def test_a_search_fed_with_all_its_evaluations_evaluates_nothing():
    first = Counter()
    done = run_search(algorithm(), first, known={})
    second = Counter()
    again = run_search(algorithm(), second, known=first.stored)
    assert second.called == []
    assert again == done


@pytest.mark.parametrize("calls_before_the_kill", mostly_thorough([1, 10, 27, 59], 27))
def test_a_killed_search_resumes_to_the_same_end_and_evaluates_nothing_twice(calls_before_the_kill):
    undisturbed = run_search(algorithm(), Counter(), known={})
    killed = Counter(most=calls_before_the_kill)
    with pytest.raises(KeyboardInterrupt):
        run_search(algorithm(), killed, known={})
    resumed = Counter()
    done = run_search(algorithm(), resumed, known=killed.stored)
    assert done == undisturbed
    assert not set(killed.called) & set(resumed.called)
    assert len(killed.called) + len(resumed.called) == 60
