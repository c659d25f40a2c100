"""Labels: whether what stands in a column are classes, and whether a label is there at all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from supernet.data.errors import DataError
from supernet.data.inventory import NAMED

# Columns that hold labels by their names, without case.
LABEL_NAMES = ("label", "labels", "class", "target", "fine_label", "coarse_label")
# A table with a larger share of rows without a label is another one than its owner means.
MOST_UNLABELLED = 0.25
# From so many rows on, a label for every second row is no class.
FEW_ROWS = 20
# Between the labels of one example.
SEPARATORS = "|;,"
UNLABELLED = "-1"


def check_classes(labels: Sequence[str], column: str, where: str) -> None:
    """Refuse labels to learn from that are no classes.

    Args:
        column: for messages, as is `where` they come from.

    Raises:
        DataError: they are numbers to be predicted, several labels in one, or a different one for every row.
    """
    distinct = Counter(labels)
    numbers = [_number(label) for label in distinct]
    if all(number is not None for number in numbers) and any(number != round(number or 0) for number in numbers):
        some = ", ".join([label for label in distinct if not float(label).is_integer()][:NAMED])
        raise DataError(
            f"Column {column} of {where} holds numbers such as {some}: that is regression, and only classification is "
            "supported. Make classes of them, such as ranges, or name another column in data.label."
        )
    if any(_holds_several(label, distinct) for label in distinct):
        raise DataError(
            f"Column {column} of {where} holds several labels in one: that is multi-label classification, and only one "
            "label an example is supported. Give every example one label, or name another column in data.label."
        )
    check_number_of_classes(len(distinct), len(labels), column, where)


def are_whole_floats(labels: Sequence[str]) -> bool:
    """Whether all labels are whole numbers of which some are written as floats, as `1.0` is."""
    distinct = set(labels)
    numbers = [_number(label) for label in distinct]
    return all(number is not None and number.is_integer() for number in numbers) and any(
        not label.lstrip("+-").isdigit() for label in distinct
    )


def whole(label: str) -> str:
    """`1` for `1.0`; any other label as it is."""
    number = _number(label)
    return label if number is None or not number.is_integer() else str(int(number))


def check_number_of_classes(distinct: int, rows: int, column: str, where: str) -> None:
    """Refuse a column with something else in nearly every row, such as text or ids.

    Raises:
        DataError: with the numbers.
    """
    if rows >= FEW_ROWS and distinct > rows / 2:
        raise DataError(
            f"Column {column} of {where} has {distinct} different values in {rows} rows, which are no classes: text, "
            "ids, or numbers to be predicted (regression, which is not supported). Name the column of labels in "
            "data.label, and that of text in data.text."
        )


def alike(classes: Sequence[str]) -> tuple[str, ...]:
    """What to say of classes whose names differ in case or blanks alone."""
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault("".join(name.casefold().split()), []).append(name)
    twice = [", ".join(names) for names in groups.values() if len(names) > 1]
    return (f"Classes whose names differ in case or blanks alone: {'; '.join(twice[:NAMED])}.",) if twice else ()


def refuse_lists(column: str, where: str) -> DataError:
    """What to raise for a column whose every label is a list."""
    return DataError(
        f"Column {column} of {where} holds lists of labels: that is multi-label classification, and only one label an "
        "example is supported. Give every example one label, or name another column in data.label."
    )


def check_labelled(missing: Sequence[int], rows: int, column: str, where: str) -> None:
    """Refuse a part that lacks so many labels that it is not meant so.

    Args:
        missing: numbers of the rows without a label.

    Raises:
        DataError: with the first of them.
    """
    if len(missing) > MOST_UNLABELLED * rows:
        some = ", ".join(map(str, missing[:NAMED])) + (", ..." if len(missing) > NAMED else "")
        row = "Row" if len(missing) == 1 else "Rows"
        has = "has" if len(missing) == 1 else "have"
        raise DataError(
            f"{row} {some} of {where} {has} no label in column {column} ({len(missing)} of {rows} rows). Remove them, "
            "or name another column in data.label."
        )


def _number(label: str) -> float | None:
    try:
        number = float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _holds_several(label: str, known: Counter[str]) -> bool:
    """Whether a label is a list, or is made of labels that other examples have alone."""
    if label[:1] + label[-1:] in ("[]", "{}", "()") and len(label) > 1:
        return True
    for separator in SEPARATORS:
        parts = [part.strip() for part in label.split(separator)]
        if len(parts) > 1 and all(part in known for part in parts):
            return True
    return False
