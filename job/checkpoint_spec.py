"""FoundSpec: what a job keeps of its checkpoint's folder, read when it is submitted.

The job does not depend on a folder that may go or change: what decides its numbers beside the weights is in the job.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from pydantic import Field

from job.parts import Part
from search_space import companions, plugins
from search_space.adjustments import Adjustments
from search_space.checkpoint import Checkpoint, CheckpointError
from search_space.inputs import ImageInput, Input, PairInput


class PreprocessingSpec(Part):
    """How the checkpoint turns pictures into numbers (`preprocessor_config.json`)."""

    mean: tuple[float, ...] = Field(description="Mean of each channel, after `scale`.")
    std: tuple[float, ...] = Field(description="Standard deviation of each channel, after `scale`.")
    scale: float = Field(description="Factor of pixels from 0 to 255.")
    edge: int | None = Field(description="Pixels that pictures are resized to; null: they keep their size.")
    keeps_ratio: bool = Field(description="Whether the shorter side becomes `edge`; if not, both sides do.")
    resample: str = Field(description="Filter of Pillow, such as `bilinear`.")
    crop: int | None = Field(description="Pixels of the centre that is cut; null: nothing is cut.")

    def made(self) -> companions.Preprocessing:
        """The same as the worker uses it."""
        return companions.Preprocessing(**self.model_dump())


class FoundSpec(Part):
    """What a checkpoint's folder says beside its configuration."""

    labels: tuple[str, ...] | None = Field(default=None, description="Names of its classes; null: it has none.")
    preprocessing: PreprocessingSpec | None = Field(
        default=None, description="Preprocessing of images; null: the folder says nothing."
    )
    dtype: str = Field(default="float32", description="Type of its numbers.")
    fresh: tuple[str, ...] = Field(default=(), description="Parameters that it lacks and that start fresh.")
    dropped: tuple[str, ...] = Field(default=(), description="Tensors of it that are not used.")
    notes: tuple[str, ...] = Field(default=(), description="What else to know of the checkpoint.")

    @property
    def classifies(self) -> bool:
        """Whether its own classifier is used, whose outputs have an order."""
        return not any("classifier" in name.split(".")[0] for name in self.fresh)


class OfCheckpoint(Part):
    """The parts of a supernet that only a checkpoint has."""

    labels: tuple[str, ...] | None = Field(
        default=None, description="Names of the checkpoint's classes in the order of its outputs; null: its own."
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        default=None, description="Type of numbers that is scored, measured and shipped; null: the checkpoint's."
    )
    found: FoundSpec | None = Field(
        default=None, description="What else the checkpoint's folder says, read when the job is submitted."
    )

    @property
    def float_type(self) -> str:
        """Type of the numbers that are shipped: that which is asked for, or the checkpoint's."""
        own = "float32" if self.found is None or self.found.dtype == "float64" else self.found.dtype
        return self.dtype or own


def found_in(checkpoint: Checkpoint, family: str, classes: int | None) -> FoundSpec:
    """Read the rest of a checkpoint's folder.

    Raises:
        CheckpointError: its tensors do not fit the family, or a file of it cannot be honoured.
    """
    matched = plugins.check_checkpoint(family, checkpoint, classes)
    takes = plugins.load_family(family, None, Adjustments(classes=classes), checkpoint.config).takes
    notes = list(checkpoint.notes)
    preprocessing = None
    if isinstance(takes, ImageInput | PairInput):
        preprocessing = _preprocessing(checkpoint, takes, notes)
    return FoundSpec(
        labels=companions.label_names(checkpoint.config),
        preprocessing=None if preprocessing is None else PreprocessingSpec(**asdict(preprocessing)),
        dtype=companions.float_type(checkpoint, matched),
        fresh=matched.fresh,
        dropped=matched.dropped,
        notes=tuple(notes),
    )


def _preprocessing(
    checkpoint: Checkpoint, takes: ImageInput | PairInput, notes: list[str]
) -> companions.Preprocessing | None:
    """How images are prepared, which several checkpoints must say alike; what else to know of it is noted.

    Raises:
        CheckpointError: a file of it cannot be honoured, or two checkpoints contradict one another.
    """
    parts = checkpoint.parts or (checkpoint,)
    said = [(p.folder, companions.image_preprocessing(p.folder, takes.size, takes.channels)) for p in parts]
    known = [(folder, given) for folder, given in said if given is not None]
    if not known:
        notes.append(
            f"The checkpoint has no {companions.PROCESSOR}, so how its images were prepared is not known: they are "
            "standardised by the mean and deviation of the training images."
        )
        return None
    (folder, first), *others = known
    for other, given in others:
        if given != first:
            raise CheckpointError(
                f"{folder} and {other} prepare images differently ({companions.PROCESSOR}), and a stitched network "
                "reads one image. Take checkpoints that were trained on the same images."
            )
    lacking = [str(folder) for folder, given in said if given is None]
    if lacking:
        notes.append(
            f"{' and '.join(lacking)} has no {companions.PROCESSOR}: its images are prepared as {folder} says."
        )
    return first


def check_labels(labels: tuple[str, ...] | None, takes: Input | None, found: FoundSpec | None) -> None:
    """Refuse names of classes that are not those of a checkpoint's classifier.

    Raises:
        ValueError: there is no such classifier, or it has another number of classes.
    """
    if labels is None:
        return
    if found is None or not found.classifies:
        raise ValueError("supernet.labels names the classes of a checkpoint's own classifier, and there is none here.")
    count = getattr(takes, "classes", None)
    if len(set(labels)) != len(labels) or len(labels) != count:
        raise ValueError(
            f"supernet.labels has {len(set(labels))} different names; the checkpoint's classifier has {count} classes."
        )


def refuse_untrained(found: FoundSpec) -> None:
    """Refuse scores of random weights where nothing is trained.

    Raises:
        ValueError: the checkpoint lacks parameters.
    """
    if found.fresh:
        some = ", ".join(found.fresh[:4]) + (", ..." if len(found.fresh) > 4 else "")
        raise ValueError(
            f"training.epochs is 0, but the checkpoint gives no values for {some}: they would be random, and so would "
            "every score. Train for at least one epoch, or start from a checkpoint that has them (leave "
            "supernet.classes out to keep its own classifier)."
        )
