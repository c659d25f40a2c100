"""Questions with answers, or conversations, for language models: what is learned and scored is the answers alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from supernet.data.dataset import IGNORED, DataError, Dataset, Split
from supernet.data.decoding import Decoding
from supernet.data.inventory import BEYOND_LIMIT, Inventory, left_out
from supernet.data.parts import TEST, TRAIN, VALIDATION, sources_of
from supernet.data.sources.instructions.options import InstructionsOptions
from supernet.data.splitting import fewer, held_out, without
from supernet.data.tables import CONVERSATIONS, table_parts
from supernet.data.text import facts
from supernet.data.tokens import Answered, Tokenizer, Turn, tokenizer

# A column in a template.
PLACE = re.compile(r"\{([^{}\n]+)\}")
NO_ANSWER, NOTHING_LEFT = "without an answer", "whose answer begins beyond data.length"
# Words of other forms of conversations for roles and fields.
ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
FIELDS = (("role", "content"), ("from", "value"))


@dataclass(frozen=True, slots=True)
class Instructions:
    """Every row is one padded example; targets before its answers, and behind its end, do not count."""

    options: InstructionsOptions

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The data set.

        Raises:
            DataError: it cannot be loaded, its columns are not named, or nothing is left of it.
        """
        options = self.options
        parts, names = table_parts(options)
        reader = tokenizer(options.tokenizer)
        columns, read, told = self._form(parts[TRAIN].features, reader)
        made = {role: self._part(rows, read, reader, role) for role, rows in parts.items()}
        name = Path(options.path).name
        train, rest, beyond = made[TRAIN], dict(made), 0
        shares = {VALIDATION: options.validation_share, TEST: options.test_share}
        if TEST not in rest:
            held = held_out(np.zeros(len(train), dtype=np.int64), options.test_share, 0, name, "test")
            rest[TEST], train = train.take(held), train.take(without(len(train), held))
        kept = fewer(np.zeros(len(train), dtype=np.int64), options.limit, name)
        train, beyond = train.take(kept), len(train) - len(kept)
        if VALIDATION not in rest:
            held = held_out(np.zeros(len(train), dtype=np.int64), options.validation_share, seed, name)
            rest[VALIDATION], train = train.take(held), train.take(without(len(train), held))
        skipped = [row for part in made.values() for row in part.left_out] + [(BEYOND_LIMIT, "")] * beyond
        cut = sum(part.cut for part in made.values())
        remarks = [f"{cut:,} answers are cut at {options.length} tokens."] if cut else []
        preprocessing = facts(reader, f"tokens, shape (batch, {options.length}), int64, padded with {reader.padding}")
        splits = {TRAIN: train.split, VALIDATION: rest[VALIDATION].split, TEST: rest[TEST].split}
        return Dataset(
            name,
            f"instructions {name}",
            {**preprocessing, "length": options.length, "padding": reader.padding, "template": told},
            train=splits[TRAIN],
            validation=splits[VALIDATION],
            test=splits[TEST],
            num_classes=reader.vocab,
            inventory=Inventory(
                "rows",
                len(skipped) + sum(map(len, splits.values())),
                left_out(skipped),
                columns,
                sources_of(names, {}, seed, shares),
                tuple(remarks),
            ),
        )

    def _form(
        self, features: Mapping[str, Any], reader: Tokenizer
    ) -> tuple[dict[str, str], Callable[[Mapping[str, Any]], Answered | None], str]:
        """The columns, how a row is read (None: it has no answer), and the same in words.

        Raises:
            DataError: a column is missing, or none is named and none is clear.
        """
        options, where = self.options, repr(self.options.path)
        if options.answer is not None:
            template = options.template
            used = [options.prompt] if options.prompt is not None else PLACE.findall(template or "")
            for column in (*used, options.answer):
                if column not in features:
                    raise DataError(f"{where} has no column {column!r}; its columns are {', '.join(features)}.")
            if template is None and not reader.chats:
                raise DataError(
                    f"The tokenizer {reader.name} has no chat template, so what stands before an answer is not known: "
                    "give a data.template, such as 'Question: {" + used[0] + "}\\nAnswer: '."
                )
            columns = {"prompt": ", ".join(used), "answer": options.answer}
            how = "the tokenizer's chat template" if template is None else f"the template {template!r}"
            said = f"{how}; loss on column {options.answer} alone"
            return columns, lambda row: _pair(row, used, columns["answer"], template, reader), said
        column = options.messages or _conversation(features, where)
        if column not in features:
            raise DataError(f"{where} has no column {column!r}; its columns are {', '.join(features)}.")
        if not reader.chats:
            raise DataError(
                f"{where} holds conversations, and the tokenizer {reader.name} has no chat template that says how they "
                "are written. Name a checkpoint in data.tokenizer that has one."
            )
        said = "the tokenizer's chat template; loss on the assistant's turns alone"
        return {"messages": column}, lambda row: _turns(row[column], reader), said

    def _part(
        self, rows: Any, read: Callable[[Mapping[str, Any]], Answered | None], reader: Tokenizer, role: str
    ) -> _Part:
        length, skipped, kept, cut = self.options.length, [], [], 0
        for number, row in enumerate(rows, 1):
            try:
                found = read(row)
            except DataError as error:
                raise DataError(f"Row {number} of the {role} part of {self.options.path!r}: {error}") from None
            name = f"{role} row {number}"
            if found is None or not found.counts.any():
                skipped.append((NO_ANSWER, name))
            elif not found.counts[1 : length + 1].any():
                skipped.append((NOTHING_LEFT, name))
            else:
                cut += len(found.ids) > length + 1
                kept.append(found)
        if not kept:
            raise DataError(f"The {role} part of {self.options.path!r} has no row with an answer.")
        return _Part(_packed(kept, length, reader.padding), tuple(skipped), cut)


