"""`winnow family check` and `winnow family from-module`: what needs torch runs in a process of its own."""

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
# What a family is held to: its description, then its files.
CONTRACTS = ("supernet.contract", "export.family_check")
# Sentences about what stays as it is that are shown; the file has them all.
KEPT_SHOWN = 12


def check_family(console: Console, name: str, preset: str | None, families_dir: Path | None) -> bool:
    """Print a line for each check; whether all passed (those that were skipped say why).

    Raises:
        ValueError: the family cannot be loaded; one line says why.
        RuntimeError: this environment has no torch, or the process ended unexpectedly.
    """
    _need_torch("Checking a family")
    failed = sum(_check(console, contract, name, preset, families_dir) for contract in CONTRACTS)
    console.print(plain(f"{failed} checks failed.", "red") if failed else plain("All checks passed.", "green"))
    return not failed


def _check(console: Console, contract: str, name: str, preset: str | None, families_dir: Path | None) -> int:
    """Run one contract; how many checks failed."""
    command = [sys.executable, "-m", contract, name]
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
    return failed


def family_from_module(console: Console, origin: str, shape: str, name: str, folder: Path, replace: bool) -> None:
    """Make a family of a module of the user's, and say what is elastic and what is not.

    Raises:
        ValueError: no family can be made of it; one line says why and what to do.
        RuntimeError: this environment has no torch, or the process ended unexpectedly.
    """
    _need_torch("Reading a module")
    command = [sys.executable, "-m", "supernet.from_module", origin, "--input", shape, "--name", name]
    command += ["--folder", str(folder), *(["--replace"] if replace else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 2 and done.stderr.strip():
        raise ValueError(done.stderr.strip().splitlines()[-1])
    if done.returncode != 0:
        raise RuntimeError(f"Making the family ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
    made = json.loads(done.stdout.strip().splitlines()[-1])
    console.print(
        f"{made['file']}: {made['networks']:,} networks of up to {made['params']:,} parameters", soft_wrap=True
    )
    console.print(
        f"{made['weights']}: its weights; logits are apart by {made['difference']:.2g} of the largest", soft_wrap=True
    )
    for title, choices in (("Elastic widths", made["widths"]), ("Elastic depths", made["depths"])):
        console.print(plain(f"{title}: {len(choices)}", "bold"))
        for choice, options in choices.items():
            console.print(plain(f"  {choice}: {', '.join(map(str, options))}"), soft_wrap=True)
    console.print(plain(f"Stays as it is: {len(made['kept'])}", "bold"))
    for sentence in made["kept"][:KEPT_SHOWN]:
        console.print(plain(f"  {sentence}"), soft_wrap=True)
    if len(made["kept"]) > KEPT_SHOWN:
        console.print(f"  and {len(made['kept']) - KEPT_SHOWN} more, which the file lists", soft_wrap=True)
    console.print(f"Now: winnow family check {made['file']}", soft_wrap=True)


def _need_torch(what: str) -> None:
    if importlib.util.find_spec("torch") is None:
        raise RuntimeError(f"{what} needs torch: install the worker's packages, pip install 'winnow[worker]'.")
