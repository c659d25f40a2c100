"""What charts are drawn from: evaluations as columns, and the course of a search's hypervolume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from job.versions import read_job
from search.metrics import ON_TARGET
from service.auth.keys import Identity
from service.auth.ownership import visible_jobs
from service.errors import InvalidRequest
from service.fronts import front_of
from service.store import queries
from service.store.models import EvaluationRow, Finalist, Job, TrainedSupernet

if TYPE_CHECKING:
    from search.hypervolume_course import Box
    from search.objectives import Objective

# Digits of a column's numbers: single precision, more than any screen shows.
DIGITS = 7
# Searches at random of the same supernet that are looked at, newest first.
RANDOM_JOBS = 20


def columns_of(session: Session, job_id: str, after: int) -> dict[str, Any]:
    """Evaluations after a number, as columns: `ids`, and by metric `metrics` and `sources`.

    A metric's source is one word where all networks have it from there, else one for each network. Numbers count from
    1 without gaps, so that row i is evaluation `after + 1 + i`.
    """
    rows = session.execute(
        select(EvaluationRow.number, EvaluationRow.architecture_id, EvaluationRow.metrics, EvaluationRow.sources)
        .where(EvaluationRow.job_id == job_id, EvaluationRow.number > after)
        .order_by(EvaluationRow.number)
    ).all()
    names = list(dict.fromkeys(name for _, _, metrics, _ in rows for name in metrics))
    return {
        "after": after,
        "last": rows[-1].number if rows else after,
        "ids": [name for _, name, _, _ in rows],
        "metrics": {name: [_short(metrics.get(name)) for _, _, metrics, _ in rows] for name in names},
        "sources": {name: _said([sources.get(name) for _, _, _, sources in rows]) for name in names},
    }


def _short(value: float | None) -> float | int | None:
    if not isinstance(value, float):
        return value
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 10**DIGITS else short


def _said(words: list[str | None]) -> str | list[str | None] | None:
    return words[0] if len(set(words)) == 1 else words


@dataclass(frozen=True, slots=True)
class Course:
    """How a search's hypervolume grew.

    Attributes:
        evaluations: in all.
        points: (evaluations so far, share of the box) wherever it grew.
    """

    job_id: str
    name: str
    algorithm: str
    evaluations: int
    points: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Courses:
    """The course of a job, and that of a random search of the same supernet with the same objectives, if there is one.

    Attributes:
        box: that both are a share of; None: no network keeps the limits, and there is no course.
    """

    objectives: tuple[Objective, ...]
    box: Box | None
    own: Course | None
    random: Course | None


def courses_of(session: Session, job: Job, who: Identity) -> Courses:
    """How the hypervolume of a job's search grew, in the numbers that the search had."""
    # Imported here because moocore compiles at import and the API should start without it.
    from search.hypervolume_course import box_of

    spec = read_job(job.spec)
    objectives, constraints = spec.goals
    scores = _scores(session, job.id, spec.metrics)
    box = box_of(scores, objectives, constraints)
    if box is None:
        return Courses(objectives, None, None, None)
    own = _course(job, scores, box)
    rival = None if spec.search.algorithm == "random" else _random_search(session, job, who)
    theirs = None if rival is None else _course(rival, _scores(session, rival.id, spec.metrics), box)
    return Courses(objectives, box, own, theirs)


def _course(job: Job, scores: Sequence[Mapping[str, float]], box: Box) -> Course:
    from search.hypervolume_course import hypervolume_course

    spec = read_job(job.spec)
    objectives, constraints = spec.goals
    grown = hypervolume_course(scores, objectives, box.corner, constraints)
    whole = box.volume(objectives) or 1.0
    shares = [(number, volume / whole) for number, volume in grown]
    return Course(job.id, job.name, str(spec.search.algorithm), len(scores), shares)


def _scores(session: Session, job_id: str, metrics: Sequence[str] | frozenset[str]) -> list[Mapping[str, float]]:
    """Scores of all evaluations in order; one that lacks a metric of the search is not a number there."""
    from search.evaluation import numbers

    nothing = dict.fromkeys(metrics)
    return [numbers({**nothing, **found}) for _, _, found in queries.scores(session, job_id, 0, ())]


