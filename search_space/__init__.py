"""The vocabulary of Winnow: what can be built. Standard library and numpy only."""

from search_space.architecture import Architecture
from search_space.layers import LayerSpec
from search_space.space import Choice, SearchSpace

__all__ = ["Architecture", "Choice", "LayerSpec", "SearchSpace"]
