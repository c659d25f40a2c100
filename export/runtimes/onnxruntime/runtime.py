"""ONNX Runtime, on the CPU or with its CUDA provider. What is timed is one `session.run` with one batch."""

from __future__ import annotations

import importlib.util
import platform
import re
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.runtimes import Prepared, Refused
from predictors.readings import GpuFacts, RuntimeFacts
from predictors.runtime import Device
from predictors.setting import Setting

if TYPE_CHECKING:
    from torch import nn

    from search_space.layers import LayerSpec
    from supernet.inputs import Inputs

SUFFIX = ".onnx"

PROVIDERS: dict[Device, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
# What ONNX Runtime says when it lacks an operator; the group is the operator's name.
LACKS = (
    re.compile(r"Could not find an implementation for (?:the node )?(\S+?)(?::|\(|\s)"),
    re.compile(r"(?:domain:)?(\S+?)\(\S*\) is not a registered function/op"),
    re.compile(r"No Op registered for (\S+) with domain_version"),
)


def devices() -> dict[Device, GpuFacts]:
    """Devices that the installed ONNX Runtime runs on here."""
    if importlib.util.find_spec("onnxruntime") is None:
        return {}
    import onnxruntime

    there = onnxruntime.get_available_providers()
    return {device: {} for device, provider in PROVIDERS.items() if provider in there}


def write(network: nn.Module, layers: dict[str, LayerSpec], inputs: Inputs, folder: Path, *, tied: bool = True) -> Path:
    """Write `model.onnx`; the graph alone says what is computed."""
    from export.formats.onnx.traced import write_for_measuring  # torch: not needed where networks are measured

    write_for_measuring(network, inputs, folder)
    return folder / "model.onnx"


def prepare(path: Path, setting: Setting) -> Prepared:
    """A session on the file, with a fixed example as its input.

    Raises:
        Refused: no such provider, an operator that it lacks, or a file that is no model.
    """
    import onnxruntime

    provider = PROVIDERS[setting.how.device]
    if provider not in onnxruntime.get_available_providers():
        raise Refused(
            f"This machine's ONNX Runtime has no {provider}; it has {', '.join(onnxruntime.get_available_providers())}."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setting.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if setting.how.device != "cpu":
        # An operator that the GPU lacks must be said, not run on the CPU in silence.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # the runtime's own classes derive from Exception alone
        raise refusal(path, error) from error
    feed = {}
    for tensor in session.get_inputs():
        # A free dimension is a name: the batch, or the length of a text that was not fixed at export.
        feed[tensor.name] = _example(
            tensor.type, [setting.batch, *(n if isinstance(n, int) else 1 for n in tensor.shape[1:])]
        )
    tensor = session.get_inputs()[0]

    def run() -> float:
        begin = time.perf_counter_ns()
        session.run(None, feed)
        return (time.perf_counter_ns() - begin) / 1e6

    is_language = tensor.type.startswith("tensor(int") and len(session.get_outputs()[0].shape) == 3
    facts: RuntimeFacts = {
        "dtype": weights_dtype(path),
        "input_shape": list(feed[tensor.name].shape),
        "versions": {"onnxruntime": onnxruntime.__version__, "python": platform.python_version()},
    }
    return Prepared({"prefill" if is_language else "forward": run}, facts)


def refusal(path: Path, error: Exception) -> Refused:
    """The runtime's error in words: which operator it lacks, or its own first line."""
    said = str(error)
    for pattern in LACKS:
        if (found := pattern.search(said)) is not None:
            operator = found.group(1).rsplit(":", 1)[-1]
            return Refused(f"ONNX Runtime has no operator {operator} that {path.name} needs: {said[:300]}", operator)
    return Refused(f"ONNX Runtime does not load {path.name}: {said.splitlines()[0][:300] if said else error!r}")


def weights_dtype(path: Path) -> str:
    """In what the file's weights are stored, most elements first: `float32`, `int8`, `int8 + float32`.

    Only tensors of two and more dimensions count; biases and scales are 32-bit in every scheme. Weights that a
    block-quantized operator unpacks are named by its bits. `unknown` where the package onnx is not installed.
    """
    try:
        import onnx
    except ImportError:  # a small device with the runtime alone
        return "unknown"
    model = onnx.load(str(path), load_external_data=False)
    packed = {
        node.input[1]: f"int{next((a.i for a in node.attribute if a.name == 'bits'), 4)}"
        for node in model.graph.node
        if node.op_type == "MatMulNBits"
    }
    count: Counter[str] = Counter()
    for weight in model.graph.initializer:
        if len(weight.dims) >= 2:
            name = packed.get(weight.name) or np.dtype(onnx.helper.tensor_dtype_to_np_dtype(weight.data_type)).name
            count[name] += int(np.prod(weight.dims))
    known = [name for name, _ in count.most_common()]
    return " + ".join(known) if known else "float32"


def _example(kind: str, shape: list[int]) -> np.ndarray[Any, Any]:
    """Inputs of the type that the model asks for: normal noise, token ids (whose values cost the same), a full mask."""
    if kind not in DTYPES:
        raise Refused(f"Inputs of type {kind} are not measured; known: {', '.join(DTYPES)}.")
    dtype = np.dtype(DTYPES[kind])
    if dtype.kind == "b":
        return np.ones(shape, dtype=dtype)
    if dtype.kind == "i":
        return np.zeros(shape, dtype=dtype)
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)
