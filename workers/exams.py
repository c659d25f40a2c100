"""What the networks of a job's search are asked."""

from __future__ import annotations

from pathlib import Path

from search.spec import JobSpec
from search_space.inputs import TokenInput
from search_space.space import SearchSpace
from supernet.data import DataError, Dataset
from supernet.data.tokens import tokenizer
from supernet.scores.exam import Exam
from supernet.scores.labels import SplitExam
from supernet.scores.tasks import MultipleChoice, read_questions
from workers.workshop import JobFailed


def exams_of(spec: JobSpec, space: SearchSpace, data: Dataset) -> list[Exam]:
    """The validation split, compared with the full network if that is asked, and the tasks.

    Raises:
        JobFailed: a task's file cannot be used.
    """
    exams: list[Exam] = [SplitExam(data.validation, against_full="kl_divergence" in spec.metrics)]
    if not spec.scoring.tasks:
        return exams
    takes = space.takes
    if not data.train.is_language or not isinstance(takes, TokenInput):
        raise JobFailed(f"scoring.tasks are asked of language models, but {data.name} is not text to be continued.")
    try:
        tasks = [read_questions(Path(task.path), task.limit, task.delimiter) for task in spec.scoring.tasks]
        reader = tokenizer(spec.data.options().get("tokenizer"))
        return [*exams, MultipleChoice(tasks, reader, takes.max_length)]
    except DataError as error:
        raise JobFailed(str(error)) from error
