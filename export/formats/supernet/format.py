"""The weights of a whole supernet once, and every network of its front as slices of them.

A network is built without storage; its parameters are views of the supernet's, leading rows and columns and the centre
of kernels (arXiv 2003.11142, 3.1), so networks that are nested share storage and switching copies nothing. Statistics
of batch norms are a network's own and are stored for each, as is a parameter that is no slice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from export.contents import BundleContents, Member, Shared, described_layers, write_architecture
from export.formats.safetensors.format import needs, network_source
from export.sources import helper_files
from search_space.inputs import MASK
from supernet.inputs import Inputs, named
from supernet.network import float_type_of
from supernet.slot import slice_bounds

# The same code on the same numbers, which lie elsewhere in memory.
TOLERANCE = 1e-5
SCALED = True

PACKAGES = ("torch", "safetensors", "transformers")
# Of these what only the networks of some families need.
SOMETIMES = ("transformers",)

WEIGHTS, OWN, CHECKS = "supernet.safetensors", "networks.safetensors", "checks.safetensors"
# Samples on which every network of the front is compared.
CHECKED = 2

RELOAD = """
def reload(folder):
    import os, sys, torch
    from safetensors.torch import load_file
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    sys.path.insert(0, folder)
    from load import front, load
    dtype = getattr(torch, front["dtype"])
    checks = load_file(folder + "/checks.safetensors")
    inputs = [checks[name] for name in sorted(checks) if name.startswith("input.")]
    def answer(model, tensors):
        tensors = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
        with torch.no_grad():
            return model(*tensors).float()
    for network in front["networks"]:
        right = checks[network["id"]]
        far = float((answer(load(network=network["id"]), inputs) - right).abs().max())
        if not far <= 1e-5 * max(1.0, float(right.abs().max())):
            raise SystemExit(f"Network {network['id']} of the supernet answers {far:g} from what it should")
    model = load(network=front["exported"])
    def run(*given):
        return answer(model, [torch.from_numpy(each).clone() for each in given]).numpy()
    return run
"""

LOAD_PY = '''\
"""Gives the best network of a front within limits. Needs {needs}, nothing else.

    python load.py --under latency_ms=5 [--by accuracy]
    model = load(under={"latency_ms": 5})

Networks are slices of one supernet and share its storage; front.json has them with their numbers.
"""
import functools, importlib.util, json, sys
from pathlib import Path
import torch
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode
here = Path(__file__).resolve().parent
front = json.loads((here / "front.json").read_text())


spec = importlib.util.spec_from_file_location(f"network of {here}", here / "network.py")
source = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
sys.path.insert(0, str(here))
try:
    spec.loader.exec_module(source)
finally:
    sys.path.remove(str(here))


class _Unfilled(TorchFunctionMode):
    """Leaves tensors without storage unfilled: torch would import its compiler to draw numbers for them."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        filling = getattr(function, "__name__", "") in ("normal_", "uniform_", "trunc_normal_", "fill_", "zero_")
        target = args[0] if args else kwargs.get("tensor")
        if filling and torch.is_tensor(target) and target.is_meta:
            return target
        return function(*args, **kwargs)


@functools.cache
def _stored():
    """The supernet's tensors, kernels laid out as its blocks want them, and each network's own."""
    shared = load_file(here / "supernet.safetensors")
    shared = {n: t.to(memory_format=torch.channels_last) if t.dim() == 4 else t for n, t in shared.items()}
    return shared, load_file(here / "networks.safetensors")


def pick(under=None, by=None):
    """The record in front.json of the network that is best in an objective among those within limits.

    Args:
        under: metric -> the most that the network may have of it; None: no limits.
        by: an objective; None: the first, which is the quality.
    """
    under, by = under or {}, by or next(iter(front["objectives"]))
    if by not in front["objectives"]:
        raise ValueError(f"The front has no objective {by!r}. Its objectives: {', '.join(front['objectives'])}.")
    known = sorted({metric for network in front["networks"] for metric in network["metrics"]})
    for metric in under:
        if metric not in known:
            raise ValueError(f"No network of the front has {metric!r}. Known: {', '.join(known)}.")
    numbers = [(network, network["metrics"]) for network in front["networks"] if by in network["metrics"]]
    within = [
        network for network, has in numbers if all(has.get(metric, most + 1) <= most for metric, most in under.items())
    ]
    if not within:
        least = {m: min(has[m] for _, has in numbers if m in has) for m in under}
        raise ValueError(f"No network of the front is within {under}. The least of each: {least}.")
    sign = 1 if front["objectives"][by] == "maximize" else -1
    return max(within, key=lambda network: sign * network["metrics"][by])


