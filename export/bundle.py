"""The bundle: one network as a folder and an archive, written whole or not at all.

An export that names no format has its files side by side; one that names some has a folder for each. Both are the same
to the byte whenever the same network is exported again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from export.archive import SUMS, pack, write_sums
from export.contents import BundleContents, write_architecture
from export.kept_samples import keep_samples
from export.scores import Promise
from export.tested import range_table
from export.tools import without_room
from export.verify import verify
from job.formats import unasked
from plugins import kinds
from supernet.inputs import Inputs, named
from supernet.network import takes_mask

__all__ = ["Bundle", "BundleContents", "sha256_of", "write_architecture", "write_bundle"]

CARD = "README.md"

PADDED = """
## Padded texts

Texts of different lengths are padded to one length, and the network must be told where each ends: by a second input
`mask`, true where a token stands and false behind the text. In PyTorch `model(ids, mask)`; `model.onnx` has the inputs
`input` (int64) and `mask` (bool), both (texts, tokens). All numbers above were obtained with it.
"""


SIDE_BY_SIDE = """
## Several networks in one process

```python
import runpy
model = runpy.run_path("FOLDER/load.py")["model"]    # as many folders as you like; none gets in another's way
```
"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A finished export.

    Attributes:
        report: report of the verification, as the bundle holds it.
        measured: what was timed meanwhile, by format; no part of the bundle, because it is another number each time.
    """

    folder: Path
    archive: Path
    report: dict[str, Any]
    sha256: str
    size_bytes: int
    measured: dict[str, Any] = field(default_factory=dict)


def write_bundle(
    subject: BundleContents,
    inputs: Tensor | Inputs,
    labels: Tensor,
    folder: Path,
    promise: Promise | None = None,
) -> Bundle:
    """Write, verify and pack. The folder appears under its name only when all of that has succeeded.

    Args:
        inputs: samples to compare on, by name, or of a network with one input that; the first two also trace the ONNX
            graph.
        labels: their labels, for the accuracy in the report.
        promise: what the front says of the network.

    Raises:
        VerificationError: what was written does not behave like the network, or not as the front says.
        CannotWrite: there is no room on the disk, or a format cannot hold the network after all; nothing is left
            behind.
    """
    inputs = named(inputs)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.draft")
    archive = folder.with_name(f"{folder.name}.tar.gz")
    packed = archive.with_name(f".{archive.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        homes = _homes(subject, draft)
        told = _write_files(subject, inputs, homes, draft)
        report = verify(draft, subject.network, inputs, labels, list(homes), promise, homes=homes)
        measured = {name: found.pop("measured") for name, found in told.items() if "measured" in found}
        for name, found in told.items():
            entry = next(shown for shown in report["formats"] if shown.split()[0] == name)
            report["formats"][entry] |= found
        if "weights" in subject.facts:  # of a network that was healed: whether these are the healed ones
            report["weights"] = subject.facts["weights"]
        (draft / "verification.json").write_text(json.dumps(report, indent=2))
        keep_samples(draft, subject.network, inputs, labels, list(homes))
        (draft / CARD).write_text(_card(subject, inputs, report, homes, draft))
        write_sums(draft)
        pack(draft, packed, folder.name)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
        packed.rename(archive)
    except Exception as error:
        if (full := without_room(error, (draft.parent, Path(tempfile.gettempdir())))) is not None:
            raise full from error
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        packed.unlink(missing_ok=True)
    return Bundle(folder, archive, report, sha256_of(archive), archive.stat().st_size, measured)


def _homes(subject: BundleContents, draft: Path) -> dict[str, Path]:
    """Format -> the folder that its files lie in."""
    if not subject.formats:
        return dict.fromkeys(unasked(), draft)
    homes = {name: draft / name for name in subject.formats}
    for home in homes.values():
        home.mkdir()
    return homes


def _write_files(
    subject: BundleContents, inputs: Inputs, homes: Mapping[str, Path], draft: Path
) -> dict[str, dict[str, Any]]:
    """Write every format; what each tells of its files."""
    told: dict[str, dict[str, Any]] = {}
    if not subject.formats:
        write_architecture(subject.layers, inputs, draft, subject.facts)
        _take_along(subject, draft)
    for name, home in homes.items():
        module = kinds.FORMATS.load(name)
        if subject.formats and getattr(module, "COMPANIONS", True):
            _take_along(subject, home)
        told[name] = _write(module, subject, inputs, home) or {}
    return told


def _write(module: ModuleType, subject: BundleContents, inputs: Inputs, home: Path) -> dict[str, Any] | None:
    if hasattr(module, "write_contents"):
        told: dict[str, Any] | None = module.write_contents(subject, inputs, home)
        return told
    if subject.formats:
        # The simple contract promises that the source of the network lies beside.
        kinds.FORMATS.load("winnow").write_contents(replace(subject, formats=()), inputs, home)
    module.write(subject.network, inputs, home)
    return None


def _take_along(subject: BundleContents, home: Path) -> None:
    for file in subject.companions:
        shutil.copyfile(file, home / file.name)


# --- the card -----------------------------------------------------------------------------------


def _card(
    subject: BundleContents, inputs: Inputs, report: Mapping[str, Any], homes: Mapping[str, Path], draft: Path
) -> str:
    masked = PADDED if takes_mask(subject.network, inputs) and (not subject.formats or "winnow" in homes) else ""
    source = SIDE_BY_SIDE if not subject.formats or "winnow" in homes else ""
    return "".join(
        [subject.card, _verified(report), _loading(subject), source, masked, _versions(report), _files_table(draft)]
    )


def _verified(report: Mapping[str, Any]) -> str:
    """What the files scored when they were reloaded."""
    lines = ["\n## Verified\n", f"Reloaded in a clean process and asked {report['samples']:,} samples."]
    if (front := report.get("front")) is not None:
        part = f"obtained on {front['samples']:,} samples"
        lines[-1] += f" The front says {front['metric']} {front['value']:.6g}, {part}."
    lines += ["", "| file | metric | value | 95 % interval | largest difference |", "|---|---|---:|---|---:|"]
    notes = []
    for name, found in report["formats"].items():
        rows = [(name, found)]
        if "in_batches" in found:
            together = found["in_batches"]
            rows.append((f"{name}, in batches of {together['batch']}", together))
        for shown, one in rows:
            low, high = one["interval_95"]
            number = f"{one[one['metric']]:.6g} | {low:.6g} to {high:.6g} | {one['max_abs_difference']:.3g}"
            lines.append(f"| {shown} | {one['metric']} | {number} |")
        if (tokens := found.get("greedy_tokens")) is not None:
            notes.append(f"- {name}: {tokens['same']} of {tokens['asked']} greedy tokens are the network's own.")
        notes += [f"- {name}: {note}" for note in found.get("notes", [])]
    notes += [f"- {note}" for note in [report.get("note"), *report.get("left_out", [])] if note]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def _loading(subject: BundleContents) -> str:
    """How each folder is opened, in its own tool."""
    if not subject.formats:
        return ""
    lines = ["\n## How to load it\n"]
    for name in subject.formats:
        options = kinds.FORMATS.options(name)
        lines += [
            f"`{name}/`: {options.MEANING}",
            "",
            "```",
            getattr(options, "LOADS", f"# see {name}").strip(),
            "```",
            "",
        ]
    return "\n".join(lines)


def _versions(report: Mapping[str, Any]) -> str:
    """The packages that loading needs, with their tested range."""
    versions = {name: number for found in report["formats"].values() for name, number in found["versions"].items()}
    return range_table(list(versions), versions)


def _files_table(folder: Path) -> str:
    lines = ["\n## Files\n", f"`{SUMS}` has the digest of this card, too; `winnow verify` checks them all.", ""]
    lines += ["| file | bytes | sha256 |", "|---|---:|---|"]
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != CARD:
            lines.append(f"| `{path.relative_to(folder)}` | {path.stat().st_size} | `{sha256_of(path)}` |")
    return "\n".join(lines) + "\n"


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
