"""FidelitiesSpec: networks of a running search heal a little, so that those are found that are best once they are
healed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from job.healing_spec import HealingSpec, refuse_without_parent
from job.parts import InnerPart
from search.fidelities.plan import LadderPlan, affordable
from search.metrics import METRICS, ON_TARGET, Source

if TYPE_CHECKING:
    from job.spec import JobSpec

# The rungs of a job that names none: n and 4n steps, where 4n is a third of its healing.
FACTOR, SHARE = 4, 3
# Networks that heal up to the first rung where the job names neither a number nor a budget.
DEFAULT_CANDIDATES = 16
# Fewer are no choice.
LEAST_CANDIDATES = 2

Rung = Annotated[int, Field(ge=1, le=100_000_000)]


class FidelitiesSpec(InnerPart):
    """How far networks heal before they are chosen, and how many. Rungs are the first steps of the healing that the job
    asks for, so a chosen network does not repeat them."""

    steps: Annotated[tuple[Rung, ...], Field(min_length=1, max_length=5)] | None = Field(
        default=None,
        description="Steps of healing after which networks are scored again, counted from the start, growing. Null: n "
        f"and {FACTOR}n, where {FACTOR}n is a third of the healing's steps.",
        examples=[[25, 100]],
    )
    candidates: Annotated[int, Field(ge=LEAST_CANDIDATES, le=900)] | None = Field(
        default=None,
        description=f"Networks that heal up to the first rung. Give this or budget; none: {DEFAULT_CANDIDATES}.",
    )
    budget: Annotated[int, Field(ge=1, le=10**12)] | None = Field(
        default=None,
        description="Healing steps that the choice may take in all, which decides how many networks heal.",
    )
    keep: Annotated[float, Field(gt=0, le=1, description="Share of the networks of a rung that go on to the next.")] = (
        0.5
    )

    @model_validator(mode="after")
    def _sensible(self) -> FidelitiesSpec:
        if self.candidates is not None and self.budget is not None:
            raise ValueError(
                "Got search.fidelities.candidates and search.fidelities.budget; say in one of them how many heal."
            )
        steps = self.steps or ()
        if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
            raise ValueError(
                f"Got search.fidelities.steps {list(steps)}; each rung has more steps than the one before, such as "
                "[25, 100]."
            )
        return self

    def plan(self) -> LadderPlan:
        """The ladder of a resolved part.

        Raises:
            ValueError: the budget is not enough for a choice.
        """
        assert self.steps is not None, "the job is not resolved"
        if self.budget is None:
            return LadderPlan(self.steps, self.candidates or DEFAULT_CANDIDATES, self.keep)
        found = affordable(self.steps, self.keep, self.budget)
        if found < LEAST_CANDIDATES:
            least = sum(LadderPlan(self.steps, LEAST_CANDIDATES, self.keep).steps())
            raise ValueError(
                f"search.fidelities.budget is {self.budget:,} steps, but a choice between {LEAST_CANDIDATES} networks "
                f"up to {self.steps[-1]:,} steps takes {least:,}; give more, or fewer search.fidelities.steps."
            )
        return LadderPlan(self.steps, found, self.keep)


def resolved_fidelities(part: FidelitiesSpec, healing: HealingSpec | None, steps: int | None) -> FidelitiesSpec:
    """The part with its rungs written down, as far as that can be said here.

    Args:
        healing: the job's part.
        steps: those of one healing; None: only the data or the clock tell.
    """
    if part.steps is not None or healing is None or steps is None or steps < FACTOR * SHARE:
        return part
    first = steps // (FACTOR * SHARE)
    return part.model_copy(update={"steps": (first, FACTOR * first)})


def known_steps(spec: JobSpec) -> int | None:
    """Steps of a healing as far as a job says them; None: only the data or the clock tell."""
    part = spec.healing
    if part is None:
        return None
    length = getattr(part.data or spec.data, "length", None)
    if part.tokens is not None and length is None:
        return None
    return part.num_steps(part.batch_size or spec.training.batch_size, length)


def check_fidelities(spec: JobSpec) -> None:
    """Refuse fidelities that the other parts of a job leave nothing to choose by.

    Raises:
        ValueError: with what to change.
    """
    part, healing = spec.search.fidelities, spec.healing
    if part is None:
        return
    refuse_without_parent(spec, "search.fidelities")
    if healing is None:
        raise ValueError(
            "search.fidelities chooses networks by what they score after the first steps of their healing, and the job "
            "has no part healing; say there how networks heal, or leave search.fidelities out."
        )
    if not isinstance(healing.networks, str):
        raise ValueError(
            "healing.networks names the networks, so there is nothing for search.fidelities to choose; say knee or "
            "front, or leave search.fidelities out."
        )
    if all(METRICS[one.metric].source == Source.ANALYTIC or one.metric in ON_TARGET for one in spec.objectives):
        raise ValueError(
            "No objective of the job depends on weights, so healing changes none and search.fidelities has nothing to "
            "choose by; add an objective such as accuracy or perplexity."
        )
    _check_steps(spec, part, healing)
    candidates = resolved_fidelities(part, healing, known_steps(spec)).plan().candidates
    if candidates > spec.search.evaluations and not spec.search.warm_start:
        raise ValueError(
            f"{candidates} networks are to heal in the search (search.fidelities), which evaluates only "
            f"{spec.search.evaluations}; ask for fewer candidates or more search.evaluations."
        )


def _check_steps(spec: JobSpec, part: FidelitiesSpec, healing: HealingSpec) -> None:
    """Refuse rungs that are no part of the healing.

    Raises:
        ValueError: with what to change.
    """
    if healing.minutes is not None:
        raise ValueError(
            "The rungs of search.fidelities are the first steps of a healing, and how many steps healing.minutes are "
            "is only known once networks heal; give healing.steps, examples or tokens."
        )
    steps = known_steps(spec)
    if part.steps is None and steps is None:
        raise ValueError(
            "How many steps healing.tokens are is only known once the data are read; name search.fidelities.steps, "
            "such as [25, 100], or give healing.steps."
        )
    if part.steps is None and steps is not None and steps < FACTOR * SHARE:
        raise ValueError(
            f"A healing of {steps} steps is too short for rungs of a twelfth and a third of it; name "
            "search.fidelities.steps, or heal for longer."
        )
    if part.steps is not None and steps is not None:
        refuse_long_ladder(part.steps[-1], steps)


def refuse_long_ladder(last: int, steps: int) -> None:
    """Refuse rungs beyond the end of the healing.

    Raises:
        ValueError: with what to change.
    """
    if last > steps:
        raise ValueError(
            f"The last rung of search.fidelities.steps is {last:,}, but a network heals {steps:,} steps in all; rungs "
            "are steps of that healing. Give fewer, or heal for longer."
        )
