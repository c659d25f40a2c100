"""A search of a language model that is killed again and again ends as one that is left alone.

The whole service runs here: API, broker, database, worker. Two jobs of the recipe `llama-nas` search the same small
llama of bytes, trained from nothing on tinyshakespeare, by perplexity and size. The runner of the second is killed
(SIGKILL) at random moments of its search. Fronts must be the same bit for bit, and nothing may be evaluated twice.

    python -m benchmarks.killed_search [--json] [--evaluations 250] [--kills 5] [--seed 0] [--data FILE]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from export.measure import describe_machine
from service.client import Client
from service.settings import Settings
from service.stack import running_stack
from tests.conftest import FAST
from tests.e2e.helpers import is_finished, kill_runner, runner_pids

CHARACTERS, VALIDATION_SHARE = 100_000, 0.2


def spec(text: Path, evaluations: int) -> dict[str, Any]:
    """The job."""
    return {
        "recipe": "llama-nas",
        "data": {"source": "text", "path": str(text), "length": 64, "validation_share": VALIDATION_SHARE},
        "training": {"epochs": 1},
        "search": {"evaluations": evaluations},
        "hardware": {"seconds": 0.1},
    }


def followed(client: Client, asked: dict[str, Any], after: list[int]) -> dict[str, Any]:
    """A job until it is over; its runner is killed each time it has evaluated so many more."""
    began, job_id, left = time.monotonic(), client.submit(asked)["id"], list(after)
    killed: list[int] = []
    while not is_finished(job := client.job(job_id)):
        if left and job["stage"] == "search" and runner_pids(f"job {job_id}"):
            evaluated = sum(1 for _ in client.evaluations(job_id))
            if evaluated >= left[0] + max(killed, default=0):
                kill_runner(job_id)
                killed.append(evaluated)
                left.pop(0)
        time.sleep(0.05)
    front = client.front(job_id)["points"]
    order = [row["architecture_id"] for row in client.evaluations(job_id)]
    return {
        "state": job["state"],
        "message": job["message"],
        "killed_after": killed,
        "seconds": round(time.monotonic() - began),
        "evaluations": len(order),
        "order": order,
        "front": [[p["architecture_id"], p["metrics"]["perplexity"], p["metrics"]["size_bytes"]] for p in front],
    }


def main() -> None:
    """Run both jobs and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--evaluations", type=int, default=250)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/tinyshakespeare/input.txt.gz"))
    arguments = parser.parse_args()
    if not arguments.data.exists():
        sys.stderr.write(f"Skipped: {arguments.data} is not there. Give a text with --data.\n")
        raise SystemExit(0)
    opened = gzip.open if arguments.data.suffix == ".gz" else open
    with opened(arguments.data, "rt") as file:
        words = file.read(CHARACTERS)
    chance = random.Random(arguments.seed)
    kills = [
        chance.randint(1, int(1.2 * arguments.evaluations / (arguments.kills + 1))) for _ in range(arguments.kills)
    ]
    os.environ.update(FAST)  # a runner's death is noticed within seconds
    with tempfile.TemporaryDirectory(prefix="winnow-bench-", ignore_cleanup_errors=True) as folder:
        text = Path(folder) / "text.txt"
        text.write_text(words)
        settings = Settings(data_dir=Path(folder), database_url=None, redis_url=None)
        with running_stack(settings, port=0) as stack, Client(stack.url, key=stack.api_key) as client:
            alone = followed(client, spec(text, arguments.evaluations), [])
            disturbed = followed(client, spec(text, arguments.evaluations), kills)
    result = {
        "question": "does a search that is killed at random moments end as one that is left alone",
        "same_front": alone["front"] == disturbed["front"],
        "same_order": alone.pop("order") == (order := disturbed.pop("order")),
        "evaluated_twice": len(order) - len(set(order)),
        "alone": alone,
        "killed": {name: value for name, value in disturbed.items() if name != "front"},
        "torch": torch.__version__,
        **describe_machine(),
    }
    print(json.dumps(result, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
