"""Jobs made of other jobs: clones with edits, extensions, reruns from a stage, and jobs that heal what one has found.

Each is a job of its own that names its parent, so that nothing of the parent is lost; what both have in common is
reused and not made again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, literal, select
from sqlalchemy.orm import Session

from job.healing_spec import BUDGETS, HealingSpec
from job.resolve import opened
from job.spec import JobSpec
from job.versions import read_job
from search.metrics import ON_TARGET
from service import jobs, verbs
from service.auth.keys import ANYBODY, Identity
from service.errors import InvalidRequest
from service.kernels import reopened
from service.store import queries, records
from service.store.models import STAGES, EvaluationRow, Finalist, Job, JobRecord, JobState, Stage, Verb
from service.store.records import FrontRecord

# Part -> the words of it that decide what the others mean: where one is edited, the others are those of the new one.
DECIDING: dict[str, tuple[str, ...]] = {"data": ("source",), "supernet": ("family", "preset", "pretrained")}
# The same where only the options follow: of a training's method, of a search's algorithm.
WITH_OPTIONS = {"training": "method", "search": "algorithm"}
# Stages from which nothing of the trained supernet is left to reuse.
BEFORE_SUPERNET = (Stage.CHECK, Stage.PREPARE_DATA, Stage.TRAIN_SUPERNET)
# Records by the stage that finds them out, as far as a rerun can take them over.
RECORDS_OF: dict[Stage, tuple[str, ...]] = {
    Stage.TRAIN_SUPERNET: ("curve point",),
    Stage.FIT_PREDICTORS: ("predictor",),
    Stage.SEARCH: ("sensitivity", "baseline score", "block scores", "fidelity score", "fidelities"),
    Stage.MEASURE_FINALISTS: ("front",),
}
# What of a job concerns no stage.
ABOUT = frozenset({"name", "labels", "notes", "priority", "needs"})
# Rows that a job took over belong to a run before its first, which has epoch 2.
TAKEN_OVER = 1


@dataclass(frozen=True, slots=True)
class Extension:
    """How a search goes on.

    Attributes:
        evaluations: further ones; None: as many as the parent was given.
        objectives, constraints: instead of the parent's; None: the same.
        target: device of the metrics that need one; None: the same.
    """

    evaluations: int | None = None
    objectives: list[dict[str, Any]] | None = None
    constraints: list[dict[str, Any]] | None = None
    target: str | None = None


def clone(
    session: Session, job_id: str, edits: Mapping[str, Any], key: str | None = None, who: Identity = ANYBODY
) -> tuple[Job, bool]:
    """The same job again, with edits: a JSON merge patch (RFC 7396) of the job's draft.

    Raises:
        ValidationError: the edited job is none.
        InvalidRequest and others: as `jobs.submit`.
    """
    parent = parent_of(session, job_id, Verb.CLONE)
    draft = _draft(parent)
    copy = reopened(edited(draft, edits), draft, edits)
    return submit_child(session, parent, copy, Verb.CLONE, key, who)


def extend(
    session: Session,
    job_id: str,
    by: Extension,
    edits: Mapping[str, Any],
    key: str | None = None,
    who: Identity = ANYBODY,
) -> tuple[Job, bool]:
    """A job that goes on with a search: its supernet, and everything that was scored of it, are reused.

    Raises:
        Conflict: there is no trained supernet to search.
        ValidationError, InvalidRequest: as `clone`.
    """
    parent = parent_of(session, job_id, Verb.EXTEND)
    draft = draft_reusing(session, parent, "extended")
    search = draft["search"]
    if by.evaluations is not None:
        search["evaluations"] = by.evaluations
    search["warm_start"], search["seed"] = True, (search["seed"] + 1) % 2**31
    for name, given in (("objectives", by.objectives), ("constraints", by.constraints)):
        if given is not None:
            draft[name] = given
    if by.target is not None:
        _move_to(draft, by.target)
    draft["name"] = f"{parent.name}, further"[:200]
    return submit_child(session, parent, edited(draft, edits), Verb.EXTEND, key, who)


def rerun(
    session: Session,
    job_id: str,
    stage: Stage,
    edits: Mapping[str, Any],
    key: str | None = None,
    who: Identity = ANYBODY,
) -> tuple[Job, bool]:
    """Make a job that repeats a stage and those after it. It takes over what the earlier stages found.

    Raises:
        Conflict: a stage before it has left nothing to take over.
        ValidationError, InvalidRequest: as `clone`.
    """
    parent = parent_of(session, job_id, Verb.RERUN)
    if stage == Stage.DONE:
        raise InvalidRequest("Nothing is done in the stage `done`; name an earlier one.", known=list(STAGES[:-1]))
    if stage == Stage.HEAL:
        part = read_job(parent.spec).healing
        if part is None:
            verbs.refuse(
                parent, f"Job {parent.id} heals nothing, so there is no such stage to do anew; heal it instead."
            )
        return _heal(session, parent, part, edits, Verb.RERUN, key, who)
    if stage in BEFORE_SUPERNET:
        return submit_child(session, parent, edited(_draft(parent), edits), Verb.RERUN, key, who, stage)
    if stage == Stage.MEASURE_BASELINES:
        _refuse_without_baselines(session, parent)
    if stage in (Stage.MEASURE_FINALISTS, Stage.MEASURE_BASELINES):
        _refuse_earlier_edits(edits)
        if not queries.evaluations(session, parent.id, limit=1):
            verbs.refuse(parent, f"Job {parent.id} has evaluated nothing whose front could be measured again.")
    draft = draft_reusing(session, parent, f"rerun from {stage}")
    draft["search"]["warm_start"] = False
    job, is_new = submit_child(session, parent, edited(draft, edits), Verb.RERUN, key, who, stage)
    if is_new:
        _take_over(session, parent, job, stage)
    return job, is_new


def heal(
    session: Session,
    job_id: str,
    part: HealingSpec,
    edits: Mapping[str, Any],
    key: str | None = None,
    who: Identity = ANYBODY,
) -> tuple[Job, bool]:
    """A job that takes over everything that a finished one has found, and heals networks of its front.

    Raises:
        Conflict: the job has not succeeded, or has no supernet whose largest network could teach.
        NotFound: a network that it has not evaluated.
        ValidationError, InvalidRequest: as `clone`.
    """
    return _heal(session, parent_of(session, job_id, Verb.HEAL), part, edits, Verb.HEAL, key, who)


def _heal(
    session: Session,
    parent: Job,
    part: HealingSpec,
    edits: Mapping[str, Any],
    verb: Verb,
    key: str | None,
    who: Identity,
) -> tuple[Job, bool]:
    _refuse_earlier_edits(edits, ABOUT if verb == Verb.HEAL else {*ABOUT, "healing"})
    draft = draft_reusing(session, parent, "healed")
    stored = records.read(session, parent.id, FrontRecord)
    if not stored:
        verbs.refuse(parent, f"Job {parent.id} has no measured front yet, so there is nothing to heal.")
    draft["search"]["warm_start"] = False
    draft["search"]["fidelities"] = None  # nothing is searched; what the parent has chosen is taken over
    draft["healing"] = part.model_dump(mode="json")
    if verb == Verb.HEAL:
        draft["name"] = f"{parent.name}, healed"[:200]
    given = edited(draft, edits)
    if not isinstance(given.get("healing"), dict):
        raise InvalidRequest("Without the part healing nothing would be done; leave it as it is, or edit what it says.")
    _refuse_strange_networks(session, parent, stored[0], given["healing"].get("networks"))
    stage = Stage.HEAL if verb == Verb.RERUN else None
    job, is_new = submit_child(session, parent, given, verb, key, who, stage)
    if is_new:
        _take_over(session, parent, job, Stage.HEAL)
    return job, is_new


def _refuse_strange_networks(session: Session, parent: Job, front: FrontRecord, named: Any) -> None:
    """Refuse networks that the job has not evaluated, and the parent of all.

    Raises:
        NotFound, InvalidRequest: with the network.
    """
    for name in named if isinstance(named, list | tuple) else ():
        jobs.evaluation_of(session, parent.id, name)
        if front.reference is not None and name == front.reference.architecture_id:
            raise InvalidRequest(
                f"{name} is the {front.reference.name}, by which the others are healed; name another network."
            )


def _refuse_without_baselines(session: Session, parent: Job) -> None:
    if read_job(parent.spec).quantization is None:
        verbs.refuse(parent, f"Job {parent.id} searches no policies, so its front has no baselines to measure anew.")
    if not records.read(session, parent.id, FrontRecord):
        verbs.refuse(parent, f"Job {parent.id} has no measured front yet; rerun it from an earlier stage.")


def edited(draft: dict[str, Any], edits: Mapping[str, Any]) -> dict[str, Any]:
    """A draft with edits. What belonged to a source, family, method or algorithm that is replaced goes with it."""
    draft = {name: dict(part) if isinstance(part, dict) else part for name, part in draft.items()}
    for part, words in DECIDING.items():
        given = edits.get(part)
        if isinstance(given, dict) and any(
            given.get(word, draft[part].get(word)) != draft[part].get(word) for word in words
        ):
            kept = {word: draft[part][word] for word in words[:1] if word in draft[part]}
            draft[part] = kept
    given = edits.get("healing")
    if isinstance(draft.get("healing"), dict) and isinstance(given, Mapping) and any(map(given.get, BUDGETS)):
        draft["healing"].update(dict.fromkeys(BUDGETS))  # one budget takes the place of another
    for part, word in WITH_OPTIONS.items():
        given = edits.get(part)
        if isinstance(given, dict) and given.get(word, draft[part][word]) != draft[part][word]:
            draft[part].pop("options", None)
    merged: dict[str, Any] = merge_patch(draft, edits)
    return merged


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: null removes, objects are merged, anything else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _refuse_earlier_edits(edits: Mapping[str, Any], known: Collection[str] = ABOUT) -> None:
    """Refuse to change what decided what was found, where nothing of it is found anew.

    Args:
        known: parts that may be changed.

    Raises:
        InvalidRequest: with the parts.
    """
    earlier = sorted(set(edits) - set(known))
    if earlier:
        raise InvalidRequest(
            f"Edits of {', '.join(earlier)} concern stages that are not done anew; rerun from an earlier stage, or "
            f"edit only {', '.join(sorted(known))}.",
            known=sorted(known),
        )


def parent_of(session: Session, job_id: str, verb: Verb) -> Job:
    job = jobs.get(session, job_id)
    verbs.permit(job, verb)
    return job


def _draft(job: Job) -> dict[str, Any]:
    """What a job was asked for, with words and notes as they are now; decisions are left open."""
    draft = opened(read_job(job.spec)).model_dump(mode="json")
    return {**draft, "name": job.name, "labels": job.labels, "notes": job.notes, "priority": job.priority}


def draft_reusing(session: Session, job: Job, done: str) -> dict[str, Any]:
    """The draft of a job that searches the same supernet without training.

    Raises:
        Conflict: there is none.
    """
    draft = _draft(job)
    if draft["gradient"] is not None:
        verbs.refuse(job, f"Job {job.id} searches by gradient and leaves no supernet, so it cannot be {done}.")
    supernet_id = draft["supernet"]["reuse"] or job.id
    if queries.supernet(session, supernet_id) is None:
        verbs.refuse(job, f"Job {job.id} has no trained supernet yet and cannot be {done}.")
    draft["supernet"]["reuse"] = supernet_id
    return draft


def _move_to(draft: dict[str, Any], target: str) -> None:
    """Name another device in all goals that need one.

    Raises:
        InvalidRequest: none does.
    """
    goals = [goal for goal in (*draft["objectives"], *draft["constraints"]) if goal["metric"] in ON_TARGET]
    if not goals:
        raise InvalidRequest(
            f"No objective or constraint of the job needs a device, so target {target!r} would change nothing; give "
            "objectives with one of " + ", ".join(ON_TARGET) + "."
        )
    for goal in goals:
        goal["target"] = target


def submit_child(
    session: Session,
    parent: Job,
    given: Mapping[str, Any],
    verb: Verb,
    key: str | None,
    who: Identity,
    stage: Stage | None = None,
) -> tuple[Job, bool]:
    job, is_new = jobs.submit(session, JobSpec.model_validate(given), key, who)
    if is_new:
        job.parent_id, job.parent_verb = parent.id, verb
        details = {} if stage is None else {"stage": stage}
        # Locked only now: a check may take seconds, and the parent's runner does not wait for it.
        verbs.tell(session, jobs.get(session, parent.id, lock=True), verb, who, job_id=job.id, **details)
        verbs.tell(session, job, f"{verb} of {parent.id}", who, job_id=parent.id, **details)
    return job, is_new


def _take_over(session: Session, parent: Job, job: Job, stage: Stage) -> None:
    """Copy what the parent found before a stage."""
    job.epoch = TAKEN_OVER
    before = STAGES[: STAGES.index(stage)]
    kinds = [kind for earlier in before for kind in RECORDS_OF.get(earlier, ())]
    copied = [column for column in JobRecord.__table__.columns if column.name not in ("job_id", "created_at")]
    session.execute(
        insert(JobRecord).from_select(
            ["job_id", *(column.name for column in copied)],
            select(literal(job.id), *copied).where(JobRecord.job_id == parent.id, JobRecord.kind.in_(kinds)),
        )
    )
    if Stage.SEARCH not in before:
        return
    columns = [c for c in EvaluationRow.__table__.columns if c.name not in ("job_id", "created_at", "epoch")]
    session.execute(
        insert(EvaluationRow).from_select(
            ["job_id", "epoch", *(column.name for column in columns)],
            select(literal(job.id), literal(TAKEN_OVER), *columns).where(EvaluationRow.job_id == parent.id),
        )
    )
    if Stage.MEASURE_FINALISTS in before:
        measured = [c for c in Finalist.__table__.columns if c.name not in ("job_id", "created_at")]
        session.execute(
            insert(Finalist).from_select(
                ["job_id", "created_at", *(column.name for column in measured)],
                # In the order in which the parent measured them.
                select(literal(job.id), Finalist.created_at, *measured).where(Finalist.job_id == parent.id),
            )
        )
        return
    # Nothing further is evaluated, also where the parent's search was ended early.
    queries.set_state(session, job, JobState.STOPPING, f"The front of job {parent.id} is measured again.")
