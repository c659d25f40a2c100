"""Checks Winnow's English: `python docs/prose.py` lists what the house style (`docs/style.toml`) does not allow.

It reads README, pages, decisions, the changelog, docstrings, error messages and every other sentence in code, the
texts of the API's description, the help of commands, and the dashboard's templates.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STYLE = ROOT / "docs" / "style.toml"


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of prose, which may have several sentences."""

    where: str
    prose: str
    alone: bool = False  # read without what stands around it, as the help of one field is


@dataclass(frozen=True, slots=True)
class Finding:
    """What the style does not allow."""

    where: str
    rule: str
    said: str
    advice: str

    def __str__(self) -> str:
        return f"{self.where}: {self.rule}: {self.said!r}. {self.advice}"


# --- the rules --------------------------------------------------------------------------------------

# Where one sentence ends and the next begins. Abbreviations do not end one.
END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!etc)(?<!al)(?<!vs)(?<=[.!?])[\"')*]*\s+(?=[\"'(*]*[A-Z0-9`])")
# What counts as one word, and is none of ours: code, numbers with units, paths.
CODE = re.compile(r"`+[^`]+`+")
# A text in code that people read: it begins and ends as a sentence does.
SENTENCE = re.compile(r"[A-Z`][^\n]* [^\n]* [^\n]* [^\n]*[.!?]")
PAUSE = re.compile(r"[;:]\s+")


@cache
def style() -> Mapping[str, Any]:
    """The house style."""
    return tomllib.loads(STYLE.read_text(encoding="utf-8"))


def sentences(prose: str) -> list[str]:
    """The sentences of a text, in their order."""
    return [one.strip() for one in END.split(" ".join(prose.split())) if one.strip()]


def check(text: Text) -> Iterator[Finding]:
    """What is wrong with a text."""
    for pattern, advice in style()["alone"].items():
        if text.alone and re.match(pattern, text.prose):
            yield Finding(text.where, "alone", text.prose[:90], advice)
    for sentence in sentences(text.prose):
        plain = CODE.sub("CODE", sentence)
        yield from _fragments(text.where, sentence)
        for part in PAUSE.split(plain):
            is_bounded = text.where.partition(":")[0] not in style()["unbounded"]
            if is_bounded and len(words := re.findall(r"[\w'’/-]+", part)) > style()["most_words"]:
                advice = f"{len(words)} words; at most {style()['most_words']}: one idea a sentence."
                yield Finding(text.where, "long", sentence[:90], advice)
        for word in style()["filler"]["words"]:
            if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", plain, re.IGNORECASE):
                yield Finding(text.where, "filler", sentence[:90], f"Leave {word!r} out.")
        if (found := re.search(_passive(), plain)) is not None:
            yield Finding(text.where, "passive", found.group(0).strip(), "Make the agent the subject.")
        for term, others in style()["terms"].items():
            for other in others:
                if re.search(rf"(?<![\w./_-]){re.escape(other)}(?![\w/=-]|[.]\w)", plain):
                    yield Finding(text.where, "term", sentence[:90], f"{other!r} is {term!r} (docs/glossary.md).")


@cache
def _passive() -> str:
    """A form of "to be", a participle, and one of our own agents."""
    agents = "|".join(style()["passive"]["agents"])
    verbs = style()["passive"]["verbs"]
    article = "(?:(?:the|a|an|each|every|all|its|their|another) )?(?:job's |own )?"
    return rf"\b(?:is|are|was|were|be|been|being) (?:\w+ly )?(?:{verbs}) by {article}(?:{agents})\b(?! of)"


def _fragments(where: str, sentence: str) -> Iterator[Finding]:
    begins = sentence.lstrip("\"'(*_")
    for pattern, advice in style()["fragments"].items():
        if re.match(pattern, begins, re.IGNORECASE):
            yield Finding(where, "fragment", sentence[:90], advice)


# --- pages ------------------------------------------------------------------------------------------


def of_page(name: str, markdown: str) -> Iterator[Text]:
    """Paragraphs, list items and cells of a page; code is none of our prose."""
    block: list[str] = []
    began, is_code = 1, False
    for number, line in enumerate([*markdown.splitlines(), ""], 1):
        bare = line.strip()
        fence = bare.startswith(("```", "~~~"))
        is_code ^= fence
        is_row, is_item = bare.startswith("|"), re.match(r"([-*+]|\d+\.)\s", bare) is not None
        if block and (fence or is_code or is_row or is_item or not bare or bare.startswith("#")):
            yield Text(f"{name}:{began}", _plain(" ".join(block)))
            block = []
        if fence or is_code or not bare or bare.startswith(("#", "!!!", "<!--")):
            continue
        if is_row:
            cells = re.split(r"(?<!\\)\|", bare.strip("|"))
            yield from (Text(f"{name}:{number}", _plain(cell)) for cell in cells if re.search(r"[A-Za-z]{2}", cell))
            continue
        if not block:
            began = number
        block.append(re.sub(r"^([-*+]|\d+\.)\s+", "", bare))


