"""Scores of pairs of images and texts: recall in both directions, and zero-shot accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from search.intervals import Interval, wilson
from search.metrics import RECALLED
from search_space.inputs import IMAGES, TEXTS
from supernet.data.dataset import IGNORED, Batch, DataError, Split
from supernet.scores.exam import Tally

# Logits that are computed at once.
AT_ONCE = 2**24
# Rank of what is not found at all.
NOWHERE = 2**40


def recalls(images_NW: Tensor, texts_NW: Tensor, numbers_N2: Tensor) -> dict[str, tuple[float, int]]:
    """Recall of both directions, and the number of queries of each: metric -> (recall, queries).

    `text_recall_at_k` is the share of images one of whose texts is among the k texts with the largest logits, and
    `image_recall_at_k` the share of texts whose image is among the k images; every text of every image asks once.
    Images, and texts, of one number are one in the lists that are searched, so a text that several images have is
    right for each of them. `recall_at_k` is the mean of both.

    Args:
        images_NW, texts_NW: vectors of pairs, whose products are logits.
        numbers_N2: numbers of each pair's image and text.
    """
    image_I, image_of_N = numbers_N2[:, 0].unique(return_inverse=True)
    text_J, text_of_N = numbers_N2[:, 1].unique(return_inverse=True)
    images_IW, texts_JW = _first(images_NW, image_of_N, len(image_I)), _first(texts_NW, text_of_N, len(text_J))
    belongs = torch.zeros(len(image_I), len(text_J), dtype=torch.bool, device=images_NW.device)
    belongs[image_of_N, text_of_N] = True
    text_ranks = _ranks(images_IW, texts_JW, belongs)
    image_ranks = _ranks(texts_JW, images_IW, belongs.T)[text_of_N]
    found: dict[str, tuple[float, int]] = {}
    for k in RECALLED:
        text, image = ((ranks < k).double().mean().item() for ranks in (text_ranks, image_ranks))
        found[f"recall_at_{k}"] = (text + image) / 2, len(text_ranks) + len(image_ranks)
        found[f"text_recall_at_{k}"] = text, len(text_ranks)
        found[f"image_recall_at_{k}"] = image, len(image_ranks)
    return found


def _first(vectors_NW: Tensor, group_N: Tensor, count: int) -> Tensor:
    """The vector of each group's first member."""
    place_N = torch.arange(len(group_N), device=group_N.device)
    first_C = torch.full((count,), len(group_N), device=group_N.device).scatter_reduce(0, group_N, place_N, "amin")
    return vectors_NW[first_C].float()


