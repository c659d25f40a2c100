"""The front of a job from its rows: so far while it searches; once it is final, as it was stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from job.hardware_spec import with_margin
from job.versions import read_job
from service.errors import Conflict
from service.store import queries, records
from service.store.models import EvaluationRow, Finalist, Job, Stage
from service.store.records import FrontRecord, PredictorReport

if TYPE_CHECKING:
    from search.evaluation import Evaluation
    from search_space.architecture import Architecture
    from search_space.space import SearchSpace


@dataclass(frozen=True, slots=True)
class Front:
    """What is known of a job's front.

    Attributes:
        points: best in the first objective first; a network and, once it is measured, what only finalists get.
        knee: id of the recommended network.
        final: whether the points are what was measured of a finished search.
        record: the final front as it was stored; None while the job searches.
        measured: networks that the record names, by id.
    """

    points: list[tuple[EvaluationRow, Finalist | None]]
    knee: str | None
    final: bool
    record: FrontRecord | None
    measured: Mapping[str, tuple[EvaluationRow, Finalist]]


def front_of(session: Session, job: Job) -> Front:
    """The final front of a job, or the front over everything that it has evaluated so far."""
    stored = records.read(session, job.id, FrontRecord)
    return _stored(session, job, stored[0]) if stored else _so_far(session, job)


def _stored(session: Session, job: Job, record: FrontRecord) -> Front:
    joined = (EvaluationRow.job_id == Finalist.job_id) & (EvaluationRow.architecture_id == Finalist.architecture_id)
    rows = session.execute(select(EvaluationRow, Finalist).join(Finalist, joined).where(Finalist.job_id == job.id))
    measured = {row.architecture_id: (row, finalist) for row, finalist in rows}
    points: list[tuple[EvaluationRow, Finalist | None]] = [measured[one.architecture_id] for one in record.points]
    return Front(points, record.knee, job.state == "succeeded", record, measured)


@dataclass(frozen=True, slots=True)
class Compared:
    """What a job's networks are compared with: its name and its numbers."""

    name: str
    metrics: Mapping[str, float | None]


def compared_with(session: Session, job: Job) -> Compared | None:
    """The reference of a job's final front; None before the front is made, or where an older version made it."""
    stored = records.read(session, job.id, FrontRecord)
    named = stored[0].reference if stored else None
    if named is None:
        return None
    key = (job.id, named.architecture_id)
    row, finalist = session.get(EvaluationRow, key), session.get(Finalist, key)
    return Compared(named.name, {**(row.metrics if row else {}), **(finalist.metrics if finalist else {})})


def _so_far(session: Session, job: Job) -> Front:
    # Imported here because moocore compiles at import and the API should start without it.
    from search.objectives import violation
    from search.pareto import knee, pareto_front

    spec = read_job(job.spec)
    objectives, constraints = spec.goals
    inside = with_margin(objectives, constraints, margins_of(session, job.id))
    space = spec.space()
    known = queries.finalists(session, job.id)
    remembers = job.stage == Stage.SEARCH and not known
    last, names = _REMEMBERED.get(job.id, NOTHING) if remembers else NOTHING
    found = [*queries.evaluations_named(session, job.id, names), *queries.evaluations(session, job.id, last)]
    # What another job has scored may still lack what only this one asks for.
    rows = {row.architecture_id: row for row in found if spec.metrics <= row.metrics.keys()}
    finalists = {one.architecture_id: one for one in known if one.architecture_id in rows}
    shown = [evaluation_shown(space, row, finalists.get(name)) for name, row in rows.items()]
    # Limits leave room for errors of prediction, and what is measured needs none.
    predicted = [one for one in shown if one.architecture.id not in finalists]
    feasible = [one for one in predicted if violation(inside[0], one.metrics, inside[1]) == 0]
    feasible += [one for one in shown if one.architecture.id in finalists]
    front = pareto_front(feasible, objectives, constraints)
    best = knee(front, objectives)
    if remembers and found:
        _remember(job.id, max(row.number for row in found), tuple(one.architecture.id for one in front))
    points = [(rows[e.architecture.id], finalists.get(e.architecture.id)) for e in front]
    return Front(points, best.architecture.id if best else None, job.state == "succeeded", None, {})


# Job -> number of the last evaluation that was looked at, and who was on the front then. The front of all is the front
# of that front and of what came later, so that a search that is watched is not read as a whole each time.
_REMEMBERED: dict[str, tuple[int, tuple[str, ...]]] = {}
NOTHING: tuple[int, tuple[str, ...]] = (0, ())
MOST_REMEMBERED = 200


def _remember(job_id: str, last: int, names: tuple[str, ...]) -> None:
    _REMEMBERED.pop(job_id, None)
    _REMEMBERED[job_id] = (last, names)
    while len(_REMEMBERED) > MOST_REMEMBERED:
        _REMEMBERED.pop(next(iter(_REMEMBERED)), None)


def evaluation_shown(space: SearchSpace, row: EvaluationRow, finalist: Finalist | None) -> Evaluation:
    """A network in the numbers that are shown of it.

    Raises:
        Conflict: the space has other choices than when it was evaluated.
    """
    from search.evaluation import Evaluation, numbers

    metrics = {**row.metrics, **(finalist.metrics if finalist else {})}
    ends = (finalist.intervals if finalist else None) or {}
    intervals = {name: (float(low), float(high)) for name, (low, high) in ends.items()}
    return Evaluation(stored_architecture(space, row), numbers(metrics), intervals=intervals)


def stored_architecture(space: SearchSpace, row: EvaluationRow) -> Architecture:
    """The architecture of a stored evaluation.

    Raises:
        Conflict: the space has other choices than when it was evaluated.
    """
    try:
        return space.architecture(**row.values)
    except ValueError as error:
        raise Conflict(
            f"The space of this job has changed since {row.architecture_id} was evaluated, so its networks cannot be "
            f"described or exported any more; the list of its evaluations has their values and scores. {error}"
        ) from error


def margins_of(session: Session, job_id: str) -> dict[str, float]:
    """Metric -> room that limits leave for errors of the predictor that drives the job's search."""
    return {report.metric: report.margin for report in records.read(session, job_id, PredictorReport) if report.used}
