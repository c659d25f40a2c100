"""A module's weights as a flat dict without repetitions, which is what safetensors can store."""

from __future__ import annotations

from torch import Tensor, nn


def own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; a tied parameter appears once, under its first name."""
    names: dict[int, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        names.setdefault(id(tensor), name)
    kept = set(names.values())
    return {name: tensor for name, tensor in module.state_dict().items() if name in kept}


def load_tensors(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Set a module's weights to what `own_tensors` gave.

    Raises:
        KeyError: a tensor is missing, or one is there that the module does not have.
    """
    add_room = getattr(module, "add_room", None)
    if add_room is not None:
        add_room(tensors)
    wanted = set(own_tensors(module))
    if wanted != set(tensors):
        missing, unknown = sorted(wanted - set(tensors)), sorted(set(tensors) - wanted)
        raise KeyError(
            f"These tensors are not of this network: {len(missing)} are missing {missing[:3]}, "
            f"{len(unknown)} are unknown {unknown[:3]}."
        )
    module.load_state_dict(tensors, strict=False)
