"""`winnow`: the command line. Everything that concerns jobs goes through the HTTP API."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.text import Text
from typer.main import get_command_name
from typer.models import CommandInfo, TyperInfo

from search_space import plugins
from service import verb_commands
from service.auth.hosts import refuse_open_network
from service.client import Client, ClientError
from service.db_commands import app as db
from service.doctor import doctor
from service.errors import Unavailable
from service.export_commands import export
from service.family_commands import app as families
from service.key_commands import app as keys
from service.key_commands import share
from service.plain import make_console, plain, visible
from service.settings import Settings, get_settings
from service.shrink_commands import shrink
from service.solve_commands import solve
from service.stack import Stack, StackError, port_is_taken, running_stack, without_passwords
from service.target_commands import app as targets
from service.terminal import front_notes, front_plot, front_table, jobs_table, supernets_table, watch
from service.upload_commands import upload
from service.version import version
from service.webhook_commands import app as webhooks
from service.wrong import shown

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
GROUPS = {"db": db, "family": families, "targets": targets, "keys": keys, "webhooks": webhooks}
# How `winnow --help` orders the commands.
PANELS = {
    "Start here": ("demo", "up", "shrink", "doctor"),
    "Jobs": ("profile", "submit", "watch", "list", "logs", "pause", "resume", "stop", "cancel", "retry"),
    "What a job found": ("front", "solve", "export", "verify", "measure-again", "export-study", "supernets"),
    "Jobs made of others": ("clone", "extend", "rerun", "heal"),
    "Care of jobs": ("edit", "share", "delete", "restore"),
    "Data, families and devices": ("upload", "family", "targets", "measure"),
    "Running an installation": ("api", "worker", "join", "workers", "keys", "webhooks", "mcp", "db"),
}
console = make_console()

# An open stream of events would keep the API from ending on SIGTERM.
GRACE = ("--timeout-graceful-shutdown", "5")

JobId = Annotated[str, typer.Argument(help="Id of a job.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def _show_version(asked: bool) -> None:
    if asked:
        console.print(f"winnow {version()}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Self-hosted neural architecture search: find the best networks for your data and device, and export them."""


def main() -> None:
    """Run the command line; an expected error is one line on standard error and exit code 1."""
    try:
        app()
    except FileNotFoundError as error:
        said = f"There is no {error.filename}." if error.filename else str(error)
        sys.stderr.write(f"winnow: {visible(said)}\n")
        sys.exit(1)
    except (ClientError, StackError, Unavailable, ValueError, RuntimeError, OSError) as error:
        sys.stderr.write(f"winnow: {visible(str(error))}\n")
        sys.exit(1)


# --- the whole service on this machine -------------------------------------------------------------


@app.command()
def demo(
    exit_: Annotated[bool, typer.Option("--exit", help="Stop everything at the end.")] = False,
    port: Annotated[
        int | None, typer.Option(help="Port of the dashboard; default: the usual one, or a free one.")
    ] = None,
) -> None:
    """Show the whole journey on real data in about a minute and a half: train, search, measure, export."""
    from service.demo import run_demo

    settings = get_settings()
    if port is None:
        port = 0 if port_is_taken(settings.host, settings.port) else settings.port
    with _until_signal(), _running(settings, port) as stack:
        console.print(f"Winnow is up: PostgreSQL, Redis, API and worker, with their data in {settings.data_dir}.\n")
        run_demo(console, stack, Path.cwd() / "exports")
        address = stack.url if exit_ else stack.sign_in_url()
        console.print(Text.assemble("\nDashboard: ", plain(address, "bold")), soft_wrap=True)
        if not exit_:
            console.print("It runs until you press Ctrl-C.")
            _wait(stack)


@app.command()
def up(port: Annotated[int | None, typer.Option(help="Port of the API and dashboard.")] = None) -> None:
    """Start API, worker and dashboard on this machine, and PostgreSQL and Redis unless the environment names them."""
    settings = get_settings()
    with _until_signal(), _running(settings, settings.port if port is None else port) as stack:
        docs = " (API documentation at /docs). Ctrl-C stops it."
        console.print(Text.assemble("Winnow is up: ", plain(stack.url, "bold"), docs), soft_wrap=True)
        console.print(plain(stack.how_to_sign_in(), "bold"), soft_wrap=True)
        for name, value in without_passwords(stack.environment()).items():
            console.print(plain(f"  {name}={value}", "dim"), soft_wrap=True)
        _wait(stack)


def _running(settings: Settings, port: int) -> AbstractContextManager[Stack]:
    return running_stack(settings, port, console.status("Starting PostgreSQL, Redis, API and worker"))


