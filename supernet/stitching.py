"""Stitching layers by least squares: from what one anchor's layers give to what the other's take (arXiv 2302.06586).

A stitch leaves the front network behind layer j and enters the back one at layer k. X is what layer j gives, and Y
what enters layer k of the back network, when both run alone on the same examples. The layer starts as the solution
of min |X W + b - Y|^2 over all positions of all examples; one that several stitches share, as the mean of their
solutions, as the authors' code does. What enters the first layer is what the embedding gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from search_space.space import SearchSpace
from supernet.inputs import Flow, Inputs, named
from supernet.network import Supernet

STITCH = "stitch"
# Added to the squares of X, as a share of their mean: features that depend on one another leave the solution open.
RIDGE = 1e-6
# Bytes that sums of products may take at once.
MEMORY = 2 << 30

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Stitch:
    """One place where a network changes from one anchor to the next.

    Attributes:
        slot: slot of the stitching layer.
        leaves: the slot before it.
        enters: the slot before the one behind it, in the back anchor alone: what that gives is what the stitch should.
    """

    slot: str
    leaves: str
    enters: str


@dataclass(frozen=True, slots=True)
class Fit:
    """A stitching layer's start.

    Attributes:
        weight: `(out, embed)`.
        bias: `(out,)`.
        left: share of the variance of Y that it leaves unexplained, the mean over its stitches.
    """

    weight: Tensor
    bias: Tensor
    left: float


def is_stitched(space: SearchSpace) -> bool:
    """Whether networks of a space have stitching layers."""
    return space.has_layers and any(spec.kind == STITCH for spec in space.capacity().values())


def anchors_of(space: SearchSpace) -> list[list[str]]:
    """Slots of each anchor, in forward order, from the first anchor to the last."""
    found: dict[str, list[str]] = {}
    for slot, spec in space.capacity().items():
        if spec.kind != STITCH:
            found.setdefault(slot.partition("_")[0], []).append(slot)
    return list(found.values())


def stitches_of(space: SearchSpace) -> list[list[Stitch]]:
    """Stitches of every pair of neighbouring anchors, in their order; those that the space's choices leave."""
    anchors = anchors_of(space)
    place = {slot: (number, i) for number, slots in enumerate(anchors) for i, slot in enumerate(slots)}
    found: list[dict[Stitch, None]] = [{} for _ in anchors[1:]]
    for architecture in space.every():
        slots = list(space.layers(architecture))
        for before, slot, behind in zip(slots, slots[1:], slots[2:], strict=False):
            if slot not in place:
                number, i = place[behind]
                found[number - 1][Stitch(slot, before, anchors[number][i - 1])] = None
    return [list(stitches) for stitches in found]


def fit_pair(
    supernet: Supernet,
    stitches: Iterable[Stitch],
    batches: Callable[[], Iterable[Tensor | Inputs]],
    ridge: float = RIDGE,
    memory: int = MEMORY,
) -> dict[str, Fit]:
    """Solve for the stitching layers between two anchors; the supernet stays as it is.

    Sums of products are kept in 64 bits, so memory does not grow with the examples: of D and E features
    `8 (D + 1)^2` bytes a layer that is left and `8 (D + 1) E` a stitch. Where they would take more than `memory`,
    stitches are solved for in groups, each with passes of its own.

    Args:
        batches: makes the inputs, the same every time; of padded texts with a mask, False at padding, which does not
            count.
        ridge: share of the mean square of X that is added to its squares.

    Raises:
        ValueError: no batch, or fewer positions than unknowns of an equation.
    """
    every, solved = list(stitches), dict[Stitch, Fit]()
    was_training = supernet.training
    supernet.eval()
    try:
        for group in _groups(supernet.space, every, memory):
            solved |= _sums(supernet, group, batches()).solved(ridge)
    finally:
        supernet.train(was_training)
    slots = dict.fromkeys(stitch.slot for stitch in every)
    return {slot: _mean([solved[stitch] for stitch in every if stitch.slot == slot]) for slot in slots}


def _groups(space: SearchSpace, stitches: Sequence[Stitch], memory: int) -> Iterator[list[Stitch]]:
    capacity = space.capacity()
    group: list[Stitch] = []
    taken = 0
    for stitch in stitches:
        facts = capacity[stitch.slot].fields()
        unknowns, out = int(facts["embed"]) + 1, int(facts["out"])
        known = any(other.leaves == stitch.leaves for other in group)
        more = 8 * unknowns * (out + (0 if known else unknowns))
        if group and taken + more > memory:
            yield group
            group, taken = [], 0
            more = 8 * unknowns * (out + unknowns)
        group.append(stitch)
        taken += more
    if group:
        yield group


