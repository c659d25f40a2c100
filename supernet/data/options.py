"""What data sources declare: the base of their options, and words that several have. No torch.

What a path holds is known on the worker alone, so a request is judged by what its words say: `gives()` is as much of
the data's shape as follows from them.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from plugins.options import NamesFile, Options
from search_space.inputs import Input

DataKind: TypeAlias = Literal["image", "labelled text", "text", "pairs", "labelled pairs"]
Storage: TypeAlias = Literal["auto", "memory", "disk"]

# An option that is a path says so with `NamesFile`, or it is not checked to lie where jobs may read.
Path = Annotated[str, Field(description="File or folder on the worker.", min_length=1, max_length=4096), NamesFile()]
ValidationShare = Annotated[float, Field(gt=0, lt=1, description="Share of the training data held out for the search.")]
# Of all examples where there is no test part; the same ones for every seed.
TestShare = Annotated[float, Field(gt=0, lt=1, description="Share held out for testing where there is no test part.")]
# A name of a folder, a file without its suffix, or a split of a data set; never a path.
PartName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/\\\x00.][^/\\\x00]*$")] | None
TrainSplit = Annotated[PartName, Field(description="Name of the part to train on; null: found by its name.")]
ValidationSplit = Annotated[
    PartName,
    Field(
        description="Name of the part that the search ranks on; null: found by its name, or carved from training data."
    ),
]
TestSplit = Annotated[
    PartName, Field(description="Name of the part for the end; null: found by its name, or carved from training data.")
]
Limit = Annotated[
    Annotated[int, Field(ge=2)] | None, Field(description="Use at most so many training examples; null uses all.")
]
Tokenizer = Annotated[
    str | None,
    Field(description="Checkpoint folder or name whose tokenizer is used; null: UTF-8 bytes."),
    NamesFile(or_hub=True),
]
Rows = Annotated[
    Literal["documents", "lines"] | None,
    Field(
        description="What a row of text alone is: a document, which follows nothing, or a line of one text. Null: "
        "documents, and refused where rows look like lines."
    ),
]
Length = Annotated[int, Field(ge=2, le=1_000_000, description="Tokens of a text or block.")]
CorruptShare = Annotated[
    float, Field(ge=0, le=1, description="Largest share of unreadable images that is left out; above it the job fails.")
]
Pixels = Annotated[int, Field(ge=4, le=4096, description="Height and width in pixels, to which images are fitted.")]
Resize = Annotated[
    Annotated[int, Field(ge=4, le=8192)] | None,
    Field(
        description="Pixels of the shorter side before the centre of `size` is cut, such as 256 for 224; null: `size`. "
        "Not for random crops of a training, which are cut from the whole picture."
    ),
]
ColumnName = Annotated[str, Field(min_length=1, max_length=200)] | None
ImageColumn = Annotated[
    ColumnName, Field(description="Column of images, or of their files beside the table; null: found.")
]
TextColumn = Annotated[ColumnName, Field(description="Column of a text, or of a list of texts; null: found.")]
LowerCase = Annotated[bool, Field(description="Whether texts are written in small letters before they are tokenized.")]
Channels = Annotated[Literal[1, 3], Field(description="Channels of the images: 3 for colour, 1 for grey.")]
WhereImagesLie = Annotated[
    Storage,
    Field(description="Where decoded images lie; auto: in memory, or on the worker's disk where memory is short."),
]


class SourceOptions(Options):
    """Base of the options of every data source.

    Attributes:
        kind: what it holds; None for a data set whose columns decide.
        tells_classes: whether it calls `Decoding.classes` before it decodes anything, so that a job whose classes do
            not fit fails at once. Where it does not, that is looked at once the data are read.
    """

    kind: ClassVar[DataKind | None] = None
    tells_classes: ClassVar[bool] = False

    @model_validator(mode="after")
    def _centre_fits(self) -> Self:
        size, resize = getattr(self, "size", None), getattr(self, "resize", None)
        if size is not None and resize is not None and resize < size:
            raise ValueError(f"Got resize {resize} and size {size}: the centre that is cut is larger than the picture.")
        return self

    def gives(self) -> Input | None:
        """What networks get from it; None where that is known only once it is read."""
        return None

    def likely_examples(self, num_bytes: int) -> int | None:
        """About how many examples are trained on; None where the size of the files does not tell.

        Args:
            num_bytes: size of the files below its path.
        """
        return None
