"""What a job wants: metrics to optimize, and limits."""

from __future__ import annotations

import math

from pydantic import Field, field_validator, model_validator

from job.hardware_spec import OnTarget
from job.scoring_spec import TASK_METRICS
from plugins.registry import one_of
from search.metrics import METRICS, Goal
from search.objectives import Constraint, Objective


class ObjectiveSpec(OnTarget):
    """A metric to optimize, with an optional hard limit."""

    metric: str = Field(description="One of the catalogue's metrics.", examples=["accuracy"])
    goal: Goal | None = Field(default=None, description="The metric's own direction; may be left out.")
    limit: float | None = Field(default=None, description="Worst feasible value: least accuracy, or most of a cost.")

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        return one_of("metric", metric, tuple(METRICS))

    @model_validator(mode="after")
    def _sensible(self) -> ObjectiveSpec:
        metric = METRICS[self.metric]
        if self.goal is not None and self.goal != metric.goal:
            raise ValueError(f"Metric {self.metric!r} can only be {metric.goal}d, not {self.goal}d.")
        if self.limit is not None:
            _check_limit(self.metric, self.limit)
        return self

    def objective(self) -> Objective:
        """The objective as the search sees it."""
        return Objective(self.metric, METRICS[self.metric].goal, self.limit, self.target)


class ConstraintSpec(OnTarget):
    """A hard limit on a metric that is not optimized."""

    metric: str = Field(description="One of the catalogue's metrics that is no objective.", examples=["params"])
    limit: float = Field(description="Worst feasible value: least accuracy, or most of a cost.")

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        return one_of("metric", metric, tuple(METRICS))

    @model_validator(mode="after")
    def _sensible(self) -> ConstraintSpec:
        _check_limit(self.metric, self.limit)
        return self

    def constraint(self) -> Constraint:
        """The constraint as the search sees it."""
        return Constraint(self.metric, self.limit, METRICS[self.metric].goal)


def _check_limit(metric: str, limit: float) -> None:
    if metric in ("accuracy", *TASK_METRICS) and not 0 <= limit <= 1:
        raise ValueError(f"Got an accuracy limit of {limit}; it is a share from 0 to 1.")
    if limit < 0 or not math.isfinite(limit):
        raise ValueError(f"Got a limit of {limit} on {metric!r}; it must not be negative.")
