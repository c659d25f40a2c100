"""TrainingSpec: how a supernet's weights are trained, and the options of every method."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from job.parts import InnerPart, Part, complete_options, one_of

# Kept equal to `supernet.optimizers` by tests/contracts: that needs torch, and a request is judged without it.
OPTIMIZERS = ("adamw", "rmsprop", "sgd")
SCHEDULES = ("constant", "cosine", "exponential")

Probability = Annotated[float, Field(ge=0, lt=1)]
LabelSmoothing = Annotated[float, Field(ge=0, lt=1, description="Of the loss on labels.")]
Dropout = Annotated[float, Field(ge=0, lt=1, description="Before the classifier, in passes of the biggest network.")]
DropConnect = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description="Largest probability that a residual block is left out (it rises with depth), in passes of the "
        "biggest network.",
    ),
]


class BigNASOptions(InnerPart):
    """Options of the training method `bignas`."""

    num_random: Annotated[
        int, Field(ge=0, le=16, description="Random sub-networks a step, besides biggest and smallest.")
    ] = 2
    label_smoothing: LabelSmoothing = 0.1
    dropout: Dropout = 0.0
    drop_connect: DropConnect = 0.0
    distillation: Literal["kl", "alpha"] = Field(
        default="kl", description="`kl`: the biggest network's prediction; `alpha`: AlphaNet's adaptive divergence."
    )
    alpha_min: Annotated[float, Field(ge=-10, lt=0)] = -1.0
    alpha_max: Annotated[float, Field(gt=0, le=10)] = 1.0
    alpha_clip: Annotated[float, Field(gt=0, description="Largest importance weight of the divergence.")] = 5.0
    sampling: Literal["uniform", "params", "macs", "best_up", "worst_up"] = Field(
        default="uniform",
        description="Of the random sub-networks: over genes; `params`, `macs`: over bins of that cost, so that small "
        "and large ones are both seen; `best_up`, `worst_up`: AttentiveNAS, the best or worst of some candidates.",
    )
    candidates: Annotated[int, Field(ge=2, le=64, description="Of `best_up` and `worst_up`, per random one.")] = 3
    use_power: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="How far the gradients of a step are divided by how many of its networks use a weight: 0 is "
            "the paper's sum, 1 their mean.",
        ),
    ] = 0.0
    own_scales: Annotated[
        bool, Field(description="Batch norms have a scale and shift for each of their widths; networks stay as small.")
    ] = False


class SortedNetOptions(InnerPart):
    """Options of the training method `sortednet`."""

    draws: Annotated[int, Field(ge=1, le=64, description="Sub-models whose gradients are summed in a step.")] = 4
    batches: Literal["fresh", "same"] = Field(
        default="fresh", description="Whether every draw of a step has examples of its own."
    )
    dimensions: Literal["width_depth", "width", "depth", "free"] = Field(
        default="width_depth",
        description="What is truncated together; `free`: every choice of the space is drawn by itself.",
    )
    distribution: Literal["uniform", "sandwich"] = Field(
        default="uniform", description="`sandwich`: the first draws of a step are the full and the smallest model."
    )
    label_smoothing: LabelSmoothing = 0.0
    exits: bool = Field(
        default=False, description="Sorted fine-tuning: every depth of the full width in every step, one forward pass."
    )


class AlternatingOptions(InnerPart):
    """Options of the training method `alternating`."""

    alpha: Annotated[
        float, Field(gt=0, le=1, description="Weight of the labels; 1: full and random network in turn, no teacher.")
    ] = 1.0
    gamma: Annotated[Literal[0, 1], Field(description="1: a frozen copy of the full network teaches (InstaTune).")] = 0
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    num_random: Annotated[int, Field(ge=1, le=16, description="Random sub-networks a step, where alpha < 1.")] = 1
    label_smoothing: LabelSmoothing = 0.0


class SingleOptions(InnerPart):
    """Options of the training method `single`."""

    architecture: str = Field(
        default="largest", description="`largest`, `smallest`, or genes such as `0,2,1`, one per choice."
    )
    label_smoothing: LabelSmoothing = 0.0
    dropout: Dropout = 0.0
    drop_connect: DropConnect = 0.0


class ProxylessNASOptions(InnerPart):
    """Options of the training method `proxylessnas`."""

    label_smoothing: LabelSmoothing = 0.1


# Training method -> its options. One entry per file of `supernet/methods` (tests/contracts).
METHOD_OPTIONS: dict[str, type[Part]] = {
    "alternating": AlternatingOptions,
    "bignas": BigNASOptions,
    "proxylessnas": ProxylessNASOptions,
    "single": SingleOptions,
    "sortednet": SortedNetOptions,
}


class AugmentationSpec(InnerPart):
    """What is done to training images, in this order, on their device."""

    resized_crop: Annotated[
        float, Field(gt=0, le=1, description="Least share of the area that a random crop keeps; 1: off.")
    ] = 1.0
    crop_padding: Annotated[int, Field(ge=0, le=64, description="Pixels around the image before a crop; 0: off.")] = 0
    flip: Annotated[bool, Field(description="Mirror half of the images.")] = False
    policy: Literal["none", "autoaugment", "randaugment", "trivialaugment"] = "none"
    policy_ops: Annotated[int, Field(ge=1, le=8, description="Operations of RandAugment.")] = 2
    policy_magnitude: Annotated[int, Field(ge=0, le=30, description="Strength of RandAugment.")] = 9


class TrainingSpec(InnerPart):
    """How the supernet's weights are trained."""

    method: str = Field(description="A training method, such as `bignas`.")
    epochs: Annotated[int, Field(ge=0, le=100_000, description="0: search a checkpoint's weights as they are.")]
    batch_size: Annotated[int, Field(ge=2, le=1_000_000, description="Examples of a step, over all processes.")]
    micro_batches: Annotated[
        int, Field(ge=1, le=4096, description="Parts into which a process cuts its share of a batch to save memory.")
    ] = 1
    optimizer: str = Field(description="`rmsprop`, `sgd` or `adamw`.")
    learning_rate: Annotated[float, Field(gt=0, le=100)]
    schedule: str = Field(default="exponential", description="`exponential`, `cosine` or `constant`.")
    warmup_epochs: Annotated[float, Field(ge=0, description="Epochs in which the rate rises from 0.")] = 0.0
    lr_decay: Annotated[float, Field(gt=0, le=1, description="Factor every `lr_decay_epochs` epochs.")]
    lr_decay_epochs: Annotated[float, Field(gt=0)] | None = Field(
        description="Null: a 150th of the epochs, so that the floor is reached at two thirds, as in BigNAS."
    )
    lr_floor: Annotated[float, Field(ge=0, le=1, description="Least rate, as a share of `learning_rate`.")]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    clip_norm: Annotated[float, Field(ge=0, description="Largest gradient norm; 0: no clipping.")]
    clip_value: Annotated[float, Field(ge=0, description="Largest gradient element; 0: no clipping.")] = 0.0
    ema_decay: Annotated[
        float, Field(ge=0, lt=1, description="Decay a step of the averaged weights that are searched; 0: none.")
    ] = 0.0
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="Of the passes; weights stay float32."
    )
    compile: bool = Field(default=False, description="torch.compile of the biggest and the smallest network's passes.")
    activation_checkpointing: bool = Field(
        default=False, description="Recompute the inside of blocks in the backward pass to save memory."
    )
    lora_rank: Annotated[
        int, Field(ge=0, le=4096, description="Train updates of this rank instead of the weights; 0: off.")
    ] = 0
    lora_alpha: Annotated[float, Field(gt=0, description="Low-rank updates are scaled by alpha / rank.")] = 16.0
    processes: Annotated[int, Field(ge=1, le=64, description="Processes on each machine that share every batch.")] = 1
    hosts: Annotated[
        int, Field(ge=1, le=64, description="Machines that share every batch; the others run `winnow join`.")
    ] = 1
    sharded: bool | None = Field(
        default=None,
        description="Spread weights, gradients and optimizer state over the processes (FSDP2). Null: where a llama "
        "is trained by several, without averages, low-rank updates and compilation.",
    )
    augmentation: AugmentationSpec = AugmentationSpec()
    seed: Annotated[int, Field(ge=0, lt=2**31, description="Split, initial weights and batches.")] = 0
    options: dict[str, float | int | bool | str] = Field(
        default_factory=dict, validate_default=True, description="Options of the method itself."
    )

    @property
    def total_processes(self) -> int:
        """Processes that share every batch, on all machines."""
        return self.hosts * self.processes

    @property
    def unshardable(self) -> str:
        """Options here that do not work with sharded weights, by name; empty if there are none."""
        values = {"ema_decay": self.ema_decay, "lora_rank": self.lora_rank, "compile": self.compile}
        return " and ".join(name for name, value in values.items() if value)

    @field_validator("method")
    @classmethod
    def _known_method(cls, method: str) -> str:
        return one_of("training method", method, tuple(METHOD_OPTIONS))

    @field_validator("optimizer")
    @classmethod
    def _known_optimizer(cls, optimizer: str) -> str:
        return one_of("optimizer", optimizer, OPTIMIZERS)

    @field_validator("schedule")
    @classmethod
    def _known_schedule(cls, schedule: str) -> str:
        return one_of("schedule", schedule, SCHEDULES)

    @field_validator("options")
    @classmethod
    def _options_of_the_method(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return complete_options(METHOD_OPTIONS, info.data.get("method"), options)

    @model_validator(mode="after")
    def _sensible(self) -> TrainingSpec:
        if self.epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"Got {self.warmup_epochs:g} epochs of warm-up in a training of {self.epochs}; warm up for fewer."
            )
        share, rest = divmod(self.batch_size, self.total_processes * self.micro_batches)
        if rest or share < 2:
            raise ValueError(
                f"A batch of {self.batch_size} cannot be cut into {self.total_processes} processes x "
                f"{self.micro_batches} "
                "micro-batches of at least 2 examples; choose a multiple of that."
            )
        if self.sharded and self.total_processes == 1:
            raise ValueError("Got sharded: true with one process, which has nobody to share with; raise processes.")
        if self.sharded and self.unshardable:
            raise ValueError(f"Got sharded: true together with {self.unshardable}; leave one of them out.")
        return self
