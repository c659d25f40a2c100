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
    from search.evaluation import numbers
    from search.objectives import violation
    from search.pareto import front_places, knee

    spec = read_job(job.spec)
    objectives, constraints = spec.goals
    inside = with_margin(objectives, constraints, margins_of(session, job.id))
    known = queries.finalists(session, job.id)
    remembers = job.stage == Stage.SEARCH and not known
    last, names = _REMEMBERED.get(job.id, NOTHING) if remembers else NOTHING
    found = queries.scores(session, job.id, last, names)
    # What another job has scored may still lack what only this one asks for.
    scored = {name: metrics for _, name, metrics in found if spec.metrics <= metrics.keys()}
    finalists = {one.architecture_id: one for one in known if one.architecture_id in scored}
    shown = {name: numbers(_shown(metrics, finalists.get(name))) for name, metrics in scored.items()}
    # Limits leave room for errors of prediction, and what is measured needs none.
    predicted = [name for name in shown if name not in finalists]
    feasible = [name for name in predicted if violation(inside[0], shown[name], inside[1]) == 0]
    feasible += [name for name in shown if name in finalists]
    front = [feasible[i] for i in front_places([shown[name] for name in feasible], objectives, constraints)]
    if remembers and found:
        # The front itself may be older than what was looked at last, and what lacks scores may still get them.
        lacking = [name for _, name, _ in found if name not in scored]
        _remember(job.id, max(last, *(number for number, _, _ in found)), (*front, *lacking))
    # Of all others only their scores are read.
    rows = {row.architecture_id: row for row in queries.evaluations_named(session, job.id, front)}
    points = [(rows[name], finalists.get(name)) for name in front if name in rows]
    space = spec.space()
    best = knee([evaluation_shown(space, row, finalist) for row, finalist in points], objectives)
    return Front(points, best.architecture.id if best else None, job.state == "succeeded", None, {})


def _shown(metrics: Mapping[str, float | None], finalist: Finalist | None) -> dict[str, float | None]:
    """The numbers that are shown of a network: its scores, and instead of them what was measured of it."""
    return {**metrics, **(finalist.metrics if finalist else {})}


# Job -> number of the last evaluation that was looked at, and who was on the front then or lacked scores. The front of
# all is the front of these and of what came later, so that a search that is watched is not read as a whole each time.
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

    ends = (finalist.intervals if finalist else None) or {}
    intervals = {name: (float(low), float(high)) for name, (low, high) in ends.items()}
    return Evaluation(stored_architecture(space, row), numbers(_shown(row.metrics, finalist)), intervals=intervals)


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
