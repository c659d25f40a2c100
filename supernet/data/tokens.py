"""From text to token ids: bytes, or a checkpoint's tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np

from supernet.data.dataset import DataError

# Texts handed to a fast tokenizer at once: it works through them in parallel.
TEXTS_AT_ONCE = 1024
# Characters of a text that is tokenized in pieces.
LONG = 1_000_000
# Who answers, in chat templates.
ASSISTANT = "assistant"


class Turn(TypedDict):
    """Tokens of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Answered:
    """Ids of a question with its answer.

    Attributes:
        ids: shape (T,), int32.
        counts: True where an id belongs to an answer, shape (T,).
    """

    ids: np.ndarray
    counts: np.ndarray


class Tokenizer(Protocol):
    """What the text sources need of a tokenizer."""

    @property
    def name(self) -> str:
        """A name for model cards."""

    @property
    def vocab(self) -> int:
        """Number of ids."""

    @property
    def padding(self) -> int:
        """The id behind the end of a short text."""

    @property
    def start(self) -> int:
        """The id before a text that follows nothing."""

    @property
    def bos(self) -> tuple[int, ...]:
        """What stands before every text that is asked a question, usually one id or none."""

    @property
    def ends(self) -> int | None:
        """The id that ends a text; None: there is none."""

    def stream(self, text: str) -> np.ndarray:
        """Ids of a long text without special tokens, shape (T,), int32."""

    @property
    def between(self) -> str:
        """How documents of a stream are told apart, in words that follow `every document`."""

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        """Ids of documents one after the other, with the tokens that tell them apart, shape (T,), int32."""

    @property
    def chats(self) -> bool:
        """Whether it has a chat template."""

    def answered(self, prompt: str, answer: str) -> Answered:
        """A prompt and its answer, tokenized apart, because a prompt alone is what there is before an answer."""

    def conversation(self, turns: Sequence[Turn]) -> Answered:
        """Turns as the chat template writes them; what the assistant says, with the end of its turn, is answer.

        Raises:
            DataError: the template refuses them, or writes a turn otherwise once others follow.
        """

    def texts(self, texts: Sequence[str], length: int) -> tuple[np.ndarray, np.ndarray]:
        """Padded ids (N, length) int32 of short texts, cut at the end, and their lengths (N,) int64."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """UTF-8 bytes: 256 ids and nothing to download. Text holds no byte 0, so that one pads."""

    name: str = "UTF-8 bytes"
    vocab: int = 256
    padding: int = 0
    start: int = 0
    bos: tuple[int, ...] = ()
    ends: int | None = None

    def stream(self, text: str) -> np.ndarray:
        """See `Tokenizer`."""
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int32)

    @property
    def between(self) -> str:
        """See `Tokenizer`."""
        return "but the last ends with a byte 0, which text has not"

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        """See `Tokenizer`."""
        return self.stream("\0".join(texts))

    @property
    def chats(self) -> bool:
        """See `Tokenizer`."""
        return False

    def answered(self, prompt: str, answer: str) -> Answered:
        """See `Tokenizer`; a byte 0 ends the answer."""
        return _answered(self.stream(prompt), self.stream(f"{answer}\0"))

    def conversation(self, turns: Sequence[Turn]) -> Answered:
        """See `Tokenizer`."""
        raise DataError("Bytes have no chat template: name a checkpoint in data.tokenizer.")

    def texts(self, texts: Sequence[str], length: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Tokenizer`."""
        return padded([self.stream(text) for text in texts], length, self.padding)


