"""Targets: devices that latency is measured on, and tables of devices that cannot run Python."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response, status
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from predictors.targets import RUNTIMES
from service import targets
from service.api.deps import READ, WRITE, DatabaseDep, DepotDep, IdentityDep, SessionDep, SettingsDep
from service.api.schemas import Answer
from service.errors import NotFound
from service.store import measuring
from service.store.models import Measurement, Target

router = APIRouter(prefix="/v1", tags=["targets"])


class TableIn(BaseModel):
    """A table of latencies to upload."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="What jobs call it.", examples=["pixel-1"])
    table: str = Field(description="CSV: Winnow's own form, or that of ProxylessNAS's and Once-for-all's tables.")


class TargetOut(Answer):
    """A device that latency is measured on."""

    name: str = Field(description="Name of the target, as `target` of an objective.")
    kind: str = Field(description="`runtime` of the machine that runs a job, registered `machine`, or `table`.")
    state: str = Field(description="Whether it is online or offline; a table and a runtime are always online.")
    created_at: datetime | None = Field(
        default=None, description="When it was registered or uploaded; null: a runtime."
    )
    seen_at: datetime | None = Field(default=None, description="Last heartbeat of a machine.")
    facts: dict[str, Any] = Field(description="Device, cores, versions, runtimes; of a table its rows and form.")
    waiting: int = Field(default=0, description="Requests to measure that it has not finished.")


class TargetPage(Answer):
    """All targets."""

    targets: list[TargetOut] = Field(description="Targets by name.")


@router.get("/targets", dependencies=[READ])
def list_targets(session: SessionDep) -> TargetPage:
    """List targets.

    The list has runtimes of the machine that runs a job, registered machines, and uploaded tables.
    """
    waiting = targets.open_requests(session)
    registered = [_out(row, measuring.online(session, row.name), waiting) for row in measuring.targets(session)]
    built_in = [
        TargetOut(
            name=one.name,
            kind="runtime",
            state="online",
            facts={"engine": one.engine, "device": one.device, "compiled": one.compiled},
        )
        for one in RUNTIMES.values()
    ]
    return TargetPage(targets=[*registered, *built_in])


@router.get("/targets/{name}", dependencies=[READ])
def read(name: str, session: SessionDep) -> TargetOut:
    """Read a target.

    It must be registered or uploaded: runtimes stand in the list alone.
    """
    row = targets.get(session, name)
    return _out(row, measuring.online(session, row.name), targets.open_requests(session))


@router.post(
    "/targets",
    status_code=status.HTTP_201_CREATED,
    responses={200: {"model": TargetOut, "description": "The target, whose table was replaced"}},
    dependencies=[WRITE],
)
def add(given: TableIn, session: SessionDep, response: Response, who: IdentityDep) -> TargetOut:
    """Upload a table of latencies as a target.

    Under a known name it replaces the table (200).
    """
    row, is_new = targets.add_table(session, given.name, given.table, who)
    if not is_new:
        response.status_code = status.HTTP_200_OK
    response.headers["Location"] = f"/v1/targets/{row.name}"
    session.refresh(row)
    return _out(row, True, {})


@router.delete("/targets/{name}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[WRITE])
def remove(name: str, session: SessionDep, who: IdentityDep) -> None:
    """Remove a target.

    It stays while an unfinished job needs it.
    """
    targets.remove(session, name, who)


@router.get(
    "/measurements/{measurement_id}/networks",
    response_class=FileResponse,
    response_description="An archive of the networks",
    dependencies=[READ],
)
def networks(measurement_id: str, database: DatabaseDep, settings: SettingsDep, depot: DepotDep) -> FileResponse:
    """Download the networks that a target is to measure.

    They come as one archive, for targets that do not share the artifacts folder.
    """
    with database.transaction() as session:
        row = session.get(Measurement, measurement_id)
    if row is not None and depot is not None:
        depot.bring(row.path, row.sha256)
    path = None if row is None else settings.artifacts_dir / row.path
    if path is None or not path.is_file():
        raise NotFound(f"There are no networks of a measurement {measurement_id!r}: it is over, or never was.")
    return FileResponse(path, media_type="application/x-tar", filename=f"{measurement_id}.tar")


def _out(row: Target, is_online: bool, waiting: dict[str, int]) -> TargetOut:
    state = "online" if row.kind == "table" or is_online else "offline"
    return TargetOut(
        name=row.name,
        kind=row.kind,
        state=state,
        created_at=row.created_at,
        seen_at=row.seen_at,
        facts=row.facts,
        waiting=waiting.get(row.name, 0),
    )
