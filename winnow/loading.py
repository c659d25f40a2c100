"""Exports in memory: what `ExportAnswer.load` calls. Every tool is imported when it is used."""

from __future__ import annotations

import json
import runpy
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def unpack(archive: Path) -> Path:
    """The folder of an archive, beside it.

    Raises:
        ValueError: it has not one folder.
    """
    with tarfile.open(archive) as tar:
        roots = {name.split("/")[0] for name in tar.getnames()}
        if len(roots) != 1:
            raise ValueError(f"{archive} has not one folder; it is no export.")
        tar.extractall(archive.parent, filter="data")
    return archive.parent / roots.pop()


def load(folder: Path, formats: Sequence[str], wanted: str | None = None) -> Any:
    """A network, by the tool of a format.

    Args:
        formats: names of the formats that were asked for; empty: `load.py` and `model.onnx` lie in the folder itself.

    Raises:
        ValueError: it was not exported in that format, or nothing here opens it.
    """
    there = list(formats) or ["winnow", "onnx"]
    if wanted is not None and wanted not in there:
        raise ValueError(f"The export has no {wanted!r}; it has {', '.join(there)}.")
    able = [name for name in ([wanted] if wanted else there) if name in OPENERS]
    if not able:
        raise ValueError(f"Open {', '.join([wanted] if wanted else there)} with its own tool; README.md says how.")
    return OPENERS[able[0]](folder / able[0] if formats else folder)


def _huggingface(folder: Path) -> Any:
    import transformers

    name = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    tasks = ("ForCausalLM", "ForSequenceClassification", "ForImageClassification")
    task = next((one for one in tasks if one in name), "ForCausalLM" if name.endswith("LMHeadModel") else "")
    return getattr(transformers, f"AutoModel{task}").from_pretrained(folder, local_files_only=True).eval()


def _source(folder: Path) -> Any:
    return runpy.run_path(str(folder / "load.py"))["model"]


def _supernet(folder: Path) -> Any:
    return runpy.run_path(str(folder / "load.py"))["load"]()


def _onnx(folder: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])


def _program(folder: Path) -> Any:
    import torch

    return torch.export.load(folder / "model.pt2").module()


def _openvino(folder: Path) -> Any:
    import openvino

    return openvino.compile_model(str(folder / "openvino_model.xml"), "CPU")


OPENERS: dict[str, Callable[[Path], Any]] = {
    "huggingface": _huggingface,
    "onnx": _onnx,
    "openvino": _openvino,
    "safetensors": _source,
    "supernet": _supernet,
    "torch_export": _program,
    "winnow": _source,
}
