"""The outbox: messages to webhooks, written in the transaction of what they tell of and sent afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import Select, String, any_, bindparam, func, or_, select, update
from sqlalchemy.orm import Session

from service.store.intervals import interval
from service.store.models import ApiKey, Delivery, DeliveryState, Job, Webhook

# Seconds from an attempt to the next; after the last one a message has failed.
PAUSES = (10.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0)
# Whoever sends a message has so long before another process may try.
SENDING_SECONDS = 60.0


def write(
    session: Session, job: Job, asked: Select[str] | None = None, more: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """A message to every webhook of the job's key that hears of the state in which the job is.

    Args:
        asked: `hooks` with what is to be written in the same statement, and `more` is what that needs.
    """
    told = {"owner": job.owner_id, "state": str(job.state), **more}
    for hook in session.scalars(hooks() if asked is None else asked, told).all():
        session.add(Delivery(webhook_id=hook, job_id=job.id, payload=payload(job)))


@cache
def hooks() -> Select[str]:
    """Webhooks of a key that hear of a state: the statement, which takes longer to build than to answer."""
    state = bindparam("state", type_=String)
    return (
        select(Webhook.id)
        .outerjoin(ApiKey, ApiKey.id == Webhook.owner_id)
        .where(
            Webhook.owner_id.is_not_distinct_from(bindparam("owner", type_=String)),
            Webhook.gone_at.is_(None),
            ApiKey.revoked_at.is_(None),
            or_(func.cardinality(Webhook.states) == 0, state == any_(Webhook.states)),
        )
    )


def payload(job: Job) -> dict[str, Any]:
    """What a webhook hears of a job."""
    return {
        "event": "job.state",
        "job": {
            "id": job.id,
            "name": job.name,
            "state": job.state,
            "message": job.message,
            "stage": job.stage,
            "labels": list(job.labels or ()),
            "event_seq": job.event_seq,
        },
    }


def take(session: Session, count: int) -> list[tuple[Delivery, Webhook]]:
    """Messages that are due; nobody else takes them for a while."""
    rows = session.execute(
        select(Delivery, Webhook)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .where(Delivery.state == DeliveryState.WAITING, Delivery.next_at <= func.now())
        .order_by(Delivery.next_at, Delivery.id)
        .limit(count)
        .with_for_update(skip_locked=True, of=Delivery)
    ).all()
    taken = [delivery.id for delivery, _ in rows]
    soon = func.now() + interval(SENDING_SECONDS)
    session.execute(update(Delivery).where(Delivery.id.in_(taken)).values(next_at=soon))
    return [(delivery, hook) for delivery, hook in rows]


def note(session: Session, delivery_id: int, status: int | None, error: str | None) -> None:
    """What became of an attempt: 2xx is delivered, 410 ends the webhook, anything else is tried again."""
    row = session.get(Delivery, delivery_id, with_for_update=True)
    if row is None or row.state != DeliveryState.WAITING:
        return
    now = session.scalar(select(func.now()))
    assert now is not None
    row.attempts += 1
    row.status, row.error = status, error
    if status is not None and 200 <= status < 300:
        row.state, row.delivered_at = DeliveryState.DELIVERED, now
    elif status == 410:
        row.state = DeliveryState.FAILED
        session.execute(update(Webhook).where(Webhook.id == row.webhook_id).values(gone_at=now))
    elif row.attempts > len(PAUSES):
        row.state = DeliveryState.FAILED
    else:
        pause = interval(PAUSES[row.attempts - 1])
        session.flush()
        session.execute(update(Delivery).where(Delivery.id == delivery_id).values(next_at=func.now() + pause))
