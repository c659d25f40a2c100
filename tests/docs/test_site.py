"""The documentation as a site: every link leads somewhere, every page is reached, and nothing comes from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.thorough
def test_the_site_builds_without_a_warning_and_needs_no_internet(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "--quiet", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    pages = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*.html")}
    made = {f"reference/{name}.html" for name in ("routes", "commands", "python", "metrics", "recipes", "decisions")}
    assert {"index.html", "troubleshooting.html", *made} <= pages
    for page in pages:
        text = (tmp_path / "site" / page).read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)"', text)
        loaded += re.findall(r'<link[^>]+rel="(?:stylesheet|icon|preload)"[^>]+href="(https?:[^"]+)"', text)
        assert loaded == [], page
        assert "```" not in text, f"{page} shows a block as it is written"
    routes = (tmp_path / "site" / "reference" / "routes.html").read_text(encoding="utf-8")
    assert "POST /v1/jobs/{job_id}/exports" in routes
