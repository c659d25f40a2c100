"""Proof that an export loads elsewhere: reload it in a clean process, compare, and score it."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.scores import Promise, Score, against
from plugins.entries import packages_of_others
from plugins.kinds import FORMATS
from quantization.quantizable import applied_to
from search_space.packages import own_packages
from supernet.network import arguments, float_type_of

# Imports nothing of ours: what it loads is what a user without Winnow would load.
CHECKER = """
import json, os, sys, time
from importlib import metadata
import numpy
folder, work, sizes, *ours = sys.argv[1:]
begin = time.perf_counter()
run = reload(folder)
given = [numpy.load(work + "/" + name) for name in ("inputs.npy", "mask.npy") if os.path.exists(work + "/" + name)]
for size in map(int, sizes.split(",")):
    for number, start in enumerate(range(0, len(given[0]), size)):
        numpy.save(f"{work}/outputs-{size}-{number}.npy", run(*(each[start : start + size] for each in given)))
leaked = sorted(set(ours) & {name.split(".")[0] for name in sys.modules})
used = [name for name in PACKAGES if name in sys.modules]
versions = {name: getattr(sys.modules[name], "__version__", None) or metadata.version(name) for name in used}
print(json.dumps({"seconds": time.perf_counter() - begin, "leaked": leaked, "versions": versions}))
"""


# A quantized network may round a tie to the other step in another runtime, so logits differ by steps and a few
# predictions with them; its accuracy may not: half a point, five answers in a thousand.
QUANTIZED_ACCURACY = 0.005
# Pixels and tokens in one forward pass.
PIXELS, TOKENS = 2048 * 32 * 32, 2048
# Samples in a batch where answers depend on the batch.
COMPANY = 32
IN_BATCHES = "Scored at batch one, as the search scored it; in batches answers change."


class VerificationError(RuntimeError):
    """What was written does not behave like the network it was written from."""


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One format's answers beside the network's."""

    score: Score
    difference: float
    same: bool


def verify(
    folder: Path,
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    formats: Sequence[str],
    mask_NT: Tensor | None = None,
    promise: Promise | None = None,
) -> dict[str, Any]:
    """Reload every format in a clean process, compare its logits on `inputs` with the network's, and score it. A format
    that holds a network in another type (`REFERENCE`) is compared with the network in that type.

    The clean process computes with as many threads as this one: torch's kernels sum in another order with others.

    Args:
        labels: of the inputs, or of a language model the next token at every position.
        mask_NT: true where a padded text has a token; None: everywhere.
        promise: what the front says of the network.

    Returns:
        The report: per format, the largest difference, whether every prediction is the same, the job's own metric with
        its interval, and how far that is from the front's number.

    Raises:
        VerificationError: a format does not load, differs by more than it may, or is not what the front says.
    """
    _, *mask = arguments(network, inputs, mask_NT)
    given = [tensor.cpu() for tensor in (inputs, *mask)]
    truth = labels.cpu().numpy()
    language = truth.ndim == 2
    applied = applied_to(network)
    company = applied is not None and any(plan.dynamic for plan in applied.plans.values())
    sizes = [1, COMPANY] if company else [_batch_size(given[0])]
    report: dict[str, Any] = {"samples": len(inputs), "formats": {}}
    if promise is not None:
        report["front"] = {"metric": promise.metric, "value": promise.value, "samples": promise.of}
    if company:
        report["batch"], report["note"] = 1, IN_BATCHES
    with tempfile.TemporaryDirectory(prefix="winnow-") as work:
        own = Path(work) / "expected"
        own.mkdir()
        expected = _score(_computed(network, given, sizes[0], own), truth, language)
        for name in formats:
            module = FORMATS.load(name)
            answers = Path(work) / name
            answers.mkdir()
            facts = _run_clean(module, folder, [tensor.numpy() for tensor in given], sizes, name, answers)
            if facts["leaked"]:
                raise VerificationError(f"Loading {name} imported {facts['leaked']}; an export must not need Winnow.")
            right = own
            if (reference := getattr(module, "REFERENCE", lambda same: same)(network)) is not network:
                right = Path(work) / f"expected of {name}"
                right.mkdir()
                _score(_computed(reference, given, sizes[0], right), truth, language)
            compared = _compare(_stored(answers, sizes[0]), _stored(right, sizes[0]), truth, language)
            found: dict[str, Any] = {
                "max_abs_difference": compared.difference,
                "tolerance": module.TOLERANCE,
                "same_predictions": compared.same,
                **compared.score.report(),
                "seconds": facts["seconds"],
                "versions": facts["versions"],
            }
            report["formats"][name] = found
            if company:
                together = _compare(_stored(answers, COMPANY), _stored(answers, 1, COMPANY), truth, language)
                found["in_batches"] = {"batch": COMPANY, **together.score.report()}
                found["in_batches"] |= {"max_abs_difference": together.difference, "same_predictions": together.same}
            shutil.rmtree(answers)
            if applied is not None:
                _check_quantized(name, found, expected.accuracy, expected.answers)
            elif not compared.difference <= module.TOLERANCE or not compared.same:
                raise VerificationError(
                    f"The reloaded {name} differs from the network: largest difference {compared.difference:g}, "
                    f"allowed {module.TOLERANCE:g}; same predictions: {compared.same}."
                )
            if promise is not None:
                _check_promise(name, found, promise, compared.score)
    return report


