"""`winnow keys`: who may use this installation.

With `WINNOW_DATABASE_URL` the keys are made straight in the database, which is how the first one comes about;
otherwise through the API, with an admin's key.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from service.auth.scopes import Scope
from service.client import Client
from service.plain import make_table, whole
from service.settings import get_settings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = typer.Typer(help="Make, list and revoke keys, which say who may use this installation.", no_args_is_help=True)
console = Console(highlight=False)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Owner and purpose, such as ada-laptop.")],
    scope: Annotated[
        Scope, typer.Option(help="What the key may do; each scope includes those before it.")
    ] = Scope.WRITE,
    group: Annotated[str | None, typer.Option(help="Keys of one group may share jobs.")] = None,
    days: Annotated[float | None, typer.Option(min=0.001, help="Days until the key expires; default: never.")] = None,
    max_jobs: Annotated[int | None, typer.Option(min=0, help="Most unfinished jobs at a time.")] = None,
    max_evaluations: Annotated[int | None, typer.Option(min=0, help="Most evaluations of all its jobs.")] = None,
    max_bytes: Annotated[int | None, typer.Option(min=0, help="Most bytes of its files.")] = None,
) -> None:
    """Make a key and print it. It is shown this one time."""
    asked = {
        "name": name,
        "scope": scope.value,
        "group": group,
        "days": days,
        "max_jobs": max_jobs,
        "max_evaluations": max_evaluations,
        "max_bytes": max_bytes,
    }
    if not get_settings().database_url:
        with Client(get_settings().url) as client:
            made = client.create_key(asked)
        key, key_id = made["key"], made["id"]
    else:
        from service.auth import keys

        with _transaction() as session:
            quota = keys.Quota(max_jobs, max_evaluations, max_bytes)
            row, key = keys.create(session, name, scope, group=group, days=days, quota=quota)
            key_id = row.id
    # The key alone on standard output, for scripts; the words beside it for people.
    sys.stderr.write(f"Key {key_id} of scope {scope.value}. It is shown this once: set WINNOW_API_KEY to it.\n")
    sys.stdout.write(key + "\n")


@app.command(name="list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """List all keys, newest first, revoked ones too."""
    found = _listed()
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2, default=str) + "\n")
        return
    table = make_table(whole("key"), "name", "scope", "group", "expires", "last used", "revoked")
    for key in found:
        days = (_day(key["expires_at"], "never"), _day(key["last_used_at"], "never"), _day(key["revoked_at"], ""))
        table.add_row(*(Text(text) for text in (key["id"], key["name"], key["scope"], key["group"] or "", *days)))
    console.print(table)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Id from `winnow keys list`.")]) -> None:
    """End a key and its sessions, at once. Its jobs stay."""
    if not get_settings().database_url:
        with Client(get_settings().url) as client:
            client.revoke_key(key_id)
    else:
        from service.auth import keys

        with _transaction() as session:
            keys.revoke(session, key_id)
    console.print(f"{key_id} revoked", markup=False)


@app.command()
def link() -> None:
    """Print a link that signs one browser in, once, with the key of this command line."""
    with Client(get_settings().url) as client:
        console.print(f"{client.url}/sign-in#token={client.make_link()}", soft_wrap=True, markup=False)


def share(
    job_id: Annotated[str, typer.Argument(help="Id of a job.")],
    off: Annotated[bool, typer.Option("--off", help="Stop sharing.")] = False,
) -> None:
    """Let the keys of your group look at a job."""
    with Client(get_settings().url) as client:
        group = client.share(job_id, not off)["shared_with"]
    console.print(f"{job_id} {f'is shared with {group}' if group else 'is not shared'}", markup=False)


def _listed() -> list[dict[str, Any]]:
    if not get_settings().database_url:
        with Client(get_settings().url) as client:
            return client.keys()
    from service.api.access import KeyOut
    from service.auth import keys

    with _transaction() as session:
        return [KeyOut.model_validate(row).model_dump() for row in keys.listed(session)]


@contextmanager
def _transaction() -> Iterator[Session]:
    from service.errors import ServiceError
    from service.store.session import Database

    database = Database(get_settings().database_url or "")
    database.check()
    try:
        with database.transaction() as session:
            yield session
    except ServiceError as error:
        raise ValueError(error.detail) from None
    finally:
        database.close()


def _day(value: datetime | str | None, none: str) -> str:
    return none if value is None else str(value)[:16].replace("T", " ")
