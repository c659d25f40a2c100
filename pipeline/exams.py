"""What the networks of a job's search are asked."""

from __future__ import annotations

from pathlib import Path

from job.scoring_spec import TaskSpec
from job.spec import JobSpec
from pipeline.workshop import JobFailed
from search_space.inputs import TokenInput
from search_space.space import SearchSpace
from supernet.data import DataError, Dataset, Split
from supernet.data.tokens import tokenizer
from supernet.scores.exam import Exam
from supernet.scores.harness import read_task_file
from supernet.scores.labels import SplitExam
from supernet.scores.retrieval import ZeroShotExam
from supernet.scores.tasks import MultipleChoice, Question, halves, read_questions

# What stands before the name of a metric on questions or examples that no search has seen.
HELD_OUT = "test_"


def exams_of(spec: JobSpec, space: SearchSpace, data: Dataset, tasks_dir: Path | None) -> list[Exam]:
    """What a search asks: the validation split, compared with the full network if that is asked, and half of each task.

    Args:
        tasks_dir: folder of task files of lm-evaluation-harness that may be read (`Settings.tasks_dir`).

    Raises:
        JobFailed: a task's file cannot be used.
    """
    # A search by blocks ranks them by their divergence, whatever the objectives.
    compared = "kl_divergence" in spec.metrics or spec.search.algorithm == "blocks"
    split = SplitExam(data.validation, against_full=compared)
    return [split, *_zero_shot(spec, data.validation), *_of_tasks(spec, space, data, tasks_dir, held_out=False)]


def held_out_exams_of(spec: JobSpec, space: SearchSpace, data: Dataset, tasks_dir: Path | None) -> list[Exam]:
    """What only finalists are asked besides the test split: the other half of each task. Arguments as `exams_of`.

    Raises:
        JobFailed: a task's file cannot be used.
    """
    return [*_zero_shot(spec, data.test, HELD_OUT), *_of_tasks(spec, space, data, tasks_dir, held_out=True)]


def _zero_shot(spec: JobSpec, split: Split, prefix: str = "") -> list[Exam]:
    """Classes told apart by texts, where that is asked."""
    return [ZeroShotExam(split, prefix)] if "zero_shot_accuracy" in spec.metrics else []


def _of_tasks(
    spec: JobSpec, space: SearchSpace, data: Dataset, tasks_dir: Path | None, *, held_out: bool
) -> list[Exam]:
    if not spec.scoring.tasks:
        return []
    takes = space.takes
    if not data.train.is_language or not isinstance(takes, TokenInput):
        raise JobFailed(f"scoring.tasks are asked of language models, but {data.name} is not text to be continued.")
    try:
        both = [halves(task.name, _questions(task, tasks_dir)) for task in spec.scoring.tasks]
        reader = tokenizer(getattr(spec.data, "tokenizer", None))
        asked, others = [first for first, _ in both], [second for _, second in both]
        if held_out:
            return [MultipleChoice(others, reader, takes.max_length, HELD_OUT)]
        return [MultipleChoice(asked, reader, takes.max_length)]
    except DataError as error:
        raise JobFailed(str(error)) from error


def _questions(task: TaskSpec, tasks_dir: Path | None) -> list[Question]:
    if not task.of_harness:
        return read_questions(Path(task.path), task.limit, task.delimiter)
    if tasks_dir is None:
        raise DataError(
            f"{task.path} is a task file of lm-evaluation-harness, which may run code; workers read such files from "
            "the folder WINNOW_TASKS_DIR alone, and this worker has none. Start it with WINNOW_TASKS_DIR=FOLDER."
        )
    folder = tasks_dir.resolve()
    path = (folder / task.path).resolve()
    if not path.is_relative_to(folder):
        raise DataError(
            f"{task.path} is a task file of lm-evaluation-harness, which may run code; this worker reads such files "
            f"from {folder} alone (WINNOW_TASKS_DIR). Put it there, with the Python files that it names."
        )
    return read_task_file(path, task.limit)
