"""The stage that measures finalists, until the front is stable, and stores the final front.

Finalists are chosen by their chance to be on the true front (`search.chances`). What is measured corrects what is
believed of the others: the machine has drifted, and networks whose predictions were lucky are on every front of
predictions. Once no other network has a fair chance, the front is that of measured values (docs/decisions/0099).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from job.hardware_spec import with_margin
from job.spec import JobSpec
from pipeline.evaluating import row_of
from pipeline.finalists import PREDICTED, Lab, Tested
from pipeline.hardware import Hardware
from pipeline.reporter import Reporter
from pipeline.workshop import JobFailed, images_of
from predictors.correction import Correction
from quantization.after_search import InSchemes
from quantization.quantized_space import QuantizedSpace
from search.chances import Belief, chances
from search.enough import OF_SAMPLES, too_wide
from search.evaluation import Evaluation, numbers
from search.final_front import Break, FinalFront, final_front, in_words, nearest_to_feasible
from search.metrics import METRICS, ON_TARGET, Source
from search.objectives import limits_of
from search.pareto import pareto_front
from search_space.architecture import Architecture
from service.store.models import Finalist, Stage
from service.store.records import (
    BeatenNetwork,
    BeyondLimits,
    BrokenLimit,
    FrontRecord,
    OnFront,
    PredictionError,
    ReferenceNetwork,
)
from supernet.randomness import derived_rng

# Networks with at least this chance to be on the true front are measured.
FAIR_CHANCE = 0.1
# At most so many times the networks of the front of beliefs are measured, and so many more.
MOST_TIMES, MOST_MORE = 2, 8
# Standard deviation, as a share, of what was measured alone in the search and not in turns with the others.
ALONE = 0.02
# An interval of 95 % for another measurement reaches so many standard deviations of one (2.2 times the root of 2).
DEVIATIONS = 3.1
# Finalists that are measured in turns, and bytes of their weights: what a killed run has to measure again.
MEASURED_AT_ONCE, BYTES_AT_ONCE = 16, 1 << 28
# Names of what the networks of a job are compared with.
LARGEST, CHECKPOINT = "largest network", "checkpoint"


@dataclass(frozen=True, slots=True)
class Reference:
    """What the networks of a job are compared with, and its scores."""

    name: str
    evaluation: Evaluation


def measure_front(
    lab: Lab, evaluations: Sequence[Evaluation], reporter: Reporter, anyway: Collection[str] = ()
) -> None:
    """Held-out scores and measured latency of every network with a fair chance, and the front of what was measured.

    Args:
        evaluations: evaluations of the search.
        anyway: ids of networks that are measured whatever their chance, because healing may put them on a front.

    Raises:
        JobFailed: no network meets the limits.
    """
    spec, hardware = lab.spec, lab.hardware
    reference = reference_of(lab, evaluations, reporter.listen)
    known = {e.architecture.id: e for e in [*evaluations, reference.evaluation]}
    inside = pareto_front(list(known.values()), *with_margin(*spec.goals, hardware.margins))
    choice = _Choice(spec, hardware, known, inside, anyway)
    if not choice.begin(reference.evaluation):
        raise JobFailed(_nothing_feasible(spec, evaluations))
    for finalist in reporter.finalists():
        choice.measured[finalist.architecture_id] = finalist
    reporter.reference(row_of(reference.evaluation, 0.0))
    # The reference need not keep the job's limits, so it may be too large for the target.
    of_reference = reference.evaluation.architecture.id
    may_fail = {of_reference: lambda why: reporter.tell("warning", f"The {reference.name}: {why}")}
    where = "" if spec.target is None else f" on {spec.target}"
    reporter.stage(Stage.MEASURE_FINALISTS, choice.done)
    while left := choice.next():
        reporter.items(*choice.counted)
        for group in measured_at_once(left):
            reporter.doing(f"{len(group)} networks are scored and measured{where} in turns")

            def within(done: float | None = None, count: int = len(group)) -> None:
                reporter.items(*choice.counted, within=count * (done or 0.0))

            networks = [one.architecture for one in group]
            tested = lab.tested(networks, within, may_fail)
            for finalist in finalists_of(reporter.job_id, networks, _in_fewer_bits(lab, networks, tested)):
                reporter.finalist(finalist)
                choice.measured[finalist.architecture_id] = finalist
            reporter.items(*choice.counted, force=True)  # what asks for a pause must not lose half a group
    shown, corrected = choice.in_measured_numbers(), choice.corrected()
    store_front(spec, shown, reference, reporter, choice.is_stable, choice.errors, corrected)


def reference_of(lab: Lab, evaluations: Sequence[Evaluation], listen: Callable[[], None]) -> Reference:
    """The checkpoint that the supernet began with, or else its largest network; in its widest numbers."""
    space = lab.searching.space
    if isinstance(space, QuantizedSpace):
        largest: Architecture = space.quantized(space.base.largest(), max(space.quantization.bits))
    else:
        largest = space.largest()
    name = LARGEST if lab.spec.supernet.pretrained is None else CHECKPOINT
    found = next((e for e in evaluations if e.architecture.id == largest.id), None)
    if found is None:
        found = lab.hardware.added_to(lab.searching.evaluate([largest])[0], listen)
    return Reference(name, found)


# --- which networks are measured -----------------------------------------------------------------


@dataclass(slots=True)
class _Choice:
    """What is known of every network, and which to measure next.

    Attributes:
        known: evaluations of the search, and of the reference, by architecture id.
        inside: the front that the search has found, inside the limits that leave room for errors of prediction.
        anyway: ids of networks that are measured whatever their chance.
        measured: finalists by architecture id, in the order in which they were measured.
        is_stable: whether no network that is not measured has a fair chance.
    """

    spec: JobSpec
    hardware: Hardware
    known: Mapping[str, Evaluation]
    inside: Sequence[Evaluation]
    anyway: Collection[str] = ()
    measured: dict[str, Finalist] = field(default_factory=dict)
    is_stable: bool = True
    _first: list[Evaluation] = field(default_factory=list)
    _most: int = 0
    _pending: tuple[str, ...] = ()

    @property
    def counted(self) -> tuple[int, int]:
        """Networks that are measured, and those to measure in all, as far as they are known."""
        left = sum(1 for name in self._pending if name not in self.measured)
        return len(self.measured), len(self.measured) + left

    @property
    def done(self) -> float:
        """Share of the networks to measure, as far as they are known."""
        measured, known = self.counted
        return measured / max(1, known)

    def begin(self, reference: Evaluation) -> bool:
        """Choose the first networks, from what the search believes; whether there is one that may keep the limits.

        The search's front is measured whole: where many networks are nearly equal, each alone has little chance.
        """
        inside = {one.architecture.id for one in self.inside}
        worth = self._worth_it({*inside, *self.anyway})
        self._first = [reference, *(one for one in worth if one is not reference)]
        self._most = MOST_TIMES * max(len(inside), 1) + MOST_MORE + 1 + len(self.anyway)
        return bool(worth)

    def next(self) -> list[Evaluation]:
        """The networks to measure now; none once the front is stable, or so many are measured."""
        left = [one for one in self._first if one.architecture.id not in self.measured]
        if not left:
            left = [one for one in self._worth_it() if one.architecture.id not in self.measured]
        room = max(0, self._most - len(self.measured))
        self.is_stable = len(left) <= room
        self._pending = tuple(one.architecture.id for one in left[:room])
        return left[:room]

    def _worth_it(self, anyway: Collection[str] = ()) -> list[Evaluation]:
        """Networks with a fair chance to be on the true front, the likeliest first.

        Args:
            anyway: architecture ids of others.
        """
        objectives, constraints = self.spec.goals
        beliefs = self._beliefs()
        found = chances(beliefs, objectives, constraints, derived_rng(0, "chances", 0))
        chance = {b.evaluation.architecture.id: float(c) for b, c in zip(beliefs, found, strict=True)}
        worth = [name for name, c in chance.items() if c >= FAIR_CHANCE or name in anyway]
        return [self.known[name] for name in sorted(worth, key=lambda name: (-chance[name], name))]

    def in_measured_numbers(self) -> list[tuple[Evaluation, Finalist]]:
        """Every measured network, in the order of the search, with its finalist."""
        return [(as_measured(one, self.measured[name]), self.measured[name]) for name, one in self._those_measured()]

    def corrected(self) -> dict[str, dict[str, float]]:
        """Architecture id -> predictions of its metrics, corrected by what the other networks showed."""
        found: dict[str, dict[str, float]] = {}
        for metric, correction in self._corrections().items():
            for name, one in self._those_measured():
                # A network that could not be measured is believed to be what was predicted of it.
                if f"{PREDICTED}{metric}" in self.measured[name].metrics:
                    number = one.metrics[metric] * correction.factor(name)
                    found.setdefault(name, {})[f"{PREDICTED}{metric}"] = number
        return found

    @property
    def errors(self) -> list[PredictionError]:
        """How the search's predictions turned out."""
        return [
            PredictionError(metric=metric, networks=len(one.ratios), bias=one.bias, spread=one.spread)
            for metric, one in self._corrections().items()
            if one.ratios
        ]

    def _those_measured(self) -> list[tuple[str, Evaluation]]:
        return [(name, one) for name, one in self.known.items() if name in self.measured]

    def _corrections(self) -> dict[str, Correction]:
        """Ratios of measured and predicted, of every predicted metric."""
        found = {metric: Correction() for metric in self.hardware.fitted}
        for name, one in self._those_measured():
            finalist = self.measured[name]
            for metric, correction in found.items():
                if finalist.sources.get(metric) == Source.MEASURED and one.source_of(metric) == Source.PREDICTED:
                    correction.add(name, one.metrics[metric], numbers(finalist.metrics)[metric])
        return found

    def _beliefs(self) -> list[Belief]:
        architectures = [one.architecture for one in self.known.values()]
        spreads = {metric: fitted.spreads(architectures) for metric, fitted in self.hardware.fitted.items()}
        corrections = self._corrections()
        found = []
        for place, (name, one) in enumerate(self.known.items()):
            if name in self.measured:
                found.append(_measured_belief(as_measured(one, self.measured[name]), self.hardware))
                continue
            metrics, spread = dict(one.metrics), {}
            for metric in self.hardware.metrics:
                if metric in spreads:
                    correction = corrections[metric]
                    metrics[metric] *= correction.factor(name)
                    share = math.hypot(spreads[metric][place], correction.factor_spread(name))
                else:
                    share = ALONE
                spread[metric] = share * abs(metrics[metric])
            found.append(Belief(Evaluation(one.architecture, metrics), spread))
        return found


