"""Multiple choice by log-likelihood, as lm-evaluation-harness defines it."""

import json

import numpy as np
import pytest
import torch

from search_space.adjustments import Adjustments
from search_space.plugins import load_family
from supernet.data import DataError
from supernet.data.tokens import Bytes
from supernet.evaluate import examine
from supernet.examiner import Examiner
from supernet.network import Supernet, extract
from supernet.scores.tasks import MultipleChoice, Question, encode, read_questions
from tests.supernet.test_examiner import text

SPACE = load_family("llama", "tiny", Adjustments({"layer*_ffn": (88, 176)}))
QUESTIONS = [
    Question("The sky is", ("blue", "a kind of cheese", "7"), 0),
    Question("Two and two make ", ("four", "five"), 0),
    Question("", ("Aye", "Nay, my lord"), 1),
    Question("To be, or not to be: that is the", ("question", "é"), 1),
]


class Words:
    """Tokens are words with the space before them, so that joining query and choice matters."""

    name, vocab, padding, start = "words", 100, 0, 1

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def stream(self, text: str) -> np.ndarray:
        words = [word for word in text.replace(" ", "| ").split("|") if word]
        return np.array([self.known.setdefault(word, len(self.known) + 2) for word in words], dtype=np.int32)


def log_likelihood(network, query: str, choice: str) -> float:
    """By definition: one request, no padding, bytes as tokens."""
    ids = torch.tensor(list(query.encode() or b"\0") + list(choice.encode()))
    start = len(query.encode() or b"\0")
    with torch.no_grad():
        rows = network(ids[None, :-1])[0].double().log_softmax(-1)
    return float(sum(rows[i - 1, ids[i]] for i in range(start, len(ids))))


def exam(tasks=(QUESTIONS,), delimiters=(" ",), max_length=64) -> MultipleChoice:
    return MultipleChoice(tasks, delimiters[: len(tasks)] * len(tasks), Bytes(), max_length)


def test_log_likelihoods_are_those_of_each_request_by_itself():
    torch.manual_seed(0)
    network = extract(Supernet(SPACE), SPACE.largest()).eval()
    asked, tally = exam(), exam().tally()
    with torch.no_grad():
        for batch in asked.batches(torch.device("cpu")):
            tally.add(network(batch.inputs), batch)
    found = np.empty(len(asked.order))
    found[asked.order] = np.concatenate(tally.parts)
    expected = [
        log_likelihood(network, q.query.rstrip(), q.query[len(q.query.rstrip()) :] + " " + choice)
        for q in QUESTIONS
        for choice in q.choices
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_answers_are_the_likeliest_choices_by_sum_by_character_and_by_byte():
    questions = [Question("q", ("ab", "abcdefgh"), 1), Question("q", ("aa", "éé"), 0)]
    asked = MultipleChoice([questions], [" "], Bytes(), 64)
    # By sum the short one, by length the long one; the second differs where its bytes are twice its characters.
    scores = asked.accuracies(np.array([-2.0, -3.0, -3.0, -2.9]))
    assert scores == {"task_accuracy": 0.0, "task_accuracy_norm": 0.5, "task_accuracy_bytes": 0.5}
    scores = asked.accuracies(np.array([-2.0, -9.0, -2.8, -2.9]))
    assert scores == {"task_accuracy": 0.5, "task_accuracy_norm": 0.5, "task_accuracy_bytes": 0.0}


def test_the_mean_is_over_tasks_and_not_over_questions():
    asked = exam((QUESTIONS[:1], QUESTIONS[1:]))
    right = np.concatenate([np.eye(len(q.choices))[q.gold] for q in QUESTIONS])
    wrong_first = right.copy()
    wrong_first[:3] = [-1, 0, 1]
    assert asked.accuracies(right)["task_accuracy"] == 1
    assert asked.accuracies(wrong_first)["task_accuracy"] == 0.5


def test_white_space_at_the_end_of_a_query_belongs_to_the_choice():
    reader = Words()
    spaced, plain = encode(reader, "one two ", "three", 64), encode(reader, "one two", " three", 64)
    assert spaced == plain
    assert spaced.num_scored == 1


def test_a_long_query_loses_its_beginning():
    request = encode(Bytes(), "x" * 100, " yes", 10)
    assert request.ids == tuple(b"xxxxxxx yes")
    assert request.num_scored == 4
    with pytest.raises(DataError, match="has 14 tokens, but the networks have 10 positions"):
        encode(Bytes(), "x", " " + "y" * 13, 10)


def test_networks_together_answer_as_each_alone():
    torch.manual_seed(0)
    supernet = Supernet(SPACE)
    rng = np.random.default_rng(0)
    architectures = [SPACE.sample(rng) for _ in range(6)]
    asked = exam()
    scores = Examiner(supernet, [asked], text()).examine(architectures)
    assert scores == [examine(extract(supernet, a), asked) for a in architectures]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "holds no questions"),
        (["{"], "Line 1 of .* is no question"),
        (['{"query": "q", "choices": ["a"], "gold": 0}'], "at least two different texts"),
        (['{"query": "q", "choices": ["a", "a"], "gold": 0}'], "at least two different texts"),
        (['{"query": "q", "choices": ["a", "b"], "gold": 2}'], "gold 2 for 2 choices"),
        (['{"query": "q", "choices": ["a", "b"], "gold": "A"}'], "gold 'A' for 2 choices"),
        (['{"query": 3, "choices": ["a", "b"], "gold": 1}'], "it must be"),
        (["[1, 2]"], "Line 1 of .* is no question"),
    ],
)
def test_a_bad_task_file_is_refused_with_its_line(tmp_path, lines, message):
    path = tmp_path / "task.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        read_questions(path)


def test_questions_are_read_in_order_up_to_the_limit(tmp_path):
    path = tmp_path / "task.jsonl"
    rows = [{"query": q.query, "choices": q.choices, "gold": q.gold} for q in QUESTIONS]
    path.write_text("\n\n".join(json.dumps(row) for row in rows))
    assert read_questions(path) == QUESTIONS
    assert read_questions(path, 2) == QUESTIONS[:2]
    with pytest.raises(DataError, match="There is no task file"):
        read_questions(tmp_path / "none.jsonl")
