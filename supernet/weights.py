"""Weights of a pretrained checkpoint in a supernet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from search_space import plugins
from search_space.adjustments import Adjustments
from search_space.checkpoint import Checkpoint, CheckpointError, Matched, Piece, without_ones
from search_space.joined import read_checkpoints
from supernet.network import Supernet


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a checkpoint gave.

    Attributes:
        tensors: number of tensors loaded.
        dropped: tensors of the checkpoint that are not used.
        fresh: names, as the checkpoint would have them, of parameters that kept fresh values.
    """

    tensors: int
    dropped: tuple[str, ...]
    fresh: tuple[str, ...]


def pretrained_supernet(
    folder: str | Path | Sequence[str | Path], preset: str | None = None, adjustments: Adjustments | None = None
) -> tuple[Supernet, Loaded]:
    """A supernet of a checkpoint's own space, filled with the checkpoint's weights.

    Args:
        folder: folder of the checkpoint, or those of several that are stitched.
        preset: whose options the space has; None: shares of the checkpoint's own sizes.

    Raises:
        CheckpointError: the folder is not a whole, matching checkpoint.
        ValueError: no family supports its model type, or an adjustment cannot be honoured.
    """
    config = read_checkpoints(folder).config
    space = plugins.load_family(plugins.family_of(config), preset, adjustments, config)
    supernet = Supernet(space)
    return supernet, load_pretrained(supernet, folder, adjustments.classes if adjustments else None)


def load_pretrained(
    supernet: Supernet, folder: str | Path | Sequence[str | Path], classes: int | None = None
) -> Loaded:
    """Fill a supernet of a checkpoint's space with the checkpoint's weights, tensor by tensor.

    The checkpoint is never held whole in memory beside the supernet. Values are converted to the
    supernet's type. What the checkpoint lacks and may lack (a new classifier) stays as it is.

    Args:
        supernet: supernet of the space that the checkpoint's family gives for its config.json.
        folder: folder of the checkpoint, or those of several that are stitched.
        classes: as in the space's adjustments.

    Raises:
        CheckpointError: the folder is not a whole, matching checkpoint, or a tensor holds NaN or infinity; the
            supernet is then unchanged.
        ValueError: the supernet is of another shape than the checkpoint.
    """
    checkpoint = read_checkpoints(folder)
    matched = plugins.check_checkpoint(supernet.space.name.split("/")[0], checkpoint, classes)
    _check_shapes(supernet, matched)
    check_finite(checkpoint, matched)
    with torch.no_grad():
        for name, tensor in _stored(checkpoint, matched):
            for piece in matched.loads[name].pieces:
                target = _held(supernet, piece)
                target.copy_(cut(tensor, piece).reshape(target.shape))
    return Loaded(len(matched.loads), matched.dropped, matched.fresh)


def _held(supernet: Supernet, piece: Piece) -> Tensor:
    """The parameter, or running statistic, that a piece fills."""
    module, _, name = piece.parameter.rpartition(".")
    held = getattr(supernet.slot(piece.slot).block.get_submodule(module), name)
    assert isinstance(held, Tensor), piece
    return held


def cut(tensor: Tensor, piece: Piece) -> Tensor:
    """The part of a stored tensor that a parameter consists of, in its own order."""
    for axis, start, length in piece.cuts:
        tensor = tensor.narrow(axis, start, length)
    if piece.order:
        tensor = tensor.permute(piece.order)
    if piece.transposed:
        tensor = tensor.T
    if piece.grid[0] != piece.grid[1]:
        tensor = _resized(tensor, piece)
    if not piece.stop:
        return tensor
    rows: Tensor = tensor.unflatten(0, (piece.blocks, -1))[:, piece.start : piece.stop].flatten(0, 1)
    return rows


def _resized(places: Tensor, piece: Piece) -> Tensor:
    """Learned positions of a square of patches for another square, as DINOv2 resizes them."""
    stored, wanted = piece.grid
    rows_PD = places.reshape(-1, places.shape[-1])
    grid_1DHW = rows_PD[1:].float().T.unflatten(1, (stored, stored))[None]
    grid_1DHW = F.interpolate(
        grid_1DHW, (wanted, wanted), mode="bicubic", align_corners=False, antialias=piece.antialias
    )
    return torch.cat((rows_PD[:1], grid_1DHW[0].flatten(1).T.to(places.dtype)))


def check_finite(checkpoint: Checkpoint, matched: Matched) -> None:
    """Refuse weights that would make every number NaN.

    Raises:
        CheckpointError: a tensor that is loaded holds NaN or infinity; it is named.
    """
    for name, tensor in _stored(checkpoint, matched):
        if not bool(torch.isfinite(tensor).all()):
            what = "NaN" if bool(torch.isnan(tensor).any()) else "infinity"
            count = int((~torch.isfinite(tensor)).sum())
            folder = (checkpoint.folder / checkpoint.tensors[name].file).parent
            raise CheckpointError(
                f"Tensor {name!r} of {folder} holds {what} ({count} of {tensor.numel()} values are no "
                "finite numbers). The file is damaged, or its training diverged; take another copy."
            )


def _stored(checkpoint: Checkpoint, matched: Matched) -> Iterator[tuple[str, Tensor]]:
    """Tensors that are loaded, one after the other, as they are stored."""
    by_file = sorted(matched.loads, key=lambda name: checkpoint.tensors[name].file)
    for file, names in groupby(by_file, key=lambda name: checkpoint.tensors[name].file):
        with safe_open(checkpoint.folder / file, framework="pt") as tensors:
            for name in names:
                yield name, tensors.get_tensor(checkpoint.tensors[name].own or name)


def _check_shapes(supernet: Supernet, matched: Matched) -> None:
    for name, place in matched.loads.items():
        stored = torch.empty(place.shape, device="meta")
        for piece in place.pieces:
            if piece.slot not in supernet.slots:
                raise ValueError(
                    f"Space {supernet.space.name!r} has no slot {piece.slot!r} for the checkpoint's {name!r}."
                )
            shape = tuple(_held(supernet, piece).shape)
            given = tuple(cut(stored, piece).shape)
            if without_ones(shape) != without_ones(given):
                raise ValueError(
                    f"Space {supernet.space.name!r} has shape {shape} where the checkpoint's {name!r} has {given}; "
                    "make the space from this checkpoint's config.json."
                )
