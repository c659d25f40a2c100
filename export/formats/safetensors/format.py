"""`model.safetensors` with `network.py` and `load.py`: plain PyTorch, no Winnow needed."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from export.sources import blocks_source, future_imports, helper_files, users_families
from quantization import portable
from quantization.quantizable import applied_to
from quantization.stored import recipe_of, stored_network
from supernet.kinds import family_of
from supernet.network import Network

# The reloaded network runs the same code on the same weights.
TOLERANCE = 0.0

RELOAD = """
def reload(folder):
    import json, sys, torch
    sys.path.insert(0, folder)
    from load import model
    dtype = getattr(torch, json.load(open(folder + "/architecture.json")).get("dtype", "float32"))
    def run(*given):
        tensors = map(torch.from_numpy, given)
        tensors = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
        with torch.no_grad():
            return model(*tensors).float().numpy()
    return run
"""

LOAD_QUANTIZED_PY = '''\
"""Loads this quantized network. Needs {needs}, nothing else."""
import json
from pathlib import Path

from network import build
from quantized import quantize
from safetensors.torch import load_model

here = Path(__file__).parent
model = build(json.loads((here / "architecture.json").read_text())["layers"])
model = quantize(model, json.loads((here / "quantization.json").read_text()))
load_model(model, here / "model.safetensors")
model.eval()
'''

LOAD_PY = '''\
"""Loads this network. Needs {needs}, nothing else."""
import json
from pathlib import Path

from network import build
from safetensors.torch import load_model

here = Path(__file__).parent
facts = json.loads((here / "architecture.json").read_text())
model = build(facts["layers"], facts.get("dtype", "float32"))
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


def write(network: nn.Module, example: Tensor, folder: Path) -> None:
    """Write the weights, the source of the network's blocks, and the script that joins them.

    Of a network with a quantization policy the weights are written as they are stored, with the recipe that says how
    they are executed and the source of the layers that do it in plain PyTorch.
    """
    applied, script = applied_to(network), LOAD_PY
    blocks = [type(block) for block in network.children()]
    if applied is not None:
        script = LOAD_QUANTIZED_PY
        network = stored_network(applied)
        (folder / "quantization.json").write_text(json.dumps(recipe_of(applied), indent=2))
        (folder / "quantized.py").write_text(inspect.getsource(portable))
    # A tied tensor is written once, under its first name.
    kept = dict(network.named_parameters()) | dict(network.named_buffers())
    tensors = {name: value.contiguous() for name, value in network.state_dict().items() if name in kept}
    save_file(tensors, folder / "model.safetensors")
    (folder / "network.py").write_text(network_source(blocks))
    (folder / "load.py").write_text(script.replace("{needs}", needs(blocks)))
    for name, text in helper_files(blocks).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def needs(blocks: list[type[nn.Module]]) -> str:
    """What must be installed where the network is loaded, in words; a user's family knows about its own blocks."""
    built_in = {block.__module__ for block in blocks if family_of(block) is None}
    sources = [inspect.getsource(sys.modules[module]) for module in built_in]
    if any("\nfrom transformers " in source for source in sources):
        return "torch, safetensors and transformers"
    return "torch and safetensors"


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
            inspect.getsource(Network).rstrip(),
            "BLOCKS = {\n" + "\n".join(kinds) + "\n}",
            BUILD.strip() + "\n",
        ]
    )
