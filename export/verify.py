"""Proof that an export loads elsewhere: reload it in a clean process, compare, and score it."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.clean import kept_warm, run_python
from export.contents import Part
from export.generation import Continuation, continuation
from export.scores import Promise, Score, against
from export.tools import packages_of
from plugins.entries import packages_of_others
from plugins.kinds import FORMATS
from quantization.quantizable import applied_to
from search_space.inputs import TEXTS
from search_space.packages import own_packages
from supernet.inputs import Inputs, named
from supernet.network import complete, float_type_of

# Imports nothing of ours: what it loads is what a user without Winnow would load.
CHECKER = """
import json, os, sys
from importlib import metadata
import numpy
folder, work, sizes, count, part, *ours = sys.argv[1:]
run = reload(folder, part) if part else reload(folder)
files = [f"{work}/input-{place}.npy" for place in range(9)]
given = [numpy.load(file) for file in files if os.path.exists(file)]
for size in map(int, sizes.split(",")):
    for number, start in enumerate(range(0, len(given[0]), size)):
        numpy.save(f"{work}/outputs-{size}-{number}.npy", run(*(each[start : start + size] for each in given)))
if int(count) and hasattr(run, "generate"):
    numpy.save(work + "/tokens.npy", run.generate(numpy.load(work + "/prompts.npy"), int(count)))
leaked = sorted(set(ours) & {name.split(".")[0] for name in sys.modules})
used = [name for name in PACKAGES if name in imported()]
versions = {name: getattr(sys.modules[name], "__version__", None) or metadata.version(name) for name in used}
print(json.dumps({"leaked": leaked, "versions": versions}))
"""


# A quantized network may round a tie to the other step in another runtime, so logits differ by steps and a few
# predictions with them; its accuracy may not: half a point, five answers in a thousand. A language model's perplexity
# may be off by a twentieth.
QUANTIZED_ACCURACY, QUANTIZED_PERPLEXITY = 0.005, 0.05
# Pixels and tokens in one forward pass.
PIXELS, TOKENS = 2048 * 32 * 32, 2048
# Samples in a batch where answers depend on the batch.
COMPANY = 32
IN_BATCHES = "Scored at batch one, as the search scored it; in batches answers change."


class VerificationError(RuntimeError):
    """What was written does not behave like the network it was written from."""


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One format's answers beside the network's.

    Attributes:
        largest: magnitude of the network's logits: rounding grows with it.
    """

    score: Score
    difference: float
    same: bool
    largest: float


@dataclass(frozen=True, slots=True)
class _Question:
    """What every format is asked, and what the network itself says.

    Attributes:
        names, given: what the network is given, in its order.
        sizes: sizes of batches; where answers depend on company, one and `COMPANY`.
    """

    network: nn.Module
    names: list[str]
    given: list[Tensor]
    truth: np.ndarray
    sizes: list[int]
    work: Path
    promise: Promise | None

    @property
    def pairs(self) -> bool:
        return TEXTS in self.names and self.truth.ndim == 2

    @property
    def language(self) -> bool:
        return self.truth.ndim == 2 and not self.pairs

    def score(self) -> Score:
        """For one network or file, with nothing counted yet."""
        return Score(self.language, self.pairs)

    @property
    def company(self) -> bool:
        return len(self.sizes) > 1


