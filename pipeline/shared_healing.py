"""Networks of one job that heal on several workers: the turns of the job's runner, and the reporter of a helper.

Rows are the truth (decision 0156). The job's runner heals whatever nobody else has taken, so a job without helpers, or
whose helpers die, goes on. A helper writes records and files into the job as the runner would, fenced by the number of
its own claim.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

from sqlalchemy.orm import Session

from pipeline.reporter import Reporter
from service.store import healing_shares, leases
from service.store.models import Artifact, HealingShare, JobState, Stage
from service.store.records import HealedNetwork, HealingPoint
from service.store.session import Database

T = TypeVar("T")

# Who has nothing to heal looks again after this; what helpers have done is asked for as often.
LOOK_SECONDS = 0.5
# Helpers of a job that is to be paused have so long for their checkpoints.
PAUSE_SECONDS = 15.0


class Turns:
    """Gives the job's runner one network after the other, and tells how far all of them are.

    Args:
        names: the job's networks, in the order in which they heal.
        healed: those of them that are healed already.
        helpers: whether other workers may take some.
    """

    def __init__(self, reporter: Reporter, names: Sequence[str], healed: Collection[str], *, helpers: bool) -> None:
        self._reporter, self._all, self._helpers = reporter, list(names), helpers
        self._names = [name for name in names if name not in healed]
        self._total, self._done, self._others = len(self._all), len(self._all) - len(self._names), 0.0
        self._own: set[str] = set()
        self._looked = 0.0

    def __iter__(self) -> Iterator[str]:
        """Networks that this runner is to heal. Ends when all are healed, or refused.

        Raises:
            Interrupted: the job is to be paused, stopped or cancelled.
        """
        if not self._helpers:
            for name in self._names:
                yield name
                self._done += 1
                self.tell(0.0, force=True)
            return
        self._transact(lambda s: healing_shares.offer(s, self._reporter.job_id, self._reporter.epoch, self._names))
        while True:
            turn = self._transact(
                lambda s: healing_shares.next_turn(s, self._reporter.job_id, self._reporter.epoch, self._names)
            )
            if turn.left == 0:
                break
            if turn.mine is None:
                self.tell(0.0)
                time.sleep(LOOK_SECONDS)
                continue
            self._own.add(turn.mine)
            yield turn.mine
            self.tell(0.0, force=True)
        self.tell(0.0, force=True)
        self._mirror_the_others()

    def tell(self, within: float, *, force: bool = False) -> None:
        """This share of this runner's network is done.

        Raises:
            Interrupted: as `Reporter.progress`.
        """
        if self._helpers and (force or time.monotonic() - self._looked >= LOOK_SECONDS):
            self._looked = time.monotonic()
            self._done, self._others = self._transact(lambda s: healing_shares.done(s, self._reporter.job_id))
        within = min(within + self._others, float(self._total - self._done))
        self._reporter.items(self._done, self._total, within=within, force=force)

    def wait_for_helpers(self) -> None:
        """The job is to be paused: helpers have a while for their checkpoints."""
        deadline = time.monotonic() + (PAUSE_SECONDS if self._helpers else 0.0)
        while time.monotonic() < deadline:
            if not self._transact(lambda s: healing_shares.helped(s, self._reporter.job_id)):
                return
            time.sleep(LOOK_SECONDS)

    def take_down(self) -> None:
        """Nobody heals a network of the job any more."""
        if self._helpers:
            self._transact(
                lambda s: healing_shares.take_down(s, self._reporter.job_id, self._reporter.epoch, self._all)
            )

    def _mirror_the_others(self) -> None:
        """The mirror hears of curves that helpers have stored, once they are whole."""
        for point in self._reporter.records(HealingPoint):
            if point.architecture_id in self._names and point.architecture_id not in self._own:
                self._reporter.pass_on(point)

    def _transact(self, write: Callable[[Session], T]) -> T:
        return self._reporter.transact(write)


class HelperReporter(Reporter):
    """A helper's way to the database: it writes into the job, as long as its claim of one network is the newest.

    Args:
        epoch: number of the claim of the network.
    """

    def __init__(self, database: Database, job_id: str, share_id: str, epoch: int) -> None:
        super().__init__(database, job_id, 0)
        self._share, self._claimed, self._stage = share_id, epoch, Stage.HEAL

    def artifact(self, artifact: Callable[[], Artifact]) -> None:
        """Record a file, also of a job that is paused already: the healing goes on from it."""

        def write(session: Session) -> None:
            session.add(artifact())
            leases.made_progress(session, HealingShare, self._share)

        self._write(write)

    def done(self) -> None:
        """The network is healed, or refused, and everything of it is put away."""
        self._write(lambda session: healing_shares.put_away(session, self._share, self._claimed))

    def cannot(self, why: str) -> None:
        """No helper can heal the network, in a sentence; the job's runner does."""
        self._write(lambda session: healing_shares.put_away(session, self._share, self._claimed, why))

    def give_back(self) -> None:
        """Whoever is first goes on with the network. Does nothing if it is somebody else's, or put away."""
        super()._write(lambda session: leases.give_back(session, HealingShare, self._share, self._claimed))

    def is_healed(self, architecture_id: str) -> bool:
        """Whether the network is healed already: its helper died before it had put everything away."""
        return any(one.architecture_id == architecture_id for one in self.records(HealedNetwork))

    def _told(self, session: Session, done: float, now: float) -> JobState:
        state = healing_shares.advance(session, self._share, self._claimed, done)
        if state in healing_shares.LEAVES:
            return JobState.PAUSING
        return JobState.CANCELLING if state in healing_shares.ENDS else state

    def _write(self, write: Callable[[Session], T]) -> T:
        def fenced(session: Session) -> T:
            # Records of the job carry the number of its newest claim, which changes where its own runner dies.
            self.epoch = healing_shares.fence(session, self._share, self._claimed, self.job_id).epoch
            return write(session)

        return super()._write(fenced)
