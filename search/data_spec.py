"""DataSpec: what a job's supernet is trained, searched and tested on.

One model per file of `supernet/data/sources`, whose fields and defaults are those of the file's dataclass
(tests/contracts). What a path holds is known on the worker alone, so a request is judged by what its words
say: `gives()` is as much of the data's shape as follows from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from search.parts import Part, one_of
from search_space.inputs import ImageInput, Input

Share = Annotated[float, Field(gt=0, lt=1)]
ValidationShare = Annotated[float, Field(gt=0, lt=1, description="Share of the training data held out for the search.")]
Limit = Annotated[int, Field(ge=2)] | None
LIMIT = Field(default=None, description="Use at most so many training examples; null uses all.")
TOKENIZER = Field(default=None, description="Checkpoint folder or name whose tokenizer is used; null: UTF-8 bytes.")
Length = Annotated[int, Field(ge=2, le=1_000_000, description="Tokens of a text or block.")]
CorruptShare = Annotated[float, Field(ge=0, le=1, description="Largest share of unreadable images that is skipped.")]
Pixels = Annotated[int, Field(ge=4, le=4096, description="Height and width in pixels, to which images are fitted.")]
Channels = Annotated[Literal[1, 3], Field(description="3: colour, 1: grey.")]
Path = Field(description="File or folder on the worker.", min_length=1, max_length=4096)


Kind: TypeAlias = Literal["image", "labelled text", "text"]


@dataclass(frozen=True, slots=True)
class DataShape:
    """What a source gives, as far as it is known before it is read; None: not known.

    Attributes:
        kind: `image`, `labelled text` or `text`; None for a data set whose columns decide.
        channels, size: of images; `size` is height and width in pixels.
        vocab: of tokens.
        length: tokens of a text or block.
        classes: of labels.
    """

    kind: Kind | None
    channels: int | None = None
    size: int | None = None
    vocab: int | None = None
    length: int | None = None
    classes: int | None = None

    def misfit(self, takes: Input | None) -> str | None:
        """Why networks that take this cannot be trained on such data; None where nothing speaks against it.

        The size of images is no reason: networks resize, or the source is told another size.
        """
        if self.kind is None or takes is None:
            return None
        pairs: list[tuple[str, int | None, int | None]]
        if isinstance(takes, ImageInput):
            wanted: Kind = "image"
            pairs = [("channels", self.channels, takes.channels), ("classes", self.classes, takes.classes)]
        else:
            wanted = "text" if takes.classes is None else "labelled text"
            pairs = [("classes", self.classes, takes.classes)]
            if self.vocab is not None and self.vocab > takes.vocab:
                pairs.append(("token ids", self.vocab, takes.vocab))
            if self.length is not None and self.length > takes.max_length:
                return f"its blocks of {self.length} tokens are longer than the {takes.max_length} that they take"
        if self.kind != wanted:
            return f"it gives {self.kind}, and they take {takes}"
        wrong = [
            f"it has {mine} {what} and they take {theirs}" for what, mine, theirs in pairs if mine not in (None, theirs)
        ]
        return "; ".join(wrong) or None


class DataPart(Part):
    """What all sources share."""

    source: str

    def options(self) -> dict[str, Any]:
        """Fields of the source's dataclass."""
        return self.model_dump(exclude={"source"})

    def gives(self) -> DataShape:
        """What this source gives, as far as it is known before it is read."""
        return DataShape(None)


class DigitsSpec(DataPart):
    """scikit-learn's handwritten digits: no download."""

    source: Literal["digits"]
    validation_share: ValidationShare = 0.25

    def gives(self) -> DataShape:
        """See `DataPart.gives`."""
        return DataShape("image", channels=1, size=8, classes=10)


class Cifar10Spec(DataPart):
    """CIFAR-10 as parquet or in its binary form."""

    source: Literal["cifar10"]
    path: str = Path
    validation_share: ValidationShare = 0.1
    limit: Limit = LIMIT
    corrupt_share: CorruptShare = 0.01

    def gives(self) -> DataShape:
        """See `DataPart.gives`."""
        return DataShape("image", channels=3, size=32, classes=10)


class ImagesSpec(DataPart):
    """A folder of images, one folder per class."""

    source: Literal["images"]
    path: str = Path
    size: Pixels = 224
    channels: Channels = 3
    validation_share: ValidationShare = 0.1
    test_share: Share = 0.2
    limit: Limit = LIMIT
    corrupt_share: CorruptShare = 0.01

    def gives(self) -> DataShape:
        """See `DataPart.gives`."""
        return DataShape("image", channels=self.channels, size=self.size)


class LabelledTextSpec(DataPart):
    """Tab- or comma-separated texts with labels, plain or .gz."""

    source: Literal["labelled_text"]
    path: str = Path
    text: str | Annotated[int, Field(ge=0)] = Field(default=0, description="Column: its name, or its number from 0.")
    label: str | Annotated[int, Field(ge=0)] = Field(default=1, description="Column: its name, or its number from 0.")
    tokenizer: str | None = TOKENIZER
    length: Length = 128
    validation_share: ValidationShare = 0.1
    test_share: Share = 0.1
    limit: Limit = LIMIT

    def gives(self) -> DataShape:
        """See `DataPart.gives`."""
        return DataShape("labelled text", vocab=None if self.tokenizer else 256, length=self.length)


class TextSpec(DataPart):
    """Plain text for language models, plain or .gz."""

    source: Literal["text"]
    path: str = Path
    tokenizer: str | None = TOKENIZER
    length: Length = 128
    validation_share: ValidationShare = 0.1
    test_share: Share = 0.1

    def gives(self) -> DataShape:
        """See `DataPart.gives`."""
        return DataShape("text", vocab=None if self.tokenizer else 256, length=self.length)


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
