"""Operations: is the process alive, can it work."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import Field

from service import readiness
from service.api.deps import OPEN, DatabaseDep, QueueDep, SettingsDep
from service.api.problems import problem
from service.api.schemas import Answer
from service.errors import Unavailable

router = APIRouter(tags=["operations"])


class ReadyOut(Answer):
    """Everything that a job needs is there."""

    status: Literal["ready"] = Field(default="ready", description="Jobs can be submitted and run.")
    database: Literal["ok"] = Field(default="ok", description="PostgreSQL answers.")
    migrations: Literal["ok"] = Field(default="ok", description="The schema is this version's.")
    broker: Literal["ok"] = Field(default="ok", description="Redis answers.")
    artifacts: Literal["ok"] = Field(default="ok", description="Artifacts can be written.")
    worker: Literal["ok"] = Field(default="ok", description="A worker is there that takes jobs.")


@router.get("/healthz", response_description="The process answers", dependencies=[OPEN])
async def healthz() -> dict[str, str]:
    """Check that this process answers.

    It asks no other server.
    """
    return {"status": "ok"}


@router.get("/readyz", response_model=ReadyOut, dependencies=[OPEN])
def readyz(database: DatabaseDep, queue: QueueDep, settings: SettingsDep) -> ReadyOut | Response:
    """Check that jobs can be submitted and run.

    That takes PostgreSQL, its schema, Redis, the artifacts folder, at least one worker, and the parts of `winnow up`;
    503 with what is missing if not.
    """
    missing = readiness.missing(database, queue, settings)
    if missing:
        detail = " ".join(missing.values())
        return problem(Unavailable.status, Unavailable.slug, Unavailable.title, detail, missing=missing)
    return ReadyOut()
