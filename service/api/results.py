"""Results of a job: front, evaluations, one architecture with its layers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response, StreamingResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from job.versions import read_job
from search.metrics import METRICS
from search_space import plugins
from service import fronts, jobs, remeasuring
from service.api.answers import Answer, Kept
from service.api.cursors import make_cursor, read_cursor
from service.api.deps import READ, DatabaseDep, IdentityDep, SessionDep
from service.api.schemas import (
    ArchitectureOut,
    BaselineOut,
    BeatenOut,
    BeyondOut,
    DataOut,
    EvaluationOut,
    EvaluationPage,
    FrontOut,
    FrontPointOut,
    GradientOut,
    HealingOut,
    LayerOut,
    LayersOut,
    ObjectiveOut,
    PointOut,
    ReadingOut,
    ReadingsOut,
    ReferenceOut,
    SensitivityOut,
    SharingOut,
)
from service.gradient import gradient_of
from service.store import queries, records
from service.store.models import EvaluationRow, Finalist, Job
from service.store.records import (
    Baseline,
    DataRead,
    FidelityScore,
    FrontRecord,
    HealedFront,
    HealedNetwork,
    HealingPoint,
    SensitivityRecord,
)
from service.store.session import Database

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])
Format = Annotated[Literal["json", "csv"], Query(description="JSON, or CSV with one row per architecture.")]

# Rows of a CSV read in one query.
CSV_CHUNK = 1000
# Fronts as they were answered: a page that watches one asks again and again.
ANSWERS = Kept[Answer](most_bytes=32 * 2**20)


@router.get(
    "/front",
    response_model=FrontOut,
    responses={304: {"description": "The front is still the one of `If-None-Match`"}},
    dependencies=[READ],
)
def front(
    job_id: str,
    session: SessionDep,
    format: Format = "json",  # noqa: A002
    if_none_match: Annotated[str | None, Header(description="`ETag` of the front that the client has.")] = None,
    accept_encoding: Annotated[str | None, Header(description="`gzip` compresses the answer.")] = None,
) -> Response:
    """Read a job's front.

    While the search runs it is the front so far; once it is final, its latency is measured.
    """
    if format == "csv":
        text = _front_csv(read_front(session, job_id))
        return Response(text, media_type="text/csv", headers=_attachment(f"front-{job_id}.csv"))
    return _front_json(session, job_id).response(if_none_match, accept_encoding)


def _front_json(session: Session, job_id: str) -> Answer:
    """The front of a job: written out once, and given until something of it may have changed."""
    users = plugins.users_families()  # whose files decide whether a job can still be read
    # Read first: what comes in between belongs to the next version.
    now = (queries.front_version(session, job_id), None if users is None else users.stamp())
    answer = ANSWERS.get(job_id, now)
    if answer is None:
        answer = Answer.of(read_front(session, job_id).model_dump_json().encode())
        ANSWERS.keep(job_id, now, answer)
    return answer


@router.get("/gradient", dependencies=[READ])
def gradient(job_id: str, session: SessionDep) -> GradientOut:
    """Read what a search by gradient found.

    The answer has probabilities over time, what was derived, and every network on every target.
    """
    job = jobs.get(session, job_id)
    return GradientOut(job_id=job.id, state=job.state, **gradient_of(session, job))


@router.get("/data", dependencies=[READ])
def data(job_id: str, session: SessionDep) -> DataOut:
    """Read what a job used of its data.

    The answer has files and rows used and left out, classes, columns, splits, and standardisation.
    """
    job = jobs.get(session, job_id)
    return DataOut(job_id=job.id, loads=records.read(session, job_id, DataRead))


@router.get("/sharing-cost", dependencies=[READ])
def sharing_cost(job_id: str, session: SessionDep) -> SharingOut:
    """Read what sharing weights costs.

    The answer has networks that were trained alone, beside the same ones sliced from the supernet.
    """
    job = jobs.get(session, job_id)
    return SharingOut(job_id=job.id, networks=records.sharing_of(session, job))


@router.get("/healing", dependencies=[READ])
def healing(job_id: str, session: SessionDep) -> HealingOut:
    """Read what healing made of a job's networks.

    The answer has networks of the front that were trained further with their parent: before, after, and on the way.
    """
    job, climbed = jobs.get(session, job_id), records.read(session, job_id, FidelityScore)
    names = {one.architecture_id for one in climbed}
    found = select(EvaluationRow).where(EvaluationRow.job_id == job_id, EvaluationRow.architecture_id.in_(names))
    return HealingOut(
        job_id=job.id,
        state=job.state,
        networks=records.read(session, job_id, HealedNetwork),
        points=[point.data() for point in records.read(session, job_id, HealingPoint)],
        front=next(iter(records.read(session, job_id, HealedFront)), None),
        fidelities=records.fidelities_of(session, job_id),
        fidelity_scores=climbed,
        fidelity_found={row.architecture_id: row.metrics for row in session.scalars(found)},
    )


def read_front(session: Session, job_id: str) -> FrontOut:
    """The front of a job as the API gives it."""
    job = jobs.get(session, job_id)
    found, healed = fronts.front_of(session, job), records.healed_of(session, job.id)
    answer = FrontOut(
        job_id=job.id,
        state=job.state,
        final=found.final,
        objectives=objectives_of(job),
        knee=found.knee,
        points=[FrontPointOut.of(row, finalist) for row, finalist in found.points],
        healed_front=next(iter(records.read(session, job.id, HealedFront)), None),
        baselines=[BaselineOut.model_validate(baseline) for baseline in records.read(session, job_id, Baseline)],
    )
    return answer if found.record is None else _with_record(answer, found, found.record, healed)


def _with_record(
    answer: FrontOut, front: fronts.Front, record: FrontRecord, healed: Mapping[str, HealedNetwork]
) -> FrontOut:
    """A front with what is known of it once it is final."""
    named, measured = record.reference, front.measured
    reference = None
    if named is not None:
        reference = ReferenceOut.of(*measured[named.architecture_id], name=named.name, breaks=named.breaks)
    of = None if reference is None else reference.metrics
    points = [
        FrontPointOut.of(
            *measured[one.architecture_id], of, rivals=list(one.rivals), healed=healed.get(one.architecture_id)
        )
        for one in record.points
    ]
    shown = {name for point in points for name in point.metrics}
    return answer.model_copy(
        update={
            "points": points,
            "reference": reference,
            "beaten": [BeatenOut.of(*measured[one.architecture_id], of, by=one.by) for one in record.beaten],
            "beyond": [BeyondOut.of(*measured[one.architecture_id], of, breaks=one.breaks) for one in record.beyond],
            "held_out": sorted(name for name in shown if name.startswith("test_")),
            "hypervolume": record.hypervolume,
            "worst": record.worst,
            "stable": record.stable,
            "predictions": list(record.predictions),
        }
    )


def _front_csv(front: FrontOut) -> str:
    """One row per network of the front, then the reference and the baselines, which the last column names."""
    rows: list[tuple[PointOut, str]] = [(point, "") for point in front.points]
    if front.reference is not None:
        rows.append((front.reference, front.reference.name))
    rows += [(baseline, baseline.name) for baseline in front.baselines]
    names = sorted({name for point, _ in rows for name in point.metrics})
    spread = sorted({name for point, _ in rows for name in point.intervals})
    last = ["baseline"] if len(rows) > len(front.points) else []
    heads = [*names, *(f"{name}_{end}" for name in spread for end in ("low", "high"))]
    lines = [_csv_line(["architecture_id", *heads, *last])]
    for point, baseline in rows:
        numbers = [point.metrics.get(name, "") for name in names]
        numbers += [end for name in spread for end in point.intervals.get(name, ("", ""))]
        lines.append(_csv_line([point.architecture_id, *numbers, *([baseline] if last else [])]))
    return "".join(lines)


def objectives_of(job: Job) -> list[ObjectiveOut]:
    """A job's objectives with their units."""
    objectives = [objective.objective() for objective in read_job(job.spec).objectives]
    return [ObjectiveOut(metric=o.metric, goal=o.goal, limit=o.limit, unit=METRICS[o.metric].unit) for o in objectives]


