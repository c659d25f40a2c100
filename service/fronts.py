"""The front of a job from its rows: so far while it searches, measured once it is final."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from job.hardware_spec import with_margin
from job.versions import read_job
from service.errors import Conflict
from service.store import queries, records
from service.store.models import EvaluationRow, Finalist, Job
from service.store.records import PredictorReport

if TYPE_CHECKING:
    from search_space.architecture import Architecture
    from search_space.space import SearchSpace


@dataclass(frozen=True, slots=True)
class Front:
    """Points of a front, best in the first objective first, and the id of its knee."""

    points: list[tuple[EvaluationRow, Finalist | None]]
    knee: str | None
    final: bool


def front_of(session: Session, job: Job) -> Front:
    """The Pareto front over everything a job has evaluated so far."""
    # Imported here because moocore compiles at import and the API should start without it.
    from search.evaluation import Evaluation, numbers
    from search.pareto import knee, pareto_front

    spec = read_job(job.spec)
    objectives, constraints = with_margin(*spec.goals, margins_of(session, job.id))
    space = spec.space()
    rows = {row.architecture_id: row for row in queries.evaluations(session, job.id)}
    scored = [Evaluation(stored_architecture(space, row), numbers(row.metrics)) for row in rows.values()]
    front = pareto_front(scored, objectives, constraints)
    best = knee(front, objectives)
    finalists = {finalist.architecture_id: finalist for finalist in queries.finalists(session, job.id)}
    points = [(rows[e.architecture.id], finalists.get(e.architecture.id)) for e in front]
    return Front(points, best.architecture.id if best else None, job.state == "succeeded")


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
