"""The bundle: one network as a folder and an archive, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from export.scores import Promise
from export.tested import range_table
from export.verify import verify
from plugins import kinds
from search_space.layers import LayerSpec
from supernet.network import takes_mask

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
class BundleContents:
    """The network to export and what its card says.

    Attributes:
        network: extracted and calibrated, in evaluation mode.
        layers: its layer specs by slot, in forward order.
        facts: what `architecture.json` says besides the layers.
        card: the model card without the part about files, as Markdown.
        companions: files that go along as they are, such as those of a tokenizer.
    """

    network: nn.Module
    layers: dict[str, LayerSpec]
    facts: dict[str, Any]
    card: str
    companions: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """A finished export."""

    folder: Path
    archive: Path
    report: dict[str, Any]
    sha256: str
    size_bytes: int


def write_bundle(
    subject: BundleContents,
    inputs: Tensor,
    labels: Tensor,
    folder: Path,
    mask_NT: Tensor | None = None,
    promise: Promise | None = None,
) -> Bundle:
    """Write, verify and pack. The folder appears under its name only when all of that has succeeded.

    Args:
        inputs: samples to compare on; the first two also trace the ONNX graph.
        labels: their labels, for the accuracy in the report.
        mask_NT: true where a padded text has a token.
        promise: what the front says of the network.

    Raises:
        VerificationError: what was written does not behave like the network, or not as the front says.
        OSError: the disk is full, say; nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.draft")
    archive = folder.with_name(f"{folder.name}.tar.gz")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        _write_files(subject, inputs, draft)
        report = verify(draft, subject.network, inputs, labels, kinds.FORMATS.names(), mask_NT, promise)
        (draft / "verification.json").write_text(json.dumps(report, indent=2))
        masked = PADDED if takes_mask(subject.network, inputs) else ""
        told = _verified(report) + SIDE_BY_SIDE + masked + _versions(report)
        (draft / "README.md").write_text(subject.card + told + _files_table(draft))
        packed = archive.with_name(f".{archive.name}.draft")
        with tarfile.open(packed, "w:gz") as tar:
            tar.add(draft, arcname=folder.name)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
        packed.rename(archive)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        archive.with_name(f".{archive.name}.draft").unlink(missing_ok=True)
    return Bundle(folder, archive, report, sha256_of(archive), archive.stat().st_size)


def _write_files(subject: BundleContents, inputs: Tensor, folder: Path) -> None:
    write_architecture(subject.layers, inputs, folder, subject.facts)
    for name in kinds.FORMATS.names():
        kinds.FORMATS.load(name).write(subject.network, inputs, folder)
    for file in subject.companions:
        shutil.copyfile(file, folder / file.name)


def write_architecture(
    layers: dict[str, LayerSpec],
    inputs: Tensor,
    folder: Path,
    facts: dict[str, Any] | None = None,
    *,
    tied: bool = True,
) -> None:
    """Write `architecture.json`: what `network.py` builds from, and what the network eats."""
    described = [
        {"slot": slot, "kind": layer.kind, "fields": layer.fields()}
        | ({"ties": layer.ties()} if tied and layer.ties() else {})
        for slot, layer in layers.items()
    ]
    dtype = str(inputs.dtype).removeprefix("torch.")
    if inputs.is_floating_point():
        dtype = (facts or {}).get("dtype", dtype)
    eats = {"shape": [1, *inputs.shape[1:]], "dtype": dtype}
    text = json.dumps({**(facts or {}), "input": eats, "layers": described}, indent=2)
    (folder / "architecture.json").write_text(text)


def _verified(report: dict[str, Any]) -> str:
    """What the files scored when they were reloaded."""
    lines = ["\n## Verified\n", f"Reloaded in a clean process and asked {report['samples']:,} samples."]
    if (front := report.get("front")) is not None:
        part = f"obtained on {front['samples']:,} samples"
        lines[-1] += f" The front says {front['metric']} {front['value']:.6g}, {part}."
    lines += ["", "| file | metric | value | 95 % interval | largest difference |", "|---|---|---:|---|---:|"]
    for name, found in report["formats"].items():
        rows = [(name, found)]
        if "in_batches" in found:
            together = found["in_batches"]
            rows.append((f"{name}, in batches of {together['batch']}", together))
        for shown, one in rows:
            low, high = one["interval_95"]
            number = f"{one[one['metric']]:.6g} | {low:.6g} to {high:.6g} | {one['max_abs_difference']:.3g}"
            lines.append(f"| {shown} | {one['metric']} | {number} |")
    if "note" in report:
        lines += ["", report["note"]]
    return "\n".join(lines) + "\n"


def _versions(report: dict[str, Any]) -> str:
    """The packages that loading needs, with their tested range."""
    versions = {name: number for found in report["formats"].values() for name, number in found["versions"].items()}
    return range_table(list(versions), versions)


def _files_table(folder: Path) -> str:
    lines = ["\n## Files\n", "| file | bytes | sha256 |", "|---|---:|---|"]
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != "README.md":
            lines.append(f"| `{path.name}` | {path.stat().st_size} | `{sha256_of(path)}` |")
    return "\n".join(lines) + "\n"


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