class _Stop(Exception):
    """Somebody pressed Ctrl-C or sent SIGTERM."""


@contextmanager
def _until_signal() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into an orderly end of the block."""

    def stop(_number: int, _frame: object) -> None:
        raise _Stop

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        yield
    except _Stop:
        console.print("Stopped.")


def _wait(stack: Stack) -> None:
    while True:
        stack.look_after()
        time.sleep(1)


@app.command()
def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Start the API and dashboard alone, with the PostgreSQL and Redis that the environment names."""
    settings = _with_servers()
    os.environ["WINNOW_HOST"] = host or settings.host
    refuse_open_network(settings.model_copy(update={"host": host or settings.host}))
    arguments = ["--host", host or settings.host, "--port", str(settings.port if port is None else port)]
    _become("uvicorn", "service.api.app:create_app", "--factory", "--proxy-headers", *GRACE, *arguments)


@app.command()
def worker(
    queues: Annotated[
        list[str] | None,
        typer.Option(
            "--queue",
            help="Take work of this kind only; may be repeated. A worker that trains takes all other kinds too.",
        ),
    ] = None,
    until_idle: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="End after this time without work.")
    ] = None,
) -> None:
    """Start a worker, with one slot for trainings and searches and one for exports."""
    _with_servers()
    patience = [] if until_idle is None else ["--until-idle", str(until_idle)]
    _become("workers.node", *patience, *(["--queues", *queues] if queues else []))


@app.command()
def measure(name: Annotated[str, typer.Option(help="What jobs call this machine, such as jetson-kitchen.")]) -> None:
    """Make this machine a target. Jobs measure latency on it for as long as this runs."""
    _with_servers()
    _become("workers.target", "--name", name)


@app.command()
def verify(file: Annotated[Path, typer.Argument(help="An archive of an export, or its unpacked folder.")]) -> None:
    """Check an export again, on any machine: every file's digest, then every format in its own tool."""
    _become("export.proof", str(file))


@app.command()
def mcp(
    allow_delete: Annotated[
        bool, typer.Option("--allow-delete", help="Also give the agent tools that delete jobs, uploads and targets.")
    ] = False,
) -> None:
    """Give an agent the API as tools of the Model Context Protocol, over standard input and output."""
    _become("winnow.mcp_server", *(["--allow-delete"] if allow_delete else []))


@app.command()
def join(
    job: JobId,
    rank: Annotated[int, typer.Option(min=1, help="Number of this machine, from 1; the job's worker is machine 0.")],
) -> None:
    """Train a job together with other machines (`training.hosts`), until it is over."""
    _with_servers(broker=False)
    _become("workers.launch", job, "--rank", str(rank))


def _with_servers(*, broker: bool = True) -> Settings:
    settings = get_settings()
    needed = {
        "WINNOW_DATABASE_URL": settings.database_url,
        "WINNOW_REDIS_URL": settings.redis_url or not broker,
    }
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise ValueError(f"Set {' and '.join(missing)}; `winnow up` starts servers and prints their addresses.")
    return settings


def _become(module: str, *arguments: str) -> None:
    sys.stdout.flush()
    os.umask(0o077)  # logs and data are this user's alone
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


# --- jobs ------------------------------------------------------------------------------------------


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(help="A job as YAML or JSON; - reads standard input.")],
    follow: Annotated[bool, typer.Option("--watch", help="Follow the job to its end.")] = False,
    key: Annotated[str | None, typer.Option(help="Idempotency key: submitting again gives the same job.")] = None,
) -> None:
    """Submit a job."""
    spec = _read_job(file)
    with _client() as client:
        job = client.submit(spec, key)
        console.print(f"{job['id']}  {client.url}/jobs/{job['id']}")
        if follow:
            _follow(client, job["id"])


def _read_job(file: Path) -> dict[str, Any]:
    is_piped = str(file) == "-"
    text, name = (sys.stdin.read(), "standard input") if is_piped else (file.read_text(), str(file))
    try:
        spec = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is neither YAML nor JSON: {' '.join(str(error).split())}") from None
    if not isinstance(spec, dict):
        raise ValueError(f"{name} must hold one job, a mapping such as `recipe: bignas`; got {shown(spec)}.")
    return spec