@dataclass(slots=True)
class _Sums:
    """Sums of products over positions, in 64 bits.

    Attributes:
        inner: by the slot that is left, `[X 1]' [X 1]`.
        cross: `[X 1]' Y`.
        squares: sums of squares of Y, by feature.
    """

    inner: dict[str, Tensor] = field(default_factory=dict)
    cross: dict[Stitch, Tensor] = field(default_factory=dict)
    squares: dict[Stitch, Tensor] = field(default_factory=dict)

    def add(self, stitches: Iterable[Stitch], given: Mapping[str, Tensor]) -> None:
        """Count what slots gave, `(positions, features)`."""
        with_one: dict[str, Tensor] = {}
        for stitch in stitches:
            name, y_PE = stitch.leaves, given[stitch.enters].double()
            if name not in with_one:
                with_one[name] = x_PD = F.pad(given[name].double(), (0, 1), value=1.0)
                _add(self.inner, name, x_PD.T @ x_PD)
            _add(self.cross, stitch, with_one[name].T @ y_PE)
            _add(self.squares, stitch, y_PE.square().sum(0))

    def solved(self, ridge: float) -> dict[Stitch, Fit]:
        """The solution for every stitch."""
        return {stitch: self._solved(stitch, ridge) for stitch in self.cross}

    def _solved(self, stitch: Stitch, ridge: float) -> Fit:
        inner_DD, cross_DE = self.inner[stitch.leaves].cpu(), self.cross[stitch].cpu()
        count, unknowns = float(inner_DD[-1, -1]), len(inner_DD)
        if count < unknowns:
            raise ValueError(
                f"Least squares of a stitching layer need at least {unknowns} positions of examples; got {count:.0f}. "
                "Give more training examples."
            )
        pull_D = torch.full((unknowns,), ridge, dtype=inner_DD.dtype) * inner_DD.diagonal().mean()
        pull_D[-1] = 0  # the bias is not drawn to zero
        solution_DE = torch.linalg.solve(inner_DD + torch.diag(pull_D), cross_DE)
        squares = self.squares[stitch].cpu().sum()
        rest = squares - 2 * (solution_DE * cross_DE).sum() + (solution_DE * (inner_DD @ solution_DE)).sum()
        variance = squares - cross_DE[-1].square().sum() / count
        left = float((rest / variance).clamp(0, 1)) if variance > 0 else 0.0
        return Fit(solution_DE[:-1].T.float().contiguous(), solution_DE[-1].float(), left)


def _add(sums: dict[Key, Tensor], key: Key, more: Tensor) -> None:
    sums[key] = sums[key] + more if key in sums else more


def _sums(supernet: Supernet, stitches: Sequence[Stitch], batches: Iterable[Tensor | Inputs]) -> _Sums:
    wanted = {name for stitch in stitches for name in (stitch.leaves, stitch.enters)}
    anchors = [slots for slots in anchors_of(supernet.space) if wanted & set(slots)]
    sums, any_batch = _Sums(), False
    for batch in batches:
        given: dict[str, Tensor] = {}
        for slots in anchors:
            given |= features(supernet, slots, named(batch), wanted & set(slots))
        sums.add(stitches, given)
        any_batch = True
    if not any_batch:
        raise ValueError("Least squares of stitching layers need at least one batch of examples; give some.")
    return sums


def features(supernet: Supernet, slots: Iterable[str], inputs: Inputs, wanted: Iterable[str]) -> dict[str, Tensor]:
    """What the slots of an anchor give that runs alone, as `(positions that count, features)`.

    Args:
        slots: slots of the anchor, in forward order.
        wanted: those of them whose outputs are kept.
    """
    kept, found, flow = set(wanted), dict[str, Tensor](), Flow(inputs)
    with torch.no_grad():
        for slot in slots:
            if not kept - set(found):
                break
            block = supernet.slot(slot).block
            flow = flow.into(block)
            masked = flow.mask is not None and getattr(block, "takes_mask", False)
            flow = flow.gave(block(flow.x, flow.mask) if masked else block(flow.x))
            if slot in kept:
                assert flow.x is not None
                found[slot] = flow.x.flatten(0, 1) if flow.mask is None else flow.x[flow.mask]
    return found


def load_fits(supernet: Supernet, tensors: Mapping[str, Tensor]) -> None:
    """Set stitching layers to what `tensors_of` gave."""
    with torch.no_grad():
        for name, tensor in tensors.items():
            slot, _, parameter = name.partition(".")
            supernet.slot(slot).block.get_parameter(f"linear.{parameter}").copy_(tensor)


def tensors_of(fits: Mapping[str, Fit]) -> dict[str, Tensor]:
    """Fits as tensors by `slot.weight` and `slot.bias`."""
    return {f"{slot}.{name}": getattr(fit, name) for slot, fit in fits.items() for name in ("weight", "bias")}


def _mean(fits: list[Fit]) -> Fit:
    return Fit(
        torch.stack([fit.weight for fit in fits]).mean(0),
        torch.stack([fit.bias for fit in fits]).mean(0),
        sum(fit.left for fit in fits) / len(fits),
    )
