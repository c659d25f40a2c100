"""Latency tables as CSV files: Winnow's own form, and the form of the published tables of phones.

Own form, one row per layer and optionally one whose key is `overhead`:

    target,key,latency_ms,spread_ms,runs
    cpu-onnxruntime,"mbconv(in_channels=16,...)",0.041,0.002,300

Phones' form, one row per part of a network and resolution:

    lut,resolution,key,mean_ms,std,var,count
    proxyless_mobile_pixel1,224,Conv-input:224x224x3-output:112x112x32,4.08,,0.25,982

A file is refused as a whole: every bad line is counted and the first few are named.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from predictors.tables import WINNOW, LatencyTable, Row

OWN_COLUMNS = ("target", "key", "latency_ms", "spread_ms", "runs")
PHONE_COLUMNS = ("lut", "resolution", "key", "mean_ms", "std", "var", "count")
# Columns without which a file says nothing; the others may be left out.
OWN_NEEDED = ("target", "key", "latency_ms")
PHONE_NEEDED = ("lut", "resolution", "key", "mean_ms")
OVERHEAD = "overhead"
# Bad lines that an error names one by one.
NAMED_LINES = 5
# A hundred times the largest published table.
MOST_BYTES = 200_000_000


def read_table(path: Path) -> LatencyTable:
    """The table of a CSV file in either form.

    Raises:
        ValueError: what is wrong with the file, with line numbers.
        OSError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not a text file in UTF-8: {error.reason} at byte {error.start}.") from error
    return parse_table(text, path.name)


def read_named_table(path: Path) -> LatencyTable:
    """The table of a file that a job names. What is wrong with it is told without a word of what it holds: whoever
    names a file need not be the one who may read it.

    Raises:
        ValueError: it is no table.
        OSError: it cannot be read.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError
        return read_table(path)
    except ValueError:
        raise ValueError(
            f"{str(path)!r} is no table of latencies that can be used. `winnow targets add NAME --table FILE` uploads "
            "one, and says which lines are wrong."
        ) from None


def parse_table(text: str, name: str = "The table") -> LatencyTable:
    """The table of a CSV text.

    Args:
        name: how errors call the text.

    Raises:
        ValueError: unknown or missing columns, no rows, several targets, a latency that is not a positive number, or
            two rows for one layer. Lines are counted from 1, the header's.
    """
    lines = _read_lines(text, name)
    header = [column.strip() for column in next(lines, (1, []))[1]]
    phones = "lut" in header or "mean_ms" in header
    known, needed = (PHONE_COLUMNS, PHONE_NEEDED) if phones else (OWN_COLUMNS, OWN_NEEDED)
    _check_header(header, known, needed, name)
    reader = _Lines(header, name)
    rows: dict[str, Row] = {}
    targets: dict[str, None] = {}
    for number, values in lines:
        if any(value.strip() for value in values):
            parse = _phone_row if phones else _own_row
            reader.take(number, values, parse, rows, targets)
    reader.finish()
    if not rows:
        raise ValueError(f"{name} has no rows under its header.")
    if len(targets) > 1:
        raise ValueError(f"{name} mixes {len(targets)} targets: {', '.join(targets)}. Give each a file of its own.")
    target = next(iter(targets))
    if phones:
        form = "once_for_all" if any("-se:" in key for key in rows) else "proxylessnas"
        return LatencyTable(target, rows, form)
    overhead = rows.pop(OVERHEAD, None)
    return LatencyTable(target, rows, WINNOW, overhead.latency_ms if overhead else 0.0)


def _read_lines(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Lines of a CSV with their numbers, whatever ends them.

    Raises:
        ValueError: it is no CSV, such as with a cell that is too long.
    """
    lines = csv.reader(io.StringIO(text, newline=None))
    try:
        for values in lines:
            yield lines.line_num, values
    except csv.Error as error:
        raise ValueError(f"{name} is no CSV: {error}, near line {lines.line_num}.") from None


def write_table(table: LatencyTable, path: Path) -> None:
    """Writes a table in the form that its keys have; `read_table` gives an equal one back.

    Raises:
        ValueError: an overhead in a phone's form, which has no place for one.
        OSError: it cannot be written.
    """
    path.write_text(table_text(table), encoding="utf-8")