def load(under=None, by=None, network=None):
    """A network in evaluation mode whose parameters are views of the supernet's.

    Args:
        under, by: see `pick`; without limits the network that was exported.
        network: id of one, instead.
    """
    if network is None:
        network = pick(under, by)["id"] if under or by else front["exported"]
    record = next((each for each in front["networks"] if each["id"] == network), None)
    if record is None:
        raise ValueError(f"No network {network!r} is in front.json.")
    shared, own = _stored()
    with torch.device("meta"), _Unfilled():
        model = source.build(record["layers"], front["dtype"])
    tied = {
        f"{layer['slot']}.{name}": ".".join(other)
        for layer in record["layers"]
        for name, other in layer.get("ties", {}).items()
    }
    made = {}
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        key = tied.get(name, name)
        if key not in made:
            whole = own.get(f"{network}.{key}")
            if whole is None:
                whole = shared[key]
                for dim, (most, size) in enumerate(zip(whole.shape, parameter.shape)):
                    whole = whole.narrow(dim, 0 if dim < 2 else (most - size) // 2, size)
            made[key] = torch.nn.Parameter(whole, requires_grad=whole.is_floating_point())
        _put(model, name, made[key])
    for name, _ in list(model.named_buffers()):
        _put(model, name, own[f"{network}.{name}"])
    model.facts = {key: value for key, value in record.items() if key != "layers"}
    return model.eval()


def _put(model, name, tensor):
    holder, _, attribute = name.rpartition(".")
    module = model.get_submodule(holder)
    (module._parameters if isinstance(tensor, torch.nn.Parameter) else module._buffers)[attribute] = tensor


if __name__ == "__main__":
    import argparse
    import time

    parser = argparse.ArgumentParser(description="The best network of the front within limits.")
    parser.add_argument("--under", nargs="*", default=[], metavar="METRIC=MOST", help="such as latency_ms=5")
    parser.add_argument("--by", help="the objective to be best in; without it the quality")
    given = parser.parse_args()
    begin = time.perf_counter()
    try:
        limits = {name: float(most) for name, _, most in (each.partition("=") for each in given.under)}
        chosen = load(limits, given.by).facts
    except ValueError as error:
        sys.exit(str(error))
    print(json.dumps({**chosen, "seconds": round(time.perf_counter() - begin, 3)}, indent=2))
'''


def write(network: nn.Module, example: Tensor | Inputs, folder: Path) -> None:
    """Not enough to know: see `write_contents`.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("supernet needs a network's layers; use write_contents.")


def write_contents(contents: BundleContents, example: Tensor | Inputs, folder: Path) -> dict[str, Any]:
    """Write the supernet, its networks and the picker. Without a supernet, the network is all of it.

    Returns:
        `bytes` of the weights, `apart_bytes` of the same networks each in a file of its own, `networks` and `notes`.
    """
    shared = contents.shared or _alone(contents)
    dtype = float_type_of(contents.network)
    whole = {name: tensor.detach().cpu().to(dtype) for name, tensor in shared.tensors.items()}
    own: dict[str, Tensor] = {}
    given = [x[:CHECKED].contiguous() for name, x in named(example).items() if name != MASK]
    checks = {f"input.{place}": x for place, x in enumerate(given)}
    given = [x.to(dtype) if x.is_floating_point() else x for x in given]
    records, apart = [], 0
    for member in shared.members:
        network = contents.network if member.id == shared.exported else member.network()
        own |= {f"{member.id}.{name}": tensor for name, tensor in _own(network, whole)}
        apart += sum(parameter.nbytes for parameter in network.parameters())
        with torch.no_grad():
            checks[member.id] = network(*given).float().contiguous()
        layers = described_layers(member.layers)
        metrics = {name: value for name, value in member.metrics.items() if value is not None}
        records.append({"id": member.id, "values": member.values, "metrics": metrics, "layers": layers})
    save_file({name: tensor.contiguous() for name, tensor in whole.items()}, folder / WEIGHTS)
    save_file(own, folder / OWN)
    save_file(checks, folder / CHECKS)
    written = {
        "objectives": dict(shared.objectives),
        "exported": shared.exported,
        "dtype": str(dtype).removeprefix("torch."),
        "networks": records,
    }
    (folder / "front.json").write_text(json.dumps(written, indent=2) + "\n")
    write_architecture(contents.layers, example, folder, contents.facts)
    blocks = list(dict.fromkeys(type(block) for block in shared.blocks))
    (folder / "network.py").write_text(network_source(blocks))
    for name, text in helper_files(blocks).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "load.py").write_text(LOAD_PY.replace("{needs}", needs(blocks)))
    size = sum(tensor.nbytes for tensor in (*whole.values(), *own.values()))
    note = (
        f"{len(records)} networks in {size:,} bytes; each in a file of its own they would have {apart:,}. Each was "
        f"loaded and compared on {len(given[0])} samples."
    )
    return {"bytes": size, "apart_bytes": apart, "networks": len(records), "notes": [note]}


def _own(network: nn.Module, whole: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """What a network has that is no slice of the supernet's: buffers, and parameters that were changed."""
    for name, parameter in network.named_parameters():
        if name not in whole or not torch.equal(_slice(whole[name], parameter), parameter.detach().cpu()):
            yield name, parameter.detach().cpu().contiguous()
    for name, buffer in network.named_buffers():
        yield name, buffer.detach().cpu().contiguous()


def _slice(whole: Tensor, parameter: Tensor) -> Tensor:
    try:
        for bound in slice_bounds(whole.shape, parameter.shape):
            whole = whole.narrow(*bound)
    except ValueError:
        return whole.new_empty(0)
    return whole


def _alone(contents: BundleContents) -> Shared:
    """A supernet of one network."""
    name = str(contents.facts.get("architecture_id", "network"))
    macs = float(sum(spec.macs() for spec in contents.layers.values()))
    metrics = dict(contents.facts.get("metrics") or {"macs": macs})
    member = Member(name, contents.layers, metrics, contents.facts.get("values") or {}, lambda: contents.network)
    tensors = dict(contents.network.named_parameters())
    return Shared(tensors, list(contents.network.children()), (member,), {next(iter(metrics)): "minimize"}, name)