def _plain(markdown: str) -> str:
    """Without links' addresses, pictures and emphasis."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", markdown)
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text)
    return re.sub(r"\*\*|(?<!\w)\*(?=\w)|(?<=\w)\*(?!\w)", "", text).strip()


def long_lines(name: str, markdown: str) -> Iterator[Finding]:
    """Lines of a page that are too long and could be broken."""
    is_code, most = False, style()["most_characters"]
    for number, line in enumerate(markdown.splitlines(), 1):
        is_code ^= line.lstrip().startswith("```")
        breakable = re.sub(r"`[^`]*`|\]\([^)]*\)", "", line)
        exempt = is_code or line.lstrip().startswith(("|", "#")) or " " not in breakable.strip()
        if len(line) > most and not exempt:
            yield Finding(f"{name}:{number}", "line", line[:60], f"{len(line)} characters; at most {most}.")


# --- code -------------------------------------------------------------------------------------------


def of_module(name: str, source: str) -> Iterator[Text]:
    """Docstrings of a module, the messages of its errors, and whatever else in it is a sentence."""
    tree = ast.parse(source)
    others: set[ast.expr] = set()  # docstrings, and the parts of what is put together
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            others |= set(node.values)
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if isinstance(node.body[0], ast.Expr):
                others.add(node.body[0].value)
            line = 1 if isinstance(node, ast.Module) else node.lineno
            yield from (Text(f"{name}:{line}", part) for part in parts_of(ast.get_docstring(node) or ""))
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            for argument in node.exc.args[:1]:
                others.add(argument)
                if (said := _literal(argument)) and " " in said:
                    yield Text(f"{name}:{node.lineno}", said)
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and node not in others and SENTENCE.fullmatch(said := _literal(node).strip()):
            yield Text(f"{name}:{node.lineno}", said)


def parts_of(docstring: str) -> Iterator[str]:
    """Paragraphs of a docstring, and what its sections say of each name."""
    for paragraph in re.split(r"\n\s*\n", docstring):
        lines = paragraph.splitlines()
        if lines and re.fullmatch(r"(Args|Attributes|Returns|Raises|Yields):", lines[0].strip()):
            entries: list[str] = []
            for line in lines[1:]:
                entry = re.match(r" {4}(?! )(?:[\w*,. |]+: )?(.*)", line)
                if entry is not None:
                    entries.append(entry.group(1))
                elif entries:
                    entries[-1] += f" {line.strip()}"
            yield from entries
        elif lines and not any(re.match(r"    |\S+ {2,}\S", line) for line in lines):  # neither formulas nor columns
            yield paragraph


def _literal(node: ast.expr) -> str:
    """The text of a literal; what is filled in counts as code."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "`x`" for part in node.values)  # type: ignore[misc]
    return ""


def of_api() -> Iterator[Text]:
    """Every summary and description of the API."""
    from service.api.app import create_app
    from service.settings import Settings

    description = create_app(Settings(database_url="postgresql://x/x", redis_url="redis://x")).openapi()
    seen: set[tuple[str, bool]] = set()

    def walk(node: object, where: str) -> Iterator[Text]:
        if isinstance(node, Mapping):
            for key, value in node.items():
                if key in ("description", "summary") and isinstance(value, str):
                    alone = "/properties/" in where
                    if (value, alone) not in seen:
                        seen.add((value, alone))
                        yield from (Text(f"openapi{where}", part, alone) for part in parts_of(value))
                elif key not in ("example", "examples", "default"):
                    yield from walk(value, f"{where}/{key}")
        elif isinstance(node, list):
            for number, value in enumerate(node):
                yield from walk(value, f"{where}/{number}")

    yield from walk(description, "")


def of_commands() -> Iterator[Text]:
    """The help of every command and option."""
    import typer

    from service.cli import app

    def walk(command: Any, name: str) -> Iterator[Text]:
        yield from (Text(name, part) for part in parts_of(command.help or ""))
        for parameter in command.params:
            if said := getattr(parameter, "help", None):
                yield Text(f"{name} {parameter.name}", said)
        for child, inner in sorted(getattr(command, "commands", {}).items()):
            yield from walk(inner, f"{name} {child}")

    yield from walk(typer.main.get_command(app), "winnow")


class _Prose(HTMLParser):
    """Texts between tags, and titles and placeholders; Jinja's and scripts are none."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, str]] = []
        self._skips = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._skips += tag in ("script", "style", "code", "pre", "svg")
        self.found += [(self.getpos()[0], value) for name, value in attrs if name in ("title", "alt") and value]

    def handle_endtag(self, tag: str) -> None:
        self._skips -= tag in ("script", "style", "code", "pre", "svg")

    def handle_data(self, data: str) -> None:
        if not self._skips and " " in data.strip():
            self.found.append((self.getpos()[0], data.strip()))


def of_template(name: str, html: str) -> Iterator[Text]:
    """What a template shows."""
    parser = _Prose()
    blank = re.sub(r"\{[%#].*?[%#]\}", lambda match: "\n" * match.group(0).count("\n"), html, flags=re.DOTALL)
    parser.feed(re.sub(r"\{\{.*?\}\}", "`x`", blank, flags=re.DOTALL))
    yield from (Text(f"{name}:{line}", text) for line, text in parser.found)


# --- everything -------------------------------------------------------------------------------------


def pages() -> list[Path]:
    """Every page that people read, decisions and the changelog among them."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])


def modules() -> list[Path]:
    """Every module of the packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["importlinter"]["root_packages"]
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def texts() -> Iterator[Text]:
    """All prose of the project."""
    for path in pages():
        yield from of_page(_name(path), path.read_text(encoding="utf-8"))
    for path in modules():
        yield from of_module(_name(path), path.read_text(encoding="utf-8"))
    yield from of_api()
    yield from of_commands()
    for path in sorted((ROOT / "service" / "dashboard" / "templates").glob("*.html")):
        yield from of_template(_name(path), path.read_text(encoding="utf-8"))


def findings() -> list[Finding]:
    """Everything that the style does not allow."""
    long = [one for path in pages() for one in long_lines(_name(path), path.read_text(encoding="utf-8"))]
    return [*(finding for text in texts() for finding in check(text)), *long]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def main(found: Iterable[Finding]) -> int:
    """Print what was found; 1 if there is something."""
    lines = [str(one) for one in found]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return int(bool(lines))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(findings()))
