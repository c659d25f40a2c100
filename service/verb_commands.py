"""What may be asked of a job: `winnow pause`, `clone`, `extend`, `rerun`, `heal`, `measure-again`, `delete`, ..."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
import yaml

from service.client import Client
from service.plain import make_console, make_table, plain, whole
from service.settings import get_settings

console = make_console()

JobId = Annotated[str, typer.Argument(help="Id of a job.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="An edit such as search.evaluations=500 or name=again; null takes a field back to its default."
    ),
]
Edits = Annotated[Path | None, typer.Option(help="Edits as YAML or JSON: a merge patch of the job.")]
Key = Annotated[str | None, typer.Option(help="Idempotency key: asking again gives the same job.")]

# Verb -> what it does, of those that need no more words.
MOVES = {
    "cancel": "Cancel a job. What it has stored stays readable.",
    "pause": "Checkpoint a job and free its device.",
    "resume": "Continue a paused job where it stopped.",
    "stop": "End a job's search now: the job measures the front so far and succeeds.",
    "retry": "Continue a job that failed or was cancelled, from what is stored of it.",
    "restore": "Restore a deleted job, while its time of grace lasts.",
}


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for name, meaning in MOVES.items():
        _add_move(app, name, meaning)
    for command in (clone, extend, rerun, heal, measure_again, delete, edit, logs, workers):
        app.command()(command)


def _add_move(app: typer.Typer, name: str, meaning: str) -> None:
    def run(job_id: JobId) -> None:
        with Client(get_settings().url) as client:
            console.print(f"{job_id} {client.verb(job_id, name)['state']}")

    run.__doc__ = meaning
    app.command(name=name)(run)


def clone(job_id: JobId, set_: Set = None, edits: Edits = None, key: Key = None) -> None:
    """Make the same job again, with edits."""
    _descend(job_id, "clone", {"edits": read_edits(set_, edits)}, key)


def extend(
    job_id: JobId,
    evaluations: Annotated[int | None, typer.Option(min=1, help="Further evaluations; default: as many again.")] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="Objective in place of the job's: a metric, or metric=limit. May be repeated; the first counts most."
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Another device for the metrics that need one.")] = None,
    set_: Set = None,
    edits: Edits = None,
    key: Key = None,
) -> None:
    """Search a job's trained supernet further. Everything that was scored is reused."""
    asked = {
        "evaluations": evaluations,
        "objectives": None if objective is None else [_objective(text) for text in objective],
        "target": target,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    _descend(job_id, "extend", {**given, "edits": read_edits(set_, edits)}, key)


def rerun(
    job_id: JobId,
    from_: Annotated[str, typer.Option("--from", help="Stage to begin with, such as search or 'measure finalists'.")],
    set_: Set = None,
    edits: Edits = None,
    key: Key = None,
) -> None:
    """Repeat a stage and those after it in a new job, which takes over what was found before."""
    _descend(job_id, "rerun", {"from_stage": from_, "edits": read_edits(set_, edits)}, key)


def heal(
    job_id: JobId,
    networks: Annotated[
        list[str] | None, typer.Argument(help="Ids of networks, or `knee` or `front`; default: the knee.")
    ] = None,
    most: Annotated[int | None, typer.Option(min=1, help="With `front`: most networks to heal.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps for each network.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens for each network, instead of steps.")] = None,
    examples: Annotated[
        int | None, typer.Option(min=1, help="Images or texts for each network, instead of steps.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Minutes for each network, instead of steps.")] = None,
    helpers: Annotated[
        int | None, typer.Option(min=0, help="Other workers that may each heal a network at the same time.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another field of the part healing, such as learning_rate=0.001 or lora_rank=8."),
    ] = None,
    key: Key = None,
) -> None:
    """Heal networks of a job in a new job: they train further, with the network that they were cut from as teacher."""
    words = ("knee", "front")
    named: str | list[str] | None = networks
    if networks and any(word in networks for word in words):
        if len(networks) > 1:
            raise ValueError(f"Give {' or '.join(words)} alone, or ids of networks.")
        named = networks[0]
    if most is not None and named != "front":
        raise ValueError("--most counts networks of the front: winnow heal JOB front --most N.")
    asked = {
        "networks": named,
        "most": most,
        "steps": steps,
        "tokens": tokens,
        "examples": examples,
        "minutes": minutes,
        "helpers": helpers,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    _descend(job_id, "heal", {"healing": {**read_edits(set_, None), **given}}, key)


def measure_again(
    job_id: JobId,
    network: Annotated[str, typer.Argument(help="Id of a network that the job has evaluated.")],
    key: Key = None,
) -> None:
    """Measure one network again in a small new job, on the same device; what was measured before stays."""
    _descend(job_id, f"architectures/{quote(network, safe='')}/measure", {}, key)


def delete(job_id: JobId) -> None:
    """Remove a finished job and its files, after a time of grace in which `winnow restore` keeps it."""
    with Client(get_settings().url) as client:
        client.delete(job_id)
    console.print(f"{job_id} will be removed; `winnow restore {job_id}` keeps it.")


def edit(
    job_id: JobId,
    name: Annotated[str | None, typer.Option(help="New name of the job.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="New label, in place of all old ones; may be repeated.")
    ] = None,
    no_labels: Annotated[bool, typer.Option("--no-labels", help="Remove all labels.")] = False,
    notes: Annotated[str | None, typer.Option(help="New notes.")] = None,
    priority: Annotated[int | None, typer.Option(help="A waiting job with a higher number goes first.")] = None,
) -> None:
    """Change a job's name, labels, notes or priority."""
    if label and no_labels:
        raise ValueError("--label and --no-labels contradict each other; give one of them.")
    labels = [] if no_labels else label
    asked = {"name": name, "labels": labels, "notes": notes, "priority": priority}
    given = {field: value for field, value in asked.items() if value is not None}
    if not given:
        raise ValueError("Give --name, --label, --no-labels, --notes or --priority.")
    with Client(get_settings().url) as client:
        job = client.edit(job_id, given)
    words = ", ".join(job["labels"]) or "no labels"
    console.print(plain(f"{job_id} {job['name']}  priority {job['priority']}  {words}"))


def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is finished.")] = False,
    level: Annotated[
        str | None, typer.Option(help="Lines of this level and of more serious ones: debug, info, warning or error.")
    ] = None,
    search: Annotated[str | None, typer.Option(help="Only lines that contain this text.")] = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, max=1000, help="Most lines to print.")] = 200,
) -> None:
    """Print the last lines of a job's log, and with -f those that follow."""
    asked: dict[str, Any] = {"level": level, "search": search, "limit": last, "last": True}
    with Client(get_settings().url) as client:
        lines = client.follow_logs(job_id, **asked) if follow else client.logs(job_id, **asked)["lines"]
        for line in lines:
            step = "" if line["step"] is None else f" {line['step']}"
            where = f"{line['stage'] or '-'}{step}"
            console.print(plain(f"{line['at'][:19]}  {line['level']:<7}  {where}  {line['text']}"), soft_wrap=True)


