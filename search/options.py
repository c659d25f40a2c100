"""Options that several search algorithms have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from plugins.options import Options

if TYPE_CHECKING:
    from search_space.space import SearchSpace

Batch = Annotated[int, Field(ge=1, le=10_000, description="Architectures asked for at a time.")]


class GeneticOptions(Options):
    """Options of genetic searches."""

    population: Annotated[int, Field(ge=2, le=10_000, description="Architectures kept, and in a batch.")] = 50
    mutation: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="Probability that a gene changes; null: one over the number of choices."
    )


class OptunaOptions(Options):
    """Options of optuna's samplers, which learn of none of a batch before all of it is told."""

    batch: Batch = 1
    startup: Annotated[int, Field(ge=1, le=10_000, description="Random architectures before it learns.")] = 10


class BudgetedOptions(Options, ABC):
    """Options of an algorithm that not every space, and not every budget, is enough for."""

    @abstractmethod
    def misfit(self, space: SearchSpace, evaluations: int) -> str | None:
        """Why a search of this space with so many evaluations makes no sense, as a sentence; None if it does."""
