"""Webhooks: make, list, remove, and what became of the messages."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response, status
from pydantic import BaseModel, ConfigDict, Field

from service import webhooks
from service.api.deps import READ, WRITE, IdentityDep, SessionDep, SettingsDep
from service.api.schemas import Answer
from service.store.models import DeliveryState, JobState

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


class WebhookIn(BaseModel):
    """An address that is to hear of your jobs."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(min_length=1, max_length=2000)] = Field(
        description="Address that messages go to.", examples=["https://example.org/winnow"]
    )
    states: Annotated[list[JobState], Field(max_length=20)] = Field(
        default_factory=list, description="States that it hears of; empty: all.", examples=[["succeeded", "failed"]]
    )


class WebhookOut(Answer):
    """A webhook: its address, and the states that it hears of."""

    id: str = Field(description="Id of the webhook.")
    url: str = Field(description="Address that messages go to.")
    states: list[JobState] = Field(description="States that it hears of.")
    created_at: datetime = Field(description="When it was made.")
    gone_at: datetime | None = Field(description="Since when nothing is sent: the address answered 410.")


class NewWebhookOut(WebhookOut):
    """A new webhook, with its secret."""

    secret: str = Field(description="Signs every message. It is shown this once.")


class WebhookPage(Answer):
    """Your webhooks, newest first."""

    webhooks: list[WebhookOut] = Field(description="Webhooks, newest first.")


class DeliveryOut(Answer):
    """A message to a webhook."""

    id: int = Field(description="Number of the message.")
    job_id: str = Field(description="Id of the job.")
    created_at: datetime = Field(description="When the state changed.")
    state: DeliveryState = Field(description="Whether it waits, was delivered, or failed for good.")
    attempts: int = Field(description="How often it was sent.")
    next_at: datetime = Field(description="When it is sent next, unless it was delivered or given up.")
    status: int | None = Field(description="Status of the last answer.")
    error: str | None = Field(description="Why the last attempt failed; null: it did not.")
    delivered_at: datetime | None = Field(description="When it was delivered; null: it was not.")
    payload: dict[str, Any] = Field(description="What is sent.")


class DeliveryPage(Answer):
    """Messages to a webhook, newest first."""

    deliveries: list[DeliveryOut] = Field(description="Messages, newest first.")


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[WRITE])
def add(
    given: WebhookIn, response: Response, session: SessionDep, settings: SettingsDep, who: IdentityDep
) -> NewWebhookOut:
    """Add a webhook.

    Winnow sends the states of your jobs to its address. Only this answer shows the secret that signs the messages.
    """
    row = webhooks.create(session, given.url, given.states, settings, who)
    response.headers["Location"] = f"/v1/webhooks/{row.id}"
    return NewWebhookOut.model_validate(row)


@router.get("", dependencies=[READ])
def list_webhooks(session: SessionDep, who: IdentityDep) -> WebhookPage:
    """List webhooks.

    The list has your webhooks, newest first. Admins see all.
    """
    return WebhookPage(webhooks=[WebhookOut.model_validate(row) for row in webhooks.listed(session, who)])


@router.get("/{webhook_id}", dependencies=[READ])
def read(webhook_id: str, session: SessionDep) -> WebhookOut:
    """Read a webhook."""
    return WebhookOut.model_validate(webhooks.get(session, webhook_id))


@router.get("/{webhook_id}/deliveries", dependencies=[READ])
def list_deliveries(
    webhook_id: str, session: SessionDep, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> DeliveryPage:
    """List messages to a webhook.

    They come newest first, with what became of each.
    """
    webhooks.get(session, webhook_id)
    rows = webhooks.deliveries(session, webhook_id, limit)
    return DeliveryPage(deliveries=[DeliveryOut.model_validate(row) for row in rows])


@router.delete("/{webhook_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[WRITE])
def remove(webhook_id: str, session: SessionDep) -> None:
    """Remove a webhook.

    Its address hears nothing more.
    """
    session.delete(webhooks.get(session, webhook_id))
