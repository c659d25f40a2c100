"""What llama.cpp's own quantizer does with the files: `model-q4_k_m.gguf` where the binary is, and the commands.

K-quants are llama.cpp's: which tensors of Q4_K_M get 6 bits is decided there, so they are not written here a second
time. A network that is the checkpoint's without some layers is also what `--prune-layers` makes of the original's file.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.contents import BundleContents
from export.tools import CannotWrite
from search_space.layers import DecoderLayerSpec

BINARY, KIND, COMMANDS = "llama-quantize", "q4_k_m", "llama-quantize.txt"
# Rows of K-quants are blocks of so many numbers; llama.cpp falls back to other types where they are not.
BLOCK = 256
# A large file takes minutes.
PATIENCE_SECONDS = 3600
# llama.cpp for Python: the engine itself, and its quantizer as a function.
PACKAGE = "llama_cpp"
# In a process of its own: what llama.cpp cannot read may end it.
QUANTIZE = """
import sys, llama_cpp
params = llama_cpp.llama_model_quantize_default_params()
params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), params))
"""


def has_engine() -> bool:
    """Whether llama.cpp for Python is installed here."""
    return importlib.util.find_spec(PACKAGE) is not None


def quantized(folder: Path) -> str | None:
    """Write `model-q4_k_m.gguf` where the quantizer is on PATH, or in llama.cpp for Python.

    Returns:
        What to tell; None: neither is there.

    Raises:
        CannotWrite: it failed; its last words are in the message.
    """
    source, file = str(folder / "model-f16.gguf"), folder / f"model-{KIND}.gguf"
    if (binary := shutil.which(BINARY)) is not None:
        name, given = binary, [binary, source, str(file), KIND.upper()]
    elif has_engine():
        name, given = "llama-cpp-python", [sys.executable, "-I", "-B", "-c", QUANTIZE, source, str(file)]
    else:
        return None
    done = subprocess.run(given, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    if done.returncode or not file.is_file():
        said = (done.stderr or done.stdout).strip().splitlines()
        shown = BINARY if name == binary else name
        raise CannotWrite(f"{shown} ended with {done.returncode}: {' '.join(said[-2:]) or 'it said nothing'}.")
    return f"`{file.name}` is of {name} on the worker."


def commands(contents: BundleContents, layers: Sequence[DecoderLayerSpec]) -> str:
    """`llama-quantize.txt`: smaller files of this one, and this one from the original where that can be."""
    lines = [
        "# Smaller files, by llama.cpp's own quantizer:",
        f"llama-quantize model-f16.gguf model-q4_k_m.gguf {KIND.upper()}",
        "# The same with the tables of words in 8 bits:",
        "llama-quantize --token-embedding-type q8_0 --output-tensor-type q8_0 model-f16.gguf model-q4_k_m.gguf Q4_K_M",
    ]
    if any(layer.ffn % BLOCK or layer.embed % BLOCK for layer in layers):
        lines.append(f"# Some rows are no multiples of {BLOCK}: there llama.cpp takes another type than asked for.")
    pruned = left_out(contents, layers)
    lines.append("")
    if pruned is None:
        lines.append("# Not to be had from an original's file: layers are narrower, or there is no original.")
    elif not pruned:
        lines.append("# It has all layers of the original, whose file is the same if nothing was trained.")
    else:
        numbers = ",".join(map(str, pruned))
        lines += [
            f"# From the original's file, if nothing was trained since: layers {numbers} are left out, counted from 0.",
            f"llama-quantize --prune-layers {numbers} original-f16.gguf model-f16.gguf COPY",
        ]
    return "\n".join(lines) + "\n"


def left_out(contents: BundleContents, layers: Sequence[DecoderLayerSpec]) -> tuple[int, ...] | None:
    """Layers of the checkpoint, from 0, that the network lacks; None where it is not the checkpoint without some."""
    original: Mapping[str, Any] | None = contents.facts.get("checkpoint")
    if original is None:
        return None
    heads = original["num_attention_heads"]
    whole = (original["intermediate_size"], heads, original.get("num_key_value_heads") or heads)
    if any((layer.ffn, layer.heads, layer.kv_heads) != whole for layer in layers):
        return None
    kept = {int(slot.removeprefix("layer")) - 1 for slot in contents.layers if slot.startswith("layer")}
    return tuple(number for number in range(int(original["num_hidden_layers"])) if number not in kept)
