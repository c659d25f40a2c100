"""The fenced blocks of the documentation, and what must hold of each: what is run, what is only checked, and why."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
# Pages that say how something is used. The log and decisions tell what was once.
PAGES = sorted(
    path.relative_to(ROOT)
    for path in [
        *(ROOT / name for name in ("README.md", "AGENTS.md", "CONTRIBUTING.md", "SECURITY.md")),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs" / "tutorials").glob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]
    if path.name != "log.md"
)
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)``` *$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")

# Why a block is checked and not run. A block that is not listed is run.
DOCKER = "docker runs the service"
KUBERNETES = "a cluster runs the service"
MACHINE = "needs another machine, or an address of the reader's"
TESTS = "runs these tests, or all checks of a maintainer"
DEMO = "installs Winnow and starts a service of its own: tests/e2e/test_demo.py takes the same journey"
INSTALLS = "installs packages: tests/plugins/test_example.py and tests/export/matrix do"
OWN_TEST = "tests/docs/test_add_a_family.py runs it"
PART = "part of a file: it is compared with examples/plugin"
TORCHVISION = "torchvision does not install beside this torch: tests/docs/test_torchvision.py has its module"
RELEASED = "reads released files: tests/docs/test_beit3.py has small ones of the same names"
EXAMPLE_FILE = "shows the content of a file that is no job"
FILE_OF_A_JOB = "shows the content of a file: the next job of its page reads it"
DRAWING = "a drawing, or a listing of files"
PRINTED = "what a run of minutes printed"
DOWNLOADS = "downloads a checkpoint of 83 MB"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A block that is not run here.

    Attributes:
        contains: words of it, which no other block of its page has.
        reason: one of those above.
    """

    page: str
    contains: str
    reason: str


NOT_RUN = (
    Elsewhere("README.md", "make demo", DEMO),
    Elsewhere("CONTRIBUTING.md", "make check", TESTS),
    Elsewhere("AGENTS.md", "mcpServers", EXAMPLE_FILE),
    Elsewhere("docs/index.md", "make demo", DEMO),
    Elsewhere("docs/add-a-family.md", "Residual multi-layer perceptrons", OWN_TEST),
    Elsewhere("docs/add-a-family.md", "Any module of yours, as it is", OWN_TEST),
    Elsewhere("docs/add-a-family.md", "from _mine import Residual", OWN_TEST),
    Elsewhere("docs/hardware.md", "winnow measure --name jetson-kitchen", MACHINE),
    Elsewhere("docs/families.md", "torchvision.models.mobilenet_v3_large", TORCHVISION),
    Elsewhere("docs/families.md", "beit3.spm", RELEASED),
    Elsewhere("docs/formats.md", "pip install litert-torch", INSTALLS),
    Elsewhere("docs/llama-nas.md", "What do plants breathe in", FILE_OF_A_JOB),
    Elsewhere("docs/llama-nas.md", "include: arc_easy.yaml", FILE_OF_A_JOB),
    Elsewhere("docs/operations.md", "cp .env.example .env", DOCKER),
    Elsewhere("docs/operations.md", "pg_dump", DOCKER),
    Elsewhere("docs/operations.md", "pg_restore", DOCKER),
    Elsewhere("docs/operations.md", "# back up, then fetch the new version", DOCKER),
    Elsewhere("docs/plugins.md", "class HillClimbOptions", PART),
    Elsewhere("docs/plugins.md", "class TestHillClimb", PART),
    Elsewhere("docs/plugins.md", "winnow.algorithms", PART),
    Elsewhere("docs/tutorials/bert.md", "pip download", DOWNLOADS),
    Elsewhere("docs/tutorials/images-to-int8.md", "digit-0/0000.png", DRAWING),
    Elsewhere("README.md", "HTTP ──► row", DRAWING),
    Elsewhere("README.md", "original / chosen", PRINTED),
    Elsewhere("docs/tutorials/bert.md", "22,713,986 parameters", PRINTED),
    Elsewhere("deploy/kubernetes/README.md", "kubectl create secret", KUBERNETES),
    Elsewhere("deploy/kubernetes/README.md", "kubectl apply --kustomize", KUBERNETES),
    Elsewhere("examples/plugin/README.md", "pip install .", INSTALLS),
    Elsewhere("examples/plugin/README.md", "recipe: bignas", INSTALLS),
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        page: relative to the repository.
        line: of its first line of content, from 1.
        info: what stands behind the fence.
    """

    page: str
    line: int
    info: str
    text: str

    @property
    def language(self) -> str:
        """The first word behind the fence; empty: plain text."""
        return self.info.split(" ")[0] if self.info else ""

    @property
    def elsewhere(self) -> Elsewhere | None:
        """Why it is not run here."""
        return next((one for one in NOT_RUN if one.page == self.page and one.contains in self.text), None)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page in their order, without the indent that they have in a list."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent = match["indent"]
        lines = (line.removeprefix(indent) for line in match["text"].splitlines())
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(str(page), line, match["info"].strip(), "\n".join(lines) + "\n"))
    return found


def inline_of(page: Path) -> list[str]:
    """What stands between backquotes in the prose of a page."""
    prose = FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    return [" ".join(code.split()) for code in INLINE.findall(prose)]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


# --- jobs -----------------------------------------------------------------------------------------

# A page that shows parts of jobs, and has none that they could be parts of.
BASES: dict[str, dict[str, Any]] = {
    "docs/families.md": {"recipe": "llama_nas", "data": {"source": "text", "path": "/data/text.txt"}},
}


def data_of(block: Block) -> Any:
    """What a block of JSON or YAML says."""
    return json.loads(block.text) if block.language == "json" else yaml.safe_load(block.text)


def base_of(block: Block) -> dict[str, Any]:
    """The job that a part of one changes: the whole one before it on its page."""
    if "recipe" in data_of(block):
        return {}
    before = (one for one in BLOCKS if one.page == block.page and one.language == "yaml" and one.line < block.line)
    jobs = [data for one in before if "recipe" in (data := data_of(one))]
    return jobs[-1] if jobs else BASES.get(block.page, {})


# --- shell ----------------------------------------------------------------------------------------

OPERATORS = frozenset("();<>|&\n")
SUBSTITUTION = re.compile(r"\$\([^()]*\)")
COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)
VARIABLE = re.compile(r"^\w+=")


def _given(substitution: re.Match[str]) -> str:
    return "0" * 64 if "sha256sum" in substitution[0] else "1"


def commands_in(script: str) -> Iterator[list[str]]:
    """The simple commands of a shell script, as lists of words: without redirections, comments and assignments.

    What a substitution would give is `1`, or a digest; its own commands come first.
    """
    for substitution in SUBSTITUTION.findall(COMMENT.sub("", script)):
        yield from commands_in(substitution[2:-1])
    script = SUBSTITUTION.sub(_given, COMMENT.sub("", script.replace("\\\n", " ")))
    lexer = shlex.shlex(script, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    words: list[str] = []
    is_file = False  # the word after a redirection
    for token in [*lexer, "\n"]:
        if set(token) <= OPERATORS:
            is_file = token[0] in "<>"
            if not is_file:
                if words:
                    yield words
                words = []
        elif is_file:
            is_file = False
        elif words or not VARIABLE.match(token):
            words.append(token)
