"""Options of the search algorithm `blocks`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from search.options import Batch, BudgetedOptions

if TYPE_CHECKING:
    from search_space.space import SearchSpace


class BlocksOptions(BudgetedOptions):
    """Options of the search algorithm `blocks`."""

    batch: Batch = 8
    combinations: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            description="Random networks, small and large, measured after the blocks: they say whether sums can be "
            "trusted, and which pairs of blocks need terms of their own.",
        ),
    ] = 8

    def misfit(self, space: SearchSpace, evaluations: int) -> str | None:
        """See `BudgetedOptions`."""
        from search.blocks.parts import Blocks  # numpy: not needed by those who only read options

        try:
            blocks = Blocks(space)
        except ValueError as error:
            return str(error)
        needed = min(blocks.num_alternatives + self.combinations, space.size())
        if evaluations >= needed:
            return None
        return (
            f"Search algorithm 'blocks' scores {blocks.num_alternatives} networks, one for each alternative of the "
            f"{len(blocks.blocks)} blocks of {space.name!r}, and {self.combinations} combinations of them, and got "
            f"{evaluations} evaluations. Give it {needed + 50}, which leaves 50 for the front, or offer fewer options."
        )


OPTIONS = BlocksOptions
