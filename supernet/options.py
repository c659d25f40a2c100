"""How weights are trained, declared once: the trainer's options, augmentation's, and what methods share. No torch.

A job's training part is these and what it says besides; workers hand it to the trainer as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from plugins.options import Options
from plugins.registry import one_of
from search_space.inputs import PairInput, TokenInput

if TYPE_CHECKING:
    from search_space.layers import LayerSpec
    from search_space.space import SearchSpace

LabelSmoothing = Annotated[float, Field(ge=0, lt=1, description="Label smoothing of the loss on labels.")]
Dropout = Annotated[
    float, Field(ge=0, lt=1, description="Dropout before the classifier, in passes of the largest network.")
]
DropConnect = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description="Largest probability that a residual branch is left out, in passes of the largest network; it "
        "rises with depth.",
    ),
]
MicroBatches = Annotated[
    int, Field(ge=1, le=4096, description="Parts into which a process cuts its share of a batch to save memory.")
]
LearningRate = Annotated[float, Field(gt=0, le=100, description="Largest learning rate.")]
WeightDecay = Annotated[float, Field(ge=0, le=1, description="Weight decay; biases and scales of norms have none.")]
ClipNorm = Annotated[float, Field(ge=0, description="Largest gradient norm; 0: no clipping.")]
RateFloor = Annotated[float, Field(ge=0, le=1, description="Least rate, as a share of `learning_rate`.")]
Precision = Annotated[
    Literal["float32", "bfloat16"], Field(description="Number format of the passes; weights stay float32.")
]
Recompute = Annotated[bool, Field(description="Recompute the inside of blocks in the backward pass to save memory.")]
LoraRank = Annotated[
    int, Field(ge=0, le=4096, description="Train updates of this rank instead of the weights; 0: off.")
]
LoraAlpha = Annotated[float, Field(gt=0, description="Low-rank updates are scaled by alpha / rank.")]
Policy = Literal["none", "autoaugment", "randaugment", "trivialaugment"]
POLICIES: tuple[str, ...] = get_args(Policy)

# In BigNAS the decay reaches its floor after two thirds of the training: its 2.4 epochs are a 150th (section 3.1).
DECAY_SHARE = 150


class MethodOptions(Options):
    """Base of the options of every training method."""

    def refusal(self, pretrained: bool) -> str | None:
        """Why a supernet cannot be trained so, as a sentence for the user; None if it can.

        Args:
            pretrained: whether its weights start from a checkpoint.
        """
        return None

    @property
    def trains_largest(self) -> bool:
        """Whether the largest network is trained, so that others can learn from it."""
        return True

    @property
    def networks_of_a_step(self) -> int:
        """How many networks a step trains, each with the whole batch."""
        return 1

    @property
    def asks_of_the_space(self) -> bool:
        """Whether `misfit` may refuse a space although all options have their defaults."""
        return False

    def misfit(self, space: SearchSpace) -> str | None:
        """Why networks of a space cannot honour these options, as a sentence for the user; None if they can."""
        for name, reason in NEEDED.items():
            said = reason(space) if getattr(self, name, None) else None
            if said is not None:
                return f"training.options.{name} is {getattr(self, name)!r}, but {said}"
        return None

    def check(self, space: SearchSpace) -> None:
        """Refuse a space whose networks cannot honour these options.

        Raises:
            ValueError: with the reason for the user.
        """
        if (said := self.misfit(space)) is not None:
            raise ValueError(said)


def _layers(space: SearchSpace) -> list[LayerSpec]:
    return list(space.layers(space.largest()).values())


def _no_branch(space: SearchSpace) -> str | None:
    if any(layer.branches() for layer in _layers(space)):
        return None
    return (
        f"no layer of {space.name} names residual branches, so nothing could be left out; set it to 0, or let the "
        "family's layer specs name them in `branches()`."
    )


def _no_classifier(space: SearchSpace) -> str | None:
    takes = space.takes
    if isinstance(takes, PairInput) and takes.classes is None:
        return f"networks of {space.name} compare two vectors and have no classifier; set it to 0."
    if not isinstance(takes, TokenInput) or takes.classes is not None or takes.features is not None:
        return None
    return f"networks of {space.name} continue texts and have no classifier; set it to 0."


# Why the sigmoid loss has no smoothing: a batch has a single pair in N among its logits.
SMOOTHED = "the sigmoid loss of pairs has no label smoothing: set training.options.label_smoothing to 0"


def _smoothed(space: SearchSpace) -> str | None:
    takes = space.takes
    return f"{SMOOTHED}." if isinstance(takes, PairInput) and takes.loss == "sigmoid" else None


# What an option of this name, where a method has it and it is on, needs of a space.
NEEDED: dict[str, Callable[[SearchSpace], str | None]] = {
    "drop_connect": _no_branch,
    "dropout": _no_classifier,
    "label_smoothing": _smoothed,
}


class AugmentationOptions(Options):
    """What is done to training images, in this order, on their device; every image has draws of its own."""

    repeats: Annotated[
        int,
        Field(
            ge=1,
            le=16,
            description="Copies of an image in a batch, each augmented in its own way; an epoch then sees that many "
            "times fewer images.",
        ),
    ] = 1

    resized_crop: Annotated[
        float, Field(gt=0, le=1, description="Least share of the area that a random crop keeps; 1: off.")
    ] = 1.0
    crop_padding: Annotated[int, Field(ge=0, le=64, description="Pixels around the image before a crop; 0: off.")] = 0
    flip: Annotated[bool, Field(description="Mirror half of the images.")] = False
    colour_jitter: Annotated[
        float,
        Field(ge=0, le=1, description="Most that brightness, contrast and saturation change, as a share; 0: off."),
    ] = 0.0
    policy: Policy = Field(default="none", description="Operations that an image draws; `none`: it draws none.")
    policy_ops: Annotated[int, Field(ge=1, le=8, description="Operations of RandAugment.")] = 2
    policy_magnitude: Annotated[int, Field(ge=0, le=30, description="Strength of RandAugment.")] = 9
    erasing: Annotated[
        float, Field(ge=0, le=1, description="Probability that a rectangle of an image becomes noise.")
    ] = 0.0
    mixup: Annotated[
        float, Field(ge=0, le=100, description="Images are averaged in pairs, in shares of Beta(mixup, mixup); 0: off.")
    ] = 0.0
    cutmix: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            description="Images get a rectangle of another one, in shares of Beta(cutmix, cutmix); 0: off. With "
            "`mixup` a coin decides for each image.",
        ),
    ] = 0.0

    @property
    def is_on(self) -> bool:
        """Whether anything is done at all."""
        return self != AugmentationOptions(policy_ops=self.policy_ops, policy_magnitude=self.policy_magnitude)

    def misfit(self, channels: int) -> str | None:
        """Why images of so many channels cannot be augmented so, as a sentence for the user; None if they can."""
        if self.policy != "autoaugment" or channels == 3:
            return None
        return (
            f"AutoAugment wants images of 3 channels; these have {channels}. "
            "Choose the policy randaugment or trivialaugment."
        )


class TrainingOptions(Options):
    """How the weights are optimized, and how a step is run."""

    epochs: Annotated[
        int,
        Field(ge=0, le=100_000, description="Epochs of the training; 0: search a checkpoint's weights as they are."),
    ]
    batch_size: Annotated[int, Field(ge=2, le=1_000_000, description="Examples of a step, over all processes.")]
    micro_batches: MicroBatches = 1
    optimizer: str = Field(description="`rmsprop`, `sgd` or `adamw`.")
    learning_rate: LearningRate
    schedule: str = Field(default="exponential", description="`exponential`, `cosine` or `constant`.")
    warmup_epochs: Annotated[float, Field(ge=0, description="Epochs in which the rate rises from 0.")] = 0.0
    lr_decay: Annotated[float, Field(gt=0, le=1, description="Factor of the rate every `lr_decay_epochs` epochs.")]
    lr_decay_epochs: Annotated[float, Field(gt=0)] | None = Field(
        description="Epochs in which the rate falls by `lr_decay`; null: a 150th of them all, so that the floor is "
        "reached at two thirds, as in BigNAS."
    )
    lr_floor: RateFloor
    weight_decay: WeightDecay
    momentum: Annotated[float, Field(ge=0, lt=1, description="Momentum of SGD and RMSProp.")]
    clip_norm: ClipNorm
    clip_value: Annotated[float, Field(ge=0, description="Largest gradient element; 0: no clipping.")] = 0.0
    ema_decay: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Decay in each step of the averaged weights, which are what is searched; 0: no averages.",
        ),
    ] = 0.0
    precision: Precision = "float32"
    compile: bool = Field(
        default=False, description="Compile the passes of the largest and the smallest network with torch.compile."
    )
    activation_checkpointing: Recompute = False
    lora_rank: LoraRank = 0
    lora_alpha: LoraAlpha = 16.0
    sharded: bool | None = Field(
        default=None,
        description="Spread weights, gradients and optimizer state over the processes (FSDP2). Null: where a llama "
        "is trained by several, without averages, low-rank updates and compilation.",
    )

    @field_validator("optimizer")
    @classmethod
    def _known_optimizer(cls, optimizer: str) -> str:
        return one_of("optimizer", optimizer, tuple(OPTIMIZERS))

    @field_validator("schedule")
    @classmethod
    def _known_schedule(cls, schedule: str) -> str:
        return one_of("schedule", schedule, tuple(SCHEDULES))

    def decay_epochs(self, epochs: int) -> float:
        """Epochs in which the rate falls by `lr_decay`, in a training of so many."""
        return self.lr_decay_epochs or max(1, epochs) / DECAY_SHARE

    def rate(self, epoch: float) -> float:
        """Learning rate at a (fractional) epoch, never below the floor once it is warm."""
        if epoch < self.warmup_epochs:
            return self.learning_rate * epoch / self.warmup_epochs
        share: float = max(SCHEDULES[self.schedule](self, epoch), self.lr_floor)
        return self.learning_rate * share


class DistillationOptions(Options):
    """What a network learns from its parent.

        (1 - labels) T^2 KL(parent || network) + labels CE + hidden a d

    with softmax temperature T, the cosine distance d of hidden states, and a = (the losses before it) / d. No gradient
    passes a, so `hidden` is a share whatever the scale of d (Minitron, arXiv 2407.14679, section 3).
    """

    temperature: Annotated[
        float, Field(gt=0, le=100, description="Temperature of both softmaxes; its square scales the loss.")
    ] = 1.0
    top: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="How many of the parent's likeliest answers count one by one; all others count as one. Null: "
        "all count.",
    )
    labels: Annotated[
        float, Field(ge=0, le=1, description="Share of the loss on labels beside the parent's; 1: no parent at all.")
    ] = 0.0
    hidden: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            description="Weight of the cosine distance of what enters the last block, through a learned projection, as "
            "a share of the other losses; 0: off. Helps where layers were dropped.",
        ),
    ] = 0.0


def exponential(options: TrainingOptions, epoch: float) -> float:
    """`lr_decay ** (epoch / lr_decay_epochs)`: BigNAS's decay, whose constant ending is the floor (section 3.2)."""
    decayed: float = options.lr_decay ** (epoch / options.decay_epochs(options.epochs))
    return decayed


def cosine(options: TrainingOptions, epoch: float) -> float:
    """From 1 after the warm-up to 0 at the end (Loshchilov and Hutter, arXiv 1608.03983, one cycle)."""
    done = (epoch - options.warmup_epochs) / (options.epochs - options.warmup_epochs)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def constant(_options: TrainingOptions, _epoch: float) -> float:
    """1."""
    return 1.0


# Share of the full learning rate at an epoch.
SCHEDULES: dict[str, Callable[[TrainingOptions, float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "exponential": exponential,
}

# Class of torch.optim, and its arguments besides weights, rate and decay. RMSProp's constants are those of the BigNAS
# recipe (arXiv 2003.11142).
OPTIMIZERS: dict[str, tuple[str, Callable[[TrainingOptions], dict[str, Any]]]] = {
    "adamw": ("AdamW", lambda o: {}),
    "rmsprop": ("RMSprop", lambda o: {"alpha": 0.9, "eps": 1e-3, "momentum": o.momentum}),
    "sgd": ("SGD", lambda o: {"momentum": o.momentum, "nesterov": o.momentum > 0}),
}