def _batch_size(inputs: Tensor) -> int:
    """Samples in one forward pass: as many as memory holds, the same in both processes."""
    if inputs.dim() == 4:
        return max(1, PIXELS // (inputs.shape[2] * inputs.shape[3]))
    return max(1, TOKENS // inputs.shape[1]) if inputs.dim() == 2 else len(inputs)


def _computed(network: nn.Module, given: Sequence[Tensor], size: int, folder: Path) -> Iterator[np.ndarray]:
    """The network's own logits, batch by batch, kept in a folder: of a language model they are large."""
    network.eval()
    dtype = float_type_of(network)
    with torch.no_grad():
        for number, start in enumerate(range(0, len(given[0]), size)):
            # Memory of its own, as the clean process has it: kernels may depend on how it is aligned.
            batch = (each[start : start + size].clone() for each in given)
            typed = (each.to(dtype) if each.is_floating_point() else each for each in batch)
            logits = network(*typed).float().cpu().numpy()
            np.save(folder / f"outputs-{size}-{number}.npy", logits)
            yield logits


def _stored(folder: Path, size: int, regrouped: int | None = None) -> Iterator[np.ndarray]:
    """Logits as they were written, batch by batch.

    Args:
        regrouped: so many batches of one in one.
    """
    files = [folder / f"outputs-{size}-{n}.npy" for n in range(len(list(folder.glob(f"outputs-{size}-*.npy"))))]
    step = regrouped or 1
    for start in range(0, len(files), step):
        yield np.concatenate([np.load(file) for file in files[start : start + step]])


def _score(batches: Iterator[np.ndarray], truth: np.ndarray, language: bool) -> Score:
    score, at = Score(language), 0
    for logits in batches:
        score.add(logits, truth[at : at + len(logits)])
        at += len(logits)
    return score


def _compare(got: Iterator[np.ndarray], right: Iterator[np.ndarray], truth: np.ndarray, language: bool) -> _Comparison:
    score, at, difference, same = Score(language), 0, 0.0, True
    for mine, theirs in zip(got, right, strict=True):
        if mine.shape != theirs.shape:
            raise VerificationError(f"Reloaded, it answers with shape {mine.shape}; the network with {theirs.shape}.")
        far = float(np.abs(mine - theirs).max())
        difference = far if math.isnan(far) or far > difference else difference
        same = same and bool((mine.argmax(-1) == theirs.argmax(-1)).all())
        score.add(mine, truth[at : at + len(mine)])
        at += len(mine)
    return _Comparison(score, difference, same)


def _check_promise(name: str, found: dict[str, Any], promise: Promise, score: Score) -> None:
    """Compare with the front's number, and say so in the report."""
    found["against_front"] = against(promise, score)
    if not found["against_front"]["kept"]:
        part = f"{score.samples:,} of {promise.of:,} samples"
        raise VerificationError(
            f"The written {name} has {score.metric} {score.value:.6g} on {part}, but the front says {promise.metric} "
            f"{promise.value:.6g} of this network; it may be off by {found['against_front']['tolerance']:.4g}"
            f"{' of its logarithm' if score.language else ''}. The data or the weights are not those that the front "
            "was made with."
        )


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


def _run_clean(
    module: Any, folder: Path, given: list[np.ndarray], sizes: Sequence[int], name: str, work: Path
) -> dict[str, Any]:
    """Run a format in a process that knows nothing of ours; its logits are files of `work`."""
    for file, array in zip(("inputs.npy", "mask.npy"), given, strict=False):
        np.save(work / file, array)
    threads = str(torch.get_num_threads())
    script = f"PACKAGES = {tuple(module.PACKAGES)!r}\n{module.RELOAD}{CHECKER}"
    ours = sorted(own_packages() | packages_of_others())
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", script, str(folder), str(work), ",".join(map(str, sizes)), *ours],
        cwd=work,
        env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = " ".join(done.stderr.strip().split("\n")[-2:])
        raise VerificationError(f"The written {name} does not load in a clean process: {tail}")
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts
