"""What the stages of a job have to do, in seconds at a stated pace: every part that takes time, from the job's options.

The one place where an estimate learns of an option. Each stage has terms; a job that asks for more of what a term
counts takes longer. Before any job has ended here the sums are the estimate (`service.counted` times the machine).
Once jobs have ended, the sums are units: earlier jobs say how many seconds a unit took (`service.estimate`).

What layers reach of a product of matrices, and what an operator, a measurement, an export and an evaluation cost
beside the arithmetic, are constants that were fitted to jobs of `examples/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import ceil
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from job.fidelities_spec import known_steps, resolved_fidelities
from job.fit import PAIRS
from job.spec import JobSpec
from predictors.cost import macs
from predictors.targets import RUNTIMES, TargetName, named_target
from service.store.models import Stage

if TYPE_CHECKING:
    from job.gradient_spec import GradientSpec
    from job.healing_spec import HealingSpec
    from search_space.space import SearchSpace

# Name of a part of a stage -> its seconds; None: nobody knows.
Terms: TypeAlias = Mapping[str, float | None]

# Pace of one core at which units are counted; only ratios of units matter.
NOMINAL = 5e10
# Of a timed product of matrices, what layers reach.
REACHED = 0.25
# A backward pass costs twice its forward pass; activations that are computed again cost one more.
TRAINED, RECOMPUTED = 3.0, 1.0
# Seconds beside the arithmetic: of a layer's forward pass, of an evaluation (the search's own thinking and
# bookkeeping), of a network that is exported and loaded to be measured, of a layer that is, of a network that a
# predictor learns from, of an image that is decoded, and of starting a stage.
OPERATOR, EVALUATION, EXPORT, LAYER, FITTED, DECODED, START = 2e-4, 0.05, 2.0, 0.35, 0.15, 5e-3, 2.0
# Seconds of one format that a new process loads and scores, with the tools that it imports.
VERIFIED = 20.0
# Finalists of several objectives, and of one, beside the reference; and images on which they are calibrated at least.
FINALISTS, OF_ONE, DELIVERED = 15, 1, 2048
# Baselines of a search of policies, and networks that correct the table of a search by gradient.
BASELINES, CORRECTING = 3, 12
# Validations of a supernet's training, and networks of each.
VALIDATIONS, VALIDATED = 10, 3
# Training examples that importance and stitching layers are found on, and those whose gradients are aligned.
SAMPLES, ALIGNED = 256, 64
# Questions of a task that names no limit, and choices of each.
QUESTIONS, CHOICES = 1000, 4
# Random networks whose different layers are counted, and spaces of which that is remembered.
LOOKED_THROUGH, REMEMBERED = 200, 64
START_TERM = "start"


@dataclass(frozen=True, slots=True)
class Had:
    """What a job that has ended had, where its options say only the most; None: as its options say."""

    evaluations: int | None = None
    finalists: int | None = None
    healed: int | None = None


@dataclass(frozen=True)
class Work:
    """The work of one job.

    Args:
        examples: for training; None: nobody knows.
        macs_per_second: what a core does in a product of matrices.
        tables: names of targets that are uploaded tables, where nothing is measured.
        exports: formats that are exported and verified once the job has ended.
    """

    spec: JobSpec
    space: SearchSpace
    examples: int | None
    macs_per_second: float = NOMINAL
    tables: frozenset[str] = frozenset()
    had: Had = field(default_factory=Had)
    exports: int = 0

    def terms(self, stage: Stage) -> Terms:
        """Seconds of every part of a stage that this job has."""
        found = TERMS[stage](self)
        return {name: seconds for name, seconds in found.items() if seconds != 0}

    def seconds(self, stage: Stage) -> float | None:
        """How long a stage of this job takes; None: nobody can count it."""
        return _sum(self.terms(stage))

    def units(self, stage: Stage) -> float | None:
        """The work that a stage's time grows with: all but its start, where it has more to do than that."""
        terms = self.terms(stage)
        more = {name: seconds for name, seconds in terms.items() if name != START_TERM}
        return _sum(more or terms)

    def only_starts(self, stage: Stage) -> bool:
        """Whether no option of the job gives this stage anything to do."""
        return set(self.terms(stage)) <= {START_TERM}

    # --- stages -------------------------------------------------------------------------------------

    def check(self) -> Terms:
        """Files and weights are looked at."""
        return {START_TERM: START}

    def data(self) -> Terms:
        """Pictures are decoded; text and built-in sets take next to nothing."""
        decodes = self.spec.data.kind in ("image", *PAIRS, None) and getattr(self.spec.data, "path", None) is not None
        every = None if self.examples is None else self.examples * DECODED
        return {START_TERM: START, **({"decoding": every} if decodes else {})}

    def training(self) -> Terms:
        """The supernet, and what is done to it before and after its training."""
        part = self.spec.training
        if self.spec.gradient is not None:
            return {"warm-up": self._steps_of(self.spec.gradient.warmup_epochs, part.batch_size, TRAINED)}
        if self.spec.supernet.reuse is not None:
            return {}
        looked_at = {
            "importance": self._forward(SAMPLES) if self.spec.supernet.importance is not None else 0.0,
            "stitches": max(0, len(self.spec.supernet.folders) - 1) * self._forward(SAMPLES),
        }
        if part.epochs == 0:
            return looked_at
        passes = TRAINED + (RECOMPUTED if part.activation_checkpointing else 0)
        of_a_step = part.method_options.networks_of_a_step * passes
        trained = self._steps_of(part.epochs, part.batch_size, of_a_step)
        return {
            **looked_at,
            "training": None if trained is None else trained / part.total_processes,
            "validations": min(part.epochs, VALIDATIONS) * VALIDATED * self._evaluation(),
            "networks alone": None if trained is None and part.sharing_check else part.sharing_check * (trained or 0),
        }

    def hardware(self) -> Terms:
        """Layers alone and whole networks are measured, unless a table knows them or they were asked for never."""
        part = self.spec.hardware
        if self.spec.gradient is not None:
            return self._priced(self.spec.gradient)
        if not self._measures or part.predict == "never":
            return {START_TERM: START} if self.spec.target is not None else {}
        return {
            START_TERM: START,
            "layers": self._layers_alone if "latency_ms" in self.spec.metrics else 0.0,
            "networks": min(part.networks, self.space.size()) * self._measuring(self._phases),
        }

    def fitting(self) -> Terms:
        """Predictors learn from the networks that were measured."""
        if self.spec.gradient is not None or not self._measures or self.spec.hardware.predict == "never":
            return {}
        networks = min(self.spec.hardware.networks, self.space.size())
        return {START_TERM: START, "predictors": networks * len(self.spec.metrics_on_target) * FITTED}

    def search(self) -> Terms:
        """Networks are scored, and measured where no predictor is wanted; some heal a little."""
        if self.spec.gradient is not None:
            return self._by_gradient(self.spec.gradient)
        count = self.had.evaluations if self.had.evaluations is not None else self.spec.search.evaluations
        return {
            START_TERM: START,
            "evaluations": count * self._evaluation(),
            "measured in the search": count * self._measured_in_search,
            "sensitivities": self._sensitivities(),
            "healing in the search": self._fidelities(),
        }

    def finalists(self) -> Terms:
        """Networks that may be on the front are measured and tested."""
        if self.spec.gradient is not None:
            return {START_TERM: START}
        count = self.had.finalists
        if count is None:
            several = len(self.spec.objectives) > 1
            count = 1 + min(self.spec.search.evaluations, FINALISTS if several else OF_ONE)
        in_fewer_bits = len(self.spec.scoring.quantize_front) * self._delivered
        return {
            START_TERM: START,
            "finalists measured": count * self._final_measuring,
            "finalists tested": count * 2 * self._delivered,
            "finalists in fewer bits": count * in_fewer_bits,
        }

    def baselines(self) -> Terms:
        """What a search of policies is compared with is searched for and measured."""
        part = self.spec.quantization
        if part is None:
            return {}
        return {
            START_TERM: START,
            "baselines searched": part.baseline_evaluations * (self._evaluation() + self._measured_in_search),
            "baselines measured": BASELINES * (self._final_measuring + 2 * self._delivered),
        }

    def healing(self) -> Terms:
        """Each step has the network's own passes, and one of its parent."""
        part = self.spec.healing
        if part is None:
            return {}
        count = self._healed(part)
        if part.minutes is not None:
            trained: float | None = count * 60 * part.minutes
        else:
            steps = known_steps(self.spec)
            validated = part.validations * self._evaluation()
            trained = None if steps is None else count * (steps * self._healing_step(part) + validated)
        scored = (2 + len(self.spec.scoring.quantize_front)) * self._delivered
        return {START_TERM: START, "healing": trained, "healed networks scored": count * scored}

    @property
    def exporting(self) -> float:
        """Seconds of writing and verifying what is asked for once the job has ended."""
        return self.exports * (EXPORT + VERIFIED + self._delivered)

    # --- parts of them ------------------------------------------------------------------------------

    def _steps_of(self, epochs: float, batch: int, passes: float) -> float | None:
        """Seconds of so many epochs whose steps pass so many times through a network; None: examples are not known."""
        if epochs == 0:
            return 0.0
        return None if self.examples is None else epochs * ceil(self.examples / batch) * passes * self._forward(batch)

    def _healed(self, part: HealingSpec) -> int:
        if self.had.healed is not None:
            return self.had.healed
        return (
            len(part.networks) if not isinstance(part.networks, str) else part.most if part.networks == "front" else 1
        )

    def _healing_step(self, part: HealingSpec) -> float:
        taught = 1 if part.labels < 1 or part.hidden > 0 else 0
        again = RECOMPUTED if part.activation_checkpointing else 0
        return (TRAINED + again + taught) * self._forward(part.batch_size or self.spec.training.batch_size)

    def _fidelities(self) -> float | None:
        part, healing = self.spec.search.fidelities, self.spec.healing
        if part is None or healing is None:
            return 0.0
        resolved = resolved_fidelities(part, healing, known_steps(self.spec))
        if resolved.steps is None:
            return None
        plan = resolved.plan()
        scored = sum(plan.reaching(plan.candidates)) * (healing.validations + 1) * self._evaluation()
        return sum(plan.steps()) * self._healing_step(healing) + scored

    def _by_gradient(self, part: GradientSpec) -> Terms:
        """One search and one training for each network."""
        training, final = self.spec.training, part.final
        # Passes of one step of the architecture, on its own batch: two candidates of each block, all, or sampled paths.
        widest = max((len(choice.options) for choice in self.space.choices), default=1)
        passes = {"two": 2 * TRAINED, "full": widest * TRAINED, "reinforce": float(part.samples)}[part.mode]
        batch = part.held_out_batch_size or training.batch_size
        moved = passes * part.steps / part.every * batch / training.batch_size
        moving = (training.epochs - part.first_epoch) / training.epochs
        searched = self._steps_of(training.epochs, training.batch_size, TRAINED + moving * moved)
        trained = self._steps_of(final.epochs, final.batch_size, TRAINED)
        count = part.num_networks
        return {
            START_TERM: START,
            "searches by gradient": None if searched is None else count * searched,
            "networks trained": None if trained is None else count * trained,
            "networks measured": count * (self._final_measuring + 2 * self._delivered),
        }

    def _priced(self, part: GradientSpec) -> Terms:
        """Every target whose table is no file and was not uploaded measures the layers of the space."""
        named = [named_target(target) for target in part.targets]
        measuring = [one for one in named if isinstance(one, TargetName) and one.registered not in self.tables]
        alone = self._layers_alone + min(CORRECTING, self.space.size()) * self._measuring(self._phases)
        return {START_TERM: START, "layers": len(measuring) * alone}

    def _sensitivities(self) -> float:
        """The largest network, once for each of its layers at each width."""
        part = self.spec.quantization
        if part is None or not part.sensitivity:
            return 0.0
        return self._num_layers * len(part.bits) * self._forward(part.calibration_examples)

    def _evaluation(self) -> float:
        """A network of the search: calibrated, then asked everything that a search asks."""
        passes = self._forward(self.spec.search.calibration_images) + self._forward(self._validation)
        if "zero_shot_accuracy" in self.spec.metrics:
            passes += self._forward(self._validation)
        if "label_gradient_alignment" in self.spec.metrics:
            passes += TRAINED * self._forward(ALIGNED)
        if self.spec.quantization is not None:
            passes += 2 * self._forward(self.spec.quantization.calibration_examples)
        return EVALUATION + passes + self._asked

    @cached_property
    def _delivered(self) -> float:
        """The same of a network as it is shipped, calibrated on more and tested."""
        more = max(0, DELIVERED - self.spec.search.calibration_images)
        return self._evaluation() + self._forward(min(more, self.examples or more))

    @cached_property
    def _asked(self) -> float:
        """Questions of tasks: half of each in a search, half at the end."""
        return sum(self._forward((task.limit or QUESTIONS) * CHOICES // 2) for task in self.spec.scoring.tasks)

    @cached_property
    def _validation(self) -> int:
        """Validation samples, as far as a share says; else as many as networks are calibrated on."""
        share: float | None = getattr(self.spec.data, "validation_share", None)
        if share is None or self.examples is None:
            return self.spec.search.calibration_images
        return ceil(self.examples * share / (1 - share))

    # --- measuring ----------------------------------------------------------------------------------

    @property
    def _measures(self) -> bool:
        """Whether the job has a target on which something can be measured."""
        target = self.spec.target
        return target is not None and TargetName.parse(target).registered not in self.tables

    @property
    def _phases(self) -> int:
        """Series of one network under one setting: where keys and values are kept, a prompt and single tokens."""
        runtime = None if self.spec.target is None else TargetName.parse(self.spec.target).runtime
        keeps = "tokens_per_second" in self.spec.metrics if runtime is None else RUNTIMES[runtime].keeps_cache
        return 2 if keeps and self.spec.data.kind == "text" else 1

    def _measuring(self, series: int) -> float:
        """A network that is exported and measured in so many series."""
        return EXPORT + series * self.spec.hardware.seconds

    @property
    def _measured_in_search(self) -> float:
        """One network of a search that asks no predictor."""
        asked = self._measures and self.spec.hardware.predict == "never"
        return self._measuring(self._phases) if asked else 0.0

    @property
    def _final_measuring(self) -> float:
        """A finalist: on its target; with one thread and with all where the job has none; nowhere for a table."""
        if self.spec.target is None:
            return self._measuring(2)
        return self._measuring(self._phases) if self._measures else 0.0

    @cached_property
    def _layers_alone(self) -> float:
        """Every different layer of the space alone; 0: there are too many for a table."""
        most, precisions = self.spec.hardware.max_layers, 1
        if self.spec.quantization is not None:
            precisions = len(self.space.precisions)  # type: ignore[attr-defined]  # a space with policies
        known = _Keyed(self.spec.supernet.model_dump_json(), self.spec.supernet_space)
        found = _different_layers(known) * precisions
        return found * LAYER if found <= most else 0.0

    # --- arithmetic ---------------------------------------------------------------------------------

    def _forward(self, batch: int) -> float:
        """A forward pass of a batch through a network of the middle of the space."""
        return self._num_layers * OPERATOR + batch * self._macs / (REACHED * self.macs_per_second)

    @cached_property
    def _num_layers(self) -> int:
        return len(self.space.layers(self.space.largest()))

    @cached_property
    def _macs(self) -> float:
        return (macs(self.space, self.space.largest()) + macs(self.space, self.space.smallest())) / 2


# Every stage that a job goes through, with what it has to do.
TERMS: Mapping[Stage, Callable[[Work], Terms]] = {
    Stage.CHECK: Work.check,
    Stage.PREPARE_DATA: Work.data,
    Stage.TRAIN_SUPERNET: Work.training,
    Stage.MEASURE_HARDWARE: Work.hardware,
    Stage.FIT_PREDICTORS: Work.fitting,
    Stage.SEARCH: Work.search,
    Stage.MEASURE_FINALISTS: Work.finalists,
    Stage.MEASURE_BASELINES: Work.baselines,
    Stage.HEAL: Work.healing,
}


def _sum(terms: Terms) -> float | None:
    known = [seconds for seconds in terms.values() if seconds is not None]
    return sum(known) if len(known) == len(terms) else None


@dataclass(frozen=True, slots=True)
class _Keyed:
    """A space that is made if it is asked for, equal to others of the same words."""

    words: str
    make: Callable[[], SearchSpace] = field(compare=False)


@lru_cache(REMEMBERED)
def _different_layers(known: _Keyed) -> int:
    """About how many different layers the networks of a space have, from random ones; 0: it has none."""
    space = known.make()
    if not space.has_layers:
        return 0
    rng = np.random.default_rng(0)
    some = [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(LOOKED_THROUGH))]
    return len({layer for one in some for layer in space.layers(one).values()})
