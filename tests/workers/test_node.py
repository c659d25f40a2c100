"""When a worker ends by itself: a real PostgreSQL and Redis, no slots, a clock of its own."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from service.queue import Queue
from service.settings import Settings
from service.store import leases
from service.store.session import Database
from tests.tiers import mostly_thorough
from workers import node
from workers.node import Node

PATIENCE = 60.0


class Clock:
    """Seconds that pass only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def signals() -> Iterator[None]:
    """A node takes over signals; they are given back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("busy", mostly_thorough([0.0, 150.0], 0.0))
def test_ends_once_it_has_had_nothing_to_do_for_as_long_as_asked(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, busy: float
) -> None:
    assert settings.redis_url is not None
    clock = Clock()
    began = clock.now
    holds = lambda _session, _name: 1 if clock.now - began < busy else 0  # noqa: E731
    monkeypatch.setattr(node, "time", clock)
    monkeypatch.setattr(leases, "held_by", holds)
    monkeypatch.setattr(node, "tidy", lambda *_: None)
    Node([], database, Queue(settings.redis_url), settings, until_idle=PATIENCE).run()
    ran = clock.now - began
    assert busy + PATIENCE <= ran + 2 * settings.reap_seconds
    assert ran < busy + PATIENCE + 3 * settings.reap_seconds


@pytest.mark.parametrize(
    ("asked", "has"),
    [
        (["train"], ["evaluate", "export", "train"]),
        (["train", "export"], ["evaluate", "export", "train"]),
        (["export"], ["export"]),
        (["evaluate", "export", "export"], ["evaluate", "export"]),
    ],
)
def test_a_worker_that_trains_has_a_slot_for_all_else(asked: list[str], has: list[str]) -> None:
    assert node.lanes(asked) == has
