"""Stages "measure hardware" and "fit predictors": how a job's latencies come about.

A target that can be measured is measured twice over: every different layer alone, which gives a table, and some
whole networks, which fit a predictor and judge it. If the predictor is good enough it drives the search and limits
leave room for its errors; if not, every network of the search is measured. An uploaded table prices networks and
nothing can be measured there. All numbers are rows, so a job that was killed, and every later job on the same
device, measures only what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from export.measurable import write_fresh
from job.spec import JobSpec
from pipeline.artifacts import ArtifactStore
from pipeline.benches import LocalBench, RemoteBench, RowStore
from pipeline.reporter import Reporter
from pipeline.shipping import float_type
from pipeline.traced_layers import layers_of
from pipeline.workshop import JobFailed
from predictors.instrument import Instrument, Specimen, Unmeasurable
from predictors.latency_fit import Fitted, fit_predictor
from predictors.layer_tables import build_table
from predictors.readings import Reading, Results
from predictors.setting import Effort, Setting
from predictors.table_files import parse_table
from predictors.tables import LatencyTable, MissingRow
from predictors.targets import RUNTIMES, TargetName
from search.evaluation import Evaluation
from search.metrics import METRICS, Source
from search_space.architecture import Architecture
from search_space.distinct import TooManyLayers
from search_space.space import SearchSpace
from service.settings import Settings
from service.store import measuring
from service.store.models import Stage, Target
from service.store.records import PredictorReport
from supernet.randomness import derived_rng

# Results of a phase that each metric is read from.
PHASES = {"latency_ms": ("forward", "prefill"), "tokens_per_second": ("decode",)}


@dataclass(frozen=True)
class Meter:
    """Measures whole networks of a space on a target.

    Attributes:
        target: as the job names it.
        seconds: most measuring time of one network.
    """

    target: str
    space: SearchSpace
    instrument: Instrument
    seconds: float

    def measure(self, architectures: Sequence[Architecture], progress: Callable[[float], None]) -> list[Results]:
        """Networks with fresh weights, which cost what trained ones do.

        Args:
            progress: hears the share that is done; may raise to stop.

        Raises:
            JobFailed: the target cannot run one.
        """
        specimens = [Specimen.network(self.space, architecture) for architecture in architectures]
        try:
            found = self.instrument.measure(specimens, "network", Effort(max_seconds=self.seconds), progress)
        except Unmeasurable as error:
            raise JobFailed(f"Target {self.target} cannot measure a network of this space. {error}") from error
        return [found[specimen.subject] for specimen in specimens]


@dataclass(frozen=True)
class Hardware:
    """How the metrics of a job's target are obtained.

    Attributes:
        metrics: those that the job asks for; none for a job without a target.
        fitted: metric -> its predictor, where predictions drive the search.
        meter: measures networks; None for an uploaded table.
    """

    metrics: tuple[str, ...] = ()
    fitted: Mapping[str, Fitted] = field(default_factory=dict)
    meter: Meter | None = None

    @property
    def margins(self) -> dict[str, float]:
        """Metric -> room that its limit leaves for errors of prediction."""
        return {metric: one.margin for metric, one in self.fitted.items()}

    @property
    def known(self) -> dict[str, Callable[[Architecture], float]]:
        """Metrics that cost nothing to ask for: those that are predicted."""
        return {metric: one.value for metric, one in self.fitted.items()}

    def scores(
        self, architecture: Architecture, listen: Callable[[], None]
    ) -> tuple[dict[str, float], dict[str, Source]]:
        """The target's metrics of one architecture of the search, and how each was obtained.

        Args:
            listen: called while it is measured; may raise to stop.
        """
        metrics = {metric: one.value(architecture) for metric, one in self.fitted.items()}
        sources: dict[str, Source] = dict.fromkeys(metrics, Source.PREDICTED)
        rest = [metric for metric in self.metrics if metric not in metrics]
        if rest:
            assert self.meter is not None
            (results,) = self.meter.measure([architecture], lambda _done: listen())
            metrics |= {metric: read(results, metric) for metric in rest}
            sources |= dict.fromkeys(rest, Source.MEASURED)
        return metrics, sources

    def added_to(self, scored: Evaluation, listen: Callable[[], None]) -> Evaluation:
        """An evaluation with the metrics of the job's target beside its own."""
        metrics, sources = self.scores(scored.architecture, listen)
        return Evaluation(scored.architecture, {**scored.metrics, **metrics}, {**scored.sources, **sources})


