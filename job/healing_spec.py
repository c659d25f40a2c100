"""HealingSpec: networks of a front that are trained further, with the network that they were cut from as teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from job.data_spec import DataSpec
from job.parts import InnerPart
from search_space.inputs import TokenInput
from supernet.options import (
    ClipNorm,
    DistillationOptions,
    LearningRate,
    LoraAlpha,
    LoraRank,
    MicroBatches,
    Precision,
    RateFloor,
    Recompute,
    TrainingOptions,
    WeightDecay,
)

if TYPE_CHECKING:
    from job.spec import JobSpec

# Ways to say how long, of which a job gives one; and the steps of a healing for which none is given. The order of
# pruned candidates settles near so many (Minitron, arXiv 2407.14679, section 4.2).
BUDGETS = ("steps", "examples", "tokens", "minutes")
DEFAULT_STEPS = 300
# Examples or tokens of a budget: more than anybody has, and few enough to be exact as floats.
MOST_EXAMPLES = 10**15


class HealingSpec(DistillationOptions, InnerPart):
    """Which networks of the front are healed, for how long, and what they learn."""

    networks: (
        Literal["knee", "front"]
        | Annotated[tuple[Annotated[str, Field(max_length=32)], ...], Field(min_length=1, max_length=100)]
    ) = Field(
        default="knee",
        description="`knee`: the recommended network. `front`: the knee and others of the front, as far apart as "
        "`most` allows. Or ids of networks that a finished job has evaluated.",
    )
    most: Annotated[int, Field(ge=1, le=100, description="Networks of the front that are healed at most.")] = 5
    teacher: Literal["largest", "checkpoint"] = Field(
        default="largest",
        description="The parent: the largest network as it was searched, or the checkpoint as it was loaded, before "
        "the job trained it. Without training both are the same.",
    )
    data: DataSpec | None = Field(
        default=None,
        description="Data to learn from in place of the job's training data. Networks are still judged and tested "
        "on the job's.",
    )
    steps: Annotated[int, Field(ge=1, le=100_000_000)] | None = Field(
        default=None,
        description=f"Steps for each network. Give one of steps, examples, tokens and minutes; none: {DEFAULT_STEPS}.",
    )
    examples: Annotated[int, Field(ge=1, le=MOST_EXAMPLES)] | None = Field(
        default=None, description="Images, texts or blocks of text that each network sees."
    )
    tokens: Annotated[int, Field(ge=1, le=MOST_EXAMPLES)] | None = Field(
        default=None, description="Tokens that each network sees, padding included."
    )
    minutes: Annotated[float, Field(gt=0, le=1_000_000)] | None = Field(
        default=None,
        description="Minutes for each network. The pace of its first steps says, once, how many steps that is.",
    )
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] | None = Field(
        default=None, description="Examples of a step; null: as in the training."
    )
    micro_batches: MicroBatches = 1
    learning_rate: LearningRate = 3e-4
    warmup: Annotated[float, Field(ge=0, lt=1, description="Share of the steps in which the rate rises from 0.")] = 0.05
    lr_floor: RateFloor = 0.1
    weight_decay: WeightDecay = 0.01
    clip_norm: ClipNorm = 1.0
    precision: Precision = "float32"
    activation_checkpointing: Recompute = False
    lora_rank: LoraRank = 0
    lora_alpha: LoraAlpha = 16.0
    validations: Annotated[
        int, Field(ge=1, le=1000, description="Times that a network is validated; the best of these is kept.")
    ] = 10
    patience: Annotated[int, Field(ge=1)] | None = Field(
        default=3,
        description="Healing ends after this many validations without a better one; null: it never ends early.",
    )

    helpers: Annotated[
        int,
        Field(
            ge=0,
            le=256,
            description="Other workers that may each heal a network at the same time; 0: the job heals one after the "
            "other. The weights are the same.",
        ),
    ] = 0

    @model_validator(mode="before")
    @classmethod
    def _a_budget(cls, given: Any) -> Any:
        if isinstance(given, dict) and all(given.get(name) is None for name in BUDGETS):
            return {**given, "steps": DEFAULT_STEPS}
        return given

    @model_validator(mode="after")
    def _sensible(self) -> HealingSpec:
        asked = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(asked) > 1:
            raise ValueError(f"Got healing.{' and healing.'.join(asked)}; say in one of them how long networks heal.")
        if self.hidden and self.lora_rank:
            raise ValueError(
                "Got healing.hidden with healing.lora_rank: hidden states are compared through a projection that is "
                "learned, and low-rank updates leave nothing else to learn. Set one of them to 0."
            )
        return self

    def num_steps(self, batch_size: int, length: int | None) -> int | None:
        """Steps of one network; None: `minutes` says it.

        Args:
            length: tokens of an example; None for images.

        Raises:
            ValueError: the budget is less than a step.
        """
        if self.minutes is not None:
            return None
        if self.steps is not None:
            return self.steps
        unit, budget, of_a_step = "examples", self.examples, batch_size
        if self.tokens is not None:
            if length is None:
                raise ValueError("healing.tokens counts text, and these data are images; give healing.examples.")
            unit, budget, of_a_step = "tokens", self.tokens, batch_size * length
        assert budget is not None
        if budget < of_a_step:
            raise ValueError(
                f"healing.{unit} is {budget:,}, less than the {of_a_step:,} {unit} of one step, so nothing would be "
                "healed; give more, or a smaller healing.batch_size."
            )
        return budget // of_a_step

    def training(self) -> TrainingOptions:
        """What the trainer is handed: AdamW with a cosine schedule, one epoch of which is all the steps."""
        assert self.batch_size is not None, "the job is not resolved"
        return TrainingOptions(
            epochs=1,
            batch_size=self.batch_size,
            micro_batches=self.micro_batches,
            optimizer="adamw",
            learning_rate=self.learning_rate,
            schedule="cosine",
            warmup_epochs=self.warmup,
            lr_decay=1.0,
            lr_decay_epochs=1.0,
            lr_floor=self.lr_floor,
            weight_decay=self.weight_decay,
            momentum=0.9,
            clip_norm=self.clip_norm,
            precision=self.precision,
            activation_checkpointing=self.activation_checkpointing,
            lora_rank=self.lora_rank,
            lora_alpha=self.lora_alpha,
        )


def refuse_without_parent(spec: JobSpec, part: str) -> None:
    """Refuse a part that needs networks with a trained parent in a job that has none.

    Raises:
        ValueError: with what to change.
    """
    if spec.gradient is not None:
        raise ValueError(
            "A search by gradient trains each of its networks alone, so they have no parent to be healed by; leave "
            f"{part} out."
        )
    if not spec.training.method_options.trains_largest:
        raise ValueError(
            f"Method {spec.training.method!r} trains one network here and not the largest, so the networks have no "
            f"trained parent to be healed by; leave {part} out, or train the largest network."
        )


def check_healing(spec: JobSpec) -> None:
    """Refuse a healing that the other parts of a job leave no teacher or no sense for.

    Raises:
        ValueError: with what to change.
    """
    part = spec.healing
    if part is None:
        return
    refuse_without_parent(spec, "healing")
    if spec.quantization is not None:
        raise ValueError(
            "Networks whose quantization is searched are not healed: their weights would be trained in other numbers "
            "than they are shipped in. Leave healing or quantization out; an export quantizes a healed network."
        )
    if not isinstance(part.networks, str) and spec.supernet.reuse is None:
        raise ValueError(
            "healing.networks names networks, and which ones a search finds is not known yet; say knee or front, or "
            "name networks of a finished job with `winnow heal`."
        )
    batch = part.batch_size or spec.training.batch_size
    if batch % part.micro_batches or batch < 2 * part.micro_batches:
        raise ValueError(
            f"A batch of {batch} cannot be cut into {part.micro_batches} healing.micro_batches of at least 2 examples; "
            "choose a multiple of that."
        )
    _check_teacher(spec, part)
    _check_data(spec, part)


def _check_teacher(spec: JobSpec, part: HealingSpec) -> None:
    if part.teacher != "checkpoint":
        return
    if spec.supernet.pretrained is None:
        raise ValueError("healing.teacher is 'checkpoint', but the job starts from none; leave it at 'largest'.")
    found = spec.supernet.found
    if found is not None and found.fresh:
        raise ValueError(
            f"healing.teacher is 'checkpoint', but the checkpoint gives no values for {', '.join(found.fresh[:4])}: "
            "its classes or its vocabulary are not this job's, and its answers would be random. Leave it at 'largest'."
        )


def _check_data(spec: JobSpec, part: HealingSpec) -> None:
    data, takes = part.data or spec.data, spec.supernet.space().takes
    length = getattr(data, "length", None)
    if part.tokens is None or length is not None or (takes is not None and not isinstance(takes, TokenInput)):
        part.num_steps(part.batch_size or spec.training.batch_size, length)
    if part.data is None:
        return
    if data.kind != spec.data.kind and None not in (data.kind, spec.data.kind):
        raise ValueError(
            f"healing.data gives {data.kind}, and the job's networks are trained on {spec.data.kind}; name data of the "
            "same kind."
        )
    mine, theirs = (getattr(each, "tokenizer", None) for each in (spec.data, data))
    if mine != theirs:
        raise ValueError(
            f"healing.data.tokenizer is {theirs!r}, but the networks and their parent have the vocabulary of {mine!r}; "
            "write that one."
        )
