"""`winnow family`: model families, built in and of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search_space import plugins
from service.plain import make_console, plain
from service.settings import get_settings

app = typer.Typer(help="List, check and make model families.", no_args_is_help=True)
console = make_console()


@app.command(name="list")
def list_() -> None:
    """List families with their presets, and files of WINNOW_FAMILIES_DIR that cannot be used, with the reason."""
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
    name: Annotated[str, typer.Argument(help="A family, or the file of one.")],
    preset: Annotated[str | None, typer.Option(help="One preset; default: all of them.")] = None,
) -> None:
    """Check that a family's description is true: build hundreds of its networks in torch, compare and export them."""
    from service.family_check import check_family

    folder, file = get_settings().families_dir, Path(name).expanduser()
    if file.suffix == ".py":
        if not file.is_file():
            raise ValueError(f"There is no file {name}; give the name of a family, or the path of its file.")
        folder, name = file.resolve().parent, file.stem
    if not check_family(console, name, preset, folder):
        raise typer.Exit(1)


@app.command(name="from-module")
def from_module(
    origin: Annotated[
        str, typer.Argument(help="The module, or a function that makes it, such as mypackage.model:make.")
    ],
    shape: Annotated[str, typer.Option("--input", help="Shape of the module's input, such as 1,3,224,224.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the family; default: that of the module's last part.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where the file goes; default: WINNOW_FAMILIES_DIR, or the current folder.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write a family of that name anew.")] = False,
) -> None:
    """Make a family of any torch module: read its graph, group widths that must agree, and write a file.

    It runs the module's code here, on the command line; the file that it writes needs none of it.
    """
    from service.family_check import family_from_module

    path = origin.partition(":")[0]
    target = (folder or get_settings().families_dir or Path()).expanduser().resolve()
    family_from_module(console, origin, shape, name or path.rpartition(".")[2], target, replace)
