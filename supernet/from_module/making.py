"""A family's file and its folder of weights, tried before they take their names."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from search_space import plugins
from search_space.checkpoint import CONFIG, SINGLE
from search_space.from_module import FAMILY, MODEL_TYPE
from supernet.contract import SAMPLES, TOLERANCE, apart
from supernet.from_module.family import Plan, planned
from supernet.from_module.graph import RefusedModule, first_output, read_graph
from supernet.from_module.source import source_of
from supernet.network import Supernet
from supernet.weights import load_pretrained

NUM_SAMPLES = 4


@dataclass(frozen=True, slots=True)
class Made:
    """A family that was written.

    Attributes:
        file, weights: where.
        networks: how many the space has.
        params: how many the largest has.
        difference: largest one between its logits and the module's, as a share of the module's largest logit.
        widths, depths: name -> options.
        kept: sentences about what stays as it is.
    """

    file: Path
    weights: Path
    networks: int
    params: int
    difference: float
    widths: dict[str, tuple[int, ...]]
    depths: dict[str, tuple[int, ...]]
    kept: tuple[str, ...]


def load_module(origin: str) -> nn.Module:
    """The module that `package.module:name` names, where `name` is a module, or gives one when it is called.

    Raises:
        RefusedModule: there is none; the user's line is named.
    """
    path, colon, name = origin.partition(":")
    if not colon or not path or not name:
        raise RefusedModule(
            f"Got {origin!r}; say mypackage.model:make, a Python module and what in it gives the network."
        )
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(path)
        for part in name.split("."):
            found = getattr(found, part)
        made = found if isinstance(found, nn.Module) else found()
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = (__file__, importlib.__file__)
        own = [one for one in frames if one.filename not in ours and not one.filename.startswith("<frozen")]
        where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
        raise RefusedModule(f"{origin} cannot be loaded{where}: {type(error).__name__}: {error}.") from None
    if not isinstance(made, nn.Module):
        raise RefusedModule(f"{origin} gives {type(made).__name__}; it must be, or give, a torch.nn.Module.")
    return made


def check_shape(text: str) -> tuple[int, ...]:
    """The shape of what a module is given, as `batch,channels,height,width`.

    Raises:
        RefusedModule: it is no shape of square images.
    """
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise RefusedModule(f"Got --input {text!r}; give whole numbers, such as 1,3,224,224.") from None
    if len(shape) != 4 or min(shape) < 1 or shape[2] != shape[3]:
        raise RefusedModule(
            f"Got --input {text!r}; families that are made from modules take square images: batch, channels, height "
            "and width, such as 1,3,224,224."
        )
    return shape


def make_family(
    module: nn.Module, origin: str, shape: tuple[int, ...], name: str, folder: Path, *, replace: bool
) -> Made:
    """Write `NAME.py` and the folder `NAME` with the module's weights; nothing unless it computes what the module does.

    Args:
        shape: what the module is given has this one.
        replace: whether files of that name may be there already.

    Raises:
        RefusedModule: no family can be made of it, or the name is taken.
    """
    file, weights = folder / f"{name}.py", folder / name
    _check_name(name, folder, (file, weights), replace)
    plan = planned(read_graph(module, shape), name, origin, shape)
    draft = folder / f".{name}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        (draft / f"{name}.py").write_text(source_of(plan), encoding="utf-8")
        _write_weights(module, name, shape, draft / name)
        networks, params, difference = _tried(plan, draft)
        shutil.rmtree(weights, ignore_errors=True)
        (draft / name).rename(weights)
        (draft / f"{name}.py").replace(file)
    finally:
        plugins.use_families_dir(None)
        if str(draft.resolve()) in sys.path:
            sys.path.remove(str(draft.resolve()))
        shutil.rmtree(draft, ignore_errors=True)
    widths = {width.name: width.options for width in plan.widths}
    counts = {choice: tuple(range(1, len(slots) + 1)) for choice, slots in plan.repeats.items()}
    return Made(file, weights, networks, params, difference, widths, counts, tuple(plan.kept))


def _check_name(name: str, folder: Path, files: tuple[Path, ...], replace: bool) -> None:
    if not name.isidentifier() or name.startswith("_"):
        raise RefusedModule(f"Got --name {name!r}; a family's name is a Python name that begins with a letter.")
    if name in plugins.FAMILIES.built_in():
        raise RefusedModule(f"{name!r} is a built-in family; give --name another name.")
    if not folder.is_dir():
        raise RefusedModule(f"There is no folder {str(folder)!r}; make it, or name another with --folder.")
    there = [str(file) for file in files if file.exists()]
    if there and not replace:
        raise RefusedModule(f"{there[0]} is there already; give --name another name, or --replace to write it anew.")


def _write_weights(module: nn.Module, name: str, shape: tuple[int, ...], folder: Path) -> None:
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps({"model_type": MODEL_TYPE, FAMILY: name}, indent=2) + "\n")
    tensors = {key: tensor.detach().clone().contiguous() for key, tensor in module.state_dict().items()}
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})
    inputs = torch.randn(NUM_SAMPLES, *shape[1:], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        answer: Tensor = first_output(module.eval()(inputs))
    save_file({"input": inputs, "answer": answer.contiguous()}, folder / SAMPLES)


def _tried(plan: Plan, draft: Path) -> tuple[int, int, float]:
    """Networks of the space, parameters of the largest, and how far it is from the module.

    Raises:
        RefusedModule: it computes something else.
    """
    plugins.use_families_dir(draft)
    space = plugins.load_family(plan.name, "module")
    supernet = Supernet(space).eval()
    load_pretrained(supernet, draft / plan.name)
    difference = apart(supernet, draft / plan.name)
    if not difference <= TOLERANCE:
        raise RefusedModule(
            "The family that was made computes something else than the module: their logits are apart by "
            f"{difference:.3g} of the largest, and {TOLERANCE:g} would do. Nothing was written. "
            "This is a mistake of Winnow's; report it with the module."
        )
    params = sum(layer.params() for layer in space.layers(space.largest()).values())
    return space.size(), params, difference