def table_text(table: LatencyTable) -> str:
    """The text that `write_table` writes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if table.form == WINNOW:
        writer.writerow(OWN_COLUMNS)
        if table.overhead_ms:
            writer.writerow((table.target, OVERHEAD, repr(table.overhead_ms), "", ""))
        for key, row in table.rows.items():
            writer.writerow((table.target, key, repr(row.latency_ms), _text(row.spread_ms), _text(row.runs)))
        return out.getvalue()
    if table.overhead_ms:
        raise ValueError(f"A table of form {table.form!r} has no place for an overhead of {table.overhead_ms} ms.")
    writer.writerow(PHONE_COLUMNS)
    for key, row in table.rows.items():
        resolution, part = key.split("/", 1)
        writer.writerow(
            (table.target, resolution, part, repr(row.latency_ms), _text(row.spread_ms), "", _text(row.runs))
        )
    return out.getvalue()


# --- lines ----------------------------------------------------------------------------------------


class _Lines:
    """Reads lines one by one and remembers what is wrong with them."""

    def __init__(self, header: list[str], name: str) -> None:
        self._header, self._name = header, name
        self._wrong: list[str] = []
        self._line_of: dict[str, int] = {}

    def take(
        self,
        line: int,
        values: list[str],
        parse: Callable[[dict[str, str]], tuple[str, str, Row]],
        rows: dict[str, Row],
        targets: dict[str, None],
    ) -> None:
        if len(values) != len(self._header):
            self._wrong.append(f"line {line} has {len(values)} fields where the header has {len(self._header)}")
            return
        fields = {name: value.strip() for name, value in zip(self._header, values, strict=True)}
        try:
            target, key, row = parse(fields)
        except ValueError as error:
            self._wrong.append(f"line {line}: {error}")
            return
        if key in rows:
            self._wrong.append(f"line {line} gives {key} again, which line {self._line_of[key]} gave")
            return
        rows[key], self._line_of[key] = row, line
        targets[target] = None

    def finish(self) -> None:
        if self._wrong:
            more = len(self._wrong) - NAMED_LINES
            tail = f"; and {more} more lines" if more > 0 else ""
            raise ValueError(f"{self._name} cannot be used: {'; '.join(self._wrong[:NAMED_LINES])}{tail}.")


def _check_header(header: list[str], known: tuple[str, ...], needed: tuple[str, ...], name: str) -> None:
    unknown = [column for column in header if column not in known]
    missing = [column for column in needed if column not in header]
    if unknown or missing or len(set(header)) != len(header):
        raise ValueError(
            f"{name} has columns {', '.join(map(repr, header)) or 'none'}. A table has the columns "
            f"{','.join(OWN_COLUMNS)}, of which {', '.join(OWN_NEEDED)} are needed, or, as the published tables of "
            f"phones have, {','.join(PHONE_COLUMNS)}."
        )


def _own_row(fields: dict[str, str]) -> tuple[str, str, Row]:
    spread, runs = fields.get("spread_ms", ""), fields.get("runs", "")
    row = Row(
        _latency(fields["latency_ms"], fields["key"]),
        _spread(spread) if spread else None,
        _count(runs) if runs else None,
    )
    return _given(fields, "target"), _given(fields, "key"), row


def _phone_row(fields: dict[str, str]) -> tuple[str, str, Row]:
    resolution = _count(_given(fields, "resolution"))
    key = _given(fields, "key")
    deviation, variance, count = (fields.get(name, "") for name in ("std", "var", "count"))
    spread = _spread(deviation) if deviation else math.sqrt(_spread(variance)) if variance else None
    row = Row(_latency(fields["mean_ms"], key), spread, _count(count) if count else None)
    return _given(fields, "lut"), f"{resolution}/{key}", row


def _given(fields: dict[str, str], column: str) -> str:
    if not fields[column]:
        raise ValueError(f"{column} is empty")
    return fields[column]


def _latency(text: str, key: str) -> float:
    value = _number(text)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{text or 'nothing'} ms for {key}, where a latency is a positive number")
    return value


def _spread(text: str) -> float:
    value = _number(text)
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"a spread of {text}, where it is 0 or more")
    return value


def _count(text: str) -> int:
    value = _number(text)
    if not (value > 0 and value.is_integer()):
        raise ValueError(f"{text!r} where a whole number above 0 is needed")
    return int(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _text(value: float | int | None) -> str:
    return "" if value is None else repr(value)
