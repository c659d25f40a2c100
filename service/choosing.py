"""Which network of a job is exported where none is named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from job.versions import read_job
from search.picks import Pick
from service import fronts
from service.errors import Conflict, InvalidRequest
from service.fronts import Front
from service.store import queries, records
from service.store.models import EvaluationRow, Finalist, Job
from service.store.records import HealedFront

if TYPE_CHECKING:
    from search.evaluation import Evaluation
    from search_space.space import SearchSpace


WAYS = (
    "Say which you mean: --knee, --most-accurate, --as-good or --under latency_ms=5 (`rule` in the API), "
    "or name a network."
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A network of a front, and a sentence that says which it is."""

    architecture_id: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Reference:
    """What the networks of a job are compared with, on the validation split: the reference of its front."""

    name: str
    metric: str
    value: float


def reference_of(session: Session, job: Job, front: Front) -> Reference | None:
    """The reference of a job; None where nobody knows one, as in a search by gradient of an older version."""
    from search.choice import QUALITIES
    from search.evaluation import numbers

    named = None if front.record is None else front.record.reference
    if named is not None and named.architecture_id in front.measured:
        metrics = numbers(front.measured[named.architecture_id][0].metrics)
        metric = next((one for one in QUALITIES if one in metrics), None)
        return None if metric is None else Reference(named.name, metric, metrics[metric])
    # Before the front is made, and in jobs of an older version: as the supernet was scored when its training ended.
    spec = read_job(job.spec)
    row = queries.supernet(session, spec.supernet.reuse or job.id)
    largest = None if row is None else row.scores.get("largest")
    return None if row is None or largest is None else Reference("largest network", row.metric, float(largest))


def choose_for_export(
    session: Session, job: Job, pick: Pick | None, under: dict[str, float], *, healed: bool = True
) -> Chosen:
    """The network that a rule means, or without a rule the knee, if it loses little to the reference.

    Args:
        pick: see `Rule`; or None.
        under: metric -> the most that a network may have of it; without `pick` the most accurate is meant.
        healed: whether networks count with the better of their weights, where the job has healed some.

    Raises:
        Conflict: there is no front yet, or no network is under the limits.
        InvalidRequest: the rule cannot be followed, or one is needed.
    """
    # Imported here because moocore compiles at import and the API should start without it.
    from search.choice import NoneMeets, Rule, choose, quality_of

    spec = read_job(job.spec)
    space, (objectives, _) = spec.space(), spec.goals
    found = fronts.front_of(session, job)
    points = [fronts.evaluation_shown(space, row, one) for row, one in found.points]
    if healed:
        found, points = _healed(session, job, space, found, points)
    if not points:
        raise Conflict(f"Job {job.id} has no front yet, so there is nothing to export.", state=job.state)
    if pick is None and not under:
        return _without_rule(session, job, points, found)
    meant: Pick = pick or "most_accurate"
    try:
        if meant == "knee" and not under:
            best = next(point for point in points if point.architecture.id == found.knee)
        else:
            best = choose(points, objectives, Rule(meant, under))
        shown = quality_of(objectives, best.metrics)
    except NoneMeets as error:
        raise Conflict(str(error)) from None
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    limits = " and ".join(f"{metric} of at most {limit:g}" for metric, limit in under.items())
    which = {"knee": "the knee", "as_good": f"the cheapest as good as the best {shown}"}.get(meant, f"the best {shown}")
    among = f" among networks with {limits}" if limits else " of the front"
    return Chosen(best.architecture.id, f"{which}{among}: {shown} {best.metrics[shown]:.6g}")


def _healed(
    session: Session, job: Job, space: SearchSpace, front: Front, points: list[Evaluation]
) -> tuple[Front, list[Evaluation]]:
    """The front with the better weights of every network, and its points; as they are before anything is healed."""
    from search.evaluation import numbers

    stored = records.read(session, job.id, HealedFront)
    if not stored:
        return front, points
    after = records.healed_of(session, job.id)
    found = []
    for one in stored[0].points:
        key = (job.id, one.architecture_id)
        row, finalist = session.get(EvaluationRow, key), session.get(Finalist, key)
        assert row is not None
        shown = fronts.evaluation_shown(space, row, finalist)
        if one.healed:
            healed = after[one.architecture_id]
            ends = {
                name: (low, high)
                for name, (low, high) in healed.intervals.items()
                if low is not None and high is not None
            }
            shown = replace(shown, metrics=numbers(healed.after or {}), intervals=ends)
        found.append(shown)
    return replace(front, knee=stored[0].knee), found


def _without_rule(session: Session, job: Job, points: Sequence[Evaluation], front: Front) -> Chosen:
    from search.choice import is_near, stated_loss

    reference = reference_of(session, job, front)
    best = next(point for point in points if point.architecture.id == front.knee)
    if reference is None:
        if len(points) == 1:
            return Chosen(best.architecture.id, "the only network of the front")
        raise InvalidRequest(
            f"The front of job {job.id} has {len(points)} networks and nothing that they are compared with. {WAYS}",
            knee=front.knee,
        )
    value = best.metrics[reference.metric]
    if is_near(reference.metric, value, reference.value):
        told = f"{reference.metric} {value:.6g}, where the {reference.name} has {reference.value:.6g}"
        return Chosen(best.architecture.id, f"the knee of the front: {told}")
    raise InvalidRequest(
        f"The knee of job {job.id}, {front.knee}, has {reference.metric} {value:.6g} where the {reference.name} has "
        f"{reference.value:.6g}; it is exported unasked only with {stated_loss(reference.metric)} at most. {WAYS}",
        knee=front.knee,
        reference={
            "metric": reference.metric,
            "value": reference.value if math.isfinite(reference.value) else None,
        },
    )