def prepare_hardware(spec: JobSpec, space: SearchSpace, targets: Targets, reporter: Reporter) -> Hardware:
    """What the search asks for latencies, measured and fitted as far as the job needs it.

    Args:
        space: what is searched.

    Raises:
        JobFailed: the target is unknown, cannot run the networks, or stays offline.
        Interrupted: the job is to be paused or cancelled; what was measured is stored.
    """
    if spec.target is None:
        return Hardware()
    reporter.stage(Stage.MEASURE_HARDWARE)
    gives = targets.named(spec.target)
    if isinstance(gives, LatencyTable):
        return _priced_by(gives, spec, space, reporter)
    metrics = spec.metrics_on_target
    meter = Meter(spec.target, space, gives, spec.hardware.seconds)
    if spec.hardware.predict == "never":
        reporter.tell("info", "hardware.predict is never: every network of the search is measured.")
        return Hardware(metrics, {}, meter)
    try:
        fitted = _fitted(spec, meter, _table(spec, meter, reporter), reporter)
    except Unmeasurable as error:
        raise JobFailed(f"Target {spec.target} cannot measure this space. {error}") from error
    return Hardware(metrics, fitted, meter)


@dataclass(frozen=True, slots=True)
class Targets:
    """Where the numbers of a job's targets come from.

    Attributes:
        artifacts: through which networks get to other machines.
    """

    spec: JobSpec
    reporter: Reporter
    artifacts: ArtifactStore
    settings: Settings

    def named(self, name: str) -> LatencyTable | Instrument:
        """An uploaded table, or an instrument that measures.

        Raises:
            JobFailed: it is not there any more, or has no runtime for the job.
        """
        target = _registered(self.reporter, name)
        if target is not None and target.kind == "table":
            return parse_table(target.table or "", f"The table of target {target.name}")
        setting = _setting(self.spec, name, target)
        bench: LocalBench | RemoteBench
        if target is None:
            bench = LocalBench(setting.how)
        else:
            wait = self.spec.hardware.wait_minutes
            bench = RemoteBench(target, setting.how, wait, self.reporter, self.artifacts, self.settings)
        store = RowStore(self.reporter)
        return Instrument(bench, setting, store, write_fresh, lambda told: self.reporter.doing(f"{told} on {name}"))


def read(results: Results, metric: str) -> float:
    """A metric's number from what was measured."""
    found = reading_of(results, metric)
    return float(found["median_ms"] if metric == "latency_ms" else found["tokens_per_second"])


def reading_of(results: Results, metric: str) -> Reading:
    """The phase of a measurement that a metric is read from.

    Raises:
        JobFailed: the target measured no such phase.
    """
    for result in results:
        if result["phase"] in PHASES[metric]:
            return result
    phases = ", ".join(result["phase"] for result in results)
    raise JobFailed(f"There is no {metric} among what was measured ({phases}); choose a target whose runtime is torch.")


# --- parts of the stages -----------------------------------------------------------------------------


def _registered(reporter: Reporter, name: str) -> Target | None:
    """The row of a registered target; None for a runtime of this machine."""
    parsed = TargetName.parse(name)
    if parsed.registered is None:
        return None
    registered = parsed.registered
    row = reporter.transact(lambda session: measuring.target(session, registered))
    if row is None:
        raise JobFailed(f"There is no target {registered!r} any more. GET /v1/targets lists them.")
    return row


def _setting(spec: JobSpec, name: str, target: Target | None) -> Setting:
    parsed, hardware = TargetName.parse(name), spec.hardware
    runtime = parsed.runtime
    if target is not None:
        offered = [str(one) for one in target.facts.get("runtimes", [])]
        if "tokens_per_second" in spec.metrics:
            offered = [one for one in offered if RUNTIMES[one].keeps_cache]
        if not offered or (runtime is not None and runtime not in offered):
            raise JobFailed(f"Target {target.name} has no {runtime or 'runtime for this'}; it has {offered}.")
        runtime = runtime or offered[0]
    assert runtime is not None
    dtype = str(float_type(spec)).removeprefix("torch.") if RUNTIMES[runtime].engine == "torch" else "float32"
    return Setting(runtime, hardware.threads, hardware.batch, dtype)


