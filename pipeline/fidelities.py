"""Healing steps as fidelities of a search: networks that climb a ladder, and what the job has learned of them.

What a network scores on a rung is a record, and its training stays where it is, so that the next rung goes on from it,
and its healing in the end from the last. A search is replayed from what is stored; so is its ladder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.healing import Healer
from pipeline.workshop import JobFailed, Workshop
from search.algorithm import SearchAlgorithm
from search.evaluation import Evaluation, numbers
from search.fidelities.correlation import correlations
from search.fidelities.known import Fidelities
from search.fidelities.ladder import Ladder
from search.fidelities.plan import LadderPlan
from search.metrics import METRICS, ON_TARGET, Source
from search.pareto import knee, pareto_front
from search_space.architecture import Architecture
from service.store.records import FidelityCorrelation, FidelityReport, FidelityRung, FidelityScore
from supernet.network import Supernet

# What a search has done of its stage when all its networks are evaluated and none has healed.
SEARCHED = 0.4


class Climb:
    """The ladder of one job.

    Args:
        healer: heals networks of the job.
        supernet: holds these networks.
    """

    def __init__(self, shop: Workshop, healer: Healer, supernet: Supernet) -> None:
        assert shop.spec.search.fidelities is not None
        self._shop, self._healer, self._supernet = shop, healer, supernet
        self.plan: LadderPlan = shop.spec.search.fidelities.plan()
        objectives, constraints = shop.spec.goals
        fixed = {name for name in shop.spec.metrics if METRICS[name].source == Source.ANALYTIC} | set(ON_TARGET)
        self.known = Fidelities(
            objectives, constraints, len(self.plan.rungs), shop.spec.metrics - fixed, shop.space.largest().id
        )
        self._stored = {(one.architecture_id, one.level): one for one in shop.reporter.records(FidelityScore)}
        self._evaluated = 0.0
        self._chosen_by = ""

    def ladder(self, algorithm: SearchAlgorithm, warm: Sequence[Evaluation]) -> Ladder:
        """The ladder of the job's search.

        Args:
            warm: evaluations of earlier searches of the same supernet, which may climb too.
        """
        for one in warm:
            self.known.add(0, one)
        chooser = algorithm.chooser(self.known)
        self._chosen_by = chooser.name
        if not self._stored:
            self._shop.reporter.tell("info", self._said_before())
        return Ladder(self.plan, chooser, self.known, self._healed, self._shop.spec.search.evaluations)

    def evaluated(self, done: float) -> float:
        """This share of the networks is evaluated; the share of the whole stage that is done."""
        self._evaluated = done
        return self._share(0.0)

    def finish(self, evaluations: Sequence[Evaluation]) -> list[str]:
        """Store what was chosen, and drop what networks that were not would go on from.

        Args:
            evaluations: all that the job knows, those of a warm start among them.

        Returns:
            Ids of the networks that reached the highest rung: they are finalists whatever they were before.
        """
        reporter = self._shop.reporter
        found = {one.architecture.id: one for one in evaluations}
        for one in found.values():
            self.known.add(0, one)
        # Also those of a ladder that was stopped, or that another job has climbed.
        for (name, level), score in self._stored.items():
            if name in found:
                self.known.add(level, _evaluation(found[name], score))
        report = self._report()
        if report is not None:
            reporter.record(report)
            reporter.tell("info", report.said())
        kept = set() if report is None else set(report.points)
        for name in {name for name, _ in self._stored} - kept:
            if name in found:
                self._healer.forget(found[name].architecture)
        return [one.architecture.id for one in self.known.at_top() if one.architecture.id != self.known.parent]

    def _healed(self, architecture: Architecture, level: int) -> Evaluation:
        """A network on a rung: as it is stored, or healed now."""
        reporter, steps = self._shop.reporter, self.plan.rungs[level - 1]
        score = self._stored.get((architecture.id, level))
        if score is None:
            try:
                climbed = self._healer.climb(
                    architecture, self._supernet, steps, lambda done: reporter.progress(self._share(done))
                )
                score = FidelityScore(
                    architecture_id=architecture.id,
                    level=level,
                    steps=climbed.steps,
                    metrics=dict(climbed.metrics),
                    seconds=round(climbed.seconds, 1),
                )
            except JobFailed as error:
                score = FidelityScore(
                    architecture_id=architecture.id, level=level, steps=0, metrics={}, refused=str(error)
                )
                reporter.tell("warning", f"{architecture.id} cannot heal, and is not chosen: {error}")
            reporter.record(score)
            self._stored[architecture.id, level] = score
            reporter.progress(self._share(0.0), force=True)
        return _evaluation(self.known.levels[0][architecture.id], score)

    def _share(self, of_one: float) -> float:
        """Share of the stage that is done, with a share of the network that heals now."""
        all_of_them = sum(self.plan.reaching(self.plan.candidates))
        climbed = min(1.0, (len(self._stored) + of_one) / all_of_them)
        return SEARCHED * self._evaluated + (1 - SEARCHED) * climbed

    def _said_before(self) -> str:
        counts, spent = self.plan.reaching(self.plan.candidates), self.plan.steps()
        rungs = ", ".join(
            f"{count} up to {steps:,} steps" for count, steps in zip(counts, self.plan.rungs, strict=True)
        )
        return f"Networks of the search heal a little, to be chosen by that: {rungs}; {sum(spent):,} steps in all."

    def _report(self) -> FidelityReport | None:
        """What was chosen; None if no network has healed."""
        known = self.known
        if not self._stored:
            return None
        front = known.front()
        found = pareto_front(list(known.levels[0].values()), known.objectives, known.constraints)
        before = {one.architecture.id for one in found}
        best = knee(front, known.objectives)
        return FidelityReport(
            chosen_by=self._chosen_by or "ranks",
            rungs=tuple(self._rung(level) for level in range(1, len(known.levels))),
            correlations=tuple(
                FidelityCorrelation(
                    metric=one.metric,
                    low=(0, *self.plan.rungs)[one.low],
                    high=self.plan.rungs[one.high - 1],
                    networks=one.networks,
                    kendall=one.kendall,
                    spearman=one.spearman,
                )
                for one in correlations(known)
            ),
            points=tuple(one.architecture.id for one in front),
            knee=None if best is None else best.architecture.id,
            not_found_before=tuple(one.architecture.id for one in front if one.architecture.id not in before),
        )

    def _rung(self, level: int) -> FidelityRung:
        scores = [score for (_, at), score in self._stored.items() if at == level]
        below = {name: score.steps for (name, at), score in self._stored.items() if at == level - 1}
        healed = [score for score in scores if score.refused is None]
        return FidelityRung(
            steps=self.plan.rungs[level - 1],
            networks=len(healed),
            spent_steps=sum(score.steps - below.get(score.architecture_id, 0) for score in healed),
            refused=len(scores) - len(healed),
        )


def _evaluation(found: Evaluation, score: FidelityScore) -> Evaluation:
    """A network on a rung; what weights do not decide, such as latency, is as it was found."""
    if score.refused is not None:
        return Evaluation(found.architecture, dict.fromkeys(found.metrics, math.nan), found.sources)
    return Evaluation(found.architecture, {**found.metrics, **numbers(score.metrics)}, found.sources)


def climb_of(shop: Workshop, healer: Healer | None, supernet: Supernet) -> Climb | None:
    """The ladder of a job; None: its networks do not heal before the search chooses them."""
    if healer is None or shop.spec.search.fidelities is None:
        return None
    return Climb(shop, healer, supernet)


def stage_done(climb: Climb | None, done: float) -> float:
    """Share of the search's stage that is done when this share of its networks is evaluated."""
    return done if climb is None else climb.evaluated(done)
