"""`model-f16.gguf` and `model-q8_0.gguf`, written with llama.cpp's own package.

Layers that are alike are llama.cpp's `llama`, `qwen2` or `qwen3`. For llamas whose layers differ, `deci` has every
layer's own heads and width; qwens are filled up with zeros, because their architectures have one width.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.contents import BundleContents, Part
from export.formats.gguf.quantizing import COMMANDS, KIND, PACKAGE, commands, has_engine, quantized
from export.formats.gguf.vocabulary import add_vocabulary
from export.formats.huggingface.format import described, to_write
from export.generation import in_float32
from export.streamed import Made
from export.tools import CannotWrite, require
from search_space.layers import DecoderLayerSpec
from supernet.inputs import Inputs

# Weights are compared as they are stored: in 16 bits, but for the norms. What remains is another order of sums.
TOLERANCE = 1e-4
# llama.cpp rounds what it multiplies with weights of 16 bits to 16 bits too.
IN_16_BITS = 1e-2
# A file that llama.cpp itself reads, where it is installed; otherwise a reader of our own does.
IN_ENGINE = " in llama.cpp"
SCALED = True
GENERATES = True
COMPANIONS = False

PACKAGES = ("gguf", "numpy", "torch")

ENGINE_RAN = "llama.cpp itself, on the worker, gave the answers that the report has for it."
ENGINE_MISSING = (
    "The worker has no llama.cpp, so a reader of Winnow's own gave the answers in the report. With "
    "`pip install 'winnow[llamacpp]'`, which compiles it, exports are tried in llama.cpp too."
)

# transformers' names of a layer's tensors -> llama.cpp's.
NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def as_stored(network: nn.Module) -> nn.Module:
    """The network whose logits `model-f16.gguf` gives: weights of two dimensions rounded to 16 bits."""
    rounded = copy.deepcopy(in_float32(network))
    with torch.no_grad():
        for parameter in rounded.parameters():
            if parameter.dim() > 1:
                parameter.copy_(parameter.half().float())
    return rounded


REFERENCE = as_stored

RELOAD = "\n\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("engine.py", "reading.py"))


def write(network: nn.Module, example: Tensor | Inputs, folder: Path) -> None:
    """Not enough to know: see `write_contents`.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("gguf needs a network's layers; use write_contents.")


def parts(folder: Path) -> dict[str, Part]:
    """The files that are checked one by one."""
    found = {"f16": Part(TOLERANCE), "q8_0": Part(None)}
    # Of llama.cpp's quantizer, where it was there; 4 bits may be too coarse for a small network.
    if (folder / f"model-{KIND}.gguf").is_file():
        found[KIND] = Part(None, optional=True)
    if has_engine():
        found |= {f"f16{IN_ENGINE}": Part(IN_16_BITS), f"q8_0{IN_ENGINE}": Part(None)}
    return found


def packages(part: str) -> tuple[str, ...]:
    """What loading a part needs."""
    return (*PACKAGES, PACKAGE) if part.endswith(IN_ENGINE) else PACKAGES


def leave_out(folder: Path, part: str) -> None:
    """Take a file away again that is not near enough."""
    (folder / f"model-{part}.gguf").unlink()


def write_contents(contents: BundleContents, example: Tensor | Inputs, folder: Path) -> dict[str, Any]:
    """Write both files, that of llama.cpp's quantizer where it is on PATH, and its commands.

    Raises:
        MissingTool: the package `gguf` is not installed.
        CannotWrite: a weight is too large for 16 bits.
    """
    require("gguf")
    config, places = described(contents)
    layers = [layer for layer in contents.layers.values() if isinstance(layer, DecoderLayerSpec)]
    alike = len({(layer.kv_heads, layer.ffn) for layer in layers}) == 1
    deci = not alike and config["model_type"] in ("llama", "mistral")
    filled = not alike and not deci
    tensors: Mapping[str, Made]
    if not filled:
        held = {n: contents.network.get_submodule(p.slot).get_parameter(p.parameter) for n, p in places.items()}
        tensors = {name: Made.of(tensor) for name, tensor in held.items()}
        sizes = [(layer.heads, layer.kv_heads, layer.ffn) for layer in layers]
    else:
        tensors = to_write(contents, places, str(config["model_type"]))
        one = (config["num_attention_heads"], config["num_key_value_heads"], config["intermediate_size"])
        sizes = [one] * len(layers)
    notes = []
    for kind in ("f16", "q8_0"):
        notes = _write_file(folder / f"model-{kind}.gguf", kind, tensors, sizes, config, deci, contents)
    if deci:
        notes.append("Layers differ, so the file is of llama.cpp's architecture `deci`: every layer has its own width.")
    if filled:
        notes.append(f"Layers differ, and llama.cpp's {config['model_type']} has one width: zeros fill them up.")
    (folder / COMMANDS).write_text(commands(contents, layers))
    if (told := quantized(folder)) is not None:
        notes.append(told)
    notes.append(ENGINE_RAN if has_engine() else ENGINE_MISSING)
    return {"notes": notes}