def as_measured(evaluation: Evaluation, finalist: Finalist) -> Evaluation:
    """An evaluation in the numbers that are shown of a finalist."""
    intervals = {name: (float(ends[0]), float(ends[1])) for name, ends in (finalist.intervals or {}).items()}
    metrics = {**evaluation.metrics, **numbers(finalist.metrics)}
    sources = {**evaluation.sources, **{name: Source(how) for name, how in finalist.sources.items()}}
    return Evaluation(evaluation.architecture, metrics, sources, intervals)


def _measured_belief(measured: Evaluation, hardware: Hardware) -> Belief:
    widths = {name: ends[1] - ends[0] for name, ends in measured.intervals.items() if name in hardware.metrics}
    return Belief(measured, {metric: width / 2 / DEVIATIONS for metric, width in widths.items()})


# --- measuring -----------------------------------------------------------------------------------


def _in_fewer_bits(lab: Lab, architectures: Sequence[Architecture], tested: Sequence[Tested]) -> list[Tested]:
    """Networks with their scores in the schemes that the job asks for besides."""
    spec = lab.spec
    images, training = images_of(spec, delivered=True), spec.training
    schemes = InSchemes(lab.delivering, spec.scoring.quantize_front, images, training.seed, training.augmentation)
    found = []
    for architecture, one in zip(architectures, tested, strict=True):
        metrics, sources = schemes.scores(architecture)
        found.append(replace(one, metrics={**one.metrics, **metrics}, sources={**one.sources, **sources}))
    return found


