"""`winnow shrink`: one sentence, one question, and a smaller network that is proven."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.table import Table
from rich.text import Text

from service.client import Client
from service.plain import make_console, make_table, plain, whole
from service.settings import Settings, get_settings
from service.shrinking import where
from service.stack import default_roots, port_is_taken, running_stack
from service.terminal import amount, between, cell_of, export_rule, front_plot, verified, watch

console = make_console()


def shrink(
    model: Annotated[str, typer.Argument(help="Folder of a checkpoint, or a family such as mobilenet/digits.")],
    data: Annotated[str, typer.Option(help="File or folder of images, labelled text or text; or digits.")],
    under: Annotated[
        list[str] | None, typer.Option(help="Most that the network may cost, such as latency_ms=5; may be repeated.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="Device that latency is measured on: `this` machine, or a target.")
    ] = "this",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a decision, such as training.epochs=3; may be repeated."),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="Format of the file, such as onnx or huggingface; may be repeated."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the archive.")] = Path("exports"),
) -> None:
    """Make a smaller network of a model and data: print a plan, ask once, run it, and save a verified file."""
    rule = export_rule({}, under or [])
    asked = {
        "model": where(model),
        "data": where(data),
        "under": {} if rule is None else rule["under"],
        "device": device,
        "formats": formats or [],
        "changes": changes(set_ or []),
    }
    with _service([asked["model"], asked["data"]]) as client:
        plan = client.shrink_plan(asked)
        _show(plan)
        _ask(yes)
        job = client.submit(plan["job"])
        console.print(f"Job {job['id']}  {client.url}/jobs/{job['id']}", soft_wrap=True, markup=False)
        ended = watch(console, client, job["id"])
        if ended["state"] != "succeeded":
            raise RuntimeError(f"Job {job['id']} {ended['state']}: {ended['message']}")
        _deliver(client, job["id"], plan["rule"], formats or [], output)


def changes(texts: Sequence[str]) -> dict[str, Any]:
    """Parts of a job from words such as `training.epochs=3`; values are read as YAML.

    Raises:
        ValueError: no name, no value, or one that is said twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        *parents, last = name.split(".")
        if not equals or not all((*parents, last)):
            raise ValueError(f"--set takes a part of a job and its value, such as training.epochs=3; got {text!r}.")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f"--set says {parent} twice, whole and in part.")
        if last in place:
            raise ValueError(f"--set says {name} twice; say it once.")
        try:
            place[last] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ValueError(f"--set {name}: {value!r} is neither a number, a word nor a list.") from None
    return found


@contextmanager
def _service(named: Sequence[str]) -> Iterator[Client]:
    """The service that runs; where none does on this machine, one for as long as this takes."""
    settings = get_settings()
    with Client(settings.url) as client:
        if client.ready() or os.environ.get("WINNOW_URL"):
            yield client
            return
    folders = [str(Path(text).parent) for text in named if text.startswith("/")]
    roots = ":".join(dict.fromkeys([settings.data_roots or default_roots(), *folders]))
    port = 0 if port_is_taken(settings.host, settings.port) else settings.port
    with _started(settings.model_copy(update={"data_roots": roots}), port) as client:
        yield client


@contextmanager
def _started(settings: Settings, port: int) -> Iterator[Client]:
    status = console.status("No Winnow runs here: starting one for this job")
    with running_stack(settings, port, status) as stack, Client(stack.url, key=stack.api_key) as client:
        yield client


def _show(plan: dict[str, Any]) -> None:
    # What one would type is never cut.
    table = make_table("what", "decided", "because", whole("otherwise"))
    for decision in plan["decisions"]:
        table.add_row(
            plain(decision["what"]),
            plain(decision["value"]),
            plain(decision["why"]),
            "--device"
            if decision["what"] == "latency"
            else Text.assemble("--set\n", plain(f"{decision['change']}=...")),
        )
    console.print(table)
    for text in plan["warnings"]:
        console.print(plain(text, "yellow"))
    takes = plan["estimate"]
    if takes["seconds"] is not None:
        console.print(plain(f"Takes {between(takes['low'], takes['high'])}."))
    console.print(plain(f"{takes['told']} Stores at most {amount('size_bytes', takes['disk_bytes'])} at a time."))


def _ask(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ValueError("This is no terminal, so nobody can answer. Give --yes to start the job.")
    if not typer.confirm("Start?", default=True):
        raise typer.Exit


def _deliver(client: Client, job_id: str, rule: dict[str, Any], formats: Sequence[str], output: Path) -> None:
    front = client.front(job_id)
    console.print(front_plot(front))
    chosen = client.request_export(job_id, None, rule, formats)
    console.print(plain(f"{chosen['architecture_id']} is {chosen['chosen']}."), soft_wrap=True)
    with console.status(plain(f"Exporting and verifying {chosen['architecture_id']}")):
        made = client.finished_export(chosen)
        path = client.download(made, output)
    console.print(beside_the_original(front, str(made["architecture_id"])))
    told = f"  {amount('size_bytes', made['size_bytes'])}  sha256 {made['sha256']}"
    console.print(Text.assemble(plain(path, "bold"), told), soft_wrap=True)
    for line in verified(made["report"]):
        console.print(line, soft_wrap=True)


def beside_the_original(front: dict[str, Any], architecture_id: str) -> Table:
    """The chosen network, with the better of its weights, and what it came from, with intervals and ratios."""
    measured = [*front["points"], *front.get("beaten", []), *front.get("beyond", [])]
    point = next(one for one in measured if one["architecture_id"] == architecture_id)
    healed = point.get("healed")
    if healed and healed["better"]:
        point = {"metrics": healed["after"], "intervals": healed["intervals"]}
    metrics = point["metrics"]
    reference = front.get("reference") or {}
    table = make_table("metric", "chosen", reference.get("name") or "original", "original / chosen")
    for metric, value in metrics.items():
        other = reference.get("metrics", {}).get(metric)
        ratio = f"{other / value:.2f}" if other is not None and value else "-"
        beside = cell_of(reference, metric, ratio=False) if reference else amount(metric, None)
        table.add_row(plain(metric), cell_of(point, metric, ratio=False), beside, ratio)
    return table
