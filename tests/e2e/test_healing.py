"""A llama that is searched, healed and shipped, through the API and a worker: what is loaded elsewhere generates."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from service.client import Client
from tests.e2e.helpers import is_finished, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]
    path = tmp_path / "words.txt"
    path.write_text(" ".join(np.random.default_rng(0).choice(words, 1500)))
    return path


def test_two_knees_of_a_llama_are_healed_exported_and_generate(client: Client, text: Path, tmp_path: Path) -> None:
    """Two networks of one front, in two verbs: the knee of the job, and of what is left the one that a person names."""
    from transformers import AutoModelForCausalLM

    job = client.submit(
        {
            "recipe": "llama_nas",
            "supernet": {"preset": "tiny"},
            "data": {"source": "text", "path": str(text), "length": 32, "validation_share": 0.1},
            "training": {"epochs": 6, "batch_size": 8},
            "search": {"algorithm": "random", "evaluations": 12, "options": {"batch": 6}},
            "objectives": [{"metric": "perplexity"}, {"metric": "params"}],
            "hardware": {"seconds": 0.2},
        }
    )
    assert wait_for(client, job["id"], is_finished)["state"] == "succeeded"
    front = client.front(job["id"])
    largest = front["reference"]["architecture_id"]
    names = [point["architecture_id"] for point in front["points"] if point["architecture_id"] != largest]
    chosen = [front["knee"] if front["knee"] in names else names[0], names[-1]]
    healing = {"networks": chosen, "steps": 60, "learning_rate": 1e-3, "batch_size": 8}
    made = client.descend(job["id"], "heal", {"healing": healing})
    ended = wait_for(client, made["id"], is_finished)
    assert ended["state"] == "succeeded", ended["message"]
    healed = {one["architecture_id"]: one for one in client.healing(made["id"])["networks"]}
    assert set(healed) == set(chosen)
    smallest = healed[chosen[-1]]
    assert smallest["better"]
    assert smallest["after"]["perplexity"] < smallest["before"]["perplexity"]

    export = client.export(made["id"], chosen[-1], formats=["huggingface"])
    assert export["weights"] == "healed"
    archive = client.download(export, tmp_path / "exports")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    folder = tmp_path / archive.name.removesuffix(".tar.gz")
    assert json.loads((folder / "verification.json").read_text())["weights"] == "healed"
    assert "The healed weights are in these files." in (folder / "README.md").read_text()
    model = AutoModelForCausalLM.from_pretrained(folder / "huggingface").eval()
    prompt = torch.tensor([list(b"the quick brown fox jumps over ")])
    with torch.no_grad():
        answer = model.generate(prompt, max_new_tokens=12, do_sample=False)
    assert answer.shape[1] == prompt.shape[1] + 12
    generated = bytes(answer[0, prompt.shape[1] :].tolist()).decode(errors="replace")
    assert set(generated) <= set("the quick brown fox jumps over a lazy dog "), generated
