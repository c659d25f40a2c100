"""`model.safetensors` with `network.py` and `load.py`: plain PyTorch, no Winnow needed."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from export.contents import BundleContents, write_architecture
from export.sources import blocks_source, future_imports, helper_files, users_families
from quantization import portable
from quantization.quantizable import applied_to
from quantization.stored import recipe_of, stored_network
from supernet.inputs import Flow, Inputs
from supernet.kinds import family_of
from supernet.network import Network

# The reloaded network runs the same code on the same weights.
TOLERANCE = 0.0

# What loading may need; `packages` says what it does.
PACKAGES = ("torch", "safetensors", "transformers")
# Of these what only the networks of some families need.
SOMETIMES = ("transformers",)

RELOAD = """
def reload(folder):
    import json, os, sys, torch
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    sys.path.insert(0, folder)
    from load import model
    dtype = getattr(torch, json.load(open(folder + "/architecture.json")).get("dtype", "float32"))
    def run(*given):
        tensors = [torch.from_numpy(each).clone() for each in given]
        tensors = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
        with torch.no_grad():
            return model(*tensors).float().numpy()
    return run
"""

# `network.py` is loaded by its path, under a name that no other bundle's has: any number of them live in one process.
LOAD_PY = '''\
"""Loads this network. Needs {needs}, nothing else."""
import importlib.util, json, sys
from pathlib import Path
from safetensors.torch import load_model
here = Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location(f"network of {here}", here / "network.py")
network = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(network)
facts = json.loads((here / "architecture.json").read_text())
model = network.build(facts["layers"], facts.get("dtype", "float32"))
load_model(model, here / "model.safetensors")
model.eval()
'''

# The same with more files: those of a quantized network, and modules of the user's own that its blocks import by name.
LOAD_PARTS_PY = '''\
"""Loads this network. Needs {needs}, nothing else."""
import importlib.util
import json
import sys
from pathlib import Path

from safetensors.torch import load_model

here = Path(__file__).resolve().parent
helpers = {helpers}


def helping():
    return [name for name in sys.modules if name.split(".")[0] in helpers]


def part(name):
    """A file of this folder as a module that no other network's files are taken for, nor the other way round."""
    spec = importlib.util.spec_from_file_location(f"{name} of {here}", here / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    others = {name: sys.modules.pop(name) for name in helping()}
    sys.path.insert(0, str(here))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(here))
        if others:
            for name in helping():
                del sys.modules[name]
            sys.modules.update(others)
    return module


facts = json.loads((here / "architecture.json").read_text())
model = part("network").build(facts["layers"], facts.get("dtype", "float32"))
if (here / "quantized.py").is_file():
    model = part("quantized").quantize(model, json.loads((here / "quantization.json").read_text()))
load_model(model, here / "model.safetensors")
model.eval()
'''

BUILD = '''
def build(layers, dtype="float32"):
    """The network of `architecture.json`, with fresh weights of a type of torch."""
    blocks = OrderedDict((layer["slot"], BLOCKS[layer["kind"]](**layer["fields"])) for layer in layers)
    for layer in layers:
        for name, (slot, other) in layer.get("ties", {}).items():
            holder, _, attribute = name.rpartition(".")
            shared = blocks[slot].get_parameter(other)
            blocks[layer["slot"]].get_submodule(holder).register_parameter(attribute, shared)
    return Network(blocks).to(dtype=getattr(torch, dtype), memory_format=torch.channels_last)
'''


def write_contents(contents: BundleContents, example: Tensor | Inputs, folder: Path) -> None:
    """Write all that `load.py` needs."""
    write_architecture(contents.layers, example, folder, contents.facts)
    write(contents.network, example, folder)


def write(network: nn.Module, example: Tensor | Inputs, folder: Path) -> None:
    """Write the weights, the source of the network's blocks, and the script that joins them.

    The weights of a network with a quantization policy are written as they are stored. A recipe beside them says how
    they are executed, and the source of layers that do it in plain PyTorch is there too.
    """
    applied = applied_to(network)
    blocks = [type(block) for block in network.children()]
    if applied is not None:
        network = stored_network(applied)
        (folder / "quantization.json").write_text(json.dumps(recipe_of(applied), indent=2))
        (folder / "quantized.py").write_text(inspect.getsource(portable))
    # A tied tensor is written once, under its first name.
    kept = dict(network.named_parameters()) | dict(network.named_buffers())
    tensors = {name: value.contiguous() for name, value in network.state_dict().items() if name in kept}
    save_file(tensors, folder / "model.safetensors")
    (folder / "network.py").write_text(network_source(blocks))
    helpers = helper_files(blocks)
    (folder / "load.py").write_text(load_script(needs(blocks), sorted(helpers), quantized=applied is not None))
    for name, text in helpers.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def load_script(needed: str, helpers: Sequence[str], *, quantized: bool) -> str:
    """`load.py`.

    Args:
        needed: what must be installed, in words.
        helpers: paths in the bundle of modules of the user's own.
    """
    script = LOAD_PARTS_PY if quantized or helpers else LOAD_PY
    names = sorted({path.split("/")[0].removesuffix(".py") for path in helpers})
    return script.replace("{needs}", needed).replace("{helpers}", repr(names))


def packages(blocks: list[type[nn.Module]]) -> list[str]:
    """What must be installed where the network is loaded; a user's family knows about its own blocks."""
    built_in = {block.__module__ for block in blocks if family_of(block) is None}
    sources = [inspect.getsource(sys.modules[module]) for module in built_in]
    transformers = ["transformers"] if any("\nfrom transformers " in source for source in sources) else []
    return ["torch", "safetensors", *transformers]


def needs(blocks: list[type[nn.Module]]) -> str:
    """The same in words."""
    *names, last = packages(blocks)
    return f"{', '.join(names)} and {last}"


def network_source(blocks: list[type[nn.Module]]) -> str:
    """One Python file with the source of these block classes and a function that builds from layers.

    A user's family contributes its `blocks()` as it stands, with what that needs of its file.

    Raises:
        FamilyFileError: a user's blocks need something of Winnow.
    """
    users = users_families(blocks)
    built_in = [block for block in blocks if family_of(block) is None]
    modules = {block.__module__: inspect.getmodule(block) for block in built_in}
    imports = {
        "import torch",
        "from collections import OrderedDict",
        "from collections.abc import Mapping",
        "from dataclasses import dataclass, replace",
        "from typing import Any, Self",
        "from torch import Tensor, nn",
        *future_imports(users),
    }
    bodies: list[str] = []
    kinds: list[str] = []
    for name, module in modules.items():
        assert module is not None, name
        source = inspect.getsource(module)
        for node in ast.parse(source).body:
            text = ast.get_source_segment(source, node) or ""
            if isinstance(node, ast.Import | ast.ImportFrom):
                imports.add(text)
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "BLOCK":
                kinds.append(f'    "{name.rsplit(".", 1)[1]}": {ast.unparse(node.value)},')
            elif not isinstance(node, ast.Expr):  # the module's docstring stays behind
                bodies.append(text)
    for family in users:
        bodies += blocks_source(family)
        kinds.append("    **blocks(),")
    return "\n\n\n".join(
        [
            '"""The blocks of this network, in plain PyTorch."""\n\n' + "\n".join(sorted(imports)),
            *bodies,
            inspect.getsource(Flow).rstrip(),
            inspect.getsource(Network).rstrip(),
            "BLOCKS = {\n" + "\n".join(kinds) + "\n}",
            BUILD.strip() + "\n",
        ]
    )
