"""The demo: the whole journey on real data, from one command."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from service.client import Client
from service.demo_job import DEMO_JOB
from service.plain import plain
from service.stack import Stack
from service.terminal import amount, duration, front_notes, front_plot, front_table, watch

# Reloads the bundle twice, in processes that know nothing of Winnow, and compares what they predict.
CLEAN_RELOAD = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import torch
from load import model
torch.manual_seed(0)
with torch.no_grad():
    logits = model(torch.randn(256, 1, 8, 8))
print(hashlib.sha256(logits.argmax(1).numpy().tobytes()).hexdigest()[:16])
"""


def run_demo(console: Console, stack: Stack, exports: Path) -> None:
    """Submit the demo's job over HTTP, watch it, show the front, export the knee and prove that it loads.

    Raises:
        ClientError: a step was refused or failed.
        RuntimeError: the job did not succeed, or the export does not reload.
    """
    began = time.monotonic()
    with Client(stack.url, key=stack.api_key) as client:
        job: dict[str, Any] = client.submit(DEMO_JOB)
        what = " over HTTP: BigNAS on scikit-learn's 8x8 digits."
        console.print(Text.assemble("Submitted job ", plain(job["id"], "bold"), what))
        console.print(f"Live on the dashboard: {stack.url}/jobs/{job['id']}\n", markup=False)
        job = watch(console, client, job["id"])
        if job["state"] != "succeeded":
            raise RuntimeError(f"The demo's job {job['state']}: {job['message']}")
        front = client.front(job["id"])
        evaluated = sum(1 for _ in client.evaluations(job["id"]))
        console.print(f"\nEvaluated {evaluated} architectures; {len(front['points'])} are Pareto-optimal:\n")
        console.print(front_table(front))
        for line in front_notes(front):
            console.print(line, soft_wrap=True, markup=False)
        console.print(front_plot(front))
        measurement = front["points"][0]["measurements"][0]
        console.print(
            f"\nLatency: measured with ONNX Runtime on {measurement['device']}, {measurement['threads']} thread, "
            f"batch {measurement['batch']}. Test accuracy: on data that neither training nor search has seen."
        )
        knee = front["knee"]
        with console.status(plain(f"Exporting the knee, {knee}, and verifying it in a clean process")):
            export = client.export(job["id"], knee)
            archive = client.download(export, exports)
            prediction = _reload(archive)
    report = export["report"]["formats"]
    size = f" ({amount('size_bytes', export['size_bytes'])})."
    console.print(Text.assemble("\nExported the knee to ", plain(archive, "bold"), size))
    for name, facts in report.items():
        same = "identical predictions" if facts["same_predictions"] else "DIFFERENT predictions"
        console.print(
            f"  {name}: reloaded in a clean process, {same} on {export['report']['samples']} test images, "
            f"largest difference {facts['max_abs_difference']:.1g}, test accuracy {100 * facts['accuracy']:.2f} %"
        )
    console.print(f"  archive: unpacked and loaded again, twice, with the same predictions ({prediction})")
    console.print(f"\nThe whole journey took {duration(time.monotonic() - began)}.")


def _reload(archive: Path) -> str:
    """Unpack and load an archive in two clean processes; what both predict, as a digest."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
        bundle = next(path for path in Path(folder).iterdir() if path.is_dir())
        json.loads((bundle / "architecture.json").read_text())
        predictions = {_predict(bundle) for _ in range(2)}
    if len(predictions) != 1:
        raise RuntimeError(f"The exported network predicts differently from load to load: {predictions}")
    return predictions.pop()


def _predict(bundle: Path) -> str:
    command = [sys.executable, "-I", "-B", "-c", CLEAN_RELOAD, str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"The exported network does not load: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()
