"""What the site has besides the pages of docs/: a reference made of the code, and links that lead out of docs/."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent
# A link to a file of the repository that is no page.
OUTSIDE = re.compile(r"\[([^\]]+)\]\((\.\./[^)]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of the code."""
    for name, content in reference().items():
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links out of docs/ become the names of their files: the site does not have those."""
    depth = page.file.src_uri.count("/")

    def name(match: re.Match[str]) -> str:
        text, target = match.groups()
        climbs = target.split("/").count("..")
        if climbs <= depth:
            return match.group(0)
        file = "/".join(part for part in target.split("/") if part != "..")
        return text if text.strip("`") == file else f"{text} (`{file}`)"

    return OUTSIDE.sub(name, markdown)


def reference() -> dict[str, str]:
    """Pages that are made of the code, by name."""
    made = {"routes": routes, "commands": commands, "python": python, "metrics": metrics, "recipes": recipes}
    pages = {name: "\n".join(make()) + "\n" for name, make in made.items()}
    return {**pages, "decisions": "\n".join(decisions()) + "\n"}


def routes() -> Iterator[str]:
    """Every route of the API with its help, parameters and scope."""
    from service.api.app import create_app
    from service.settings import Settings

    api = create_app(Settings(database_url="postgresql://x/x", redis_url="redis://x")).openapi()
    yield "# Routes\n\n`GET /openapi.json` has every field. [How the API works](../api.md)."
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            yield f"\n## {method.upper()} {path}\n\n**{operation['summary']}.** {operation['description']}\n"
            for parameter in operation.get("parameters", ()):
                said = parameter.get("description", "")
                needed = "" if parameter.get("required") else ", may be left out"
                yield f"- `{parameter['name']}` ({parameter['in']}{needed}){': ' if said else ''}{said}"


def commands() -> Iterator[str]:
    """Every command with its help and options."""
    from service.cli import app

    yield "# Command line"
    yield from _commands(typer.main.get_command(app), "winnow")


def _commands(command: Any, name: str) -> Iterator[str]:
    children = getattr(command, "commands", {})
    if name != "winnow" and not children:
        yield f"\n## {name}\n\n{inspect.cleandoc(command.help or '')}\n"
        for parameter in command.params:
            names = " ".join(getattr(parameter, "opts", [parameter.name]))
            said = " ".join((getattr(parameter, "help", None) or "").split())
            is_option = isinstance(parameter, click.Option) or parameter.param_type_name == "option"
            shown = names if is_option else str(parameter.name).upper()
            yield f"- `{shown}`{': ' if said else ''}{said}"
    for child in sorted(children):
        yield from _commands(children[child], f"{name} {child}")


def python() -> Iterator[str]:
    """What `import winnow` gives."""
    import winnow

    yield f"# Python\n\n```text\n{inspect.cleandoc(winnow.__doc__ or '')}\n```"
    for name in sorted(winnow.__all__):
        thing = getattr(winnow, name)
        if isinstance(thing, str):
            continue
        yield f"\n## winnow.{name}\n\n{_code(inspect.getdoc(thing) or '')}"
        if not inspect.isclass(thing):
            yield f"\n```python\n{name}{inspect.signature(thing)}\n```"
            continue
        for method, member in inspect.getmembers(thing):
            if method.startswith("_") or not _is_ours(member):
                continue
            shown = f"{method}{inspect.signature(member)}" if inspect.isfunction(member) else method
            yield f"\n### {name}.{method}\n\n```python\n{shown}\n```\n"
            yield _code(inspect.getdoc(member) or "")


def _is_ours(member: Any) -> bool:
    """Whether a member of a class is code of this project: a method, a property, or what is asked for each time."""
    function = getattr(member, "fget", None) or getattr(member, "steps", None) or member
    return inspect.isfunction(function) and function.__module__.startswith(("service", "winnow"))


def _code(text: str) -> str:
    """A docstring: its first paragraph as it is, what follows as it is laid out."""
    head, _, rest = text.partition("\n\n")
    return f"{head}\n\n```text\n{rest}\n```" if rest else head


def metrics() -> Iterator[str]:
    """Every metric that a job may name."""
    from search.metrics import METRICS

    yield "# Metrics\n\n| metric | unit | better | obtained | meaning |\n|---|---|---|---|---|"
    for name, metric in METRICS.items():
        better = "more" if metric.goal == "maximize" else "less"
        yield f"| `{name}` | {metric.unit or 'none'} | {better} | {metric.source} | {metric.meaning} |"


def recipes() -> Iterator[str]:
    """Every recipe with what its paper says and its defaults."""
    import yaml

    from plugins.kinds import RECIPES

    yield "# Recipes"
    for name in RECIPES.names():
        module: Any = RECIPES.load(name)
        about = inspect.cleandoc(module.__doc__ or "")
        yield f"\n## {name}\n\n{about}\n\n```yaml\n{yaml.safe_dump(module.DEFAULTS, sort_keys=False)}```"


def decisions() -> Iterator[str]:
    """The decisions that somebody may question, in their order."""
    yield "# Decisions\n\nEach is on one screen: what was decided, why, and what else was considered.\n"
    for file in sorted((DOCS / "decisions").glob("*.md")):
        title = file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        yield f"- [{title}](../decisions/{file.name})"