class Pretrained:
    """A checkpoint's own tokenizer.

    Args:
        checkpoint: a folder with the tokenizer's files, or the name of a model on the Hub.

    Raises:
        DataError: there is none.
    """

    def __init__(self, checkpoint: str) -> None:
        from transformers import AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
        except Exception as error:  # transformers raises OSError, ValueError, KeyError and its own
            first = str(error).strip().split("\n")[0]
            raise DataError(
                f"data.tokenizer is {checkpoint!r}, but no tokenizer can be loaded from it ({first}). Give a "
                "folder with tokenizer.json, or null for bytes."
            ) from error
        self.name: str = Path(checkpoint).name
        self.vocab: int = len(self._tokenizer)
        known = (self._tokenizer.pad_token_id, self._tokenizer.eos_token_id, 0)
        self.padding: int = next(token for token in known if token is not None)
        known = (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id, self.padding)
        self.start: int = next(token for token in known if token is not None)
        self.bos: tuple[int, ...] = self._bos()
        self.ends: int | None = self._tokenizer.eos_token_id
        self.end: tuple[int, ...] = () if self.ends is None else (self.ends,)

    def _bos(self) -> tuple[int, ...]:
        """The special tokens that the checkpoint's tokenizer itself puts before a text."""
        whole: list[int] = self._tokenizer("a")["input_ids"]
        bare: list[int] = self._tokenizer("a", add_special_tokens=False)["input_ids"]
        starts = range(len(whole) - len(bare) + 1)
        return tuple(whole[: next((i for i in starts if whole[i : i + len(bare)] == bare), 0)])

    def stream(self, text: str) -> np.ndarray:
        """See `Tokenizer`. Lines are tokenized in groups, because one string of megabytes is slow."""
        lines = text.splitlines(keepends=True)
        groups = ["".join(lines[i : i + TEXTS_AT_ONCE]) for i in range(0, len(lines), TEXTS_AT_ONCE)]
        ids = self._tokenizer(groups, add_special_tokens=False, verbose=False)["input_ids"] if groups else []
        return np.concatenate([np.empty(0, np.int32), *(np.asarray(part, dtype=np.int32) for part in ids)])

    @property
    def between(self) -> str:
        """See `Tokenizer`."""
        first, last = (self._tokenizer.convert_ids_to_tokens(list(ids)) for ids in (self.bos, self.end))
        said = [f"begins with {' '.join(first)}"] if first else []
        said += [f"ends with {' '.join(last)}"] if last else []
        return " and ".join(said) or "follows the one before, because the tokenizer has no token to tell them apart"

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        """See `Tokenizer`: the token of the beginning where the tokenizer itself puts it, and that of the end."""
        first, last = np.asarray(self.bos, dtype=np.int32), np.asarray(self.end, dtype=np.int32)
        parts = [np.empty(0, np.int32)]
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            for ids in self._each(texts[start : start + TEXTS_AT_ONCE]):
                parts += [first, ids, last]
        return np.concatenate(parts)

    def _each(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of every text without special tokens."""
        if any(len(text) > LONG for text in texts):
            return [self.stream(text) for text in texts]
        encoded = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return [np.asarray(ids, dtype=np.int32) for ids in encoded]

    @property
    def chats(self) -> bool:
        """See `Tokenizer`."""
        return getattr(self._tokenizer, "chat_template", None) is not None

    def answered(self, prompt: str, answer: str) -> Answered:
        """See `Tokenizer`; the tokens of beginning and end stand around both."""
        before, after = self._each([prompt, answer])
        first, last = np.asarray(self.bos, dtype=np.int32), np.asarray(self.end, dtype=np.int32)
        return _answered(np.concatenate([first, before]), np.concatenate([after, last]))

    def conversation(self, turns: Sequence[Turn]) -> Answered:
        """See `Tokenizer`."""
        whole, spans = self._written(turns), []
        for place, turn in enumerate(turns):
            if turn["role"] != ASSISTANT:
                continue
            before, through = self._written(turns[:place], answer_next=True), self._written(turns[: place + 1])
            if not (whole.startswith(through) and through.startswith(before)):
                raise DataError(
                    f"The chat template of {self.name} writes a turn otherwise once others follow, so its answers "
                    "cannot be told from what is before them. Give conversations of one answer, or a data.template."
                )
            spans.append((len(before), len(through)))
        encoded = self._tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        starts = np.array([start for start, _ in encoded["offset_mapping"]], dtype=np.int64)
        counts = np.zeros(len(starts), dtype=bool)
        for first, last in spans:
            counts |= (first <= starts) & (starts < last)
        return Answered(np.asarray(encoded["input_ids"], dtype=np.int32), counts)

    def _written(self, turns: Sequence[Turn], *, answer_next: bool = False) -> str:
        if not turns and not answer_next:
            return ""
        try:
            written: str = self._tokenizer.apply_chat_template(
                list(turns), tokenize=False, add_generation_prompt=answer_next
            )
        except Exception as error:  # templates are programs of the checkpoint's
            first = str(error).strip().split("\n")[0]
            raise DataError(f"The chat template of {self.name} refuses a conversation: {first}") from error
        return written

    def texts(self, texts: Sequence[str], length: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Tokenizer`. Special tokens such as [CLS] are those that the checkpoint was trained with."""
        rows: list[np.ndarray] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = list(texts[start : start + TEXTS_AT_ONCE])
            encoded = self._tokenizer(part, truncation=True, max_length=length)["input_ids"]
            rows += [np.asarray(row, dtype=np.int32) for row in encoded]
        return padded(rows, length, self.padding)


def _answered(before: np.ndarray, after: np.ndarray) -> Answered:
    counts = np.arange(len(before) + len(after)) >= len(before)
    return Answered(np.concatenate([before, after]), counts)


def tokenizer(checkpoint: str | None) -> Tokenizer:
    """A checkpoint's tokenizer, or bytes where there is none."""
    return Bytes() if checkpoint is None else Pretrained(checkpoint)


def padded(rows: Sequence[np.ndarray], length: int, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows cut or padded to one length, (N, length) int32, and the lengths before padding, (N,) int64.

    An empty text keeps one token of padding, so that no network averages over nothing.
    """
    ids = np.full((len(rows), length), padding, dtype=np.int32)
    lengths = np.ones(len(rows), dtype=np.int64)
    for i, row in enumerate(rows):
        kept = row[:length]
        ids[i, : len(kept)] = kept
        lengths[i] = max(1, len(kept))
    return ids, lengths
