"""Whose is it: what a path or a body names belongs to the key of a job, and is shared with its group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, String, literal, or_, select, true
from sqlalchemy.orm import Session

from service.auth.keys import Identity
from service.errors import Forbidden, NotFound
from service.store.models import Export, Job, Measurement, TrainedSupernet, Upload, Webhook

# Parameter -> the words of "there is none" and the job whose owner decides. Names of what everybody shares, and of
# what lies within another of them, are in SHARED; a test finds parameters that are in neither.
_JOB_OF: dict[str, tuple[str, Any]] = {
    "job_id": ("There is no job {!r}. GET /v1/jobs lists them.", select(Job.owner_id, Job.shared_with, Job.id)),
    "export_id": (
        "There is no export {!r}. GET /v1/jobs/JOB/exports lists those of a job.",
        select(Job.owner_id, Job.shared_with, Export.id).select_from(Export).join(Job, Job.id == Export.job_id),
    ),
    "supernet_id": (
        "There is no supernet {!r}. GET /v1/supernets lists them.",
        select(Job.owner_id, Job.shared_with, TrainedSupernet.id)
        .select_from(TrainedSupernet)
        .outerjoin(Job, Job.id == TrainedSupernet.job_id),
    ),
    "measurement_id": (
        "There are no networks of a measurement {!r}: it is over, or never was.",
        select(Job.owner_id, Job.shared_with, Measurement.id)
        .select_from(Measurement)
        .outerjoin(Job, Job.id == Measurement.job_id),
    ),
    "webhook_id": (
        "There is no webhook {!r}. GET /v1/webhooks lists yours.",
        select(Webhook.owner_id, literal(None, String), Webhook.id),
    ),
    "upload_id": (
        "There is no upload {!r}. GET /v1/uploads lists yours.",
        select(Upload.owner_id, literal(None, String), Upload.id),
    ),
}
_ID_OF: dict[str, Any] = {
    "job_id": Job.id,
    "export_id": Export.id,
    "supernet_id": TrainedSupernet.id,
    "measurement_id": Measurement.id,
    "upload_id": Upload.id,
    "webhook_id": Webhook.id,
}
OWNED = frozenset(_JOB_OF)
SHARED = frozenset({"architecture_id", "name", "key_id"})


def names_nothing_owned(who: Identity, parameters: Mapping[str, Any]) -> bool:
    """Whether all that a path names is this key's to use without a look at whose it is."""
    return who.is_admin or OWNED.isdisjoint(parameters)


def check_named(session: Session, who: Identity, name: str, value: str, *, changes: bool) -> None:
    """See to it that what a path names is the key's to see, or to change. Names of nothing pass: the route says so.

    Raises:
        NotFound: it is not the key's to see; in the words for what does not exist.
        Forbidden: it may be seen and not changed.
    """
    if name not in OWNED or who.is_admin:
        return
    words, query = _JOB_OF[name]
    if "\0" in value:  # PostgreSQL's text cannot hold it, so nothing is called that
        raise NotFound(words.format(value))
    row = session.execute(query.where(_ID_OF[name] == value)).one_or_none()
    if row is None:
        return  # the route says so, in the same words
    owner_id, shared_with, _ = row
    if not who.sees(owner_id, shared_with):
        raise NotFound(words.format(value))
    if changes and not who.owns(owner_id):
        raise Forbidden("This was shared with your group to be looked at. Its owner or an admin may change it.")


def see(session: Session, who: Identity, name: str, value: str) -> None:
    """See to it that what a body names is visible to the key, as if it stood in the path.

    Raises:
        NotFound: it is not.
    """
    check_named(session, who, name, value, changes=False)


def visible_jobs(who: Identity) -> ColumnElement[bool]:
    """A condition on jobs, for lists."""
    if who.is_admin:
        return true()
    shared = [Job.shared_with == who.group] if who.group is not None else []
    return or_(Job.owner_id == who.key_id, *shared)
