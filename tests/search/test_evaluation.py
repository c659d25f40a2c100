"""Every number says how it was obtained."""

import pytest

from search.evaluation import Evaluation
from search_space import Choice, SearchSpace

ARCHITECTURE = SearchSpace("s", [Choice("c", (1, 2))]).smallest()


def test_one_word_is_the_source_of_every_metric():
    evaluation = Evaluation(ARCHITECTURE, {"accuracy": 0.5, "macs": 1}, "predicted")
    assert {evaluation.source_of("accuracy"), evaluation.source_of("macs")} == {"predicted"}


def test_each_metric_may_have_a_source_of_its_own():
    evaluation = Evaluation(ARCHITECTURE, {"accuracy": 0.5, "macs": 1}, {"accuracy": "measured", "macs": "analytic"})
    assert evaluation.source_of("accuracy") == "measured"
    assert evaluation.source_of("macs") == "analytic"


def test_a_metric_that_was_not_scored_has_no_source():
    with pytest.raises(KeyError):
        Evaluation(ARCHITECTURE, {"macs": 1}, {"macs": "analytic"}).source_of("accuracy")
