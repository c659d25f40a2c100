"""What the documentation tells to type exists: commands, options, targets of make, routes, bodies, names of Python.

What a block does when it is run is in `test_pages.py`.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import itertools
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

import winnow
from job.resolve import resolve
from job.spec import JobSpec
from plugins import kinds
from search_space.plugins import FAMILIES
from service.api.app import create_app
from service.cli import app as command_line
from service.settings import Settings
from tests.docs.blocks import BLOCKS, NOT_RUN, PAGES, ROOT, Block, base_of, commands_in, data_of, inline_of
from tests.docs.folders import readers_folders

LANGUAGES = {"", "bash", "json", "python", "text", "toml", "yaml"}
HTTP = ("GET", "POST", "PUT", "PATCH", "DELETE")
ROUTE = re.compile(rf"^({'|'.join(HTTP)}) (/\S*)$")


# Groups of entry points, which have names like those of modules.
GROUPS = {
    str(kind.group).removeprefix("winnow.") for kind in (*vars(kinds).values(), FAMILIES) if hasattr(kind, "group")
}


def written_in(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


@functools.cache
def openapi() -> dict[str, Any]:
    return create_app(Settings(database_url="postgresql://x/x", redis_url="redis://x")).openapi()


# --- the table of blocks ------------------------------------------------------------------------------


def test_every_block_has_a_language_that_is_looked_at() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES


@pytest.mark.parametrize("entry", NOT_RUN, ids=lambda one: f"{one.page}: {one.contains}")
def test_every_block_that_is_not_run_is_there_once(entry: Any) -> None:
    assert [str(b) for b in BLOCKS if b.page == entry.page and entry.contains in b.text].__len__() == 1


def test_every_block_that_is_not_run_says_why() -> None:
    """What is neither a command nor Python nor a job is compared with what an example prints, or has its reason."""
    shown = [b for b in BLOCKS if b.language in ("", "text", "toml") and not b.info.startswith("text title=")]
    assert [str(block) for block in shown if block.elsewhere is None] == []


def test_tests_that_a_reason_names_exist() -> None:
    named = {name for entry in NOT_RUN for name in re.findall(r"tests/[\w/]+(?:\.py)?", entry.reason)}
    assert len(named) > 3
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


# --- syntax -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", written_in("bash"), ids=str)
def test_shell_is_well_formed(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("block", written_in("toml"), ids=str)
def test_toml_is_well_formed(block: Block) -> None:
    assert tomllib.loads(block.text)


# --- commands -----------------------------------------------------------------------------------------


def parsed(words: list[str], *, whole: bool) -> str | None:
    """What is wrong with a command line of Winnow; None: nothing.

    Args:
        words: those behind `winnow`.
        whole: whether arguments that the command needs must be there.
    """
    command: Any = typer.main.get_command(command_line)
    words, path = list(words), ["winnow"]
    while hasattr(command, "commands"):
        if not words:
            return None if not whole else f"{' '.join(path)} needs a command"
        if words[0].startswith("-"):
            known = {name for parameter in command.params for name in parameter.opts}
            return None if words[0].split("=")[0] in known | {"--help"} else f"{' '.join(path)} has no {words[0]}"
        if words[0] not in command.commands:
            return f"{' '.join(path)} has no command {words[0]!r}"
        path.append(words[0])
        command = command.commands[words.pop(0)]
    try:
        command.make_context(" ".join(path), words)
    except Exception as error:
        kind = type(error).__name__
        if kind in ("MissingParameter", "BadOptionUsage") and not whole:
            return None
        message = str(getattr(error, "message", "") or error)
        if kind == "BadParameter" and "does not exist" in message:
            return None  # a file of the reader's
        return f"{' '.join(path)}: {kind} {message}"
    return None


def winnow_lines(script: str) -> Iterator[list[str]]:
    """The command lines of Winnow in a script, without `winnow` itself."""
    for words in commands_in(script):
        for place, word in enumerate(words):
            is_command = place == 0 or words[place - 1] == "--" or words[:2] == ["docker", "compose"]
            if is_command and (word == "winnow" or word.endswith("/bin/winnow")) and "pg_dump" not in words:
                yield ["1" if word == "N" else word for word in words[place + 1 :]]
                break


@pytest.mark.parametrize("block", written_in("bash"), ids=str)
def test_commands_of_blocks_have_such_options_and_arguments(block: Block) -> None:
    assert [wrong for words in winnow_lines(block.text) if (wrong := parsed(words, whole=True))] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_in_the_prose_exist(page: Path) -> None:
    wrong = []
    for code in inline_of(page):
        if not re.match(r"^(\.venv/bin/)?winnow( |$)", code):
            continue
        wrong += [(code, said) for words in winnow_lines(code) if (said := parsed(words, whole=False))]
    assert wrong == []


def test_a_wrong_command_is_found() -> None:
    for words, says in (
        (["expert", "JOB"], "no command 'expert'"),
        (["export", "JOB", "--format", "onnx", "--best"], "NoSuchOption"),
        (["keys", "make"], "no command 'make'"),
        (["solve"], "MissingParameter"),
        (["front", "JOB", "more"], "unexpected extra argument"),
        (["--no-such"], "no --no-such"),
    ):
        assert says in str(parsed(words, whole=True))
    assert parsed(["solve"], whole=False) is None
    script = "ID=$(winnow submit job.yaml | jq .id)\nwinnow front $ID\n"
    assert list(winnow_lines(script)) == [["submit", "job.yaml"], ["front", "$ID"]]
    script = "A=1 winnow list --json | jq .  # winnow nonsense\ncat <<< winnow\n.venv/bin/winnow front \\\n  $(x) > f\n"
    assert list(winnow_lines(script)) == [["list", "--json"], ["front", "1"]]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_targets_of_make_exist(page: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    scripts = [block.text for block in BLOCKS if block.page == str(page) and block.language == "bash"]
    lines = [words for script in [*scripts, *inline_of(page)] if "make" in script for words in _commands(script)]
    named = {word for words in lines if words[0] == "make" for word in words[1:2] if re.match(r"^[a-z-]+$", word)}
    assert named <= known


def _commands(script: str) -> list[list[str]]:
    try:
        return list(commands_in(script))
    except ValueError:  # prose between backquotes
        return []


# --- routes and bodies --------------------------------------------------------------------------------


def route_of(method: str, address: str) -> tuple[str, dict[str, Any]]:
    """(template, operation) of a route that is written with ids, variables or templates in it.

    Raises:
        LookupError: there is none.
    """
    path = re.sub(r"[?#].*", "", address)
    for template, operations in openapi()["paths"].items():
        pattern = re.sub(r"\\{\w+\\}|\{\w+\}", r"[^/]+", re.escape(template).replace(r"\{", "{").replace(r"\}", "}"))
        if re.fullmatch(pattern, path) and method.lower() in operations:
            return template, operations[method.lower()]
    raise LookupError(f"{method} {path}")


def requests_in(script: str) -> Iterator[tuple[str, str, str | None]]:
    """(method, path with query, body) of what curl is told."""
    for words in commands_in(script):
        if words[0] != "curl":
            continue
        address = next(word for word in words[1:] if re.match(r"(http://|\$WINNOW_URL)", word))
        given = dict(itertools.pairwise(words))
        body = given.get("-d")
        method = given.get("-X", "GET" if body is None else "POST")
        yield method, re.sub(r"^(http://[^/]+|\$WINNOW_URL)", "", address), body


@pytest.mark.parametrize("block", [b for b in written_in("bash") if "curl" in b.text], ids=str)
def test_requests_of_blocks_have_such_routes_queries_and_bodies(block: Block) -> None:
    for method, address, body in requests_in(block.text):
        template, operation = route_of(method, address)
        names = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"}
        asked = {part.split("=")[0] for part in address.partition("?")[2].split("&") if part}
        assert asked <= names, address
        if body is not None:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            jsonschema.validate(json.loads(body), {**schema, "components": openapi()["components"]})
        if body is not None and template == "/v1/jobs":
            assert resolve(JobSpec.model_validate(json.loads(body)))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_routes_in_the_prose_exist(page: Path) -> None:
    wrong = []
    for code in inline_of(page):
        if (match := ROUTE.match(code)) and match[2] not in ("/openapi.json", "/docs"):
            try:
                route_of(match[1], match[2])
            except LookupError as error:
                wrong.append(str(error))
    assert wrong == []


def test_a_wrong_route_is_found() -> None:
    assert route_of("GET", "/v1/jobs/$JOB/front")[0] == "/v1/jobs/{job_id}/front"
    for method, path in (("DELETE", "/v1/jobs/j/front"), ("GET", "/v1/job"), ("GET", "/v1/jobs/j/front/more")):
        with pytest.raises(LookupError):
            route_of(method, path)


# --- jobs ---------------------------------------------------------------------------------------------


JOBS = [block for block in written_in("yaml", "json") if block.elsewhere is None or "recipe:" in block.text]


@pytest.mark.parametrize("block", written_in("yaml", "json"), ids=str)
def test_yaml_and_json_are_well_formed(block: Block) -> None:
    assert data_of(block)


@pytest.mark.parametrize("block", JOBS, ids=str)
def test_jobs_are_what_the_api_takes(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = data_of(block)
    is_ours = said.get("supernet", {}).get("family", "mobilenet") in FAMILIES.names()
    if block.page.startswith("examples/plugin") or not is_ours:
        assert set(said) <= set(JobSpec.model_fields)  # a reader's plug-ins are not installed here
        return
    whole = yaml.safe_dump({**base_of(block), **said})
    with readers_folders(tmp_path, whole, monkeypatch) as text:
        assert resolve(JobSpec.model_validate(yaml.safe_load(text)))


@pytest.mark.parametrize("file", sorted(ROOT.glob("examples/*.yaml")), ids=lambda path: path.name)
def test_jobs_of_examples_are_what_the_api_takes(file: Path) -> None:
    assert resolve(JobSpec.model_validate(yaml.safe_load(file.read_text())))


# --- Python -------------------------------------------------------------------------------------------


def wrong_names(text: str) -> Iterator[str]:
    """Imports that fail, names that `winnow` or a client does not have, and arguments that they do not take."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("my_"):
            module = importlib.import_module(node.module)
            yield from (f"{node.module}.{a.name}" for a in node.names if not hasattr(module, a.name))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "winnow":
            if not hasattr(winnow, node.attr):
                yield f"winnow.{node.attr}"
        elif isinstance(node, ast.Call) and (called := _called(node.func)) is not None:
            named = {keyword.arg: None for keyword in node.keywords if keyword.arg}
            takes_any = any(isinstance(one, ast.Starred) for one in node.args) or len(named) < len(node.keywords)
            if takes_any:
                continue
            try:
                inspect.signature(called).bind(*node.args, **named)
            except TypeError as error:
                yield f"{ast.unparse(node)}: {error}"