def _ranks(queries_QW: Tensor, keys_KW: Tensor, right_QK: Tensor) -> Tensor:
    """How many keys have a larger logit than the best right one, `(Q,)`; what is no number is no answer."""
    ranks = []
    rows = max(1, AT_ONCE // len(keys_KW))
    for start in range(0, len(queries_QW), rows):
        logits = queries_QW[start : start + rows] @ keys_KW.T
        right = right_QK[start : start + rows]
        best = logits.masked_fill(~right | logits.isnan(), float("-inf")).amax(1, keepdim=True)
        larger = ((logits > best) | logits.isnan()).sum(1)
        ranks.append(torch.where(best[:, 0].isfinite(), larger, NOWHERE))
    return torch.cat(ranks)


@dataclass(slots=True)
class Recall:
    """Recall of a network over all pairs of a split."""

    _answers: list[Tensor] = field(default_factory=list)
    _numbers: list[Tensor] = field(default_factory=list)

    def add(self, logits: Tensor, batch: Batch, full: Tensor | None = None) -> None:
        """See `Tally`; the answers of pairs are two vectors each."""
        self._answers.append(logits.float())
        self._numbers.append(batch.targets)

    def _found(self) -> dict[str, tuple[float, int]]:
        answers = torch.cat(self._answers)
        return recalls(answers[:, 0], answers[:, 1], torch.cat(self._numbers))

    def values(self) -> dict[str, float]:
        """See `Tally`."""
        return {metric: value for metric, (value, _) in self._found().items()}

    def intervals(self) -> dict[str, Interval]:
        """See `Tally`. Wilson's over the queries, with the lists that they search as they are."""
        return {metric: wilson(round(value * count), count) for metric, (value, count) in self._found().items()}


@dataclass(slots=True)
class ZeroShot:
    """Share of images that are nearest to the texts of their class.

    The unit vectors of each class's texts are averaged and made as long as 1 again (arXiv 2103.00020, 3.1.4).
    """

    _images: list[Tensor] = field(default_factory=list)
    _labels: list[Tensor] = field(default_factory=list)
    _texts: list[Tensor] = field(default_factory=list)
    _classes: list[Tensor] = field(default_factory=list)

    def add(self, logits: Tensor, batch: Batch, full: Tensor | None = None) -> None:
        """See `Tally`; targets are the class of each image and of each text, or `IGNORED`."""
        # Behind the vectors stand the bias and a 1, which no choice of a class depends on.
        vectors_N2W = logits.float()[..., :-1]
        for place, (vectors, numbers) in enumerate(((self._images, self._labels), (self._texts, self._classes))):
            counts = batch.targets[:, place] != IGNORED
            vectors.append(vectors_N2W[counts, place])
            numbers.append(batch.targets[counts, place])

    def _right(self) -> tuple[int, int]:
        texts_PW, classes_P = torch.cat(self._texts), torch.cat(self._classes)
        count = int(classes_P.max()) + 1
        sums_CW = torch.zeros(count, texts_PW.shape[1], device=texts_PW.device).index_add(0, classes_P, texts_PW)
        logits = torch.cat(self._images) @ F.normalize(sums_CW, dim=1).T
        right = (logits.argmax(1) == torch.cat(self._labels)) & ~logits.isnan().any(1)
        return int(right.sum()), len(right)

    def values(self) -> dict[str, float]:
        """See `Tally`."""
        right, count = self._right()
        return {"zero_shot_accuracy": right / count}

    def intervals(self) -> dict[str, Interval]:
        """See `Tally`. Wilson's."""
        return {"zero_shot_accuracy": wilson(*self._right())}


@dataclass(frozen=True, slots=True)
class ZeroShotExam:
    """A split's images, each once, and the texts of their classes.

    Raises:
        DataError: the split's images have no classes.

    Attributes:
        prefix: before the metric's name, such as `test_`.
    """

    split: Split
    prefix: str = ""
    against_full: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.split.prompts is None:
            raise DataError("zero_shot_accuracy needs classes of images: name their column in data.label.")

    def batches(self, device: torch.device) -> Iterator[Batch]:
        """See `Exam`. Images and texts lie side by side; the shorter list is filled up with what does not count."""
        from supernet.scores.labels import batch_size  # which reads this module

        split, size = self.split, batch_size(self.split)
        assert split.prompts is not None
        assert split.rows is not None
        places_I = _first_places(split.rows)
        texts, classes, labels_I = split.prompts.texts, split.prompts.classes, split.prompts.labels[places_I.cpu()]
        for start in range(0, max(len(places_I), len(texts)), size):
            asked = torch.arange(start, min(start + size, max(len(places_I), len(texts))))
            image, text = asked.clamp(max=len(places_I) - 1), asked.clamp(max=len(texts) - 1)
            targets = torch.stack((labels_I[image], classes[text]), dim=1)
            targets[asked >= len(places_I), 0] = IGNORED
            targets[asked >= len(texts), 1] = IGNORED
            inputs = dict(split.inputs(places_I[image.to(places_I.device)], device))
            inputs[TEXTS] = texts[text].to(device).long()
            assert set(inputs) == {IMAGES, TEXTS}
            yield Batch(inputs, targets.to(device))

    def tally(self) -> Tally:
        """See `Exam`."""
        return _Named(ZeroShot(), self.prefix) if self.prefix else ZeroShot()


def _first_places(rows_N: Tensor) -> Tensor:
    """The first example of each image."""
    kept, group_N = rows_N.unique(return_inverse=True)
    place_N = torch.arange(len(group_N), device=group_N.device)
    return torch.full((len(kept),), len(group_N), device=group_N.device).scatter_reduce(0, group_N, place_N, "amin")


@dataclass(slots=True)
class _Named:
    """A tally whose metrics have a prefix."""

    inner: Tally
    prefix: str

    def add(self, logits: Tensor, batch: Batch, full: Tensor | None = None) -> None:
        """See `Tally`."""
        self.inner.add(logits, batch, full)

    def values(self) -> dict[str, float]:
        """See `Tally`."""
        return {f"{self.prefix}{name}": value for name, value in self.inner.values().items()}

    def intervals(self) -> dict[str, Interval]:
        """See `Tally`."""
        return {f"{self.prefix}{name}": ends for name, ends in self.inner.intervals().items()}
