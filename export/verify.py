"""Proof that an export loads elsewhere: reload it in a clean process and compare."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plugins.entries import packages_of_others
from plugins.kinds import FORMATS
from quantization.quantizable import applied_to
from search_space.packages import own_packages
from supernet.network import arguments

# Imports nothing of ours: what it loads is what a user without Winnow would load.
CHECKER = """
import json, os, sys, time
import numpy
folder, work, *ours = sys.argv[1:]
begin = time.perf_counter()
run = reload(folder)
given = [numpy.load(work + "/" + name) for name in ("inputs.npy", "mask.npy") if os.path.exists(work + "/" + name)]
outputs = run(*given)
numpy.save(work + "/outputs.npy", outputs)
leaked = sorted(set(ours) & {name.split(".")[0] for name in sys.modules})
print(json.dumps({"seconds": time.perf_counter() - begin, "leaked": leaked}))
"""


# A quantized network may round a tie to the other step in another runtime, so logits differ by steps and a few
# predictions with them; its accuracy may not: half a point, five answers in a thousand.
QUANTIZED_ACCURACY = 0.005


class VerificationError(RuntimeError):
    """What was written does not behave like the network it was written from."""


def verify(
    folder: Path,
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    formats: Sequence[str],
    mask_NT: Tensor | None = None,
) -> dict[str, Any]:
    """Reload every format in a clean process and compare its logits on `inputs` with the network's.

    Args:
        mask_NT: true where a padded text has a token; None: everywhere.

    Returns:
        The report: per format, the largest difference, whether every prediction is the same, and accuracy.

    Raises:
        VerificationError: a format does not load, or differs by more than it may.
    """
    given = [tensor.float() if tensor.is_floating_point() else tensor for tensor in arguments(network, inputs, mask_NT)]
    truth = labels.cpu().numpy()
    report: dict[str, Any] = {"samples": len(inputs), "formats": {}}
    for name in formats:
        module = FORMATS.load(name)
        reference = getattr(module, "REFERENCE", lambda same: same)(network)
        with torch.no_grad():
            expected = reference.eval()(*arguments(reference, inputs, mask_NT)).float().cpu().numpy()
        got, facts = _run_clean(module.RELOAD + CHECKER, folder, [tensor.cpu().numpy() for tensor in given], name)
        difference = float(np.abs(got - expected).max()) if got.shape == expected.shape else float("inf")
        same = bool(got.shape == expected.shape and (got.argmax(-1) == expected.argmax(-1)).all())
        report["formats"][name] = {
            "max_abs_difference": difference,
            "tolerance": module.TOLERANCE,
            "same_predictions": same,
            "accuracy": float((got.argmax(-1) == truth).mean()),
            "seconds": facts["seconds"],
        }
        if facts["leaked"]:
            raise VerificationError(f"Loading {name} imported {facts['leaked']}; an export must not need Winnow.")
        if applied_to(network) is not None:
            right = expected.argmax(-1) == truth
            _check_quantized(name, report["formats"][name], float(right.mean()), right.size)
        elif not difference <= module.TOLERANCE or not same:
            raise VerificationError(
                f"The reloaded {name} differs from the network: largest difference {difference:g}, "
                f"allowed {module.TOLERANCE:g}; same predictions: {same}."
            )
    return report


def _check_quantized(name: str, found: dict[str, Any], accuracy: float, answers: int) -> None:
    """Compare accuracies instead of logits, and say so in the report; one answer may always differ."""
    tolerance = max(QUANTIZED_ACCURACY, 1 / answers)
    found["tolerance"] = None
    found["accuracy_difference"] = abs(found["accuracy"] - accuracy)
    found["accuracy_tolerance"] = tolerance
    if not found["accuracy_difference"] <= tolerance or not np.isfinite(found["max_abs_difference"]):
        raise VerificationError(
            f"The reloaded {name} has accuracy {found['accuracy']:.4f}, the evaluated quantized network "
            f"{accuracy:.4f}; they may differ by {tolerance:g}."
        )


def _run_clean(script: str, folder: Path, given: list[np.ndarray], name: str) -> tuple[np.ndarray, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as work:
        for file, array in zip(("inputs.npy", "mask.npy"), given, strict=False):
            np.save(Path(work) / file, array)
        ours = sorted(own_packages() | packages_of_others())
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", script, str(folder), work, *ours],
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            tail = " ".join(done.stderr.strip().split("\n")[-2:])
            raise VerificationError(f"The written {name} does not load in a clean process: {tail}")
        return np.load(Path(work) / "outputs.npy"), json.loads(done.stdout)
