"""A search by blocks through the API and a worker: scored once, solved for limits, and the answer measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.client import Client
from tests.e2e.helpers import is_finished, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]
    path = tmp_path / "words.txt"
    path.write_text(" ".join(np.random.default_rng(0).choice(words, 1500)))
    return path


def test_limits_are_solved_for_and_the_answer_is_measured_in_a_further_job(client: Client, text: Path) -> None:
    job = client.submit(
        {
            "recipe": "llama_nas",
            # Three layers that may be there or not, each with two widths and two numbers of groups.
            "supernet": {"preset": "tiny", "choices": {f"layer{i}_keep": [0] for i in (4, 5, 6)}},
            "data": {"source": "text", "path": str(text), "length": 32, "validation_share": 0.1},
            "training": {"epochs": 6, "batch_size": 8},
            "search": {"algorithm": "blocks", "evaluations": 60, "options": {"combinations": 12}},
            "objectives": [{"metric": "perplexity"}, {"metric": "params"}],
            "hardware": {"seconds": 0.2},
        }
    )
    ended = wait_for(client, job["id"], is_finished)
    assert ended["state"] == "succeeded", ended["message"]
    largest = client.front(job["id"])["reference"]
    limit = 0.8 * largest["metrics"]["params"]
    answer = client.solve(job["id"], limits={"params": limit})
    (one,) = answer["solutions"]
    assert one["feasible"]
    assert one["predicted"]["params"]["value"] <= limit
    assert one["predicted"]["params"]["exact"]
    trust = {metric["metric"]: metric for metric in answer["metrics"]}["perplexity"]
    assert trust["combinations"] >= 12
    assert answer["trusted"] == (answer["distrust"] == [])
    sweep = client.solve(job["id"], sweep={"metric": "params", "points": 6})["solutions"]
    sizes = [each["predicted"]["params"]["value"] for each in sweep]
    assert len(set(sizes)) == len(sizes) > 2

    # What was solved for is a prediction; a job that goes on with the search measures it.
    further = client.descend(
        job["id"], "extend", {"evaluations": 1, "edits": {"search": {"seed_architectures": [one["values"]]}}}
    )
    ended = wait_for(client, further["id"], is_finished)
    assert ended["state"] == "succeeded", ended["message"]
    measured = client.network(further["id"], one["architecture_id"])
    assert measured["metrics"]["params"] == one["predicted"]["params"]["value"]
    low, high = (one["predicted"]["perplexity"][end] for end in ("low", "high"))
    assert 0.5 * low < measured["metrics"]["perplexity"] < 2 * high