@dataclass(frozen=True, slots=True)
class _Part:
    """Examples of one part, and what is left out of it.

    Attributes:
        cut: examples whose end is beyond the length.
    """

    split: Split
    left_out: tuple[tuple[str, str], ...] = ()
    cut: int = 0

    def __len__(self) -> int:
        return len(self.split)

    def take(self, index: np.ndarray) -> _Part:
        """Some of its examples."""
        return _Part(self.split.take(torch.from_numpy(index)))


def _packed(found: Sequence[Answered], length: int, padding: int) -> Split:
    """Examples padded behind their end, where no earlier position of a causal network looks."""
    inputs_NT = np.full((len(found), length), padding, dtype=np.int32)
    targets_NT = np.full((len(found), length), IGNORED, dtype=np.int32)
    for row, one in enumerate(found):
        ids, counts = one.ids[: length + 1], one.counts[: length + 1]
        inputs_NT[row, : len(ids) - 1] = ids[:-1]
        targets_NT[row, : len(ids) - 1] = np.where(counts[1:], ids[1:], IGNORED)
    return Split(torch.from_numpy(inputs_NT), torch.from_numpy(targets_NT), partial=True)


def _conversation(features: Mapping[str, Any], where: str) -> str:
    found = [name for name in features if name.casefold() in CONVERSATIONS]
    if len(found) != 1:
        raise DataError(
            f"{where} has the columns {', '.join(features)}, and which are questions and answers would be a guess: "
            "name data.prompt (or a data.template) and data.answer, or data.messages for conversations."
        )
    return found[0]


def _pair(
    row: Mapping[str, Any], used: Sequence[str], answer: str, template: str | None, reader: Tokenizer
) -> Answered | None:
    """A question with its answer; None where one of them is missing."""
    given = {column: row[column] for column in used}
    if row[answer] is None or not str(row[answer]).strip() or (given and all(v is None for v in given.values())):
        return None
    words = {column: "" if value is None else str(value) for column, value in given.items()}
    if template is not None:
        return reader.answered(PLACE.sub(lambda place: words[place[1]], template), str(row[answer]))
    turns: list[Turn] = [
        {"role": "user", "content": words[used[0]]},
        {"role": "assistant", "content": str(row[answer])},
    ]
    return reader.conversation(turns)


def _turns(value: Any, reader: Tokenizer) -> Answered | None:
    """A conversation; None where there is none."""
    return None if not value else reader.conversation(list(_of_one_form(value)))


def _of_one_form(value: Any) -> Iterator[Turn]:
    if isinstance(value, dict) and all(isinstance(words, list) for words in value.values()):
        # As `datasets` gives a sequence of records: a list for each field.
        value = [dict(zip(value, turn, strict=True)) for turn in zip(*value.values(), strict=True)]
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise DataError("a conversation must be a list of turns, each with `role` and `content`.")
    for turn in value:
        for who, what in FIELDS:
            if turn.get(who) is not None and turn.get(what) is not None:
                yield {"role": ROLES.get(str(turn[who]), str(turn[who])), "content": str(turn[what])}
                break
        else:
            raise DataError(f"a turn has {', '.join(turn) or 'nothing'}; it needs `role` and `content` as text.")


SOURCE = Instructions
