"""The stage that heals: networks of the finished front are trained further, with the one they were cut from as teacher.

One after the other, or some of them on other workers (`pipeline.shared_healing`), each through the one driver of
trainings, so that it resumes wherever it is cut off. What a network scored before and what it scores after are stored
side by side, and nothing of the front that was measured changes.
A search that chooses by healing (`pipeline.fidelities`) takes the first steps of the same healing.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from job.fidelities_spec import refuse_long_ladder
from pipeline import again
from pipeline.checkpoints import Checkpoints
from pipeline.curve import is_better
from pipeline.driver import Course, Driver, NoRoom, Words
from pipeline.finalists import scored
from pipeline.front import CHECKPOINT, LARGEST
from pipeline.healed_front import Candidate, healed_front
from pipeline.healing_choice import chosen_networks, learned_from
from pipeline.healing_judge import BestOfValidations
from pipeline.materials import fresh_supernet
from pipeline.reporter import Interrupted
from pipeline.shared_healing import Turns
from pipeline.shipping import rounded
from pipeline.workshop import JobFailed, Workshop, images_of, make_evaluator
from predictors.cost import ANALYTIC
from quantization.after_search import InSchemes
from search.evaluation import numbers
from search.metrics import ON_TARGET
from search_space.architecture import Architecture
from service.store.models import JobState, Stage, Verb
from service.store.records import FrontRecord, HealedNetwork, HealingPlan
from supernet.answers import Answers, digest
from supernet.calibrate import norms_of
from supernet.data import Dataset
from supernet.distributed import ALONE, Orders
from supernet.healing import Healing, HealingTrainer, Parent, by_itself, healed_tensors
from supernet.memory import OutOfMemory
from supernet.network import Supernet
from supernet.scores.exam import Exam
from supernet.trainer import NonFiniteLoss

KIND = "healed"
ADVICE = "Lower healing.learning_rate, or clip gradients (healing.clip_norm)."
# Steps that are timed for a budget in minutes, after one that warms up.
TIMED = 3


@dataclass(frozen=True, slots=True)
class Climbed:
    """A network that has healed up to a rung.

    Attributes:
        metrics: that its weights decide or that are counted, on what networks of the search are asked.
        steps: done; fewer than the rung's where it got no better.
        seconds: that they took, validations included.
    """

    metrics: dict[str, float]
    steps: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Trained:
    """A network that has healed: its weights of the best step, and what they cost."""

    supernet: Supernet
    steps: int
    best_step: int
    seconds: float


class Healer:
    """Heals networks of a job's front; made before the supernet is trained, so that what it cannot do is said early.

    Args:
        exams, held_out: what networks are asked in the search, and what only finalists are asked.

    Raises:
        JobFailed: its data cannot be used, or its budget is less than a step.
    """

    def __init__(self, shop: Workshop, data: Dataset, exams: Sequence[Exam], held_out: Sequence[Exam]) -> None:
        assert shop.spec.healing is not None
        self._shop, self._data, self._part = shop, data, shop.spec.healing
        self._exams, self._held_out = exams, held_out
        # Whether one network heals and no other one will: then nobody reads answers again.
        self._alone = False
        self._learned = data if self._part.data is None else learned_from(shop, data)
        self._options = self._part.training()
        if self._options.batch_size > len(self._learned.train):
            raise JobFailed(
                f"healing.batch_size is {self._options.batch_size}, but {self._learned.name} has only "
                f"{len(self._learned.train)} training examples; choose a smaller one."
            )
        try:
            self._steps = self._part.num_steps(self._options.batch_size, self._length)
            rungs = None if shop.spec.search.fidelities is None else shop.spec.search.fidelities.plan().rungs
            if rungs is not None and self._steps is not None:
                refuse_long_ladder(rungs[-1], self._steps)
        except ValueError as error:
            raise JobFailed(str(error)) from error
        self._teacher: Parent | None = None
        self._answers: Answers | None = None
        # What decides: the first objective that weights change, or what networks of the data are scored by. How well
        # gradients align with labels says what a little training would make of a network, and not what it is.
        others = {*ANALYTIC, *ON_TARGET, "label_gradient_alignment"}
        asked = [one.metric for one in shop.spec.objectives if one.metric not in others]
        self._metric = next(iter(asked), data.metric)

    def run(self, supernet: Supernet) -> None:
        """Heal every chosen network that is not healed yet, then store the front with the better of their weights.

        Raises:
            Interrupted: the job is to be paused or cancelled; what was done is stored.
            JobFailed: a network is not there, or none of those that a person named could be healed.
        """
        reporter = self._shop.reporter
        (front,) = reporter.records(FrontRecord)
        chosen = chosen_networks(self._shop, self._part, front)
        known = {one.architecture_id for one in reporter.records(HealedNetwork)}
        self._alone = len(chosen) == 1
        reporter.stage(Stage.HEAL, len(known) / max(1, len(chosen)))
        places = {one.architecture.id: number for number, one in enumerate(chosen)}
        turns = Turns(reporter, list(places), known, helpers=self._part.helpers > 0 and len(chosen) > 1)

        def heal_all() -> list[HealedNetwork]:
            for name in turns:
                self._network(places[name], chosen, supernet, turns.tell)
            return reporter.records(HealedNetwork)

        try:
            done = heal_all() if again.only_measures(reporter) else reporter.until_stopped(heal_all)
        except Interrupted as interrupted:
            if interrupted.state == JobState.PAUSING and not interrupted.leaving:
                turns.wait_for_helpers()
            raise
        turns.take_down()
        # Also of networks that climbed in the search and were not chosen in the end.
        for number in range(len(reporter.records(HealingPlan))):
            self._numbered(number).remove_all()
        self._say_what_was_read()
        if done is None:
            done = reporter.records(HealedNetwork)
            told = f"Stopped by request after {len(done)} of {len(chosen)} networks were healed."
            reporter.ended_early = " ".join(filter(None, (reporter.ended_early, told)))
        healed = [one for one in done if one.refused is None]
        if done and not healed and reporter.job().parent_verb == Verb.HEAL:
            raise JobFailed(f"None of {len(done)} networks could be healed. {done[0].refused}")
        if healed:
            reporter.record(healed_front(self._shop, front, healed, self._metric))

    def help_with(self, name: str, supernet: Supernet) -> None:
        """Heal one network of a job that another worker runs.

        Raises:
            Interrupted: the job is to be paused or has ended, or this worker leaves; what was done is stored.
        """
        reporter = self._shop.reporter
        (front,) = reporter.records(FrontRecord)
        chosen = chosen_networks(self._shop, self._part, front)
        self._alone = True
        (place,) = (number for number, one in enumerate(chosen) if one.architecture.id == name)
        self._network(place, chosen, supernet, reporter.progress)

    # --- one network --------------------------------------------------------------------------------

    def climb(
        self, architecture: Architecture, supernet: Supernet, steps: int, progress: Callable[[float], None]
    ) -> Climbed:
        """Heal a network up to a step, from where it stopped before, and score it there. `run` goes on from it.

        Args:
            progress: hears the share of these steps that is done; may raise `Interrupted`.

        Raises:
            JobFailed: it cannot heal. Nothing of it is left.
        """
        title = f"the healing of {architecture.id} up to step {steps}"
        plan = self._plan(architecture, supernet)
        checkpoints = self._checkpoints(architecture)

        def scored_there(trainer: HealingTrainer) -> Climbed:
            evaluator = make_evaluator(self._shop.spec, trainer.supernet, self._data, self._exams, full=supernet)
            (evaluation,) = evaluator.evaluate([architecture])
            return Climbed(dict(evaluation.metrics), trainer.steps_done, trainer.seconds)

        course = self._course(
            title, architecture, supernet, plan, lambda done: progress(min(1.0, done * plan.steps / steps))
        )
        try:
            return Driver(course, checkpoints, self._shop.reporter.tell).run_to(steps, scored_there)
        except JobFailed:
            checkpoints.remove_all()
            raise

    def forget(self, architecture: Architecture) -> None:
        """What is kept of a network so that its healing can go on is not needed any more."""
        if any(plan.architecture_id == architecture.id for plan in self._shop.reporter.records(HealingPlan)):
            self._checkpoints(architecture).remove_all()

    def _network(
        self, place: int, chosen: Sequence[Candidate], supernet: Supernet, progress: Callable[[float], None]
    ) -> None:
        """Heal a network and store it; what makes that impossible is stored instead, and fails no job.

        Args:
            place: place of the network among those that are chosen.
            progress: hears the share of it that is done; may raise `Interrupted`.
        """
        one = chosen[place]
        reporter, architecture = self._shop.reporter, one.architecture
        title = f"the healing of network {place + 1} of {len(chosen)} ({architecture.id})"
        before = self._before(one, supernet)
        record = HealedNetwork(
            architecture_id=architecture.id,
            metric=self._metric,
            before=before,
            teacher=self._parent(supernet).name,
            learned_from=self._learned.name,
        )
        try:
            plan = self._plan(architecture, supernet)
            checkpoints = self._checkpoints(architecture)

            def best(trainer: HealingTrainer) -> _Trained:
                steps, seconds = trainer.steps_done, trainer.seconds
                if trainer.best_step != steps:
                    checkpoints.restore_good(trainer)
                return _Trained(rounded(trainer.supernet, self._shop.spec), steps, trainer.steps_done, seconds)

            course = self._course(title, architecture, supernet, plan, progress)
            record = Driver(course, checkpoints, reporter.tell).run(
                best, lambda trained, _steps: self._stored(record, architecture, trained, supernet, plan)
            )
        except JobFailed as error:
            record = record.model_copy(update={"refused": str(error)})
            reporter.record(record)
            self.forget(architecture)
        reporter.tell("info" if record.refused is None else "warning", record.said())

    def _course(
        self,
        title: str,
        architecture: Architecture,
        supernet: Supernet,
        plan: HealingPlan,
        progress: Callable[[float], None],
    ) -> Course[HealingTrainer]:
        """The healing of one network, which is the same however far it goes."""
        return Course(
            lambda: self._fresh(architecture, supernet, plan.steps),
            BestOfValidations(
                self._part, plan, self._metric, self._score_of(architecture, supernet), self._shop.reporter.record
            ),
            NoRoom(title, self._shop.device),
            Words(title, ADVICE),
            Orders(ALONE, self._shop.device),
            progress=progress,
        )

    def _plan(self, architecture: Architecture, supernet: Supernet) -> HealingPlan:
        """How many steps it takes; a budget in minutes is made steps once, and stored."""
        for plan in self._shop.reporter.records(HealingPlan):
            if plan.architecture_id == architecture.id:
                return plan
        steps = self._steps
        if steps is None:
            trainer = self._fresh(architecture, supernet, TIMED + 1)
            steps = self._steps_in_minutes(trainer, self._score_of(architecture, supernet))
        plan = HealingPlan(architecture_id=architecture.id, steps=steps)
        self._shop.reporter.record(plan)
        return plan

    def _fresh(self, architecture: Architecture, supernet: Supernet, num_steps: int) -> HealingTrainer:
        """A network as it was found, ready for its first step."""
        shop, part, parent = self._shop, self._part, self._parent(supernet)
        start = make_evaluator(shop.spec, supernet, self._data, delivered=True).network(architecture)
        student = by_itself(shop.space, architecture, start, shop.device)
        example = self._learned.train.batch(slice(0, 2), shop.device)
        method = Healing(part, architecture, parent, example, part.precision, self._kept_answers(parent))
        seed, augment = shop.spec.training.seed, shop.spec.training.augmentation
        try:
            return HealingTrainer(
                student, method, self._learned.train, self._options, seed, augment, num_steps=num_steps
            )
        except ValueError as error:
            raise JobFailed(str(error)) from error

    def _score_of(self, architecture: Architecture, supernet: Supernet) -> Callable[[Supernet], float]:
        """What scores the network while it heals, as the search would."""

        def score(student: Supernet) -> float:
            evaluator = make_evaluator(self._shop.spec, student, self._data, self._exams, full=supernet)
            return float(evaluator.evaluate([architecture])[0].metrics[self._metric])

        return score

    def _stored(
        self,
        record: HealedNetwork,
        architecture: Architecture,
        trained: _Trained,
        supernet: Supernet,
        plan: HealingPlan,
    ) -> HealedNetwork:
        """Store the weights, and what they score and cost beside what the network scored before."""
        path = f"healed/{self._shop.job_id}/{architecture.id}.safetensors"
        if all(file.path != path for file in self._shop.files.recorded(KIND)):  # a run may have died just after this
            self._shop.files.save(KIND, path, healed_tensors(trained.supernet), trained.best_step)
        before = numbers(record.before)
        after, intervals = self._after(architecture, trained.supernet, supernet, before)
        was, now = before[self._metric], after[self._metric]
        examples = trained.steps * self._options.batch_size
        healed = record.model_copy(
            update={
                "after": after,
                "intervals": intervals,
                "better": math.isfinite(now) and (not math.isfinite(was) or is_better(self._metric, now, was)),
                "steps": trained.steps,
                "best_step": trained.best_step,
                "ended_early": trained.steps < plan.steps,
                "examples": examples,
                "tokens": None if self._length is None else examples * self._length,
                "seconds": round(trained.seconds, 1),
            }
        )
        self._shop.reporter.record(healed)
        return healed

    def _steps_in_minutes(self, trainer: HealingTrainer, score: Callable[[Supernet], float]) -> int:
        """So many steps take about the minutes that are asked for, with the validations between them."""
        assert self._part.minutes is not None
        began = time.monotonic()
        score(trainer.supernet)
        validating = (time.monotonic() - began) * self._part.validations
        times = []
        for _ in range(TIMED + 1):
            began = time.monotonic()
            try:
                trainer.step()
            except (OutOfMemory, NonFiniteLoss) as error:
                raise JobFailed(f"{error} {ADVICE}") from error
            times.append(time.monotonic() - began)
            self._shop.reporter.listen()
        step = statistics.median(times[1:])
        steps = int((60 * self._part.minutes - validating) / step)
        if steps < 1:
            raise JobFailed(
                f"healing.minutes is {self._part.minutes:g}, but a step takes {step:.3g} seconds here and "
                f"{self._part.validations} validations {validating:.3g}; give more, or fewer healing.validations."
            )
        return steps

    def _checkpoints(self, architecture: Architecture) -> Checkpoints:
        """Checkpoints of a network, by its place among those whose healing was planned."""
        planned = [plan.architecture_id for plan in self._shop.reporter.records(HealingPlan)]
        return self._numbered(planned.index(architecture.id))

    def _numbered(self, number: int) -> Checkpoints:
        return Checkpoints(self._shop.files, self._shop.settings, self._shop.reporter.tell, f"h{number}")

    @property
    def _length(self) -> int | None:
        """Tokens of an example; None of images."""
        shape = self._learned.train.stored.shape
        return int(shape[1]) if len(shape) == 2 else None

    # --- teachers and scores ------------------------------------------------------------------------

    def _parent(self, supernet: Supernet) -> Parent:
        """Who teaches, as it would be shipped; made once, for the first network that heals."""
        if self._teacher is None:
            self._teacher = self._made_parent(supernet)
        return self._teacher

    def _kept_answers(self, parent: Parent) -> Answers | None:
        """Answers of the parent that the next network reads as well: every network sees the same batches."""
        if self._alone:
            return None
        if self._answers is None:
            shop, part = self._shop, self._part
            whole = parent.supernet.state_dict()
            how = (parent.architecture.id, part.precision, f"hidden {part.hidden > 0}", *whole)
            folder = shop.settings.answers_dir / shop.job_id
            self._answers = Answers(folder, digest(whole.values(), *how))
        return self._answers

    def _say_what_was_read(self) -> None:
        if self._answers is None:
            return
        asked, read = self._answers.asked, self._answers.read
        self._answers.remove()
        if read:
            self._shop.reporter.tell("info", f"The parent answered {asked:,} batches; {read:,} were read again.")

    def _made_parent(self, supernet: Supernet) -> Parent:
        shop = self._shop
        untrained = shop.spec.supernet.pretrained is not None and shop.spec.training.epochs == 0
        name = CHECKPOINT if self._part.teacher == "checkpoint" or untrained else LARGEST
        if self._part.teacher == "checkpoint" and not untrained:
            supernet = rounded(fresh_supernet(shop.spec, shop.space, self._data, shop.device), shop.spec)
        largest = shop.space.largest()
        if not norms_of(supernet):
            return Parent(name, supernet, largest)
        network = make_evaluator(shop.spec, supernet, self._data, delivered=True).network(largest)
        return Parent(name, by_itself(shop.space, largest, network, shop.device), largest)

    def _before(self, one: Candidate, supernet: Supernet) -> dict[str, float]:
        """What is known of a network that was found; one that is no finalist gets its held-out scores now."""
        if f"test_{self._data.metric}" in one.metrics:
            return dict(one.metrics)
        held_out, _ = self._delivered(one.architecture, supernet, supernet)
        return {**one.metrics, **held_out}

    def _after(
        self, architecture: Architecture, student: Supernet, supernet: Supernet, before: Mapping[str, float]
    ) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
        """Its numbers with healed weights; those that weights do not change, such as latency, are as before."""
        searching = make_evaluator(self._shop.spec, student, self._data, self._exams, full=supernet)
        (evaluation,) = searching.evaluate([architecture])
        held_out, intervals = self._delivered(architecture, student, supernet)
        return {**before, **evaluation.metrics, **held_out}, intervals

    def _delivered(
        self, architecture: Architecture, weights: Supernet, full: Supernet
    ) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
        """Held-out scores of a network as it is delivered, and intervals of these and of what the search asks."""
        spec, data = self._shop.spec, self._data
        self._shop.reporter.listen()  # what follows may take long
        searching = make_evaluator(spec, weights, data, self._exams, full=full)
        delivering = make_evaluator(spec, weights, data, self._exams, delivered=True, full=full)
        asked = searching.scores(searching.network(architecture))
        tested = scored(delivering, delivering.network(architecture), spec, self._held_out, asked.intervals)
        training = spec.training
        in_schemes = InSchemes(
            delivering,
            spec.scoring.quantize_front,
            images_of(spec, delivered=True),
            training.seed,
            training.augmentation,
        )
        return {**tested.values, **in_schemes.scores(architecture)[0]}, tested.intervals
