"""`winnow family check`: runs a family's contract in a process of its own, which has torch, and shows it as it goes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from service.plain import plain

MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("–", "yellow")}


def check_family(console: Console, name: str, preset: str | None, families_dir: Path | None) -> bool:
    """Print a line for each check; whether all passed (those that were skipped say why).

    Raises:
        ValueError: the family cannot be loaded; one line says why.
        RuntimeError: this environment has no torch, or the process ended unexpectedly.
    """
    if importlib.util.find_spec("torch") is None:
        raise RuntimeError(
            "Checking a family needs torch: install the worker's packages, pip install 'winnow[worker]'."
        )
    command = [sys.executable, "-m", "supernet.contract", name]
    command += ["--preset", preset] if preset else []
    command += ["--families-dir", str(families_dir)] if families_dir else []
    shown, failed = None, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            result = json.loads(line)
            if result["preset"] != shown:
                shown = result["preset"]
                console.print(plain(f"{name}/{shown}", "bold"))
            failed += result["passed"] is False
            console.print(Text.assemble("  ", MARKS[result["passed"]], " ", plain(result["asks"])), soft_wrap=True)
            style = "red" if result["passed"] is False else "dim"
            console.print(Text.assemble("    ", plain(result["detail"], style)), soft_wrap=True)
        said = process.stderr.read().strip()
    if process.returncode == 2:
        raise ValueError(said.splitlines()[-1])
    if process.returncode not in (0, 1) or (process.returncode == 1 and not failed):
        raise RuntimeError(f"The check ended with code {process.returncode}: {said[-500:]}")
    console.print(plain(f"{failed} checks failed.", "red") if failed else plain("All checks passed.", "green"))
    return not failed
