"""Names: a model type's tensors as a table, from which follows where each tensor of a file goes.

A table names what is on the disk, not what `state_dict()` gives: transformers renames many tensors as it reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from search_space.checkpoint import Piece, Place

# Parameters of a slot's block: name -> shape.
Shapes = Mapping[str, tuple[int, ...]]
# Module (or parameter) on the disk -> those of ours that its rows are, one below the other.
Table = Mapping[str, tuple[str, ...]]

# Modules have these, and batch norms statistics; a name that is a parameter itself has none.
KINDS = ("", ".weight", ".bias", ".running_mean", ".running_var")


@dataclass(frozen=True, slots=True)
class Names:
    """What a model type calls its tensors.

    Attributes:
        layer: prefix of a layer's tensors, with `{i}` for its number from 0.
        embedding, parts, head: embedding, parts and head of the first slot, of each layer and of the last.
        transposed: whether weights of layers are stored with inputs as rows (`Conv1D` of GPT-2).
        beside: modules of ours whose names on the disk stand beside the base model's, without its prefix.
        by_head: modules on the disk whose rows are one head after the other, each with all parts of its own (NeoX).
    """

    layer: str
    embedding: Table
    parts: Table
    head: Table
    transposed: bool = False
    beside: frozenset[str] = field(default_factory=frozenset)
    by_head: frozenset[str] = field(default_factory=frozenset)

    def layer_places(self, number: int, shapes: Shapes, heads: int = 1, base: str = "") -> dict[str, Place]:
        """Places of layer `number`, from 1.

        Args:
            heads: blocks into which the rows of `by_head` fall.
            base: prefix of the whole network.
        """
        found: dict[str, Place] = {}
        for disk, own in self.parts.items():
            blocks = heads if disk in self.by_head else 1
            table = prefixed(base + self.layer.format(i=number - 1), {disk: own})
            found |= places(f"layer{number}", shapes, table, blocks, self.transposed)
        return found


def prefixed(base: str, table: Table) -> Table:
    """The table under a prefix, as networks with a task's head store the base model."""
    return {base + disk: own for disk, own in table.items()}


def places(
    slot: str,
    shapes: Shapes,
    table: Table,
    blocks: int = 1,
    transposed: bool = False,
    optional: bool = False,
    fresh: bool = False,
) -> dict[str, Place]:
    """Name on the disk -> place, of all parameters in `shapes` that the table speaks of.

    Args:
        shapes: shapes of the slot's parameters; what is not in it, the network does not have.
        blocks, transposed: see `Piece`.
        optional, fresh: see `Place`.
    """
    found: dict[str, Place] = {}
    for disk, own in table.items():
        for kind in KINDS:
            members = [(name + kind, shapes[name + kind]) for name in own if name + kind in shapes]
            if not members:
                continue
            rows, rest = sum(shape[0] for _, shape in members), members[0][1][1:]
            turned = transposed and bool(rest)
            stored = (rows, *rest)[::-1] if turned else (rows, *rest)
            if len(members) == 1 and not turned and blocks == 1:
                found[disk + kind] = Place(slot, members[0][0], stored, optional, fresh)
                continue
            split, start = [], 0
            for name, shape in members:
                stop = start + shape[0] // blocks
                split.append(Piece(slot, name, start, stop, blocks, turned))
                start = stop
            found[disk + kind] = Place("", "", stored, optional, fresh, tuple(split))
    return found
