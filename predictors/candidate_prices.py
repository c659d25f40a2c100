"""What every candidate of a space costs on one target: a latency table read block by block."""

from __future__ import annotations

from collections.abc import Iterator

from predictors.tables import LatencyTable, MissingRow
from search_space.architecture import Architecture
from search_space.layers import LayerSpec
from search_space.operations import Blocks, CandidatePrices, SearchedBlock, blocks_of
from search_space.space import SearchSpace


def price_candidates(space: SearchSpace, table: LatencyTable, blocks: Blocks | None = None) -> CandidatePrices:
    """The prices of a space's blocks and of its fixed layers.

    Args:
        blocks: `blocks_of(space)`, if it is known.

    Raises:
        MissingRow: the table lacks layers of the space; all of them are named.
        ValueError: the space is not made of blocks.
    """
    blocks = blocks or blocks_of(space)
    (base, _), *others = networks = list(networks_of(space, blocks))
    missing = table.missing(network for network, _ in networks)
    if missing:
        raise MissingRow(table.target, missing)
    prices = dict(zip(base, table.layer_prices(base), strict=True))
    fixed_ms = table.overhead_ms + sum(prices[slot] for slot in blocks.fixed)
    of_block: dict[str, list[float]] = {block.choice: [] for block in blocks.searched}
    for network, block in others:
        assert block is not None
        of_network = dict(zip(network, table.layer_prices(network), strict=True))
        of_block[block.choice].append(of_network.get(block.slot, 0.0))
    return CandidatePrices(table.target, fixed_ms, tuple(tuple(prices) for prices in of_block.values()))


def candidate_networks(space: SearchSpace, blocks: Blocks | None = None) -> list[dict[str, LayerSpec]]:
    """Networks that have every candidate of a space between them: what a table for it must know."""
    return [network for network, _ in networks_of(space, blocks or blocks_of(space))]


def networks_of(space: SearchSpace, blocks: Blocks) -> Iterator[tuple[dict[str, LayerSpec], SearchedBlock | None]]:
    """A network to start from, then one for every option of every block: that network with this option."""
    base = base_architecture(space, blocks)
    yield space.layers(base), None
    for block in blocks.searched:
        for option in block.options:
            yield space.layers(space.architecture(**{**base.values, block.choice: option})), block


def base_architecture(space: SearchSpace, blocks: Blocks) -> Architecture:
    """The first option everywhere that puts a layer there."""
    genes = {
        block.choice: next((o for o, spec in zip(block.options, block.specs, strict=True) if spec), block.options[0])
        for block in blocks.searched
    }
    rest = {choice.name: choice.options[0] for choice in space.choices if choice.name not in genes}
    return space.architecture(**rest, **genes)
