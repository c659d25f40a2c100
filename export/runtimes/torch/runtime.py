"""PyTorch, eager or compiled, on the CPU or on a GPU: the bundle's own `network.py` with its weights.

On a GPU times come from CUDA events around the run, after which the stream is waited for. Language models run
with a cache of keys and values whose room is taken beforehand, as serving engines do: `prefill` fills it with a
prompt, `decode` adds one token to it.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.runtimes import Prepared, Refused
from predictors.readings import GpuFacts, RuntimeFacts
from predictors.runtime import Device
from predictors.setting import Setting

if TYPE_CHECKING:
    from torch import nn

    from search_space.layers import LayerSpec
    from supernet.inputs import Inputs

# What the engine reads: a folder with architecture.json, network.py and model.safetensors.
SUFFIX = ""

# Asked in a process of its own: looking for a GPU must not poison what a target's slot starts later.
PROBE = (
    "import json, torch; has = torch.cuda.is_available(); "
    "print(json.dumps({'gpu': torch.cuda.get_device_name() if has else None}))"
)

_count = itertools.count()


def devices() -> dict[Device, GpuFacts]:
    """Devices that the installed torch runs on here, with the GPU's name."""
    if importlib.util.find_spec("torch") is None:
        return {}
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {}
    gpu = json.loads(done.stdout)["gpu"]
    return {"cpu": {}, **({"cuda": {"gpu": gpu}} if gpu else {})}


def write(network: nn.Module, layers: dict[str, LayerSpec], inputs: Inputs, folder: Path, *, tied: bool = True) -> Path:
    """Write what a bundle has for PyTorch: the network's description, source and weights."""
    from export.contents import write_architecture
    from export.formats.safetensors.format import write as write_safetensors
    from supernet.network import float_type_of

    dtype = str(float_type_of(network)).removeprefix("torch.")
    write_architecture(layers, inputs, folder, {"dtype": dtype}, tied=tied)
    write_safetensors(network, inputs, folder)
    return folder


def prepare(path: Path, setting: Setting) -> Prepared:
    """The network of a bundle's folder, and an example of its input.

    Raises:
        Refused: no GPU, no compiler, no such files, or an operator that the device lacks.
    """
    import torch

    from supernet.network import arguments

    how = setting.how
    if how.device == "cuda" and not torch.cuda.is_available():
        raise Refused("torch finds no CUDA device on this machine; choose a cpu target.")
    torch.set_num_threads(setting.threads)
    torch.set_grad_enabled(False)
    try:
        described = json.loads((path / "architecture.json").read_text())
        network = _build(path, described["layers"], described.get("dtype", "float32"))
        given = described["inputs"] if "inputs" in described else {"input": described["input"]}
    except (OSError, KeyError, ValueError) as error:
        raise Refused(f"{path.name} is not a bundle that torch can measure: {error!r}") from error
    device = torch.device(how.device)
    network = network.eval().to(device)
    torch.manual_seed(0)
    examples = {name: _example(each, setting.batch, device) for name, each in given.items()}
    first = next(iter(examples.values()))
    tensors = arguments(network, examples)
    phases = language_phases(network, first) or {"forward": lambda: network(*tensors)}
    if how.compiled:
        torch._dynamo.reset()
        compiled: Any = torch.compile(network)
        phases = {"prefill" if "prefill" in phases else "forward": lambda: compiled(*tensors)}
    clock = _cuda_clock if how.device == "cuda" else _wall_clock
    timed = {name: clock(run, setting.threads) for name, run in phases.items()}
    try:
        for run in timed.values():
            run()
    except torch.OutOfMemoryError as error:
        raise Refused(f"{path.name} does not fit in the GPU's memory: {str(error).splitlines()[0]}") from error
    except Exception as error:
        raise Refused(f"torch cannot run {path.name} here: {type(error).__name__}: {str(error)[:300]}") from error
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in network.parameters()})
    facts: RuntimeFacts = {
        "dtype": " + ".join(dtypes) or "float32",
        "input_shape": list(first.shape),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    if how.device == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["versions"]["cuda"] = torch.version.cuda
        facts["gpu_memory_bytes"] = torch.cuda.max_memory_allocated(device)
    return Prepared(timed, facts, gpu_uuid=_uuid(device) if how.device == "cuda" else None)


def _example(given: dict[str, Any], batch: int, device: Any) -> Any:
    """Inputs of the shape and type that a bundle says: token ids, or normal noise."""
    import torch

    shape = [batch, *given["shape"][1:]]
    if given["dtype"] == "int64":
        return torch.zeros(shape, dtype=torch.int64, device=device)
    example = torch.randn(shape, device=device)
    return example.to(memory_format=torch.channels_last) if example.dim() == 4 else example


def _uuid(device: Any) -> str | None:
    """NVML's name of a CUDA device; None for one that it does not know, such as a Jetson's."""
    import torch

    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return None if uuid is None else f"GPU-{uuid}"


def _build(path: Path, layers: list[dict[str, Any]], dtype: str) -> Any:
    """The network as `load.py` makes it, under a module name of its own: one process measures many."""
    from safetensors.torch import load_model

    module = _module(path, "network")
    network = module.build(layers, dtype)
    if (path / "quantization.json").is_file():
        facts = json.loads((path / "quantization.json").read_text())
        network = _module(path, "quantized").quantize(network, facts)
    load_model(network, path / "model.safetensors")
    return network


def _module(path: Path, file: str) -> Any:
    """A Python file of a bundle, imported under a name that no other bundle has."""
    name = f"_measured_{file}_{next(_count)}"
    spec = importlib.util.spec_from_file_location(name, path / f"{file}.py")
    if spec is None or spec.loader is None or not (path / f"{file}.py").is_file():
        raise OSError(f"{path / f'{file}.py'} is not there")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path))
    return module