@router.get("/evaluations", response_model=EvaluationPage, dependencies=[READ])
def evaluations(
    job_id: str,
    database: DatabaseDep,
    session: SessionDep,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    format: Format = "json",  # noqa: A002
) -> EvaluationPage | StreamingResponse:
    """List evaluations of a job.

    The list has every architecture that was evaluated, in order. As CSV: all of them, streamed.
    """
    job = jobs.get(session, job_id)
    if format == "csv":
        lines = _csv(database, job)
        return StreamingResponse(lines, media_type="text/csv", headers=_attachment(f"evaluations-{job.id}.csv"))
    after = read_cursor(cursor, int)[0] if cursor else 0
    rows = queries.evaluations(session, job_id, after, limit + 1)
    page, more = rows[:limit], len(rows) > limit
    return EvaluationPage(
        evaluations=[EvaluationOut.model_validate(row) for row in page],
        next_cursor=make_cursor(page[-1].number) if more else None,
    )


@router.get("/architectures/{architecture_id}", dependencies=[READ])
def architecture(job_id: str, architecture_id: str, session: SessionDep) -> ArchitectureOut:
    """Read a network.

    The answer has one evaluated architecture with its layers in forward order.
    """
    job = jobs.get(session, job_id)
    row = jobs.evaluation_of(session, job_id, architecture_id)
    from job.formats import possible, subject_of  # not needed to start

    spec = read_job(job.spec)
    space = spec.space()
    layers = space.layers(fronts.stored_architecture(space, row))
    reference = fronts.compared_with(session, job)
    finalist = session.get(Finalist, (job_id, architecture_id))
    point = PointOut.of(row, finalist, None if reference is None else reference.metrics)
    return ArchitectureOut(
        **point.model_dump(),
        job_id=job_id,
        healed=records.healed_of(session, job_id).get(architecture_id),
        layers=[LayerOut.of(slot, layer, space.float_bits) for slot, layer in layers.items()],
        formats=list(possible(subject_of(spec, space.name, layers))),
    )