def finalists_of(job_id: str, architectures: Sequence[Architecture], tested: Sequence[Tested]) -> list[Finalist]:
    """Networks as finalists of a job, not yet stored."""
    return [
        Finalist(
            job_id=job_id,
            architecture_id=architecture.id,
            position=None,
            metrics=one.numbers,
            sources=one.how,
            intervals={name: list(ends) for name, ends in one.intervals.items()},
            measurements=one.measurements,
        )
        for architecture, one in zip(architectures, tested, strict=True)
    ]


def measured_at_once(left: Sequence[Evaluation]) -> Iterator[list[Evaluation]]:
    """Networks in groups: as many as are not too much to lose or to hold in memory."""
    group: list[Evaluation] = []
    num_bytes = 0.0
    for evaluation in left:
        size = evaluation.metrics["size_bytes"]
        if group and (len(group) == MEASURED_AT_ONCE or num_bytes + size > BYTES_AT_ONCE):
            yield group
            group, num_bytes = [], 0.0
        group.append(evaluation)
        num_bytes += size
    if group:
        yield group


# --- the final front -----------------------------------------------------------------------------


def store_front(
    spec: JobSpec,
    measured: Sequence[tuple[Evaluation, Finalist]],
    reference: Reference,
    reporter: Reporter,
    stable: bool = True,
    errors: Sequence[PredictionError] = (),
    corrected: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Sort measured networks out, store that once and for all, and tell people.

    Args:
        measured: every finalist, whose row is stored already, in the numbers that are shown of it.
        stable: whether every network with a fair chance was measured.
        corrected: numbers that take the place of those that were stored, by architecture id.

    Raises:
        JobFailed: no network keeps the limits as measured; which break them, and by how much, is stored.
    """
    found = final_front([one for one, _ in measured], *spec.goals)
    record = _record(found, reference, stable, errors)
    positions = {point.architecture_id: place for place, point in enumerate(record.points, 1)}
    reporter.front(record, positions, corrected or {})
    for level, text in _said(spec, found, record):
        reporter.tell(level, text)
    if not found.points:
        raise JobFailed(_nothing_kept(found))


def _record(found: FinalFront, reference: Reference, stable: bool, errors: Sequence[PredictionError]) -> FrontRecord:
    """The front as it is stored; the reference stands by itself, wherever it is."""
    of_reference = reference.evaluation.architecture.id
    beyond = {one.architecture.id: tuple(map(_broken, breaks)) for one, breaks in found.beyond}
    named = ReferenceNetwork(name=reference.name, architecture_id=of_reference, breaks=beyond.pop(of_reference, ()))
    beaten = {
        one.architecture.id: by.architecture.id for one, by in found.beaten if one.architecture.id != of_reference
    }
    return FrontRecord(
        points=tuple(
            OnFront(architecture_id=point.architecture.id, rivals=tuple(one.architecture.id for one in rivals))
            for point, rivals in zip(found.points, found.rivals, strict=True)
        ),
        knee=None if found.knee is None else found.knee.architecture.id,
        reference=named,
        beaten=tuple(BeatenNetwork(architecture_id=name, by=by) for name, by in beaten.items()),
        beyond=tuple(BeyondLimits(architecture_id=name, breaks=breaks) for name, breaks in beyond.items()),
        hypervolume=_finite(found.hypervolume),
        worst={metric: _finite(value) for metric, value in found.worst.items()},
        stable=stable,
        predictions=tuple(errors),
    )


def _broken(one: Break) -> BrokenLimit:
    return BrokenLimit(metric=one.metric, limit=one.limit, value=_finite(one.value), by=_finite(one.by))


def _said(spec: JobSpec, found: FinalFront, record: FrontRecord) -> Iterator[tuple[str, str]]:
    """What people should know of a front: level and sentence."""
    for error in record.predictions:
        unit = f"{error.metric} of {error.networks} measured networks"
        text = f"{unit} was {error.bias:+.1%} from what the search believed (standard deviation {error.spread:.1%})."
        yield "info", text
    count = len(record.points) + len(record.beaten) + len(record.beyond)
    broken = {b.metric for one in record.beyond for b in one.breaks}
    for limit in limits_of(*spec.goals):
        measured = all(point.source_of(limit.metric) == Source.MEASURED for point in found.points)
        if limit.metric in ON_TARGET and measured and found.points and limit.metric not in broken:
            named = f"{limit.limit:g} {METRICS[limit.metric].unit}"
            yield "info", f"All {count} measured networks keep the limit of {named} as measured."
    for text in _too_wide(found):
        yield "warning", text
    if record.beyond:
        listed = {one.architecture_id for one in record.beyond}
        named = "; ".join(
            f"{one.architecture.id}: {in_words(breaks)}"
            for one, breaks in found.beyond
            if one.architecture.id in listed
        )
        told = f"{len(record.beyond)} of {count} measured networks are not on the front, but beside it: {named}."
        yield "warning", told
    if not record.stable:
        yield (
            "warning",
            f"More networks than the {count} that were measured have a fair chance to be on the front; a predictor of "
            "smaller errors (more hardware.networks) tells them apart.",
        )


def _too_wide(found: FinalFront) -> list[str]:
    """What to say of scores whose intervals hide differences that matter; of shares of samples the data's record says
    it (`pipeline.inventory`)."""
    said = []
    for metric in {name: None for point in found.points for name in point.intervals}:
        if metric not in METRICS or metric in (*ON_TARGET, *OF_SAMPLES):
            continue
        known = [point for point in found.points if metric in point.intervals]
        pick = max if METRICS[metric].goal == "maximize" else min
        best = pick(known, key=lambda point: point.metrics[metric])
        said.append(too_wide(metric, best.intervals[metric]))
    return [text for text in said if text is not None]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _nothing_kept(found: FinalFront) -> str:
    one, breaks = min(found.beyond, key=lambda each: sum(b.by for b in each[1]))
    return (
        f"None of the {len(found.beyond)} networks that were measured keeps the limits as measured. The nearest is "
        f"{one.architecture.id}: {in_words(breaks)}. Loosen a limit, or search for longer."
    )


def _nothing_feasible(spec: JobSpec, evaluations: Sequence[Evaluation]) -> str:
    """The limits that nobody met, and who came nearest."""
    limited = limits_of(*spec.goals)
    if not limited:
        return f"None of {len(evaluations)} architectures has scores that are numbers. Look at the training curve."
    nearest = nearest_to_feasible(evaluations, *spec.goals)
    limits = ", ".join(f"{o.metric} {o.limit:g}" for o in limited)
    scores = ", ".join(f"{o.metric} {nearest.metrics[o.metric]:g}" for o in limited)
    return (
        f"None of {len(evaluations)} architectures meets the limits ({limits}). "
        f"The nearest is {nearest.architecture.id} with {scores}."
    )