class KeyValueRoom:
    """Keys and values of every layer, in memory that is taken once. Stands for transformers' `Cache` in its layers.

    Args:
        capacity: most tokens of a text.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: dict[int, tuple[Any, Any]] = {}
        self.start = 0

    def update(self, keys_NHTD: Any, values_NHTD: Any, layer: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write what `start` is the place of; all up to its end."""
        end = self.start + keys_NHTD.shape[2]
        if layer not in self._held:
            n, h, _, d = keys_NHTD.shape
            self._held[layer] = (
                keys_NHTD.new_empty(n, h, self._capacity, d),
                values_NHTD.new_empty(n, h, self._capacity, values_NHTD.shape[3]),
            )
        for held, new in zip(self._held[layer], (keys_NHTD, values_NHTD), strict=True):
            held[:, :, self.start : end] = new
        keys, values = self._held[layer]
        return keys[:, :, :end], values[:, :, :end]


def language_phases(network: Any, prompt_BT: Any) -> dict[str, Callable[[], Any]] | None:
    """Prefill and decode of a network of decoder layers; None for any other network.

    Every run of `decode` adds a token at the same place, behind the prompt, so that the length stays what is said.
    """
    blocks = list(network)
    decoders = [block for block in blocks if hasattr(block, "step") and not getattr(block, "takes_mask", False)]
    if not decoders or prompt_BT.dim() != 2:
        return None
    import torch

    places = {block: place for place, block in enumerate(decoders)}
    length = prompt_BT.shape[1]
    room = KeyValueRoom(length + 1)

    def run(tokens_BT: Any, start: int) -> Any:
        hidden = tokens_BT
        room.start = start
        for block in blocks:
            hidden = block.step(hidden, start, room, places[block]) if block in places else block(hidden)
        return hidden

    token_B1 = torch.zeros((prompt_BT.shape[0], 1), dtype=torch.int64, device=prompt_BT.device)
    run(prompt_BT, 0)
    return {"prefill": lambda: run(prompt_BT, 0), "decode": lambda: run(token_B1, length)}


def _wall_clock(run: Callable[[], Any], threads: int) -> Callable[[], float]:
    import torch

    def timed() -> float:
        if torch.get_num_threads() != threads:  # the process measures other settings in turn
            torch.set_num_threads(threads)
        begin = time.perf_counter_ns()
        run()
        return (time.perf_counter_ns() - begin) / 1e6

    return timed


def _cuda_clock(run: Callable[[], Any], threads: int) -> Callable[[], float]:
    import torch

    def timed() -> float:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return float(begin.elapsed_time(end))

    return timed
