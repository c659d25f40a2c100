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
from supernet.scores.tasks import MultipleChoice, Question, encode, question, read_questions
from tests.supernet.test_examiner import text

SPACE = load_family("llama", "tiny", Adjustments({"layer*_ffn": (88, 176)}))
QUESTIONS = [
    question("The sky is", ("blue", "a kind of cheese", "7"), 0),
    question("Two and two make ", ("four", "five"), 0),
    question("", ("Aye", "Nay, my lord"), 1),
    question("To be, or not to be: that is the", ("question", "é"), 1),
]


class Words:
    """Tokens are words with the space before them, so that joining query and choice matters."""

    name, vocab, padding, start = "words", 100, 0, 1

    def __init__(self, bos: tuple[int, ...] = ()) -> None:
        self.bos = bos
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


def exam(tasks=(QUESTIONS,), max_length=64) -> MultipleChoice:
    return MultipleChoice(tasks, Bytes(), max_length)


def test_log_likelihoods_are_those_of_each_request_by_itself():
    torch.manual_seed(0)
    network = extract(Supernet(SPACE), SPACE.largest()).eval()
    asked, tally = exam(), exam().tally()
    with torch.no_grad():
        for batch in asked.batches(torch.device("cpu")):
            tally.add(network(batch.x), batch)
    expected = [
        log_likelihood(network, context.rstrip(), context[len(context.rstrip()) :] + continuation)
        for q in QUESTIONS
        for context, continuation in q.requests
    ]
    np.testing.assert_allclose(tally.of_choices(), expected, rtol=1e-5)


def test_answers_are_the_likeliest_choices_by_sum_by_character_and_by_byte():
    questions = [question("q", ("ab", "abcdefgh"), 1), question("q", ("aa", "éé"), 0)]
    asked = MultipleChoice([questions], Bytes(), 64)
    # By sum the short one, by length the long one; the second differs where its bytes are twice its characters.
    scores = asked.accuracies(np.array([-2.0, -3.0, -3.0, -2.9]))
    assert scores == {"task_accuracy": 0.0, "task_accuracy_norm": 0.5, "task_accuracy_bytes": 0.5}
    scores = asked.accuracies(np.array([-2.0, -9.0, -2.8, -2.9]))
    assert scores == {"task_accuracy": 0.5, "task_accuracy_norm": 0.5, "task_accuracy_bytes": 0.0}


def test_the_mean_is_over_tasks_and_not_over_questions():
    asked = exam((QUESTIONS[:1], QUESTIONS[1:]))
    right = np.concatenate([np.eye(len(q.choices))[min(q.right)] for q in QUESTIONS])
    wrong_first = right.copy()
    wrong_first[:3] = [-1, 0, 1]
    assert asked.accuracies(right)["task_accuracy"] == 1
    assert asked.accuracies(wrong_first)["task_accuracy"] == 0.5


def test_white_space_at_the_end_of_a_query_belongs_to_the_choice():
    reader = Words()
    spaced, plain = encode(reader, "one two ", "three", 64), encode(reader, "one two", " three", 64)
    assert spaced == plain
    assert spaced.num_scored == 1


def test_what_the_tokenizer_puts_before_a_text_stands_there_once():
    assert encode(Words(bos=(1,)), "one two", " three", 64).ids == (1, 2, 3, 4)
    assert encode(Words(bos=(2,)), "one two", " three", 64).ids == (2, 3, 4)  # the text begins with it
    assert encode(Words(bos=(1,)), "", "one", 64).ids == (1, 2)


def test_several_answers_may_be_right_or_none():
    several, none = (
        Question((("q", " a"), ("q", " b"), ("q", " c")), ("a", "b", "c"), right) for right in ({0, 2}, ())
    )
    for likelihoods, share in (((-1, -2, -3), 1.0), ((-3, -1, -2), 0.0), ((-3, -2, -1), 1.0)):
        assert MultipleChoice([[several]], Bytes(), 64).accuracies(np.array(likelihoods))["task_accuracy"] == share
        assert MultipleChoice([[none]], Bytes(), 64).accuracies(np.array(likelihoods))["task_accuracy"] == 0


def test_equal_requests_are_computed_once_and_the_first_of_equals_is_the_answer():
    torch.manual_seed(0)
    network = extract(Supernet(SPACE), SPACE.largest()).eval()
    asked = MultipleChoice([[question("the", ("a", "b", "a"), 2)], [question("the", ("b", "a"), 0)]], Bytes(), 64)
    assert len(asked.order) == 2
    tally = asked.tally()
    with torch.no_grad():
        for batch in asked.batches(torch.device("cpu")):
            tally.add(network(batch.x), batch)
    a, b, again, other_b, other_a = tally.of_choices()
    assert (a, b) == (again, other_b) == (other_a, other_b)
    assert tally.values()["task_accuracy"] == (0.5 if b > a else 0.0)  # 2 is never the first of the two


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
    rows = [{"query": q.requests[0][0], "choices": q.choices, "gold": min(q.right)} for q in QUESTIONS]
    path.write_text("\n\n".join(json.dumps(row) for row in rows))
    assert read_questions(path) == QUESTIONS
    assert read_questions(path, 2) == QUESTIONS[:2]
    assert read_questions(path, 1, delimiter="")[0].requests[0] == ("The sky is", "blue")
    with pytest.raises(DataError, match="There is no task file"):
        read_questions(tmp_path / "none.jsonl")