def _priced_by(table: LatencyTable, spec: JobSpec, space: SearchSpace, reporter: Reporter) -> Hardware:
    """An uploaded table: networks are priced, nothing is measured, and no error is known."""
    name, metrics = spec.target, spec.metrics_on_target
    if metrics != ("latency_ms",):
        raise JobFailed(f"Target {name} is a table of latencies; it does not know tokens_per_second.")
    try:
        for architecture in (space.smallest(), space.largest()):
            table.price(space.layers(architecture))
    except MissingRow as error:
        raise JobFailed(str(error)) from error
    reporter.tell(
        "warning",
        f"Target {name} is an uploaded table: latencies are predicted by adding up its {len(table.rows)} rows, and "
        "the networks of the front cannot be measured there.",
    )
    reporter.stage(Stage.FIT_PREDICTORS, 1.0)
    report = {"model": "uploaded table", "margin": 0.0, "layers_in_table": len(table.rows)}
    priced = Fitted(lambda one: table.price(space.layers(one)), margin=0.0, report=report)
    reporter.record(PredictorReport(metric="latency_ms", unit="ms", target=name, used=True, **report))
    return Hardware(metrics, {"latency_ms": priced})


def _table(spec: JobSpec, meter: Meter, reporter: Reporter) -> LatencyTable | None:
    """Every layer of the space alone, if there are not too many and the metric adds up from layers."""
    if spec.hardware.max_layers == 0 or "latency_ms" not in spec.metrics or not meter.space.has_layers:
        return None
    try:
        layers = layers_of(meter.space, spec.hardware.max_layers)
    except TooManyLayers as error:
        reporter.tell("warning", f"No table of layers: {error} The predictor learns from whole networks alone.")
        return None
    return build_table(meter.target, layers, meter.instrument, lambda done: reporter.progress(TABLE_SHARE * done))


# Share of the stage that the table takes; the rest is whole networks.
TABLE_SHARE = 0.6


def _fitted(spec: JobSpec, meter: Meter, table: LatencyTable | None, reporter: Reporter) -> dict[str, Fitted]:
    """Predictors of the metrics that are predicted well enough; the others will be measured."""
    plan, metrics, seed = spec.hardware, spec.metrics_on_target, spec.search.seed
    architectures = to_fit(meter.space, plan.networks, seed)
    begin = TABLE_SHARE if table is not None else 0.0
    results = meter.measure(architectures, lambda done: reporter.progress(begin + (1 - begin) * done))
    reporter.stage(Stage.FIT_PREDICTORS)
    fitted: dict[str, Fitted] = {}
    for number, metric in enumerate(metrics):
        reporter.doing(f"the predictor of {metric} learns from {len(results)} networks")
        values, goal = [read(one, metric) for one in results], METRICS[metric].goal
        prices = table if metric == "latency_ms" else None

        def part(done: float, number: int = number) -> None:
            reporter.progress((number + done) / len(metrics))

        try:
            made = fit_predictor(meter.space, prices, architectures, values, plan.margin_quantile, goal, seed, part)
        except ValueError as error:
            reporter.tell("info", f"{metric} is measured for every network of the search: {error}")
            continue
        if _is_good(made, metric, spec, reporter):
            fitted[metric] = made
    return fitted


def _is_good(made: Fitted, metric: str, spec: JobSpec, reporter: Reporter) -> bool:
    """Whether a predictor is good enough; its report is told either way."""
    least = spec.hardware.min_within_10_percent
    used = made.within_10_percent >= least
    facts = {"metric": metric, "unit": METRICS[metric].unit, "target": spec.target}
    reporter.record(PredictorReport(**facts, used=used, margin=made.margin, **made.report))
    if not used:
        reporter.tell(
            "warning",
            f"The predictor of {metric} is within 10 % for {made.within_10_percent:.0%} of held-out networks, and "
            f"{least:.0%} are asked for (hardware.min_within_10_percent): every network of the search is measured "
            "instead.",
        )
    return used


def to_fit(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    """Different networks to measure whole: the smallest, the largest, and random ones of all sizes."""
    rng = derived_rng(seed, "networks to measure", 0)
    found = {one.id: one for one in (space.smallest(), space.largest())}
    for attempt in range(20 * count):
        if len(found) >= min(count, space.size()):
            break
        one = space.sample(rng, "macs" if attempt % 2 and space.has_layers else "genes")
        found.setdefault(one.id, one)
    return list(found.values())