def verify(
    folder: Path,
    network: nn.Module,
    inputs: Tensor | Inputs,
    labels: Tensor,
    formats: Sequence[str],
    promise: Promise | None = None,
    *,
    homes: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Reload every format in a clean process, compare its logits on `inputs` with the network's, and score it. A format
    that holds a network in another type (`REFERENCE`) is compared with the network in that type.

    The clean process computes with as many threads as this one: torch's kernels sum in another order with others.

    Args:
        inputs: by name, or the only one of a network that has one.
        labels: labels of the inputs, or of a language model the next token at every position.
        promise: what the front says of the network.
        homes: format -> the folder of its files; None: all lie in `folder`.

    Returns:
        The report: per format, the largest difference, whether every prediction is the same, the job's own metric with
        its interval, and how far that is from the front's number; of language models how many greedy tokens are the
        network's own.

    Raises:
        VerificationError: a format does not load, differs by more than it may, or is not what the front says.
    """
    # As they are: what computes in 16 bits rounds them itself.
    asked = {**complete(network, inputs), **named(inputs)}
    given = [tensor.cpu() for tensor in asked.values()]
    applied = applied_to(network)
    company = applied is not None and any(plan.dynamic for plan in applied.plans.values())
    sizes = [1, COMPANY] if company else [_batch_size(given)]
    report: dict[str, Any] = {"samples": len(given[0]), "inputs": list(asked), "formats": {}}
    if promise is not None:
        report["front"] = {"metric": promise.metric, "value": promise.value, "samples": promise.of}
    if company:
        report["batch"], report["note"] = 1, IN_BATCHES
    loaded = [(FORMATS.load(name), folder if homes is None else homes[name]) for name in formats]
    with kept_warm(_shared(loaded)), tempfile.TemporaryDirectory(prefix="winnow-") as work:
        question = _Question(network, list(asked), given, labels.cpu().numpy(), sizes, Path(work), promise)
        own = question.work / "expected"
        own.mkdir()
        expected = _score(_computed(network, given, sizes[0], own), question)
        continued: dict[int, Continuation | None] = {}
        for name, (module, home) in zip(formats, loaded, strict=True):
            reference = getattr(module, "REFERENCE", lambda same: same)(network)
            right = own if reference is network else _expected(question, reference, name)
            wanted = None
            if getattr(module, "GENERATES", False) and question.language and applied is None:
                if id(reference) not in continued:
                    continued[id(reference)] = continuation(reference, given[0])
                wanted = continued[id(reference)]
            if hasattr(module, "remark") and (said := module.remark(home)) is not None:
                report.setdefault("remarks", []).append(said)
            for part, rule in _parts(module, home).items():
                shown = f"{name} {part}".strip()
                try:
                    report["formats"][shown] = _verified(
                        question, module, home, part, rule, right, expected, shown, wanted
                    )
                except VerificationError as error:
                    if not rule.optional:
                        raise
                    module.leave_out(home, part)
                    report.setdefault("left_out", []).append(f"{shown} was left out. {error}")
    return report


def _shared(formats: Sequence[tuple[ModuleType, Path]]) -> set[str]:
    """Packages that several files import whatever the network is: to import them once pays."""
    uses = Counter(
        package
        for module, home in formats
        for part in _parts(module, home)
        for package in set(packages_of(module, part)) - set(getattr(module, "SOMETIMES", ()))
    )
    sometimes = {package for module, _ in formats for package in getattr(module, "SOMETIMES", ())}
    return {package for package, count in uses.items() if count > 1 or package in sometimes}


def _parts(module: ModuleType, home: Path) -> dict[str, Part]:
    """The files of a format that are checked one by one."""
    found: dict[str, Part] = module.parts(home) if hasattr(module, "parts") else {"": Part(module.TOLERANCE)}
    return found


def _expected(question: _Question, reference: nn.Module, name: str) -> Path:
    """Where the logits are that a format must give which holds the network's numbers in another type."""
    right = question.work / f"expected of {name}"
    right.mkdir()
    _score(_computed(reference, question.given, question.sizes[0], right), question)
    return right


def _verified(
    question: _Question,
    module: ModuleType,
    home: Path,
    part: str,
    rule: Part,
    right: Path,
    expected: Score,
    shown: str,
    wanted: Continuation | None,
) -> dict[str, Any]:
    """One file's entry in the report.

    Raises:
        VerificationError: it does not load, differs by more than it may, or is not what the front says.
    """
    answers = question.work / shown
    answers.mkdir()
    applied = applied_to(question.network)
    given = [tensor.numpy() for tensor in question.given]
    facts = run_clean(module, home, given, question.sizes, shown, answers, part, wanted)
    if facts["leaked"]:
        raise VerificationError(f"Loading {shown} imported {facts['leaked']}; an export must not need Winnow.")
    size = question.sizes[0]
    compared = _compare(_stored(answers, size), _stored(right, size), question)
    found: dict[str, Any] = {
        "max_abs_difference": compared.difference,
        "tolerance": rule.tolerance,
        "same_predictions": compared.same,
        **compared.score.report(),
        "versions": facts["versions"],
    }
    if question.company:
        together = _compare(_stored(answers, COMPANY), _stored(answers, 1, COMPANY), question)
        found["in_batches"] = {"batch": COMPANY, **together.score.report()}
        found["in_batches"] |= {"max_abs_difference": together.difference, "same_predictions": together.same}
    allowed = None if rule.tolerance is None else rule.tolerance * allowed_scale(module, compared.largest)
    if wanted is not None and (answers / "tokens.npy").is_file():
        found["greedy_tokens"] = wanted.compared(np.load(answers / "tokens.npy"), allowed)
    shutil.rmtree(answers)
    if applied is not None:
        _check_quantized(shown, found, expected.accuracy, expected.answers)
    elif allowed is None:
        _check_integers(shown, found, expected)
    else:
        _check_floats(shown, found, compared, allowed)
    if question.promise is not None and rule.tolerance is not None:
        _check_promise(shown, found, question.promise, compared.score)
    return found


def allowed_scale(module: ModuleType, largest: float) -> float:
    """By what a tolerance grows: rounding grows with the numbers, for formats that compute in another order."""
    return max(1.0, largest) if getattr(module, "SCALED", False) else 1.0


def _check_floats(name: str, found: dict[str, Any], compared: _Comparison, allowed: float) -> None:
    """Compare logits. Within the tolerance a prediction changes only where two logits tie, and then it counts as the
    same for a format whose tolerance is scaled."""
    tied = allowed > 0 and compared.difference <= allowed
    if not compared.difference <= allowed or not (compared.same or tied):
        raise VerificationError(
            f"The reloaded {name} differs from the network: largest difference {compared.difference:g}, "
            f"allowed {allowed:g}; same predictions: {compared.same}."
        )
    tokens = found.get("greedy_tokens")
    if tokens is not None and tokens["parted_at"] is not None:
        raise VerificationError(
            f"The reloaded {name} continues a text differently: token {tokens['parted_at'] + 1} is another one, where "
            "the network is sure of its own."
        )


def _check_integers(name: str, found: dict[str, Any], expected: Score) -> None:
    """Compare the metric of a file of rounded weights with the network's own."""
    language = expected.language
    known, tolerance = (expected.value, QUANTIZED_PERPLEXITY) if language else (expected.accuracy, QUANTIZED_ACCURACY)
    value = found["perplexity"] if language else found["accuracy"]
    tolerance = tolerance if language else max(tolerance, 1 / expected.answers)
    difference = abs(math.log(value / known)) if language else abs(value - known)
    found[f"{expected.metric}_difference"], found[f"{expected.metric}_tolerance"] = difference, tolerance
    if not difference <= tolerance:
        raise VerificationError(
            f"The reloaded {name} has {expected.metric} {value:.6g}, the network {known:.6g}; they may differ by "
            f"{tolerance:g}{' of the logarithm' if language else ''}."
        )


def _batch_size(given: Sequence[Tensor]) -> int:
    """Samples in one forward pass: as many as memory holds, the same in both processes."""
    return min(_fitting(inputs) for inputs in given)


def _fitting(inputs: Tensor) -> int:
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


def _score(batches: Iterator[np.ndarray], question: _Question) -> Score:
    score, at, truth = question.score(), 0, question.truth
    for logits in batches:
        score.add(logits, truth[at : at + len(logits)])
        at += len(logits)
    score.finish()
    return score


def _compare(got: Iterator[np.ndarray], right: Iterator[np.ndarray], question: _Question) -> _Comparison:
    score, at, difference, same, largest = question.score(), 0, 0.0, True, 0.0
    truth = question.truth
    for mine, theirs in zip(got, right, strict=True):
        if mine.shape != theirs.shape:
            raise VerificationError(f"Reloaded, it answers with shape {mine.shape}; the network with {theirs.shape}.")
        far = float(np.abs(mine - theirs).max())
        difference = far if math.isnan(far) or far > difference else difference
        if not question.pairs:  # whose vectors predict nothing by themselves
            same = same and bool((mine.argmax(-1) == theirs.argmax(-1)).all())
        largest = max(largest, float(np.abs(theirs).max()))
        score.add(mine, truth[at : at + len(mine)])
        at += len(mine)
    score.finish()
    return _Comparison(score, difference, same, largest)


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


def run_clean(
    module: ModuleType,
    folder: Path,
    given: Sequence[np.ndarray],
    sizes: Sequence[int],
    name: str,
    work: Path,
    part: str = "",
    wanted: Continuation | None = None,
) -> dict[str, Any]:
    """Run a format in a process that knows nothing of ours; its logits are files of `work`."""
    for place, array in enumerate(given):
        np.save(work / f"input-{place}.npy", array)
    if wanted is not None:
        np.save(work / "prompts.npy", wanted.prompts)
    count = 0 if wanted is None else wanted.count
    threads = str(torch.get_num_threads())
    script = f"PACKAGES = {packages_of(module, part)!r}\n{module.RELOAD}{CHECKER}"
    ours = sorted(own_packages() | packages_of_others())
    asked = [str(folder), str(work), ",".join(map(str, sizes)), str(count), part, *ours]
    # Tools that cannot live beside Winnow have a Python of their own.
    python = module.python() if hasattr(module, "python") else sys.executable
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
    done = run_python(script, asked, work, environment, packages_of(module, part), python)
    if done.code != 0:
        tail = " ".join(done.err.strip().split("\n")[-2:])
        raise VerificationError(f"The written {name} does not load in a clean process: {tail}")
    facts: dict[str, Any] = json.loads(done.out.strip().splitlines()[-1])
    return facts
