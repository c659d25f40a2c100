"""Trained supernets: list, read. A job names one in `supernet.reuse` to search it without training."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.cursors import make_cursor, read_moment
from service.api.deps import READ, IdentityDep, SessionDep
from service.api.schemas import SupernetDetailOut, SupernetOut, SupernetPage
from service.auth.ownership import visible_jobs
from service.errors import NotFound
from service.store import queries

router = APIRouter(prefix="/v1/supernets", tags=["supernets"])


@router.get("", dependencies=[READ])
def list_supernets(
    session: SessionDep,
    who: IdentityDep,
    space: Annotated[str | None, Query(max_length=200, description="Only supernets of this space.")] = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> SupernetPage:
    """List supernets.

    The list has trained supernets, newest first, with their data, recipe and the scores of some sub-networks.
    """
    before = None if cursor is None else read_moment(cursor)
    rows = queries.list_supernets(session, space, before, limit + 1, visible_jobs(who))
    page, more = rows[:limit], len(rows) > limit
    next_cursor = make_cursor(page[-1].created_at.isoformat(), page[-1].id) if more else None
    return SupernetPage(supernets=[SupernetOut.model_validate(row) for row in page], next_cursor=next_cursor)


@router.get("/{supernet_id}", dependencies=[READ])
def read(supernet_id: str, session: SessionDep) -> SupernetDetailOut:
    """Read a supernet.

    The answer has its training curve.
    """
    row = queries.supernet(session, supernet_id)
    if row is None:
        raise NotFound(f"There is no supernet {supernet_id!r}. GET /v1/supernets lists them.")
    return SupernetDetailOut.model_validate(row)
