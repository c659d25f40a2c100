"""What the networks of a space eat, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

# Names of what a network with one input takes: that input, and where texts are padded their mask.
INPUT, MASK = "input", "mask"


@dataclass(frozen=True, slots=True)
class ImageInput:
    """Images, shape (batch, channels, size, size), float32; answers are logits, shape (batch, classes).

    Attributes:
        size: height and width in pixels of the largest resolution. Networks of an elastic resolution
            resize what they are given.
    """

    channels: int
    size: int
    classes: int

    def __str__(self) -> str:
        return f"images of {self.channels}x{self.size}x{self.size} in {self.classes} classes"


@dataclass(frozen=True, slots=True)
class TokenInput:
    """Token ids, shape (batch, length), int64.

    Attributes:
        vocab: number of token ids.
        length: positions for which costs are counted; a network takes any number up to `max_length`.
        max_length: most positions that a network takes.
        classes: answers are logits of shape (batch, classes); None: logits of the next token,
            shape (batch, length, vocab).
        features: width of the answer where it is neither, such as the pooled output of a bare encoder.
    """

    vocab: int
    length: int
    max_length: int
    classes: int | None
    features: int | None = None

    def __str__(self) -> str:
        if self.features is not None:
            task = f"to become {self.features} features"
        else:
            task = "to be continued" if self.classes is None else f"in {self.classes} classes"
        return f"text of {self.vocab} token ids, {self.length} at a time, {task}"


Input: TypeAlias = ImageInput | TokenInput
