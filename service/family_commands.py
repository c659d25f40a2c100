"""`winnow family`: model families, built in and of one's own."""

from __future__ import annotations

from typing import Annotated

import typer

from search_space import plugins
from service.plain import make_console, plain
from service.settings import get_settings

app = typer.Typer(
    help="Model families: those that are built in and those of WINNOW_FAMILIES_DIR.", no_args_is_help=True
)
console = make_console()


@app.command(name="list")
def list_() -> None:
    """Families with their presets, and files of WINNOW_FAMILIES_DIR that cannot be used, with the reason."""
    plugins.use_families_dir(get_settings().families_dir)
    users = plugins.users_families()
    refused = users.refused() if users is not None else {}
    for name in plugins.FAMILIES.names():
        own = users is not None and name in users.names()
        if not (own and name in refused):
            console.print(f"{name}{' (yours)' if own else ''}: {', '.join(plugins.presets(name))}")
    for reason in refused.values():
        console.print(plain(reason, "red"), soft_wrap=True)


@app.command(name="check")
def check(
    name: Annotated[str, typer.Argument(help="A family.")],
    preset: Annotated[str | None, typer.Option(help="One preset; default: all of them.")] = None,
) -> None:
    """Whether a family's description is true: hundreds of its networks are built in torch and compared."""
    from service.family_check import check_family

    if not check_family(console, name, preset, get_settings().families_dir):
        raise typer.Exit(1)