@router.get("/architectures/{architecture_id}/readings", dependencies=[READ])
def readings(job_id: str, architecture_id: str, session: SessionDep, who: IdentityDep) -> ReadingsOut:
    """List measurements of a network.

    The list has the first one and those since, each with its numbers, its time and its conditions.
    """
    found = remeasuring.readings(session, job_id, architecture_id, who)
    return ReadingsOut(
        job_id=job_id, architecture_id=architecture_id, readings=[ReadingOut.model_validate(one) for one in found]
    )


@router.get("/architectures/{architecture_id}/layers", dependencies=[READ])
def layers_of(job_id: str, architecture_id: str, session: SessionDep) -> LayersOut:
    """Compare a network's layers with the largest network's.

    Each layer has its latency where that is known.
    """
    job = jobs.get(session, job_id)
    row = jobs.evaluation_of(session, job_id, architecture_id)
    from service.layer_latency import layer_times  # families and tables: not needed to start

    space = read_job(job.spec).space()
    layers = space.layers(fronts.stored_architecture(space, row))
    largest = space.layers(space.largest())
    return LayersOut(
        job_id=job_id,
        architecture_id=architecture_id,
        layers=[LayerOut.of(slot, layer, space.float_bits) for slot, layer in layers.items()],
        largest=[LayerOut.of(slot, layer, space.float_bits) for slot, layer in largest.items()],
        latency=layer_times(session, job, layers),
    )


@router.get("/sensitivity", dependencies=[READ])
def sensitivity(job_id: str, session: SessionDep) -> SensitivityOut:
    """Read how sensitive layers are to quantization.

    The answer says how much the largest network's answers change when one layer is quantized, for every layer and
    width.
    """
    job = jobs.get(session, job_id)
    found = records.read(session, job.id, SensitivityRecord)
    return SensitivityOut(layers=list(found[0].layers) if found else [])


def _csv(database: Database, job: Job) -> Iterator[str]:
    metrics, choices = list(METRICS), None
    after = 0
    while True:
        with database.transaction() as session:
            rows = queries.evaluations(session, job.id, after, CSV_CHUNK)
        if choices is None:
            choices = list(rows[0].values) if rows else []
            yield _csv_line(["number", "architecture_id", *metrics, *choices])
        for row in rows:
            numbers = [row.metrics.get(metric, "") for metric in metrics]
            yield _csv_line([row.number, row.architecture_id, *numbers, *(row.values[c] for c in choices)])
        if len(rows) < CSV_CHUNK:
            return
        after = rows[-1].number


def _csv_line(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _attachment(filename: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{filename}"'}