@app.command()
def profile(
    file: Annotated[
        Path | None,
        typer.Argument(help="A job, or its supernet and objectives, as YAML or JSON; - reads standard input."),
    ] = None,
    family: Annotated[str | None, typer.Option(help="A model family, instead of a file.")] = None,
    preset: Annotated[str | None, typer.Option(help="A preset of that family.")] = None,
    pretrained: Annotated[
        list[str] | None,
        typer.Option(help="A Hugging Face checkpoint folder of that family; repeated, checkpoints to be stitched."),
    ] = None,
    limit: Annotated[list[str] | None, typer.Option(help="A limit such as macs=100000; may be repeated.")] = None,
    samples: Annotated[int | None, typer.Option(help="Random networks to count.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the random networks.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a space costs and whether limits can be met, before anything is trained. Needs no running service."""
    from service.profile import asked_for, make_profile, parse_limit
    from service.terminal import show_profile

    plugins.use_families_dir(get_settings().families_dir)
    if file is None and not (family or preset or pretrained):
        raise ValueError("Give a job file, or --family and --preset.")
    given = None if file is None else _read_job(file)
    folders = pretrained[0] if pretrained and len(pretrained) == 1 else pretrained or None
    supernet = {"family": family, "preset": preset, "pretrained": folders}
    found = make_profile(asked_for(given, supernet, dict(map(parse_limit, limit or [])), samples, seed))
    if as_json:
        _print_json(found.model_dump(mode="json"))
    else:
        show_profile(console, found)


@app.command(name="watch")
def watch_(job_id: JobId) -> None:
    """Follow a job to its end."""
    with _client() as client:
        _follow(client, job_id)


def _follow(client: Client, job_id: str) -> None:
    job = watch(console, client, job_id)
    if job["state"] != "succeeded":
        raise RuntimeError(f"Job {job_id} {job['state']}: {job['message']}")
    _show_front(client.front(job_id))


@app.command(name="list")
def list_(
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    text: Annotated[str | None, typer.Option(help="Only jobs whose name, id or notes contain this text.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only jobs with this label; may be repeated.")] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Deleted jobs that can still be restored.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most jobs to list.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with _client() as client:
        page = client.jobs(state=state, text=text, label=label, deleted=deleted or None, limit=limit)
    if as_json:
        _print_json(page)
    elif not page["jobs"]:
        console.print("No jobs. `winnow submit FILE` makes one.")
    else:
        console.print(jobs_table(page["jobs"]))


@app.command()
def supernets(
    space: Annotated[str | None, typer.Option(help="Only supernets of this space, such as mobilenet/digits.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most supernets to list.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List trained supernets, newest first. A job with `supernet: {reuse: ID}` searches one without training."""
    with _client() as client:
        page = client.supernets(space=space, limit=limit)
    if as_json:
        _print_json(page)
    elif not page["supernets"]:
        console.print("No supernets. A job that has trained one leaves it here.")
    else:
        console.print(supernets_table(page["supernets"]))


@app.command()
def front(job_id: JobId, as_json: AsJson = False) -> None:
    """Print the Pareto front of a job."""
    with _client() as client:
        found = client.front(job_id)
    if as_json:
        _print_json(found)
    else:
        _show_front(found)


def _show_front(found: dict[str, Any]) -> None:
    if not found["points"]:
        console.print("Nothing has been evaluated yet.")
        return
    console.print(front_table(found))
    console.print(front_plot(found))
    for line in front_notes(found):
        console.print(line, soft_wrap=True)
    if not found["final"]:
        console.print("This is the front so far; latency is measured at the end.", style="yellow")


app.command()(export)
app.command()(shrink)
app.command()(solve)


@app.command(name="export-study")
def export_study_(
    job_id: JobId,
    storage: Annotated[str, typer.Argument(help="An optuna storage, such as sqlite:///study.db.")],
) -> None:
    """Write a job's evaluations as an optuna study, which optuna-dashboard opens."""
    from service.study import export_study

    with _client() as client:
        name, count = export_study(client.job(job_id), client.evaluations(job_id), storage)
    console.print(
        f"{storage}  study {name}  {count} trials. Look at it with: optuna-dashboard {storage}", soft_wrap=True
    )


verb_commands.add_to(app)
app.command()(share)
app.command()(doctor)
app.command()(upload)


def _arrange() -> None:
    """Put every command into its panel. Help shows panels, and commands in them, in the order of registration."""
    for name, group in GROUPS.items():
        app.add_typer(group, name=name)
    panel_of = {name: panel for panel, names in PANELS.items() for name in names}
    everything: list[CommandInfo | TyperInfo] = [*app.registered_commands, *app.registered_groups]
    for command in everything:
        command.rich_help_panel = panel_of[_name_of(command)]
    order = list(panel_of)
    app.registered_commands.sort(key=lambda command: order.index(_name_of(command)))


def _name_of(command: CommandInfo | TyperInfo) -> str:
    return command.name or get_command_name(command.callback.__name__)  # type: ignore[union-attr]


_arrange()


def _client() -> Client:
    return Client(get_settings().url)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    main()
