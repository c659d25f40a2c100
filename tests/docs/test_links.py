"""Every link of a page leads to a file that is there, and to a heading or name that it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify

from tests.docs.blocks import FENCE, ROOT

FILES = sorted(
    path.relative_to(ROOT)
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
)
LINK = re.compile(r"\]\(\s*([^)\s]+)\s*\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
# Made when the site is built: tests/docs/test_site.py.
MADE = "docs/reference/"


def links_of(page: Path) -> list[str]:
    """Where the links and pictures of a page lead, addresses of the internet left out."""
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", (ROOT / page).read_text(encoding="utf-8")))
    return [target for target in LINK.findall(prose) if "://" not in target and not target.startswith("mailto:")]


def anchors_of(page: Path) -> set[str]:
    """What may stand behind the `#` of a link to a page."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    plain = (re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", heading) for heading in HEADING.findall(text))
    found: set[str] = set()
    for heading in plain:
        name = slugify(heading, "-")
        number = 0
        while (one := f"{name}_{number}" if number else name) in found:
            number += 1
        found.add(one)
    return found


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    wrong = []
    for target in links_of(page):
        file, _, anchor = target.partition("#")
        to = (ROOT / page).parent / file if file else ROOT / page
        if str(to.resolve().relative_to(ROOT)).startswith(MADE):
            continue
        if not to.exists() or (anchor and anchor not in anchors_of(to)):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("page", FILES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_every_drawing_is_shown_and_said_in_words() -> None:
    pages = [(file.parent, (ROOT / file).read_text(encoding="utf-8")) for file in FILES]
    shown = {
        (ROOT / folder / target).resolve(): words
        for folder, text in pages
        for words, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", text)
    }
    drawings = sorted((ROOT / "docs" / "assets").glob("*.svg"))
    assert drawings
    assert [file.name for file in drawings if len(shown.get(file, "").split()) < 3] == []
    assert [file.name for file in drawings if "<title>" not in file.read_text(encoding="utf-8")] == []


def test_a_broken_link_is_found() -> None:
    page = ROOT / "docs" / "search.md"
    assert "any-limits-at-once" in anchors_of(page)
    assert "what-all-of-them-keep" not in anchors_of(page)
