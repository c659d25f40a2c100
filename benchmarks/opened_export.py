"""An exported text classifier, opened, scored and timed as anyone can: without Winnow, from its archive alone.

    python -I benchmarks/opened_export.py ARCHIVE SENTENCES.tsv LENGTH [--seconds 5]

Needs numpy, onnx, onnxruntime and tokenizers. ARCHIVE is what Winnow's export gave (`.tar.gz`), SENTENCES has lines of
text, tab and the class's number, and LENGTH is how many tokens texts are cut and padded to. Prints one JSON object:

- `accuracy`, `correct` and `sentences`: of `model.onnx` with the tokenizer beside it;
- `latency_ms`: median of single sentences in ONNX Runtime, one thread, batch 1, with the tenth and the ninetieth
  percentile; padding is computed like a word, so that every sentence takes as long;
- `model_bytes`: of `model.onnx`; `weights_bytes`: of the tensors in it; `archive_bytes`;
- `token_ids_sha256`: of all token ids, (sentences, LENGTH) int64 little-endian.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tokenizers

BATCH, WARM_UP_RUNS, LEAST_RUNS = 50, 20, 50
# Winnow's packages, none of which may be needed.
ROOMS = ("export", "job", "pipeline", "plugins", "quantization", "search_space", "service", "supernet", "winnow")


def texts_of(file: Path) -> tuple[list[str], np.ndarray]:
    """Sentences and their classes, (N,) int64."""
    rows = [line.rsplit("\t", 1) for line in file.read_text(encoding="utf-8").splitlines()]
    return [text for text, _ in rows], np.array([int(label) for _, label in rows])


def token_ids(tokenizer_file: Path, texts: list[str], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids, (N, length) int64, and a mask that is true where a token stands, (N, length) bool."""
    tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_file))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=tokenizer.token_to_id("[PAD]") or 0)
    encoded = tokenizer.encode_batch(texts)
    return np.array([e.ids for e in encoded]), np.array([e.attention_mask for e in encoded]).astype(bool)


def latency(session: onnxruntime.InferenceSession, feeds: list[dict[str, np.ndarray]], seconds: float) -> list[float]:
    """Milliseconds of single runs, one sentence after the other, for so long."""
    for feed in feeds[:WARM_UP_RUNS]:
        session.run(None, feed)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < LEAST_RUNS or time.perf_counter() < end:
        feed = feeds[len(times) % len(feeds)]
        begin = time.perf_counter()
        session.run(None, feed)
        times.append(1000 * (time.perf_counter() - begin))
    return times


def opened(archive: Path, sentences: Path, length: int, seconds: float) -> dict[str, Any]:
    """Every number, from the file."""
    with tempfile.TemporaryDirectory() as work:
        with tarfile.open(archive) as tar:
            tar.extractall(work, filter="data")
        model = next(Path(work).rglob("model.onnx"))
        texts, labels = texts_of(sentences)
        ids, mask = token_ids(model.parent / "tokenizer.json", texts, length)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

        def feed(start: int, count: int) -> dict[str, np.ndarray]:
            return {"input": ids[start : start + count], "mask": mask[start : start + count]}

        logits = [session.run(None, feed(i, BATCH))[0] for i in range(0, len(ids), BATCH)]
        correct = int((np.concatenate(logits).argmax(1) == labels).sum())
        times = latency(session, [feed(i, 1) for i in range(len(ids))], seconds)
        low, median, high = (round(float(value), 3) for value in np.percentile(times, (10, 50, 90)))
        weights = sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(model).graph.initializer)
        return {
            "accuracy": round(correct / len(labels), 6),
            "correct": correct,
            "sentences": len(labels),
            "latency_ms": {"median": median, "p10": low, "p90": high, "runs": len(times), "threads": 1, "batch": 1},
            "model_bytes": model.stat().st_size,
            "weights_bytes": weights,
            "archive_bytes": archive.stat().st_size,
            "archive_sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
            "token_ids_sha256": hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest(),
            "winnow_modules": sorted({name.split(".")[0] for name in sys.modules} & set(ROOMS)),
            "versions": {one.__name__: one.__version__ for one in (np, onnx, onnxruntime, tokenizers)},
        }


def main() -> None:
    """Print what the file gives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("sentences", type=Path)
    parser.add_argument("length", type=int)
    parser.add_argument("--seconds", type=float, default=5.0, help="of timing")
    given = parser.parse_args()
    print(json.dumps(opened(given.archive, given.sentences, given.length, given.seconds)))


if __name__ == "__main__":
    main()
