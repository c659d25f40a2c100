"""The verbs of targets: upload a table, look, remove. Machines register themselves (`winnow measure`)."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from job.spec import JobSpec
from job.versions import outline
from predictors.targets import RUNTIMES, TargetName, check_name
from service.auth.keys import ANYBODY, Identity
from service.errors import Conflict, Forbidden, InvalidRequest, NotFound
from service.store import measuring
from service.store.models import ACTIVE_STATES, Job, JobState, Measurement, Target


def add_table(session: Session, name: str, text: str, who: Identity = ANYBODY) -> tuple[Target, bool]:
    """Store a table as a target; uploading another one under its name replaces it. Says whether the name is new.

    Raises:
        InvalidRequest: the name or the table is not one; says which lines are wrong.
        Conflict: a machine has that name.
        Forbidden: another key's table has it.
    """
    from predictors.table_files import parse_table  # numpy: not needed to start

    try:
        check_name(name)
        table = parse_table(text)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    facts = {
        "device": table.target,
        "form": table.form,
        "rows": len(table.rows),
        "resolutions": list(table.resolutions),
        "overhead_ms": table.overhead_ms,
    }
    row = session.get(Target, name, with_for_update=True)
    if row is not None and row.kind != "table":
        raise Conflict(f"{name} is a machine that registered itself; choose another name for the table.")
    if row is not None:
        _refuse_others(row, who)
        row.facts, row.table = facts, text
        session.flush()
        return row, False
    row = Target(name=name, kind="table", facts=facts, table=text, owner=None, owner_id=who.key_id)
    session.add(row)
    session.flush()
    return row, True


def get(session: Session, name: str) -> Target:
    """A registered target.

    Raises:
        NotFound: there is none of that name.
    """
    row = measuring.target(session, name)
    if row is None:
        raise NotFound(f"There is no target {name!r}. {known(session)}")
    return row


def _refuse_others(row: Target, who: Identity) -> None:
    if not who.owns(row.owner_id):
        raise Forbidden(f"Target {row.name} is not yours. Whoever added it, or an admin, may change it.")


def remove(session: Session, name: str, who: Identity = ANYBODY) -> None:
    """Remove a target. What was measured on it is kept, and is found again when its machine comes back.

    Raises:
        NotFound: there is none of that name.
        Conflict: an unfinished job needs it.
        Forbidden: it is a machine or another key's table, and `who` is no admin.
    """
    _refuse_others(get(session, name), who)
    users = [
        job.id
        for job in session.scalars(select(Job).where(Job.state.in_((*ACTIVE_STATES, JobState.PAUSED))))
        if registered_target(job) == name
    ]
    if users:
        raise Conflict(f"Target {name} is needed by {', '.join(users)}; cancel them first.", jobs=users)
    measuring.forget_target(session, name)


def registered_target(job: Job) -> str | None:
    """The registered target that a stored job names, if any."""
    target = outline(job.spec).target
    return None if target is None else TargetName.parse(target).registered


def known(session: Session) -> str:
    """The targets that a job may name, as a sentence."""
    return f"Known: {', '.join([*RUNTIMES, *(row.name for row in measuring.targets(session))])}."


def check_target(session: Session, spec: JobSpec) -> None:
    """Refuse a job whose target is unknown or cannot do what is asked. A machine that is offline may come back.

    Raises:
        InvalidRequest: with the targets or runtimes that are known, or the rows that a table lacks.
    """
    if spec.target is None:
        return
    asked = TargetName.parse(spec.target)
    if asked.registered is None:
        return
    row = measuring.target(session, asked.registered)
    if row is None:
        raise InvalidRequest(f"There is no target {asked.registered!r}. {known(session)}", target=asked.registered)
    if row.kind == "table":
        if asked.runtime is not None:
            raise InvalidRequest(f"Target {row.name} is a table and has no runtimes; leave out /{asked.runtime}.")
        _check_table(row, spec)
        return
    offered = row.facts.get("runtimes", [])
    if asked.runtime is not None and asked.runtime not in offered:
        raise InvalidRequest(
            f"Target {row.name} has no runtime {asked.runtime!r}. It has {', '.join(offered)}.", known=offered
        )


def _check_table(row: Target, spec: JobSpec) -> None:
    from predictors.table_files import parse_table  # numpy: not needed to start
    from predictors.tables import MissingRow
    from search_space.distinct import some_networks

    if "tokens_per_second" in spec.metrics:
        raise InvalidRequest(f"Target {row.name} is a table of latencies; it does not know tokens_per_second.")
    table = parse_table(row.table or "", f"The table of target {row.name}")
    space = spec.supernet.space()
    missing = table.missing(space.layers(one) for one in some_networks(space))
    if missing:
        raise InvalidRequest(str(MissingRow(row.name, missing)), missing=list(missing[:20]), missing_count=len(missing))


def open_requests(session: Session) -> dict[str, int]:
    """Number of unfinished requests to measure, by target."""
    rows = session.execute(
        select(Measurement.target, func.count())
        .where(Measurement.state.in_(ACTIVE_STATES))
        .group_by(Measurement.target)
    )
    return {target: count for target, count in rows}  # noqa: C416 - a Result has `keys()`
