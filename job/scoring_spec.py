"""ScoringSpec: what networks are asked beyond the score on their validation data."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from job.parts import InnerPart

# Metrics that need `scoring.tasks`.
TASK_METRICS = ("task_accuracy", "task_accuracy_norm", "task_accuracy_bytes")


class TaskSpec(InnerPart):
    """Multiple-choice questions: the continuation with the largest log-likelihood is the answer."""

    name: Annotated[str, Field(min_length=1, max_length=100, description="Name for people, such as `arc_easy`.")]
    path: Annotated[
        str,
        Field(
            min_length=1,
            max_length=4096,
            description=(
                'On the worker: JSON lines of {"query": "...", "choices": ["...", ...], "gold": 0}; or a task '
                "configuration of lm-evaluation-harness (.yaml or .yml, output_type multiple_choice) in the worker's "
                "WINNOW_TASKS_DIR, by its path or its name in that folder."
            ),
        ),
    ]
    limit: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Number of questions that are used, from the first on; null: all."
    )
    delimiter: Annotated[
        str,
        Field(
            max_length=10,
            description="Text between a query and each of its choices, for JSON lines; task files have their own.",
        ),
    ] = " "

    @property
    def of_harness(self) -> bool:
        """Whether it is a task configuration of lm-evaluation-harness, and not JSON lines."""
        return self.path.lower().endswith((".yaml", ".yml"))

    @model_validator(mode="after")
    def _one_delimiter(self) -> Self:
        if self.of_harness and self.delimiter != " ":
            raise ValueError(
                f"Task {self.name!r} has delimiter {self.delimiter!r}, which is for JSON lines; {self.path} says its "
                "own as target_delimiter. Leave delimiter out."
            )
        return self


class ScoringSpec(InnerPart):
    """What the networks of a search are asked, besides their validation data."""

    tasks: Annotated[
        tuple[TaskSpec, ...],
        Field(max_length=32, description="Scored as lm-evaluation-harness does; accuracies are means over tasks."),
    ] = ()

    quantize_front: Annotated[
        tuple[Literal["int8_weight", "int4_weight", "gptq"], ...],
        Field(max_length=2, description="Score every finalist once more with its weights in these schemes."),
    ] = ()

    @field_validator("tasks")
    @classmethod
    def _different(cls, tasks: tuple[TaskSpec, ...]) -> tuple[TaskSpec, ...]:
        names = [task.name for task in tasks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"Task {twice[0]!r} is listed twice; give every task a name of its own.")
        return tasks
