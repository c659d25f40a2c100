"""Exports in memory: `winnow.load`. Every tool is imported when it is used."""

from __future__ import annotations

import json
import runpy
import tarfile
from collections.abc import Callable
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


def load(path: str | Path, format: str | None = None) -> Any:  # noqa: A002 - the word that users know
    """An exported network in memory, by the tool of a format. Source files in the export are run: load what you trust.

    Args:
        path: an export's archive, which is unpacked beside itself, or its folder.
        format: one of those that were exported; None: the first by name that can be loaded.

    Returns:
        a model of transformers, a module of torch, a session of ONNX Runtime, or what the format's own tool has.

    Raises:
        ValueError: it is no export, it was not exported in that format, or nothing here opens it.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"There is no {path}.")
    folder = path if path.is_dir() else unpack(path)
    flat = (folder / "load.py").is_file() and (folder / "model.onnx").is_file()
    there = ["winnow", "onnx"] if flat else sorted(one.name for one in folder.iterdir() if one.is_dir())
    if format is not None and format not in there:
        raise ValueError(f"The export has no {format!r}; it has {', '.join(there)}.")
    able = [name for name in ([format] if format else there) if name in OPENERS]
    if not able:
        raise ValueError(f"Open {', '.join([format] if format else there)} with its own tool; README.md says how.")
    return OPENERS[able[0]](folder if flat else folder / able[0])


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