def _random_search(session: Session, job: Job, who: Identity) -> Job | None:
    """The newest random search of a job's supernet with the same objectives that `who` sees, with most evaluations."""
    reused = job.spec.get("supernet", {}).get("reuse")
    nets = set(session.scalars(select(TrainedSupernet.id).where(TrainedSupernet.job_id == job.id)))
    nets |= {reused} if reused else set()
    if not nets:
        return None
    trainers = select(TrainedSupernet.job_id).where(TrainedSupernet.id.in_(nets), TrainedSupernet.job_id.is_not(None))
    theirs = Job.spec["supernet"]["reuse"].as_string().in_(nets)
    found = session.scalars(
        select(Job)
        .where(Job.id != job.id, Job.deleted_at.is_(None), visible_jobs(who))
        .where(theirs | Job.id.in_(trainers), Job.spec["search"]["algorithm"].as_string() == "random")
        .order_by(Job.created_at.desc())
        .limit(RANDOM_JOBS)
    ).all()
    goals = read_job(job.spec).goals
    alike = [one for one in found if read_job(one.spec).goals == goals]
    counts = queries.summaries(session, [one.id for one in alike])
    return max(alike, key=lambda one: counts[one.id]["evaluations"], default=None)


@dataclass(frozen=True, slots=True)
class Compared:
    """One job among others; see `service.api.drawing.ComparedOut`."""

    id: str
    name: str
    state: str
    evaluations: int
    share: float | None
    only: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Fronts of jobs from one corner."""

    objectives: tuple[Objective, ...]
    ideal: dict[str, float]
    corner: dict[str, float]
    jobs: list[Compared]


def compared(session: Session, jobs: Sequence[Job]) -> Comparison:
    """Hypervolumes of the jobs' fronts, all from the same corner, in objectives of any whose numbers all fronts have.

    What a device decides counts only where all jobs have the same target.

    Raises:
        InvalidRequest: there are fewer than two such objectives, or jobs want the opposite of the same metric.
    """
    from search.hypervolume_course import box_of, hypervolume_course

    specs = [read_job(job.spec) for job in jobs]
    fronts = [[_numbers(row, finalist) for row, finalist in front_of(session, job).points] for job in jobs]
    one_target = len({spec.target for spec in specs}) == 1
    goals = {objective.metric: objective for spec in specs for objective in spec.goals[0]}
    goals = {name: goal for name, goal in goals.items() if name not in ON_TARGET or one_target}
    shared = [name for name in goals if all(name in point for front in fronts for point in front)]
    opposed = [
        o.metric for spec in specs for o in spec.goals[0] if o.metric in goals and o.goal != goals[o.metric].goal
    ]
    if len(shared) < 2 or opposed:
        named = "; ".join(
            f"{job.id} has {', '.join(sorted(spec.metrics))}" for job, spec in zip(jobs, specs, strict=True)
        )
        raise InvalidRequest(
            "Fronts are compared in two or more objectives that all their networks have, with the same goals, and on "
            f"the same target where a device decides: {named}."
        )
    # Without limits: another job may have had none.
    objectives = tuple(replace(goals[name], limit=None) for name in shared)
    box = box_of([point for front in fronts for point in front], objectives)
    counts = queries.summaries(session, [job.id for job in jobs])

    def share(points: Sequence[Mapping[str, float]]) -> float:
        if box is None:
            return 0.0
        grown = hypervolume_course(points, objectives, box.corner)
        return grown[-1][1] / (box.volume(objectives) or 1.0) if grown else 0.0

    whole = share([point for front in fronts for point in front])
    found = []
    for place, (job, front) in enumerate(zip(jobs, fronts, strict=True)):
        others = [point for other, points in enumerate(fronts) if other != place for point in points]
        shares = (share(front), whole - share(others)) if front and box else (None, None)
        found.append(Compared(job.id, job.name, job.state, counts[job.id]["evaluations"], *shares))
    ends = ({}, {}) if box is None else tuple(dict(zip(shared, end, strict=True)) for end in (box.ideal, box.corner))
    return Comparison(objectives, ends[0], ends[1], found)


def _numbers(row: EvaluationRow, finalist: Finalist | None) -> dict[str, float]:
    from search.evaluation import numbers

    return numbers({**row.metrics, **(finalist.metrics if finalist else {})})
