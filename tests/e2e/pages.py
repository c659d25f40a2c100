"""Every page of the dashboard, as pictures and for checks of all of them.

    python -m tests.e2e.pages docs/pictures

takes a picture of each at both widths, light and dark, of a service of its own with small real jobs. Needs Debian's
chromium.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, BrowserContext

from service.client import Client
from service.settings import Settings
from service.stack import running_stack
from tests.e2e.browsers import launched
from tests.e2e.helpers import is_finished, sign_in, wait_for

WIDTHS, THEMES = (1280, 390), ("light", "dark")
# Jobs that the pictures show: a front of three objectives with measured latency, one of two, and one of policies.
JOBS: tuple[dict[str, Any], ...] = (
    {
        "name": "digits under 0.03 ms",
        "labels": ["digits", "latency"],
        "notes": "For the front desk: must answer before the next frame.",
        "recipe": "bignas",
        "training": {"epochs": 4, "seed": 1},
        "objectives": [{"metric": "accuracy"}, {"metric": "latency_ms"}, {"metric": "size_bytes"}],
        "search": {"evaluations": 100},
        "hardware": {"seconds": 0.05},
    },
    {
        "name": "digits, small",
        "labels": ["digits"],
        "recipe": "bignas",
        "training": {"epochs": 2, "seed": 2},
        "search": {"evaluations": 60},
        "hardware": {"seconds": 0.05},
    },
    {
        "name": "digits in 8 and 32 bits",
        "labels": ["digits", "int8"],
        "recipe": "simq_nas",
        "training": {"epochs": 2, "seed": 3},
        "search": {"evaluations": 32},
        "quantization": {"bits": [8, 32], "baseline_evaluations": 6},
        "objectives": [{"metric": "accuracy"}, {"metric": "size_bytes"}],
        "hardware": {"seconds": 0.05},
    },
)
# Colours of a picture's palette: enough for flat colours, and small.
COLOURS = 160


def every_page(job_ids: list[str], network: str, other: str) -> dict[str, str]:
    """Name of each page -> its address. The first job has both networks."""
    first = job_ids[0]
    compared = "&".join(f"network={first}:{one}" for one in (network, other))
    return {
        "jobs": "/",
        "new-job": "/jobs/new",
        "job": f"/jobs/{first}",
        "network": f"/jobs/{first}/networks/{network}",
        "compare": f"/compare?{compared}&" + "&".join(f"job={one}" for one in job_ids[:2]),
        "recipes": "/recipes",
        "supernets": "/supernets",
        "supernet": f"/supernets/{first}",
        "datasets": "/datasets",
        "families": "/families",
        "targets": "/targets",
        "workers": "/workers",
        "keys": "/keys",
        "api": "/docs",
        "unknown": "/jobs/none",
    }


def opened(browser: Browser, client: Client, width: int, theme: Any) -> BrowserContext:
    """A signed-in browser of a width and a theme."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, base_url=client.url, reduced_motion="reduce"
    )
    sign_in(context, client)
    return context


def prepared(client: Client) -> dict[str, str]:
    """Run the jobs that the pictures show; name of each page -> its address."""
    ids = [str(client.submit(job)["id"]) for job in JOBS]
    for job_id in ids:
        assert wait_for(client, job_id, is_finished, 3600)["state"] == "succeeded"
    points = client.front(ids[0])["points"]
    knee = client.front(ids[0])["knee"]
    client.finished_export(client.request_export(ids[0], knee))
    return {**every_page(ids, knee, points[0]["architecture_id"]), "job-of-policies": f"/jobs/{ids[2]}"}


def take(client: Client, addresses: dict[str, str], folder: Path) -> None:
    """Take all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with launched() as browser:
        for width in WIDTHS:
            for theme in THEMES:
                context = opened(browser, client, width, theme)
                for name, address in addresses.items():
                    _picture(context, address, folder / f"{name}-{width}-{theme}.png")
                context.close()


def _picture(context: BrowserContext, address: str, file: Path) -> None:
    page = context.new_page()
    page.goto(address, wait_until="networkidle", timeout=120_000)
    page.wait_for_timeout(2500)
    page.get_by_test_id("page-reads").wait_for(state="detached", timeout=120_000)
    page.screenshot(path=file, full_page=True)
    page.close()
    with Image.open(file) as picture:
        shrunk = picture.convert("RGB")
        if shrunk.height > 4200:  # the top of a long page shows how it looks
            shrunk = shrunk.crop((0, 0, shrunk.width, 4200))
        shrunk.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


def main(folder: Path) -> None:
    """Take all pictures of a service of its own."""
    os.environ["WINNOW_RATE_LIMIT"] = "off"
    with tempfile.TemporaryDirectory(prefix="winnow-pictures-", ignore_cleanup_errors=True) as data:
        Path(data).chmod(0o755)
        settings = Settings(data_dir=Path(data), database_url=None, redis_url=None)
        with running_stack(settings, 0) as stack, Client(stack.url, key=stack.api_key, timeout_seconds=120) as client:
            take(client, prepared(client), folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
