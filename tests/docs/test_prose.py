"""The checker of prose finds what the house style forbids, and lets good English pass."""

from __future__ import annotations

import importlib.util
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def loaded() -> ModuleType:
    """`docs/prose.py`, which is in no package."""
    spec = importlib.util.spec_from_file_location("prose", ROOT / "docs" / "prose.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prose"] = module
    spec.loader.exec_module(module)
    return module


prose = loaded()

WRONG = {
    "Of images the mean is kept.": "fragment",
    "of the runtime": "fragment",
    "That were named; empty: none was.": "fragment",
    "By which networks are compared.": "fragment",
    "Note that the job stops.": "filler",
    "You simply run it.": "filler",
    "The archive is written by the worker.": "passive",
    "Files are automatically fetched by the job's runner.": "passive",
    "Winnow extracts a subnet.": "term",
    "Draw the Pareto frontier.": "term",
    "Fit a surrogate model.": "term",
    "It is optimised.": "term",
    "With weights.": "fragment",
    "As the worker uses it.": "fragment",
    "Your dataset stays where it is.": "term",
    " ".join(["word"] * 36) + ".": "long",
}
RIGHT = [
    "Of course the job stops.".replace("Of course", "Then"),
    "The worker writes the archive.",
    "The archive is named by its digest.",
    "A network of the front has rivals.",
    "Run `winnow upload dataset.tar.gz` and read `/v1/datasets`.",
    "`subnet` is the name of an option.",
    "Which network is best? The knee.",
    "That is the number.",
    "Without training both of them are the same.",
    "as `clone`.",
    " ".join(["word"] * 20) + "; " + " ".join(["word"] * 20) + ".",
    "It takes 5 ms, e.g. on a laptop, i.e. without a GPU.",
]


@pytest.mark.parametrize(("sentence", "rule"), WRONG.items())
def test_a_bad_sentence_is_found(sentence: str, rule: str) -> None:
    found = list(prose.check(prose.Text("here:1", sentence)))
    assert {one.rule for one in found} == {rule}


def test_every_sentence_of_a_text_is_looked_at() -> None:
    text = prose.Text("here:1", "The first is good. Of the second no word. It ends.\nOf course not, nor does it.")
    assert [one.rule for one in prose.check(text)] == ["fragment", "filler"]


@pytest.mark.parametrize("sentence", RIGHT)
def test_a_good_sentence_passes(sentence: str) -> None:
    assert list(prose.check(prose.Text("here:1", sentence))) == []


def test_a_page_is_read_as_people_see_it() -> None:
    page = """# Of a title

First line of a [paragraph](of-a-link.md)
that goes on. **Bold** ends it.

- of an item,
  which goes on
1. a step

| of a cell | `of code` |
|---|---|

```bash
of code --note that
```

After `winnow subnet` it ends.
"""
    texts = [(one.where, one.prose) for one in prose.of_page("page.md", page)]
    assert texts == [
        ("page.md:3", "First line of a paragraph that goes on. Bold ends it."),
        ("page.md:6", "of an item, which goes on"),
        ("page.md:8", "a step"),
        ("page.md:10", "of a cell"),
        ("page.md:10", "`of code`"),
        ("page.md:17", "After `winnow subnet` it ends."),
    ]


def test_docstrings_and_messages_are_read() -> None:
    source = '''"""The module."""


class Public:
    """A class.

    Attributes:
        size: of the image,
            in pixels.
    """

    def method(self, got):
        """Do it.

        Raises:
            ValueError: it is wrong.
        """
        raise ValueError(f"No dataset {got} here.")

    def _private(self):
        """Of nothing."""
        return {"key": "two words", "told": f"Of the {number} jobs none ends."}
'''
    texts = [one.prose for one in prose.of_module("module.py", source)]
    docstrings = ["The module.", "A class.", "of the image, in pixels.", "Do it.", "Of nothing.", "it is wrong."]
    assert sorted(texts) == sorted([*docstrings, "No dataset `x` here.", "Of the `x` jobs none ends."])


@pytest.mark.parametrize("said", ["Its layers.", "Null: there is none.", "0: off.", "For people."])
def test_the_help_of_a_field_says_what_the_field_holds(said: str) -> None:
    assert [one.rule for one in prose.check(prose.Text("here", said, alone=True))] == ["alone"]
    assert list(prose.check(prose.Text("here", said))) == []
    assert list(prose.check(prose.Text("here", "Layers of the network; null: it has none.", alone=True))) == []


def test_templates_are_read_without_their_code() -> None:
    html = '<p title="of a title">Of {{ job.name }} <b>and so on</b></p>{% if x == "of y" %}<script>of it</script>'
    assert [one.prose for one in prose.of_template("a.html", html)] == ["of a title", "Of `x`", "and so on"]


def test_long_lines_are_found_where_they_can_be_broken() -> None:
    words, code, link = "word " * 25, "`" + "x " * 60 + "`", f"[a]({'x' * 120})"
    page = f"{words}\n{code}\n{link}\n| {words} |\n```\n{words}\n```\n"
    assert [one.where for one in prose.long_lines("page.md", page)] == ["page.md:1"]


def test_every_release_and_every_decision_is_read() -> None:
    where = [text.where for text in prose.texts()]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    releases = [number for number, line in enumerate(changelog, 1) if line.startswith("## ")]
    read = [int(one.removeprefix("CHANGELOG.md:")) for one in where if one.startswith("CHANGELOG.md:")]
    assert len(releases) >= 2
    for begin, end in pairwise([*releases, len(changelog) + 1]):
        assert any(begin < number < end for number in read), changelog[begin - 1]
    decisions = {f"docs/decisions/{path.name}" for path in (ROOT / "docs" / "decisions").glob("*.md")}
    assert len(decisions) >= 80
    assert decisions <= {one.partition(":")[0] for one in where}


def test_every_source_of_prose_is_read() -> None:
    """A reader that finds nothing would let everything pass."""
    where = [text.where for text in prose.texts()]
    for begin, least in {
        "README.md": 30,
        "CHANGELOG.md": 50,
        "docs/training.md": 50,
        "docs/decisions/": 500,
        "search/": 200,
        "service/errors.py": 10,
        "openapi": 700,
        "winnow ": 150,
        "service/dashboard/templates/": 30,
    }.items():
        assert sum(one.startswith(begin) for one in where) >= least, begin


def test_terms_are_those_of_the_glossary() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    for term in prose.style()["terms"]:
        assert term in glossary


def test_a_finding_ends_the_check_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = prose.check(prose.Text("page.md:3", "Of images the mean."))
    assert prose.main([found]) == 1
    assert capsys.readouterr().out.startswith("page.md:3: fragment: 'Of images the mean.'.")
    assert prose.main([]) == 0