def workers(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """List workers, with what they have and what they do."""
    with Client(get_settings().url) as client:
        found = client.workers()
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    table = make_table("worker", "state", "queues", "cores", "memory", "GPUs", "labels", whole("job"))
    for one in found:
        memory = f"{one['memory_bytes'] / 1e9:.0f} GB"
        words = (one["name"], one["state"], " ".join(one["queues"]), one["facts"].get("cores", "?"), memory)
        table.add_row(*map(plain, (*words, one["gpus"], " ".join(one["labels"]), one["job_id"] or "")))
    console.print(table)


def read_edits(given: list[str] | None, file: Path | None) -> dict[str, Any]:
    """Edits of a file and of the command line, which win.

    Raises:
        ValueError: one of them is none.
    """
    edits: dict[str, Any] = {}
    if file is not None:
        try:
            read = yaml.safe_load(file.read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"{file} is neither YAML nor JSON: {error}".replace("\n", " ")) from None
        if not isinstance(read, dict):
            raise ValueError(f"{file} must hold a mapping of edits; got {type(read).__name__}.")
        edits = read
    for text in given or []:
        path, equals, value = text.partition("=")
        names = path.split(".")
        if not equals or not all(names):
            raise ValueError(f"--set takes a field and a value, such as search.evaluations=500; got {text!r}.")
        inside = edits
        for name in names[:-1]:
            inside = inside.setdefault(name, {})
            if not isinstance(inside, dict):
                raise ValueError(f"--set {text}: {name} is edited as a whole already.")
        try:
            inside[names[-1]] = yaml.safe_load(value)
        except yaml.YAMLError:
            inside[names[-1]] = value
    return edits


def _objective(text: str) -> dict[str, Any]:
    metric, equals, limit = text.partition("=")
    if not equals:
        return {"metric": metric}
    try:
        return {"metric": metric, "limit": float(limit)}
    except ValueError:
        raise ValueError(f"--objective takes a metric, or a metric and a number; got {text!r}.") from None


def _descend(job_id: str, verb: str, body: dict[str, Any], key: str | None) -> None:
    with Client(get_settings().url) as client:
        job = client.descend(job_id, verb, body, key)
        console.print(f"{job['id']}  {client.url}/jobs/{job['id']}", soft_wrap=True)
