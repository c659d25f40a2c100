"""What may be asked of a job, and who asked: every verb that is granted is an event of its job."""

from __future__ import annotations

from typing import Any, NoReturn

from sqlalchemy.orm import Session

from service.auth.keys import Identity
from service.errors import Conflict
from service.store import queries
from service.store.models import Job, JobState, Verb

# As in "cannot be paused".
DONE = {
    Verb.PAUSE: "paused",
    Verb.RESUME: "resumed",
    Verb.STOP: "stopped",
    Verb.CANCEL: "cancelled",
    Verb.RETRY: "retried",
    Verb.DELETE: "deleted",
    Verb.RESTORE: "restored",
    Verb.CLONE: "cloned",
    Verb.EXTEND: "extended",
    Verb.RERUN: "rerun",
    Verb.HEAL: "healed",
    Verb.MEASURE: "measured again",
}


def permit(job: Job, verb: Verb) -> None:
    """See to it that a job's state allows a verb.

    Raises:
        Conflict: it does not; says what is allowed.
    """
    if verb not in job.verbs:
        state = job.state if job.deleted_at is None else "deleted"
        is_over = state in (JobState.SUCCEEDED, JobState.FAILED)
        refuse(job, f"Job {job.id} {'has' if is_over else 'is'} {state} and cannot be {DONE[verb]}.")


def refuse(job: Job, reason: str) -> NoReturn:
    """Say why a job does not allow a verb now, and which ones it does.

    Raises:
        Conflict: always.
    """
    allowed = [str(verb) for verb in job.verbs]
    raise Conflict(f"{reason} Allowed now: {', '.join(allowed)}.", state=job.state, allowed=allowed)


def tell(session: Session, job: Job, verb: str, who: Identity, **details: Any) -> None:
    """Write down in a locked job's events that somebody asked for something, and was granted it."""
    queries.add_event(session, job, "verb", {"verb": verb, "by": who.name, "key_id": who.key_id, **details})
