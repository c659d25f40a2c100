"""`winnow doctor`: what of an installation works, what does not, and what to do about it."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.folder_lock import read_state
from service.plain import make_console, plain
from service.settings import Settings, get_settings

console = make_console()

# Less than this on the disk of the data folder is soon too little.
LEAST_FREE_BYTES = 5_000_000_000
# PostgreSQL that has all that is used here.
LEAST_POSTGRES = 140000
# Clocks that differ by more make timestamps hard to read; leases use the database's alone.
MOST_SKEW_SECONDS = 5.0


class Verdict(StrEnum):
    """How something is."""

    OK = "ok"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: was found.
        advice: what to do; empty where nothing is to be done.
    """

    name: str
    verdict: Verdict
    what: str
    advice: str = ""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """Check this installation: what works, what does not, what to do. Exit code 1 if something does not."""
    findings = list(examine(get_settings()))
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in findings], indent=2) + "\n")
    else:
        styles = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.BAD: "red"}
        for one in findings:
            console.print(plain(f"{one.verdict:<8}", styles[one.verdict]), plain(f"{one.name}: {one.what}"))
            if one.advice:
                console.print(plain(f"         {one.advice}", "dim"), soft_wrap=True)
    if any(one.verdict == Verdict.BAD for one in findings):
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Everything, one after the other; nothing is changed."""
    for look in (_python, _packages, _folder, _roots, _secrets):
        yield look(settings)
    yield from _database(settings)
    yield _broker(settings)
    yield _gpu(settings)
    yield _api(settings)


def _python(_settings: Settings) -> Finding:
    return Finding("python", Verdict.OK, f"{sys.version.split()[0]}, {sys.executable}")


def _packages(_settings: Settings) -> Finding:
    missing = [name for name in ("torch", "safetensors", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        advice = "Only the API and the command line work here; for a worker install the extra `worker`."
        return Finding("packages", Verdict.WARNING, f"without {', '.join(missing)}", advice)
    return Finding("packages", Verdict.OK, "those of a worker")


def _folder(settings: Settings) -> Finding:
    from service.errors import Unavailable
    from service.readiness import check_folder

    try:
        check_folder(settings.artifacts_dir)
    except Unavailable as error:
        return Finding("data folder", Verdict.BAD, error.detail, "Give it to this user, or set WINNOW_DATA_DIR.")
    free = shutil.disk_usage(settings.data_dir).free
    what = f"{settings.data_dir}, {free / 1e9:.1f} GB free"
    if free < LEAST_FREE_BYTES:
        return Finding("data folder", Verdict.WARNING, what, "Make room: a full disk pauses jobs.")
    return Finding("data folder", Verdict.OK, what)


def _roots(settings: Settings) -> Finding:
    given = [part for part in (settings.data_roots or "").split(":") if part.strip()]
    if not given and (holder := read_state(settings.data_dir)) is not None and holder.is_alive:
        return Finding("data roots", Verdict.OK, f"those of `winnow up` at {holder.url}, such as your home")
    if not given:
        advice = "Jobs can name uploads only; set WINNOW_DATA_ROOTS to folders of data (`winnow up` opens your home)."
        return Finding("data roots", Verdict.WARNING, "none", advice)
    gone = [part for part in given if not Path(part).expanduser().is_dir()]
    if gone:
        return Finding("data roots", Verdict.BAD, f"not there: {', '.join(gone)}", "Mend WINNOW_DATA_ROOTS.")
    return Finding("data roots", Verdict.OK, ", ".join(given))


def _secrets(settings: Settings) -> Finding:
    files = [settings.data_dir / name for name in ("admin.key", "session.key")]
    open_ = [str(file) for file in files if file.exists() and file.stat().st_mode & 0o077]
    if open_:
        return Finding("secrets", Verdict.BAD, f"others may read {', '.join(open_)}", f"chmod 600 {' '.join(open_)}")
    return Finding("secrets", Verdict.OK, "only this user may read them")


def _database(settings: Settings) -> Iterator[Finding]:
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    from service.db_commands import url_of
    from service.errors import Unavailable
    from service.readiness import check_worker
    from service.store import schema
    from service.store.session import Database, first_line

    try:
        database = Database(url_of(settings))
        database.check()
        with database.engine.connect() as connection:
            number = int(connection.scalar(text("SHOW server_version_num")) or 0)
            now: datetime = connection.scalars(text("SELECT clock_timestamp()")).one()
    except (Unavailable, ValueError, SQLAlchemyError) as error:
        advice = "Start it, or mend WINNOW_DATABASE_URL; `winnow up` brings its own."
        yield Finding("database", Verdict.BAD, getattr(error, "detail", None) or first_line(error), advice)
        return
    words = f"PostgreSQL {number // 10000}.{number % 10000}"
    old = number < LEAST_POSTGRES
    advice = "Upgrade to PostgreSQL 14 or newer." if old else ""
    yield Finding("database", Verdict.BAD if old else Verdict.OK, words, advice)
    skew = abs((datetime.now(UTC) - now).total_seconds())
    late = skew > MOST_SKEW_SECONDS
    advice = "Set both clocks with NTP. Leases use the database's clock, so jobs are safe." if late else ""
    yield Finding("clock", Verdict.WARNING if late else Verdict.OK, f"{skew:.1f} s beside the database's", advice)
    looks: tuple[tuple[str, Callable[[], None], str], ...] = (
        ("schema", lambda: schema.check(database), "winnow db upgrade"),
        ("worker", lambda: check_worker(database), "winnow worker"),
    )
    for name, look, advice in looks:
        try:
            look()
        except (Unavailable, SQLAlchemyError) as error:
            yield Finding(name, Verdict.BAD, getattr(error, "detail", None) or first_line(error), advice)
            return
        yield Finding(name, Verdict.OK, "current" if name == "schema" else "at least one takes jobs")
    database.close()


def _broker(settings: Settings) -> Finding:
    from service.embedded import running_redis_url
    from service.errors import Unavailable
    from service.queue import Queue, policy_of

    url = settings.redis_url or running_redis_url(settings.data_dir)
    if url is None:
        return Finding("broker", Verdict.BAD, "none", "Set WINNOW_REDIS_URL, or start `winnow up`.")
    try:
        Queue(url).check()
        policy = policy_of(url)
    except (Unavailable, ValueError) as error:
        words = getattr(error, "detail", None) or str(error)
        return Finding("broker", Verdict.BAD, words, "Start Redis, or mend WINNOW_REDIS_URL. Jobs wait meanwhile.")
    if policy not in ("noeviction", None):
        advice = "Set maxmemory-policy noeviction, or wake-ups may be dropped and come seconds later."
        return Finding("broker", Verdict.WARNING, f"maxmemory-policy is {policy}", advice)
    return Finding("broker", Verdict.OK, "Redis answers")


def _gpu(_settings: Settings) -> Finding:
    if shutil.which("nvidia-smi") is None:
        return Finding("GPU", Verdict.OK, "none: jobs run on the processor")
    if importlib.util.find_spec("pynvml") is None:
        advice = "Install nvidia-ml-py, or workers do not say that they have one."
        return Finding("GPU", Verdict.WARNING, "there, and not seen", advice)
    return Finding("GPU", Verdict.OK, "there; `winnow workers` says which workers see it")


def _api(settings: Settings) -> Finding:
    from service.client import Client, ClientError

    try:
        with Client(settings.url, timeout_seconds=5) as client:
            who = client.who()
    except ClientError as error:
        return Finding("API", Verdict.BAD, str(error), "Start it with `winnow up` or `winnow api`, or set WINNOW_URL.")
    return Finding("API", Verdict.OK, f"{settings.url} answers {who['name']}, scope {who['scope']}")