def _called(function: ast.expr) -> Any:
    """What `winnow.X` and `client.X` are; None: something else."""
    if not (isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)):
        return None
    if function.value.id == "winnow":
        return getattr(winnow, function.attr, None)
    if function.value.id == "client":
        if not hasattr(winnow.Client, function.attr):
            return lambda: None
        return functools.partial(getattr(winnow.Client, function.attr), None)
    return None


@pytest.mark.parametrize("block", written_in("python"), ids=str)
def test_names_and_arguments_of_python_exist(block: Block) -> None:
    if block.page == "docs/add-a-family.md":
        compile(block.text, str(block), "exec")
        return
    assert list(wrong_names(block.text)) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_names_of_python_in_the_prose_exist(page: Path) -> None:
    wrong = []
    for code in inline_of(page):
        for root, name in re.findall(r"^(winnow|Client|AsyncClient)\.([A-Za-z_]+)", code):
            owner = winnow if root == "winnow" else getattr(winnow, root)
            is_module = root == "winnow" and importlib.util.find_spec(f"winnow.{name}") is not None
            is_group = name in GROUPS
            if not (hasattr(owner, name) or is_module or is_group):
                wrong.append(code)
    assert wrong == []


def test_wrong_python_is_found() -> None:
    text = (
        "import winnow\nfrom search.objectives import Objektive\nwinnow.shrunk\nclient.solve(limit=3)\n"
        "winnow.shrink('m')\nclient.sove('j')\n"
    )
    assert len(list(wrong_names(text))) == 5