def _write_file(
    file: Path,
    kind: str,
    tensors: Mapping[str, Made],
    sizes: list[tuple[int, int, int]],
    config: Mapping[str, Any],
    deci: bool,
    contents: BundleContents,
) -> list[str]:
    """Write one file, tensor by tensor: none is held beside the network but the one whose turn it is."""
    import gguf

    neox = config["model_type"] in ("qwen2", "qwen3")
    writer = gguf.GGUFWriter(file, "deci" if deci else config["model_type"] if neox else "llama")
    _add_facts(writer, kind, sizes, config, deci)
    notes = add_vocabulary(writer, config, contents.companions)
    types = gguf.GGMLQuantizationType
    stored: list[tuple[str, Made, int, Any]] = []
    for given, made in tensors.items():
        name, groups = _renamed(given, sizes)
        wanted = types.F32 if len(made.shape) < 2 else types.F16
        if len(made.shape) == 2 and kind == "q8_0" and made.shape[1] % 32 == 0:
            wanted = types.Q8_0
        stored.append((name, made, 0 if neox else groups, wanted))
        as_bytes = gguf.quant_shape_to_byte_shape(made.shape, wanted)
        writer.add_tensor_info(name, as_bytes, np.dtype(np.uint8), math.prod(as_bytes), raw_dtype=wanted)
    if (factors := _rope_factors(config)) is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    with closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, made, groups, wanted in stored:
            array = _turned(made.make().detach().float().cpu().numpy(), groups)
            if wanted is types.F16 and float(np.abs(array).max()) > 65504:
                raise CannotWrite(
                    f"{name} has numbers that 16 bits do not hold; GGUF files of 16 bits cannot be written."
                )
            writer.write_tensor_data(gguf.quants.quantize(array, wanted))
        if factors is not None:
            writer.write_tensor_data(factors)
    return notes


def _add_facts(
    writer: Any, kind: str, sizes: list[tuple[int, int, int]], config: Mapping[str, Any], deci: bool
) -> None:
    """Sizes and positions."""
    import gguf

    def of(column: int) -> int | list[int]:
        numbers = [size[column] for size in sizes]
        return numbers if deci else numbers[0]

    writer.add_type("model")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if kind == "f16" else gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_context_length(int(config.get("max_position_embeddings", 2048)))
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(len(sizes))
    writer.add_feed_forward_length(of(2))
    writer.add_head_count(of(0))
    writer.add_head_count_kv(of(1))
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    given = _rotary(config)
    writer.add_rope_freq_base(float(given["rope_theta"]))
    if given["kind"] in ("linear", "yarn"):
        scaling = gguf.RopeScalingType.LINEAR if given["kind"] == "linear" else gguf.RopeScalingType.YARN
        writer.add_rope_scaling_type(scaling)
        writer.add_rope_scaling_factor(float(given["factor"]))
    if given["kind"] == "yarn":
        original = given.get("original_max_position_embeddings") or config["max_position_embeddings"]
        writer.add_rope_scaling_orig_ctx_len(int(original))
        writer.add_rope_scaling_yarn_beta_fast(float(given.get("beta_fast") or 32))
        writer.add_rope_scaling_yarn_beta_slow(float(given.get("beta_slow") or 1))


def _rotary(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary positions, whichever way a configuration says them."""
    given = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    kind = given.get("rope_type", given.get("type", "default"))
    theta = given.get("rope_theta") or config.get("rope_theta") or 10000.0
    return given | {"kind": kind, "rope_theta": theta}


def _rope_factors(config: Mapping[str, Any]) -> np.ndarray[Any, Any] | None:
    """By what llama.cpp divides each frequency under llama3's scaling; None elsewhere."""
    given = _rotary(config)
    if given["kind"] != "llama3":
        return None
    width = config["head_dim"]
    frequencies = given["rope_theta"] ** -(np.arange(0, width, 2, dtype=np.float64) / width)
    waves = 2 * np.pi / frequencies
    original, factor = given["original_max_position_embeddings"], given["factor"]
    low, high = original / given["low_freq_factor"], original / given["high_freq_factor"]
    smooth = (original / waves - given["low_freq_factor"]) / (given["high_freq_factor"] - given["low_freq_factor"])
    between = 1 / ((1 - smooth) / factor + smooth)
    return np.where(waves > low, factor, np.where(waves < high, 1.0, between)).astype(np.float32)


def _renamed(name: str, sizes: list[tuple[int, int, int]]) -> tuple[str, int]:
    """llama.cpp's name of a tensor, and of queries and keys how many heads its rows are of; else 0."""
    if name in OUTER:
        return OUTER[name], 0
    _, _, number, rest = name.split(".", 3)
    own, heads = NAMES.get(rest), sizes[int(number)]
    if own is None:
        module, _, kind = rest.rpartition(".")
        own = f"{NAMES[module]}.{kind}"
    groups = heads[0] if own.startswith("attn_q.") else heads[1] if own.startswith("attn_k.") else 0
    return f"blk.{number}.{own}", groups


def _turned(array: np.ndarray[Any, Any], groups: int) -> np.ndarray[Any, Any]:
    """Rows in llama.cpp's order: it turns neighbouring numbers of a head, transformers its halves.

    Args:
        groups: heads that the rows are of; 0: they stay as they are.
    """
    if groups:
        array = array.reshape(groups, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
    return np.ascontiguousarray(array)
