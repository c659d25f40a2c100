"""Every result is named where people read, and every claim can be measured again."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import evidence
from benchmarks.claims import CLAIMS, Claim

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as Markdown makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def test_every_result_is_of_a_claim_and_every_file_of_a_claim_is_there() -> None:
    kept = {file.name for file in evidence.RESULTS.glob("*.json")}
    claimed = [file for claim in CLAIMS for file in claim.files]
    assert sorted(claimed) == sorted(kept), "name new results in benchmarks/claims.py"


def test_every_result_is_named_in_the_documentation() -> None:
    told = "".join(page.read_text() for page in (DOCS / "results.md", DOCS / "log.md"))
    assert [file.name for file in evidence.RESULTS.glob("*.json") if file.name not in told] == []


def test_the_page_has_the_table_as_it_is_now() -> None:
    assert evidence.markdown() in (DOCS / "results.md").read_text(), "paste `make evidence ARGS=--markdown` there"


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_a_claim_has_a_page_a_section_and_a_command(claim: Claim) -> None:
    page, _, section = claim.page.partition("#")
    assert (DOCS / page).exists()
    assert not section or section in anchors(DOCS / page)
    module = claim.command.split()[0]
    assert importlib.util.find_spec(f"benchmarks.{module}") is not None
    source = (ROOT / "benchmarks" / f"{module}.py").read_text()
    for option in re.findall(r"--[a-z-]+", claim.command):
        assert f'"{option}"' in source, f"{module} has no {option}"
    assert '"--json"' in source
    if claim.standing in ("missed", "open"):
        assert claim.note, "say why"


def test_names_are_different() -> None:
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)


def test_time_is_the_files_own(tmp_path: Path) -> None:
    def written(found: object) -> tuple[float, bool] | None:
        file = tmp_path / "x.json"
        file.write_text(json.dumps(found))
        return evidence.took(file)

    assert written({"evidence": {"seconds": 5}, "seconds": 3}) == (5.0, True)
    assert written({"seconds": 3, "parts": [{"seconds": 2}]}) == (3.0, True)
    assert written({"parts": [{"seconds": 2}, {"a": {"seconds": 4}}], "spec": {"seconds": 9}}) == (6.0, False)
    assert written({"question": "?"}) is None


def test_a_resumed_claim_leaves_a_dated_file_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "RESULTS", tmp_path / "benchmarks" / "results")
    evidence.RESULTS.mkdir(parents=True)
    (tmp_path / "benchmarks" / "__init__.py").write_text("")
    (tmp_path / "benchmarks" / "good.py").write_text("print('{\"answer\": 1}')")
    (tmp_path / "benchmarks" / "bad.py").write_text("print('half'); raise SystemExit(3)")
    claims = [Claim("good", "log.md", "good"), Claim("bad", "log.md", "bad"), Claim("far", "log.md", "bad", needs="x")]
    monkeypatch.setattr(evidence, "CLAIMS", claims)
    assert evidence.resume([]) == 1
    (file,) = evidence.RESULTS.iterdir()
    assert re.fullmatch(r"good_\d+-core-\w+_\d{4}-\d\d-\d\d\.json", file.name)
    found = json.loads(file.read_text())
    assert found["answer"] == 1
    assert found["evidence"]["command"] == "python -m benchmarks.good --json"
    with pytest.raises(ValueError, match=r"No claim 'none'. Known: good, bad, far"):
        evidence.resume(["none"])


def test_the_command_prints_and_runs_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.evidence"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert len(done.stdout.splitlines()) > len(CLAIMS)
