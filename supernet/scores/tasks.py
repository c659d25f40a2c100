"""Multiple-choice questions for language models, scored by log-likelihood as lm-evaluation-harness does.

Every choice is a request: how likely is a continuation after a context? Both are tokenized together, white space at the
context's end belongs to the continuation, and what the whole has beyond the context's own tokens is the continuation
(`_encode_pair` and `loglikelihood` of lm_eval 0.4.13). The answer is the choice with the largest

    acc: sum of its tokens' log-probabilities; acc_norm: that over its characters; acc_bytes: over its UTF-8 bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from search.intervals import Interval, mean_of_shares
from supernet.data.dataset import IGNORED, Batch, DataError
from supernet.data.tokens import Tokenizer
from supernet.randomness import derived_rng
from supernet.scores.exam import Scores, Tally
from supernet.scores.labels import TOKENS


@dataclass(frozen=True, slots=True)
class Question:
    """Requests that compete, and which of them are right.

    Attributes:
        requests: context and continuation of every choice; the continuation begins with the delimiter.
        choices: what is counted for `acc_norm` and `acc_bytes`, one for every request.
        right: indices from 0. With several, any of them is a right answer; with none, no answer is.
    """

    requests: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]
    right: frozenset[int]


def question(query: str, choices: Sequence[str], gold: int, delimiter: str = " ") -> Question:
    """One query and its possible continuations."""
    return Question(tuple((query, delimiter + choice) for choice in choices), tuple(choices), frozenset((gold,)))


def read_questions(path: Path, limit: int | None = None, delimiter: str = " ") -> list[Question]:
    """Questions from JSON lines.

    Args:
        delimiter: between a query and each of its choices.

    Raises:
        DataError: no such file, no questions, or a line that is not one; the line is named.
    """
    if not path.is_file():
        raise DataError(f'There is no task file {path}; give JSON lines of {{"query", "choices", "gold"}}.')
    questions: list[Question] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            questions.append(_question(path, number, line, delimiter))
        if len(questions) == limit:
            break
    if not questions:
        raise DataError(f"The task file {path} holds no questions.")
    return questions


def halves(name: str, questions: Sequence[Question]) -> tuple[list[Question], list[Question]]:
    """The questions that a search asks, and as many, or one fewer, that it never sees; drawn once and for all, so that
    searches of one supernet hold out the same.

    Raises:
        DataError: there is only one.
    """
    if len(questions) < 2:
        raise DataError(
            f"Task {name!r} has one question; half of a task's questions are held out for the networks of the front, "
            "so it must have at least two."
        )
    drawn = derived_rng(0, "held-out questions", 0).permutation(len(questions))
    held_out = set(drawn[: len(questions) // 2].tolist())
    asked = [question for number, question in enumerate(questions) if number not in held_out]
    return asked, [question for number, question in enumerate(questions) if number in held_out]


def _question(path: Path, number: int, line: str, delimiter: str) -> Question:
    right = 'it must be {"query": text, "choices": at least two different texts, "gold": index of the right one}'
    try:
        row = json.loads(line)
        query, choices, gold = row["query"], row["choices"], row["gold"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"Line {number} of {path} is no question ({error!r}); {right}.") from None
    texts = isinstance(query, str) and isinstance(choices, list) and all(isinstance(c, str) and c for c in choices)
    if not texts or len(set(choices)) < max(2, len(choices)):
        raise DataError(f"Line {number} of {path} is no question: {line[:80]}; {right}.")
    if type(gold) is not int or not 0 <= gold < len(choices):
        raise DataError(f"Line {number} of {path} has gold {gold!r} for {len(choices)} choices; {right}.")
    return question(query, choices, gold, delimiter)


@dataclass(frozen=True, slots=True)
class Request:
    """Token ids of a context and a continuation; the last `num_scored` of them are the continuation."""

    ids: tuple[int, ...]
    num_scored: int


def encode(reader: Tokenizer, context: str, continuation: str, max_length: int) -> Request:
    """A request as a network eats it, cut at its beginning to `max_length` inputs.

    Raises:
        DataError: the continuation alone is longer than that, or is no token at all.
    """
    kept = context.rstrip()
    continuation = context[len(kept) :] + continuation
    if kept:
        before = reader.stream(kept).tolist()
        scored = reader.stream(kept + continuation).tolist()[len(before) :]
        bos = list(reader.bos)
        if before[: len(bos)] != bos:  # unless the text itself begins with it
            before = bos + before
        before = before or [reader.start]
    else:
        before, scored = [reader.start], reader.stream(continuation).tolist()
    if not scored:
        raise DataError(
            f"The choice {continuation!r} after {context[-40:]!r} has no tokens of its own with {reader.name}."
        )
    if len(scored) > max_length:
        raise DataError(f"A choice has {len(scored)} tokens, but the networks have {max_length} positions.")
    return Request(tuple((before + scored)[-(max_length + 1) :]), len(scored))


class MultipleChoice:
    """Questions as batches of requests of alike length; the mean over several tasks.

    Equal requests are computed once, so that equal choices are equally likely to the last bit.

    Args:
        tasks: questions of each task.
        max_length: positions of the networks.
        prefix: prefix of the metrics' names.
    """

    against_full = False

    def __init__(
        self, tasks: Sequence[Sequence[Question]], reader: Tokenizer, max_length: int, prefix: str = ""
    ) -> None:
        self.tasks, self.prefix = tasks, prefix
        asked = [pair for task in tasks for question in task for pair in question.requests]
        numbers = {pair: number for number, pair in enumerate(dict.fromkeys(asked))}
        # Of every choice, in the order of tasks, questions and choices: which of the requests it is.
        self.index = np.array([numbers[pair] for pair in asked])
        requests = [encode(reader, context, continuation, max_length) for context, continuation in numbers]
        # Longest first, so that what does not fit in memory shows at once.
        self.order = sorted(range(len(requests)), key=lambda i: -len(requests[i].ids))
        self._batches = list(_batched([requests[i] for i in self.order], reader.padding))
        self._on: dict[torch.device, list[Batch]] = {}

    def batches(self, device: torch.device) -> Iterator[Batch]:
        """See `Exam`. All of them stay on the device."""
        if device not in self._on:
            self._on[device] = [batch.to(device) for batch in self._batches]
        yield from self._on[device]

    def tally(self) -> Tally:
        """See `Exam`."""
        return Likelihoods(self)

    def accuracies(self, likelihoods: np.ndarray) -> dict[str, float]:
        """Metrics from the log-likelihood of every choice, in the order of tasks, questions and choices."""
        return self.scores(likelihoods).values

    def scores(self, likelihoods: np.ndarray) -> Scores:
        """The same with intervals."""
        found: list[np.ndarray] = []
        start = 0
        for task in self.tasks:
            right = np.zeros((len(task), 3))
            for row, question in zip(right, task, strict=True):
                values = likelihoods[start : start + len(question.choices)]
                start += len(question.choices)
                characters = np.array([len(choice) for choice in question.choices])
                num_bytes = np.array([len(choice.encode()) for choice in question.choices])
                answers = (np.argmax(values), np.argmax(values / characters), np.argmax(values / num_bytes))
                row[:] = [answer in question.right for answer in answers]
            found.append(right)
        means = np.mean([right.mean(axis=0) for right in found], axis=0).tolist()
        counts = [[(float(right[:, kind].sum()), len(right)) for right in found] for kind in range(3)]
        names = [self.prefix + name for name in ("task_accuracy", "task_accuracy_norm", "task_accuracy_bytes")]
        ends = [mean_of_shares(shares) for shares in counts]
        return Scores(dict(zip(names, means, strict=True)), dict(zip(names, ends, strict=True)))


@dataclass(slots=True)
class Likelihoods:
    """Log-likelihoods of one network, batch by batch."""

    exam: MultipleChoice
    parts: list[np.ndarray] = field(default_factory=list)

    def add(self, logits: Tensor, batch: Batch, full: Tensor | None = None) -> None:
        """See `Tally`."""
        scored_NT = batch.targets != IGNORED
        rows_NT = logits.float().log_softmax(-1)
        taken_NT = rows_NT.gather(-1, batch.targets.clamp_min(0)[..., None])[..., 0]
        self.parts.append(torch.where(scored_NT, taken_NT, 0.0).double().sum(1).cpu().numpy())

    def of_choices(self) -> np.ndarray:
        """Natural logarithms, one for every choice, in the order of tasks, questions and choices."""
        found = np.concatenate(self.parts)
        in_order = np.empty_like(found)
        in_order[self.exam.order] = found
        return np.take(in_order, self.exam.index)

    def values(self) -> dict[str, float]:
        """See `Tally`."""
        return self.exam.accuracies(self.of_choices())

    def intervals(self) -> dict[str, Interval]:
        """See `Tally`. Wilson's of every task, added as squares."""
        return self.exam.scores(self.of_choices()).intervals


def _batched(requests: Sequence[Request], padding: int) -> Iterator[Batch]:
    """Padded batches of consecutive requests; padding stands behind, where no earlier position sees it."""
    start = 0
    while start < len(requests):
        length = len(requests[start].ids) - 1
        part = requests[start : start + max(1, TOKENS // length)]
        inputs_NT = torch.full((len(part), length), padding, dtype=torch.int64)
        targets_NT = torch.full((len(part), length), IGNORED, dtype=torch.int64)
        for row, request in enumerate(part):
            end = len(request.ids) - 1
            inputs_NT[row, :end] = torch.tensor(request.ids[:-1])
            targets_NT[row, end - request.num_scored : end] = torch.tensor(request.ids[-request.num_scored :])
        yield Batch.of(inputs_NT, targets_NT)
        start += len(part)
