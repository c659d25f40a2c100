"""What was measured for every claim of the documentation, how long it took, and what is not finished.

    make evidence                        # the table; nothing is run
    make evidence ARGS=--markdown        # the same as docs/results.md has it
    make evidence ARGS="--resume NAME"   # runs one claim's command, or with no name all that have no result file

A command that is resumed writes `benchmarks/results/NAME_MACHINE_DATE.json`, with its own command line, seconds and
load under `evidence`, whole or not at all; benchmarks with a cache go on where they were. What was written before there
was this file has no `evidence`: then its own `seconds` are shown, or the sum of those of its parts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.claims import CLAIMS, Claim

RESULTS = Path(__file__).parent / "results"
DATED = re.compile(r"_(\d{4}-\d\d-\d\d)\.json$")


def took(file: Path) -> tuple[float, bool] | None:
    """Seconds that a result took, and whether they are all; None where it does not say."""
    written: Any = json.loads(file.read_text())
    if isinstance(written, dict):
        if "evidence" in written:
            return float(written["evidence"]["seconds"]), True
        if isinstance(written.get("seconds"), int | float):
            return float(written["seconds"]), True
    parts = list(_seconds(written))
    return (sum(parts), False) if parts else None


def _seconds(written: Any) -> Iterator[float]:
    """Every number named `seconds`, at any depth."""
    for key, value in written.items() if isinstance(written, dict) else enumerate(written):
        if key == "seconds" and isinstance(value, int | float):
            yield float(value)
        elif key != "spec" and isinstance(value, dict | list):
            yield from _seconds(value)


def _time(claim: Claim) -> str:
    """How long its newest result took, in words."""
    if not claim.files:
        return "no result file"
    known = took(RESULTS / claim.files[-1])
    # Parts of less than a second together are settings, such as how long one network is measured.
    if known is None or known[0] < 1:
        return "not recorded"
    seconds, whole = known
    words = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return words if whole else f"at least {words}"


def _date(claim: Claim) -> str:
    """Of its newest result."""
    found = DATED.search(claim.files[-1]) if claim.files else None
    return found[1] if found else "never"


def rows() -> list[tuple[str, ...]]:
    """Name, standing, newest result, time, command, note."""
    return [
        (
            claim.name,
            claim.standing,
            _date(claim),
            _time(claim),
            f"python -m benchmarks.{claim.command}" + (f" (needs {claim.needs})" if claim.needs else ""),
            claim.note,
        )
        for claim in CLAIMS
    ]


def text() -> str:
    """The table for a terminal, and what remains to be done."""
    lines = [
        f"{name:32} {standing:7} {date:10} {took:18} {command}" for name, standing, date, took, command, _ in rows()
    ]
    unfinished = [f"  {claim.name}: {claim.note}" for claim in CLAIMS if claim.standing in ("missed", "open")]
    return "\n".join([*lines, "", "Missed or open:", *unfinished])


def markdown() -> str:
    """The table as docs/results.md shows it."""
    head = ["| claim | stands | took | command | files |", "|---|---|---|---|---|"]
    lines = []
    for claim, (_, standing, _, duration, command, note) in zip(CLAIMS, rows(), strict=True):
        files = ", ".join(f"`{file}`" for file in claim.files) or "none"
        shown = standing + (f": {note}" if note else "")
        lines.append(f"| [{claim.name}]({claim.page}) | {shown} | {duration} | `{command}` | {files} |")
    return "\n".join([*head, *lines])


def resume(names: Sequence[str]) -> int:
    """Run the commands of claims, or of all that have no result file; the number that failed.

    Raises:
        ValueError: no such claim.
    """
    known = {claim.name: claim for claim in CLAIMS}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"No claim {unknown[0]!r}. Known: {', '.join(known)}.")
    chosen = [known[name] for name in names] or [claim for claim in CLAIMS if not claim.files and not claim.needs]
    return sum(not _run(claim) for claim in chosen)


def _run(claim: Claim) -> bool:
    """Run one command and keep what it prints."""
    command = [
        sys.executable,
        "-m",
        f"benchmarks.{claim.command.split()[0]}",
        *shlex.split(claim.command)[1:],
        "--json",
    ]
    print(shlex.join(command), flush=True)
    started, load = time.monotonic(), os.getloadavg()[0]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=RESULTS.parents[1], check=False)
    if done.returncode != 0:
        print(f"{claim.name} ended with {done.returncode}; nothing is kept but its own cache.")
        return False
    try:
        found = json.loads(done.stdout)
    except json.JSONDecodeError:
        print(f"{claim.name} printed no JSON: {done.stdout[:200]!r}")
        return False
    facts = {
        "command": f"python -m benchmarks.{claim.command} --json",
        "seconds": round(time.monotonic() - started, 1),
        "load_before": round(load, 1),
    }
    file = RESULTS / f"{claim.name}_{machine()}_{datetime.now():%Y-%m-%d}.json"
    draft = file.with_name(f"{file.name}.draft")
    draft.write_text(json.dumps({**found, "evidence": facts}, indent=2) + "\n")
    draft.replace(file)
    print(f"{file.name}: {facts['seconds']} s. Name it in benchmarks/claims.py and on its page.")
    return True


def machine() -> str:
    """Cores and processor, as file names have them."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    kind = next((word for word in ("epyc", "xeon", "ryzen") if word in info.lower()), "cpu")
    return f"{os.cpu_count()}-core-{kind}"


def main() -> None:
    """Print, or run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--resume", nargs="*", metavar="NAME", help="claims; none: all that have no result file")
    arguments = parser.parse_args()
    if arguments.resume is None:
        print(markdown() if arguments.markdown else text())
        return
    try:
        sys.exit(1 if resume(arguments.resume) else 0)
    except ValueError as refused:
        parser.error(str(refused))


if __name__ == "__main__":
    main()
