"""`winnow webhooks`: addresses that hear of states of jobs."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from service.client import Client
from service.plain import make_console, make_table, plain, whole
from service.settings import get_settings

app = typer.Typer(help="Add, list and remove addresses that hear of the states of your jobs.", no_args_is_help=True)
console = make_console()

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
WebhookId = Annotated[str, typer.Argument(help="Id from `winnow webhooks list`.")]


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="Address, with http:// or https://")],
    state: Annotated[list[str] | None, typer.Option(help="Only this state; may be repeated. Default: all.")] = None,
) -> None:
    """Send the states of your jobs to an address, and print the secret that signs the messages. It is shown this one
    time."""
    with Client(get_settings().url) as client:
        made = client.add_webhook(url, state or [])
    sys.stderr.write(f"Webhook {made['id']}. Its secret is shown this once.\n")
    sys.stdout.write(made["secret"] + "\n")


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """List your webhooks, newest first."""
    with Client(get_settings().url) as client:
        found = client.webhooks()
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    table = make_table(whole("webhook"), "address", "states", "made", "gone")
    for hook in found:
        states = " ".join(hook["states"]) or "all"
        gone = (hook["gone_at"] or "")[:16]
        table.add_row(*map(plain, (hook["id"], hook["url"], states, hook["created_at"][:16], gone)))
    console.print(table)


@app.command()
def deliveries(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """List what was sent to a webhook, and what became of it."""
    with Client(get_settings().url) as client:
        found = client.deliveries(webhook_id)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    table = make_table("message", whole("job"), "told", "state", "attempts", "last answer")
    for one in found:
        told = one["payload"]["job"]["state"]
        answer = one["error"] or one["status"] or ""
        table.add_row(*map(plain, (one["id"], one["job_id"], told, one["state"], one["attempts"], answer)))
    console.print(table)


@app.command()
def remove(webhook_id: WebhookId) -> None:
    """Remove a webhook: its address hears nothing more."""
    with Client(get_settings().url) as client:
        client.remove_webhook(webhook_id)
    console.print(f"{webhook_id} removed")
