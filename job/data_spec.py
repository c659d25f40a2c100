"""DataSpec: what a job's supernet is trained, searched and tested on.

One model per file of `supernet/data/sources`, whose fields and defaults are those of the file's dataclass
(tests/contracts). What a path holds is known on the worker alone, so a request is judged by what its words
say: `gives()` is as much of the data's shape as follows from them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from job.parts import InnerPart
from plugins.registry import one_of
from search_space.inputs import ImageInput, Input, TokenInput

Share = Annotated[float, Field(gt=0, lt=1)]
ValidationShare = Annotated[float, Field(gt=0, lt=1, description="Share of the training data held out for the search.")]
Limit = Annotated[int, Field(ge=2)] | None
LIMIT = Field(default=None, description="Use at most so many training examples; null uses all.")
TOKENIZER = Field(default=None, description="Checkpoint folder or name whose tokenizer is used; null: UTF-8 bytes.")
Length = Annotated[int, Field(ge=2, le=1_000_000, description="Tokens of a text or block.")]
CorruptShare = Annotated[float, Field(ge=0, le=1, description="Largest share of unreadable images that is skipped.")]
Pixels = Annotated[int, Field(ge=4, le=4096, description="Height and width in pixels, to which images are fitted.")]
Channels = Annotated[Literal[1, 3], Field(description="3: colour, 1: grey.")]
Storage = Annotated[
    Literal["auto", "memory", "disk"],
    Field(description="Where decoded images lie; auto: in memory, or on the worker's disk where memory is short."),
]
Path = Field(description="File or folder on the worker.", min_length=1, max_length=4096)


Kind: TypeAlias = Literal["image", "labelled text", "text"]


class DataPart(InnerPart):
    """What all sources share."""

    # What it holds; None for a data set whose columns decide.
    kind: ClassVar[Kind | None] = None

    source: str

    def options(self) -> dict[str, Any]:
        """Fields of the source's dataclass."""
        return self.model_dump(exclude={"source"})

    def gives(self) -> Input | None:
        """What networks get from it; None where that is known only once it is read."""
        return None


class DigitsSpec(DataPart):
    """scikit-learn's handwritten digits: no download."""

    kind: ClassVar[Kind | None] = "image"

    source: Literal["digits"]
    validation_share: ValidationShare = 0.25

    def gives(self) -> Input | None:
        """See `DataPart.gives`."""
        return ImageInput(channels=1, size=8, classes=10)


class Cifar10Spec(DataPart):
    """CIFAR-10 as parquet or in its binary form."""

    kind: ClassVar[Kind | None] = "image"

    source: Literal["cifar10"]
    path: str = Path
    validation_share: ValidationShare = 0.1
    limit: Limit = LIMIT
    corrupt_share: CorruptShare = 0.01

    def gives(self) -> Input | None:
        """See `DataPart.gives`."""
        return ImageInput(channels=3, size=32, classes=10)


class ImagesSpec(DataPart):
    """A folder of images, one folder per class."""

    kind: ClassVar[Kind | None] = "image"

    source: Literal["images"]
    path: str = Path
    size: Pixels = 224
    channels: Channels = 3
    validation_share: ValidationShare = 0.1
    test_share: Share = 0.2
    limit: Limit = LIMIT
    corrupt_share: CorruptShare = 0.01
    storage: Storage = "auto"


class LabelledTextSpec(DataPart):
    """Tab- or comma-separated texts with labels, plain or .gz."""

    kind: ClassVar[Kind | None] = "labelled text"

    source: Literal["labelled_text"]
    path: str = Path
    text: str | Annotated[int, Field(ge=0)] = Field(default=0, description="Column: its name, or its number from 0.")
    label: str | Annotated[int, Field(ge=0)] = Field(default=1, description="Column: its name, or its number from 0.")
    tokenizer: str | None = TOKENIZER
    length: Length = 128
    validation_share: ValidationShare = 0.1
    test_share: Share = 0.1
    limit: Limit = LIMIT


class TextSpec(DataPart):
    """Plain text for language models, plain or .gz."""

    kind: ClassVar[Kind | None] = "text"

    source: Literal["text"]
    path: str = Path
    tokenizer: str | None = TOKENIZER
    length: Length = 128
    validation_share: ValidationShare = 0.1
    test_share: Share = 0.1

    def gives(self) -> Input | None:
        """See `DataPart.gives`."""
        if self.tokenizer is not None:
            return None
        return TokenInput(vocab=256, length=self.length, max_length=self.length, classes=None)


class HuggingFaceSpec(DataPart):
    """Any data set that Hugging Face's `datasets` can load."""

    source: Literal["huggingface"]
    path: str = Field(description="Name on the Hub, folder or file.", min_length=1, max_length=4096)
    config: str | None = Field(default=None, description="Configuration of the data set, where it has several.")
    image: str | None = Field(default=None, description="Column of images; null: found by its type.")
    text: str | None = Field(default=None, description="Column of text; null: found by its type.")
    label: str | None = Field(default=None, description="Column of labels; null: found by its type.")
    size: Pixels = 224
    channels: Channels = 3
    tokenizer: str | None = TOKENIZER
    length: Length = 128
    validation_share: ValidationShare = 0.1
    test_share: Share = 0.1
    limit: Limit = LIMIT
    corrupt_share: CorruptShare = 0.01
    storage: Storage = "auto"


# Data source -> its wire form. One entry per file of `supernet/data/sources` (tests/contracts).
DATA_MODELS: dict[str, type[DataPart]] = {
    "cifar10": Cifar10Spec,
    "digits": DigitsSpec,
    "huggingface": HuggingFaceSpec,
    "images": ImagesSpec,
    "labelled_text": LabelledTextSpec,
    "text": TextSpec,
}
DATA_SOURCES = tuple(DATA_MODELS)


def _known(given: Any) -> Any:
    """The source's name, checked before the union is, so that the message lists the names."""
    if isinstance(given, dict) and isinstance(given.get("source"), str):
        one_of("data source", given["source"], DATA_SOURCES)
    return given


DataSpec = Annotated[
    Annotated[
        Cifar10Spec | DigitsSpec | HuggingFaceSpec | ImagesSpec | LabelledTextSpec | TextSpec,
        Field(discriminator="source"),
    ],
    BeforeValidator(_known),
]


def data_gives(spec: DataPart) -> Input | None:
    """What networks get from a data source, without loading it; None: known only once it is read."""
    return spec.gives()
