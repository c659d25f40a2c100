"""Parts: which folders, files or splits of a data set are for training, validation and test, by their names.

The owner's parts are used as they are: `validation` for the search, `test` for the end. What is not there is carved
from training data. Two parts that could both be meant are refused; any part may be named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from supernet.data.errors import DataError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# Role -> names of parts, without case, blanks, dots, hyphens and underscores.
NAMES = {
    TRAIN: ("train", "training", "trainset", "trainingset", "traindata", "trainingdata"),
    VALIDATION: (
        *("validation", "valid", "val", "dev", "development"),
        *("validationset", "validset", "valset", "devset", "validationdata", "valdata"),
    ),
    TEST: ("test", "testing", "testset", "testingset", "testdata"),
}


def role_of(name: str, *, prefix: bool = False) -> str | None:
    """What a part is for; None where its name does not say.

    Args:
        prefix: whether the first word alone may say it, as in `validation_matched`.
    """
    words = [word for word in re.split(r"[\s._-]+", name.casefold()) if word]
    if not words:
        return None
    asked = {"".join(words), words[0]} if prefix else {"".join(words)}
    return next((role for role, names in NAMES.items() if asked & set(names)), None)


def chosen_parts(
    found: Sequence[str], asked: Mapping[str, str | None], where: str, *, prefix: bool = False
) -> dict[str, str]:
    """Role -> name, of the parts that are used.

    Args:
        found: names of all parts.
        asked: role -> the name that a job gives it.
        where: they are, for messages.
        prefix: see `role_of`.

    Raises:
        DataError: an asked part is not there, one part has two roles, or two parts could have one role.
    """
    chosen = {role: _named(role, name, found, where) for role, name in asked.items() if name is not None}
    twice = sorted({name for name in chosen.values() if list(chosen.values()).count(name) > 1})
    if twice:
        roles = " and ".join(f"data.{role}_split" for role, name in chosen.items() if name == twice[0])
        raise DataError(f"{roles} both name {twice[0]!r}; one part cannot be both.")
    left = [name for name in found if name not in chosen.values()]
    for role in NAMES:
        if role in chosen:
            continue
        exact = [name for name in left if role_of(name) == role]
        candidates = exact or [name for name in left if prefix and role_of(name, prefix=True) == role]
        if len(candidates) > 1:
            listed = " and ".join([", ".join(candidates[:-1]), candidates[-1]])
            raise DataError(f"{where} has {listed}, which could all be for {role}: name one in data.{role}_split.")
        if candidates:
            chosen[role] = candidates[0]
    return chosen


def _named(role: str, name: str, found: Sequence[str], where: str) -> str:
    if name not in found:
        there = ", ".join(found[:20]) or "none"
        raise DataError(f"data.{role}_split is {name!r}, but {where} has no such part; there are: {there}.")
    return name


def stems(names: Iterable[str], suffixes: Sequence[str]) -> dict[str, list[str]]:
    """Part -> files of it, of a folder of files such as `train.tsv` and `test.tsv.gz`."""
    parts: dict[str, list[str]] = {}
    for name in sorted(names):
        for suffix in suffixes:
            for ending in (suffix, f"{suffix}.gz"):
                if name.lower().endswith(ending) and not name.startswith("."):
                    parts.setdefault(name[: -len(ending)], []).append(name)
    return parts


def sources_of(
    chosen: Mapping[str, str], why_not: Mapping[str, str], seed: int, shares: Mapping[str, float]
) -> dict[str, str]:
    """Where every split comes from, in words.

    Args:
        why_not: role -> why a part that is there is not used.
        shares: shares of what is carved.
    """
    said = {TRAIN: chosen.get(TRAIN, "the whole of it")}
    for role in (VALIDATION, TEST):
        if role in chosen and role not in why_not:
            said[role] = chosen[role]
            continue
        by = f"seed {seed}" if role == VALIDATION else "the same for every seed"
        reason = f"; {why_not[role]}" if role in why_not else ""
        said[role] = f"carved from training data (a share of {shares[role]:g}, {by}){reason}"
    return said


def files_of_parts(
    path: Path, asked: Mapping[str, str | None], suffixes: Sequence[str], example: str, also_train: Sequence[str] = ()
) -> tuple[dict[str, Path], dict[str, str]]:
    """Files of the parts by role, and their names: of a folder such as `train.tsv` and `test.tsv`, or of one file.

    Args:
        example: example of what is right, for messages.
        also_train: further names of the training part.

    Raises:
        DataError: there is no training part, a part has two files, or two parts could have one role.
    """
    if not path.is_dir():
        named = [f"data.{role}_split" for role, name in asked.items() if name is not None]
        if named:
            raise DataError(f"{named[0]} names a part, but data.path {str(path)!r} is one file; give a folder.")
        return {TRAIN: path}, {TRAIN: "the whole of it"}
    parts = stems([entry.name for entry in path.iterdir() if entry.is_file()], suffixes)
    chosen = chosen_parts([*parts], asked, str(path))
    for name in also_train:
        if TRAIN not in chosen and name in parts:
            chosen[TRAIN] = name
    if TRAIN not in chosen:
        there = ", ".join(parts) or "none"
        raise DataError(
            f"data.path {str(path)!r} has no train{suffixes[0]} (its parts: {there}); give {example}, or name it in "
            "data.train_split."
        )
    for name in chosen.values():
        if len(parts[name]) > 1:
            raise DataError(f"{path} has {' and '.join(parts[name])}, which are one part twice; keep one of them.")
    return {role: path / parts[name][0] for role, name in chosen.items()}, {
        role: parts[name][0] for role, name in chosen.items()
    }
