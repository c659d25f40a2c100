"""A job's log says now and then how far its stage is, also while the stage itself says nothing."""

from __future__ import annotations

import time

from structlog.testing import capture_logs

from service.store.models import Stage
from workers import herald
from workers.herald import LEAST_SECONDS, Herald


class Job:
    """Somewhere in a stage for some seconds."""

    def __init__(self) -> None:
        self.stage, self.seconds = Stage.MEASURE_HARDWARE, 0.0

    def where(self) -> tuple[Stage, float, str]:
        return self.stage, self.seconds, f"{self.seconds:g} s"


def lines_of(job: Job, until: float, step: float = 1.0) -> list[str]:
    asked = Herald(job.where)
    with capture_logs() as logs:
        while job.seconds < until:
            job.seconds += step
            asked.look()
    assert all(line["stage"] == str(job.stage) for line in logs)
    return [line["event"] for line in logs]


def test_a_stage_that_lasts_is_said_at_a_bounded_rate() -> None:
    assert lines_of(Job(), LEAST_SECONDS - 1) == []
    said = lines_of(Job(), 300)
    assert len(said) == 300 // LEAST_SECONDS
    # A week of one stage is no flood, and its last day is no silence.
    week = lines_of(Job(), 7 * 86_400, step=10)
    assert len(week) < 500
    assert float(week[-1].removesuffix(" s")) > 6.5 * 86_400


def test_every_stage_begins_anew() -> None:
    job = Job()
    lines_of(job, 10_000, step=100)
    asked = Herald(job.where)
    with capture_logs() as logs:
        asked.look()
        job.stage, job.seconds = Stage.SEARCH, LEAST_SECONDS
        asked.look()
    assert [line["stage"] for line in logs] == ["measure hardware", "search"]


def test_a_step_that_never_reports_is_no_silence(monkeypatch) -> None:
    monkeypatch.setattr(herald, "LOOK_SECONDS", 0.01)
    job = Job()
    job.seconds = LEAST_SECONDS
    with capture_logs() as logs, Herald(job.where):
        until = time.monotonic() + 10
        while not logs and time.monotonic() < until:
            time.sleep(0.01)
    assert len(logs) == 1
