"""`winnow export`: a network of a job as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.client import Client
from service.plain import make_console, plain
from service.settings import get_settings
from service.terminal import amount, export_rule, verified

console = make_console()


def export(
    job_id: Annotated[str, typer.Argument(help="Id of a job.")],
    architecture_id: Annotated[
        str | None,
        typer.Argument(help="Id of a network; default: the knee, if it loses little to the largest network."),
    ] = None,
    knee: Annotated[bool, typer.Option("--knee", help="The knee of the front.")] = False,
    most_accurate: Annotated[bool, typer.Option("--most-accurate", help="The most accurate network.")] = False,
    as_good: Annotated[
        bool,
        typer.Option(
            "--as-good", help="The cheapest network whose score lies within the interval of the most accurate one."
        ),
    ] = False,
    under: Annotated[
        list[str] | None, typer.Option(help="Only networks with at most this, such as latency_ms=5; may be repeated.")
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="A format, such as huggingface, in a folder of its own; may be repeated.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Weights of a healed network: best (the default: the better ones), healed or unhealed."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the archive.")] = Path("exports"),
) -> None:
    """Export a network: its files are written, verified, packed and downloaded. Name it, or say which of the front you
    mean."""
    rule = export_rule({"knee": knee, "most_accurate": most_accurate, "as_good": as_good}, under or [])
    if architecture_id is not None and rule is not None:
        raise ValueError("Name a network or give a rule, not both: they may mean different ones.")
    with Client(get_settings().url) as client:
        named = [name.strip() for text in formats or [] for name in text.split(",") if name.strip()]
        asked = client.request_export(job_id, architecture_id, rule, named, weights)
        if asked["chosen"]:
            console.print(f"{asked['architecture_id']} is {asked['chosen']}", soft_wrap=True)
        with console.status(plain(f"Exporting and verifying {asked['architecture_id']}")):
            made = client.finished_export(asked)
            path = client.download(made, output)
    if made.get("weights") == "healed":
        console.print("With its healed weights; --weights unhealed ships those that the front was measured with.")
    console.print(f"{path}  {amount('size_bytes', made['size_bytes'])}  sha256 {made['sha256']}", soft_wrap=True)
    for line in verified(made["report"]):
        console.print(line, soft_wrap=True)
