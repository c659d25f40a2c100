"""What the networks of a space eat, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

# Names of what a network with one input takes: that input, and where texts are padded their mask.
INPUT, MASK = "input", "mask"
# Of what a network of images and texts takes, as transformers calls them.
IMAGES, TEXTS = "pixel_values", "input_ids"


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


@dataclass(frozen=True, slots=True)
class PairInput:
    """Images `pixel_values`, (batch, channels, size, size), float32, and texts `input_ids`, (batch, length), int64.

    Texts have no mask: one is read up to the token that ends it, or as a whole with its padding.

    Attributes:
        channels, size: channels and size of the images; height and width in pixels.
        vocab: number of token ids.
        length: positions for which costs are counted; a network takes any number up to `max_length`.
        max_length: most positions that a network takes.
        whole: whether every text must have `max_length` positions, because its last one is read.
        loss: what vectors are trained by: `softmax` over the texts and over the images of a batch, or `sigmoid` of each
            of its pairs; empty of data, which do not say, and of answers that are logits.
        end: token that must end every text; None: any, or none.
        classes: answers are logits of each pair's class, shape (batch, classes); None: two vectors of each pair whose
            product is its logit, shape (batch, 2, width + 1), see `PairHeadSpec`.
    """

    channels: int
    size: int
    vocab: int
    length: int
    max_length: int
    whole: bool = False
    loss: str = ""
    end: int | None = None
    classes: int | None = None

    def __str__(self) -> str:
        image = f"{self.channels}x{self.size}x{self.size}"
        task = "" if self.classes is None else f", in {self.classes} classes"
        return f"pairs of images of {image} and texts of {self.vocab} token ids, {self.length} at a time{task}"


Input: TypeAlias = ImageInput | TokenInput | PairInput
