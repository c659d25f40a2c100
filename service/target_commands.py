"""`winnow targets`: devices that latency is measured on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from service.client import Client
from service.plain import make_console, make_table, plain, whole
from service.settings import get_settings

app = typer.Typer(help="List, add and remove devices that latency is measured on.", no_args_is_help=True)
console = make_console()


@app.command(name="list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """List registered machines, uploaded tables, and the runtimes of the machine that runs a job."""
    with Client(get_settings().url) as client:
        found = client.targets()["targets"]
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    table = make_table(whole("target"), "kind", "state", "device", "what it has")
    for target in found:
        facts = target["facts"]
        device = facts.get("gpu") or facts.get("device", "")
        table.add_row(*map(plain, (target["name"], target["kind"], target["state"], device, _has(target))))
    console.print(table)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What jobs call it, such as pixel-1.")],
    table: Annotated[Path, typer.Option(help="CSV of latencies per layer.")],
) -> None:
    """Upload a table of latencies, for a device that cannot run Python."""
    with Client(get_settings().url) as client:
        made = client.add_table(name, table.read_text(encoding="utf-8-sig"))
    console.print(f"{made['name']}  {made['facts']['rows']} rows, keys as {made['facts']['form']} writes them")


@app.command()
def remove(name: Annotated[str, typer.Argument(help="A registered target.")]) -> None:
    """Remove a target that no unfinished job needs. What was measured on it is kept."""
    with Client(get_settings().url) as client:
        client.remove_target(name)
    console.print(f"{name} removed")


def _has(target: dict[str, Any]) -> str:
    facts = target["facts"]
    if target["kind"] == "table":
        return f"{facts['rows']} rows"
    return ", ".join(facts.get("runtimes", [])) or str(facts.get("engine", ""))
