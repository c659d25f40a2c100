"""Options of the data source `instructions`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from plugins.options import NamesFile
from search_space.inputs import Input, TokenInput
from supernet.data.options import (
    DataKind,
    Length,
    Limit,
    SourceOptions,
    TestShare,
    TestSplit,
    Tokenizer,
    TrainSplit,
    ValidationShare,
    ValidationSplit,
)


class InstructionsOptions(SourceOptions):
    """Questions with answers, or conversations, for language models: a JSON, CSV or parquet file, or any data set."""

    kind: ClassVar[DataKind | None] = "text"

    path: Annotated[
        str,
        Field(description="Name on the Hub, folder or file.", min_length=1, max_length=4096),
        NamesFile(or_hub=True),
    ]
    config: str | None = Field(default=None, description="Configuration of the data set, where it has several.")
    train_split: TrainSplit = None
    validation_split: ValidationSplit = None
    test_split: TestSplit = None
    messages: str | None = Field(
        default=None, description="Column of conversations: lists of turns, each with `role` and `content`."
    )
    prompt: str | None = Field(default=None, description="Column of questions.")
    answer: str | None = Field(default=None, description="Column of answers.")
    template: str | None = Field(
        default=None,
        max_length=10_000,
        description="What stands before an answer, with columns in braces, such as `Question: {question} Answer:`. "
        "Null: the tokenizer's chat template.",
    )
    tokenizer: Tokenizer = None
    length: Length = 512
    validation_share: ValidationShare = 0.1
    test_share: TestShare = 0.1
    limit: Limit = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.messages is not None and (self.prompt or self.answer or self.template):
            raise ValueError("data.messages holds whole conversations: leave prompt, answer and template out.")
        if self.answer is not None and self.prompt is None and self.template is None:
            raise ValueError("data.answer needs what stands before it: name data.prompt, or give a data.template.")
        if self.answer is None and (self.prompt is not None or self.template is not None):
            raise ValueError("data.prompt and data.template need data.answer, the column of answers.")
        if self.prompt is not None and self.template is not None:
            raise ValueError("data.template names the columns itself: leave data.prompt out.")
        return self

    def gives(self) -> Input | None:
        """See `SourceOptions.gives`."""
        if self.tokenizer is not None:
            return None
        return TokenInput(vocab=256, length=self.length, max_length=self.length, classes=None)


OPTIONS = InstructionsOptions
