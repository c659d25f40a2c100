"""The stages of a search by gradient (ProxylessNAS), each resumed from what is stored.

check -> prepare data -> train supernet -> measure hardware -> search -> measure finalists -> done

"Train supernet" warms the weights of all paths up, once for all networks; "measure hardware" prices the candidates
on every target. "Search" then goes through the networks that were asked for: search, derive, train alone, measure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from job.spec import JobSpec
from pipeline.curve import Curve
from pipeline.driver import Course, Driver, Judge, NoRoom, T, Words
from pipeline.evaluating import row_of
from pipeline.finalists import Lab
from pipeline.hardware import Hardware, Targets
from pipeline.materials import fresh_supernet, make_trainer
from pipeline.workshop import JobFailed, Workshop, make_evaluator
from predictors.candidate_prices import price_candidates
from predictors.targets import named_target
from proxyless.derive import most_likely, most_likely_within
from proxyless.expected_latency import AddLinear, Latencies, LatencyLoss, MulLog, NoLatency
from proxyless.front import cross_table, store_measured
from proxyless.gates import GatedPasses
from proxyless.held_out import carve
from proxyless.parameters import ArchitectureParameters
from proxyless.points import SearchPoints, TrainingPoints, WarmUpPoints
from proxyless.search import Budget, PathSearch, Turns
from proxyless.steps import ArchitectureStep, GradientStep, LatencyReward, Reinforce, accuracies
from proxyless.target_tables import measuring_of, table_of
from search.evaluation import Evaluation, numbers
from search_space.architecture import Architecture
from search_space.operations import Blocks, alone, blocks_of, separated
from service.store.models import Stage
from service.store.records import CrossTable, Derived, Measured, Prices
from supernet.data import DataError, Dataset
from supernet.distributed import ALONE, Orders
from supernet.evaluator import Evaluator
from supernet.flat import load_tensors, own_tensors
from supernet.network import Supernet

# Shares of a network's time that its search and its training take; only for the progress bar.
SEARCH_SHARE, TRAIN_SHARE = 0.6, 0.35
# What to do about a training that diverges; a job has several, and each has its own rate.
ADVICE = "Lower its learning_rate, or clip gradients (clip_norm)."


@dataclass(frozen=True, slots=True)
class Aim:
    """One network that was asked for.

    Attributes:
        number: from 0, in the order in which they are searched for.
        weight: weight of the latency; None with a budget.
        budget_ms: None with a weight.
    """

    number: int
    target: str
    weight: float | None
    budget_ms: float | None

    @property
    def title(self) -> str:
        """A name for people."""
        how = f"latency weight {self.weight:g}" if self.weight is not None else f"a budget of {self.budget_ms:g} ms"
        return f"network {self.number + 1} ({Path(self.target).name}, {how})"


def aims_of(spec: JobSpec) -> list[Aim]:
    """The networks that a job asks for: every aim on the first target, then on the next."""
    assert spec.gradient is not None
    return [Aim(number, *aim) for number, aim in enumerate(spec.gradient.every_aim())]


def search_by_gradient(shop: Workshop, data: Dataset) -> None:
    """Every stage after the data, until the front is measured.

    Raises:
        Interrupted: the job is to be paused or cancelled; what was done is stored.
        JobFailed: with the reason for the user.
    """
    _GradientSearch(shop, data).run()


class _GradientSearch:
    def __init__(self, shop: Workshop, data: Dataset) -> None:
        self._data, self._spec, self._files, self._reporter = data, shop.spec, shop.files, shop.reporter
        self._device = shop.device
        assert shop.spec.gradient is not None
        self._part = shop.spec.gradient
        self._targets = Targets(shop.spec, shop.reporter, shop.artifacts, shop.settings)
        self._blocks: Blocks = blocks_of(shop.space)
        # Networks are of the first; in the second every path has weights of its own.
        self._joined, self._space = shop.space, separated(shop.space)
        self._aims = aims_of(shop.spec)
        try:
            rest, self._held_out = carve(data.train, self._part.held_out_share, self._spec.training.seed, data.name)
        except DataError as error:
            raise JobFailed(str(error)) from error
        if self._spec.training.batch_size > len(rest):
            raise JobFailed(
                f"training.batch_size is {self._spec.training.batch_size}, but {len(rest)} training examples are left "
                "beside those held out for the architecture; choose a smaller batch or held_out_share."
            )
        self._searched: Dataset = replace(data, train=rest)

    def run(self) -> None:
        self._reporter.stage(Stage.TRAIN_SUPERNET)
        # Files are read first: a table that does not fit should not be found out after the warm-up.
        self._latencies([target for target in self._part.targets if isinstance(named_target(target), Path)])
        warm = self._warm_up()
        self._reporter.stage(Stage.MEASURE_HARDWARE)
        latencies = self._latencies(self._part.targets)
        hardware = measuring_of(self._targets, self._joined)
        done = len(self._reporter.records(Measured))
        self._reporter.stage(Stage.SEARCH, done / len(self._aims))
        found = self._networks(lambda aim: self._network(aim, latencies, warm, hardware))
        self._reporter.record(CrossTable(latency_ms=cross_table(self._blocks, found, latencies)))
        store_measured(self._spec, found, self._reporter.records(Measured), self._reporter)
        self._files.remove(self._files.recorded("warm-up"))

    def _networks(self, network: Callable[[Aim], Evaluation]) -> list[Evaluation]:
        """One network for every aim, or those that were finished when the job was stopped."""
        found = self._reporter.until_stopped(lambda: [network(aim) for aim in self._aims])
        if found is not None:
            return found
        finished = {measured.run for measured in self._reporter.records(Measured)}
        # A job can be stopped once a network is stored; killed just then, it has not said so yet.
        kept = [aim for aim in self._aims if aim.number in finished] or self._aims[:1]
        self._reporter.ended_early = f"Stopped by request after {len(kept)} of {len(self._aims)} networks."
        for aim in self._aims:
            if aim not in kept:
                for phase in ("s", "f"):
                    self._files.checkpoints(f"{phase}{aim.number}").remove_all()
        return [network(aim) for aim in kept]

    # --- what the candidates cost -------------------------------------------------------------------

    def _latencies(self, targets: Sequence[str]) -> dict[str, Latencies]:
        """Prices of all candidates on these targets; those that are stored are not asked for again."""
        known = {prices.target: prices for prices in self._reporter.records(Prices)}
        for number, target in enumerate(targets):
            if target in known:
                continue
            try:
                table = table_of(self._targets, target, self._joined, self._part_of(number, len(targets)))
                priced = price_candidates(self._joined, table, self._blocks)
            except ValueError as error:
                raise JobFailed(str(error)) from error
            known[target] = Prices(target=target, fixed_ms=priced.fixed_ms, blocks_ms=priced.blocks_ms)
            self._reporter.record(known[target])
        found = {target: Latencies(target, known[target].fixed_ms, known[target].blocks_ms) for target in targets}
        for latencies in found.values():
            try:
                self._part.check_target(latencies.target, latencies.cheapest_ms, latencies.dearest_ms)
            except ValueError as error:
                raise JobFailed(str(error)) from error
        return found

    # --- warm-up ------------------------------------------------------------------------------------

    def _fresh(self) -> Supernet:
        return fresh_supernet(self._spec, self._space, self._searched, self._device)

    def _warm_up(self) -> Callable[[Supernet], None]:
        """Weights of all paths, trained with every path as likely; what loads them into a network."""
        epochs = self._part.warmup_epochs
        if epochs == 0:
            return lambda supernet: None
        if not self._files.recorded("warm-up"):
            change = {
                "epochs": epochs,
                "learning_rate": self._part.warmup_learning_rate,
                "lr_decay_epochs": self._part.warmup_lr_decay_epochs,
                "warmup_epochs": min(self._spec.training.warmup_epochs, epochs / 2),
            }
            spec = self._spec.model_copy(update={"training": self._spec.training.model_copy(update=change)})
            curve = Curve(spec, self._space, self._searched, self._device, self._reporter.record)

            def store(supernet: Supernet, steps: int) -> None:
                path = f"checkpoints/{self._files.job_id}/warm-up.safetensors"
                self._files.save("warm-up", path, own_tensors(supernet), steps)

            self._drive(
                "w",
                "the warm-up",
                lambda: make_trainer(spec, self._fresh(), self._searched),
                WarmUpPoints(curve),
                self._reporter.progress,
            ).run(lambda trainer: trainer.supernet, store)
        stored = self._files.recorded("warm-up")[0]
        tensors = self._files.load(stored)
        return lambda supernet: load_tensors(supernet, tensors)

    def _drive(
        self, phase: str, title: str, fresh: Callable[[], T], judge: Judge[T], progress: Callable[[float], None]
    ) -> Driver[T]:
        """One of the job's trainings.

        Args:
            phase: a short word that its checkpoints carry.
            title: for people.
        """
        room, words = NoRoom(title, self._device), Words(title, ADVICE)
        orders = Orders(ALONE, self._device)
        course = Course(fresh, judge, room, words, orders, progress)
        return Driver(course, self._files.checkpoints(phase), self._reporter.tell)

    # --- one network --------------------------------------------------------------------------------

    def _network(
        self, aim: Aim, latencies: Mapping[str, Latencies], warm: Callable[[Supernet], None], hardware: Hardware
    ) -> Evaluation:
        """Search, derive, train alone, measure: whatever of it is not stored yet."""
        architecture = self._derived(aim, latencies[aim.target], warm)
        known = self._reporter.records(Measured)
        measured = next((one for one in known if one.architecture_id == architecture.id), None)
        if measured is None:
            evaluator = self._trained(aim, architecture)
            measured = self._measured(aim, architecture, evaluator, hardware)
        # Where another aim led to the same network, it is trained and measured once, and is the result of both.
        self._reporter.record(measured.model_copy(update={"run": aim.number}))
        self._reporter.progress((aim.number + 1) / len(self._aims), force=True)
        return Evaluation(architecture, numbers(measured.metrics), measured.sources)

    def _part_of(self, number: int, count: int) -> Callable[[float], None]:
        """Progress of one of several equal parts of the stage."""
        return lambda done: self._reporter.progress((number + done) / count)

    def _progress(self, aim: Aim, before: float, share: float) -> Callable[[float], None]:
        return lambda done: self._reporter.progress((aim.number + before + share * done) / len(self._aims))

    def _derived(self, aim: Aim, latencies: Latencies, warm: Callable[[Supernet], None]) -> Architecture:
        for derived in self._reporter.records(Derived):
            if derived.run == aim.number:
                return self._joined.architecture(**derived.values)
        points = SearchPoints(self._reporter, aim.number, self._spec, self._searched, latencies)

        def store(parameters: ArchitectureParameters, _steps: int) -> Architecture:
            p = parameters.probabilities()
            path = most_likely(p) if aim.budget_ms is None else most_likely_within(p, latencies, aim.budget_ms)
            architecture = parameters.architecture(path)
            self._reporter.record(
                Derived(
                    run=aim.number,
                    target=aim.target,
                    latency_weight=aim.weight,
                    budget_ms=aim.budget_ms,
                    architecture_id=architecture.id,
                    values=architecture.values,
                    table_ms=latencies.of_path(path),
                    argmax=path == most_likely(p),
                    **asdict(points.distribution(parameters)),
                )
            )
            return architecture

        return self._drive(
            f"s{aim.number}",
            f"the search for {aim.title}",
            lambda: self._path_search(aim, latencies, warm),
            points,
            self._progress(aim, 0, SEARCH_SHARE),
        ).run(lambda search: search.parameters, store)

    def _path_search(self, aim: Aim, latencies: Latencies, warm: Callable[[Supernet], None]) -> PathSearch:
        part, training = self._part, self._spec.training
        supernet = self._fresh()
        warm(supernet)
        # Weights and their split are the training's; what is drawn is the search's own, and the same for every aim,
        # so that networks differ by what they aim at.
        seeded = training.model_copy(update={"seed": self._spec.search.seed})
        trainer = make_trainer(self._spec.model_copy(update={"training": seeded}), supernet, self._searched)
        parameters = ArchitectureParameters(self._space, self._blocks.searched, trainer.seed)
        passes = GatedPasses(supernet, self._blocks, training.precision, training.activation_checkpointing)
        held_out = part.held_out_batch_size
        assert held_out is not None, "the job is not resolved"
        turns = Turns(part.first_epoch, part.every, part.steps, held_out)
        budget = None if aim.budget_ms is None else Budget(latencies, aim.budget_ms)
        reference = part.reference_ms or latencies.uniform_ms
        step: ArchitectureStep
        if part.mode == "reinforce":
            step = self._reinforce(passes, parameters, latencies, LatencyReward(aim.weight or 0.0, reference))
        else:
            loss = self._loss(aim, reference)
            step = GradientStep(passes, parameters, latencies, loss, part.learning_rate, part.mode)
        return PathSearch(trainer, parameters, step, self._held_out, turns, budget)

    def _loss(self, aim: Aim, reference_ms: float) -> LatencyLoss:
        if not aim.weight:
            return NoLatency()
        return (MulLog if self._part.loss == "mul_log" else AddLinear)(aim.weight, reference_ms)

    def _reinforce(
        self, passes: GatedPasses, parameters: ArchitectureParameters, latencies: Latencies, reward: LatencyReward
    ) -> Reinforce:
        right = accuracies(passes, parameters)
        return Reinforce(
            parameters,
            lambda batch, paths: [
                reward(share, latencies.of_path(path)) for share, path in zip(right(batch, paths), paths, strict=True)
            ],
            self._part.learning_rate,
            self._part.samples,
        )

    def _trained(self, aim: Aim, architecture: Architecture) -> Evaluator:
        """The derived network, trained from scratch on all training examples."""
        space = alone(self._joined, architecture)
        final = self._part.final
        options = {**final.options, "architecture": ",".join(map(str, architecture.genes))}
        training = final.model_copy(update={"options": options, "seed": self._spec.training.seed})
        spec = self._spec.model_copy(update={"training": training})
        path = f"networks/{self._files.job_id}/{architecture.id}.safetensors"
        for stored in self._files.recorded("network"):
            if stored.path == path:
                supernet = Supernet(space).to(self._device)
                load_tensors(supernet, self._files.load(stored))
                return make_evaluator(spec, supernet, self._data, delivered=True)

        def store(supernet: Supernet, steps: int) -> Supernet:
            self._files.save("network", path, own_tensors(supernet), steps)
            return supernet

        trained = self._drive(
            f"f{aim.number}",
            f"the training of {aim.title}",
            lambda: make_trainer(spec, fresh_supernet(spec, space, self._data, self._device), self._data),
            TrainingPoints(self._reporter, aim.number, final.epochs),
            self._progress(aim, SEARCH_SHARE, TRAIN_SHARE),
        ).run(lambda trainer: trainer.result, store)
        return make_evaluator(spec, trained, self._data, delivered=True)

    def _measured(self, aim: Aim, architecture: Architecture, evaluator: Evaluator, hardware: Hardware) -> Measured:
        """Scores on validation and test examples, and latency on the device of the job's objectives."""
        began = time.monotonic()
        (evaluation,) = evaluator.evaluate([architecture])
        listen = self._reporter.listen
        (tested,) = Lab(self._spec, evaluator, evaluator, hardware).tested([architecture], listen)
        on_target, how = tested.metrics, tested.sources
        if not on_target and hardware.metrics:
            on_target, how = hardware.scores(architecture, listen)
        metrics, sources = {**evaluation.metrics, **on_target}, {**evaluation.sources, **how}
        self._reporter.evaluation(row_of(Evaluation(architecture, metrics, sources), time.monotonic() - began))
        return Measured(
            run=aim.number,
            architecture_id=architecture.id,
            metrics=metrics,
            sources=sources,
            test=tested.test,
            intervals=tested.intervals,
            measurements=tested.measurements,
        )