# --- files --------------------------------------------------------------------------------------------

ROOMS = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_of_the_repository_that_are_named_exist(page: Path) -> None:
    named = [
        code for code in inline_of(page) if re.fullmatch(r"[\w-]+(/[\w.-]+)+\.(py|md|ya?ml|json|toml|ipynb)", code)
    ]
    assert [name for name in named if name.split("/")[0] in ROOMS and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("block", written_in("bash"), ids=str)
def test_files_of_the_repository_that_blocks_run_exist(block: Block) -> None:
    words = [
        word for line in commands_in(block.text) for word in line if re.match(r"^(examples|deploy|tests)/.*\.", word)
    ]
    assert [word for word in words if not (ROOT / word).exists()] == []


def test_parts_of_files_are_what_the_example_has() -> None:
    """docs/plugins.md quotes the example package."""
    source = {" ".join(path.read_text().split()) for path in (ROOT / "examples" / "plugin").rglob("*.py")}
    for block in BLOCKS:
        if block.elsewhere is not None and block.page == "docs/plugins.md" and block.language == "python":
            for line in (line.strip() for line in block.text.splitlines() if line.strip()):
                assert any(" ".join(line.split()) in text for text in source), line


def test_shlex_is_what_the_shell_does() -> None:
    script = """curl -d '{"a": "'$B'"}' "$U/x?y=1" """
    assert next(iter(commands_in(script))) == shlex.split(script)
