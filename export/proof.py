"""`winnow verify FILE`: an export checked again: every file's digest, then every format asked in a clean process.

The samples that travel with an export are asked, and answers are compared with the network's own, which travel too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from export.archive import edited
from export.kept_samples import FILE, inputs_of, logits_of
from export.tools import missing
from export.verify import VerificationError, allowed_scale, run_clean
from plugins.kinds import FORMATS
from plugins.registry import UnknownPluginError
from search_space.inputs import INPUT, MASK


def main(arguments: list[str] | None = None) -> int:
    """Print what was found; 0: everything is as it was exported."""
    parser = argparse.ArgumentParser(prog="winnow verify", description="Check an export again, wherever it is.")
    parser.add_argument("file", type=Path, help="an archive of an export (.tar.gz), or its folder")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="winnow-") as work:
        try:
            folder = unpacked(given.file, Path(work))
            told, wrong = checked(folder)
        except (OSError, ValueError, tarfile.TarError) as error:
            print(f"{given.file} cannot be verified: {error}", file=sys.stderr)  # noqa: T201 - a command
            return 1
    for line in [*told, *wrong]:
        print(line)  # noqa: T201 - a command
    print(f"{given.file} is {'not what was exported' if wrong else 'what was exported'}.")  # noqa: T201 - a command
    return 1 if wrong else 0


def unpacked(file: Path, work: Path) -> Path:
    """The folder of an export.

    Raises:
        ValueError: there is no such file, or more than one folder in it.
        TarError: it is no archive, or a broken one.
    """
    if file.is_dir():
        return file
    if not file.is_file():
        raise ValueError("there is no such file or folder")
    try:
        with tarfile.open(file) as tar:
            tar.extractall(work, filter="data")
    except EOFError as error:
        raise ValueError(f"the archive is cut off ({error})") from None
    folders = [path for path in work.iterdir() if path.is_dir()]
    if len(folders) != 1:
        raise ValueError(f"an export's archive has one folder, and this one has {len(folders)}")
    return folders[0]


def checked(folder: Path) -> tuple[list[str], list[str]]:
    """What is right and what is wrong with an export, in sentences.

    Raises:
        ValueError: it is no export, or lacks what a check needs.
    """
    wrong = edited(folder)
    told = [] if wrong else ["Every file has the sha256 that was written."]
    try:
        report = json.loads((folder / "verification.json").read_text(encoding="utf-8"))
        samples = load_file(folder / FILE)
    except (OSError, ValueError, SafetensorError) as error:
        return told, [*wrong, f"Its files cannot be asked again: {error}."]
    for name in report["formats"]:
        for line, good in _format_checked(folder, name, report, samples):
            (told if good else wrong).append(line)
    return told, wrong


def _format_checked(
    folder: Path, shown: str, report: dict[str, Any], samples: dict[str, np.ndarray[Any, Any]]
) -> Iterator[tuple[str, bool]]:
    name, _, part = shown.partition(" ")
    found = report["formats"][shown]
    try:
        module = FORMATS.load(name)
    except UnknownPluginError as error:
        yield f"{shown}: {error}", False
        return
    if (why := missing(module, part)) is not None:
        yield f"{shown}: {why}", False
        return
    home = folder / name if (folder / name).is_dir() else folder
    given = inputs_of(samples, report.get("inputs", (INPUT, MASK)))
    with tempfile.TemporaryDirectory(prefix="winnow-") as work:
        try:
            # One by one, as the answers that travel were obtained.
            run_clean(module, home, given, [1], shown, Path(work), part)
        except VerificationError as error:
            yield f"{shown}: {error}", False
            return
        files = [Path(work) / f"outputs-1-{number}.npy" for number in range(len(given[0]))]
        got = np.concatenate([np.load(file) for file in files])
    if not part and hasattr(module, "remark") and (said := module.remark(home)) is not None:
        yield f"{shown}: {said}", True
    right = logits_of(samples, name)
    if got.shape != right.shape:
        yield f"{shown}: it answers with shape {got.shape}, the network with {right.shape}.", False
        return
    difference, scale = float(np.abs(got - right).max()), allowed_scale(module, float(np.abs(right).max()))
    # Rounded weights differ by what was found when they were written; kernels of another machine may round otherwise.
    exact = found["tolerance"]
    allowed = 2 * found["max_abs_difference"] + 1e-3 * scale if exact is None else max(exact * scale, 1e-5 * scale)
    words = f"{shown}: {len(got)} samples, largest difference {difference:.3g}, {allowed:.3g} allowed."
    yield words, bool(difference <= allowed)


if __name__ == "__main__":
    raise SystemExit(main())
