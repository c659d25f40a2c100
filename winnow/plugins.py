"""What an author of a plug-in imports; see docs/plugins.md.

Names are imported when they are first asked for, so that `options.py` of a plug-in loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.runtimes import Prepared, Refused
    from plugins.options import NamesFile, Options
    from predictors.runtime import Runtime
    from predictors.setting import Setting
    from search.algorithm import SearchAlgorithm
    from search.evaluation import Evaluation
    from search.objectives import Constraint, Objective
    from search.problem import Problem
    from search_space.adjustments import Adjustments
    from search_space.architecture import Architecture
    from search_space.inputs import ImageInput, PairInput, TokenInput
    from search_space.layers import LayerSpec
    from search_space.space import Choice, SearchSpace
    from supernet.data.dataset import Batch, DataError, Dataset, Split, Standardisation
    from supernet.data.decoding import Decoding
    from supernet.data.images import Carving, Labelled, image_dataset
    from supernet.data.inventory import Inventory, LeftOut
    from supernet.data.options import SourceOptions
    from supernet.network import Supernet, arguments
    from supernet.options import MethodOptions
    from supernet.passes import Passes, Regularisation
    from supernet.trainer import TrainingMethod

_HOMES = {
    "Adjustments": "search_space.adjustments",
    "Architecture": "search_space.architecture",
    "Batch": "supernet.data.dataset",
    "Carving": "supernet.data.images",
    "Choice": "search_space.space",
    "Constraint": "search.objectives",
    "DataError": "supernet.data.dataset",
    "Dataset": "supernet.data.dataset",
    "Decoding": "supernet.data.decoding",
    "Evaluation": "search.evaluation",
    "ImageInput": "search_space.inputs",
    "PairInput": "search_space.inputs",
    "Labelled": "supernet.data.images",
    "LayerSpec": "search_space.layers",
    "LeftOut": "supernet.data.inventory",
    "MethodOptions": "supernet.options",
    "NamesFile": "plugins.options",
    "Objective": "search.objectives",
    "Options": "plugins.options",
    "Passes": "supernet.passes",
    "Prepared": "export.runtimes",
    "Problem": "search.problem",
    "Inventory": "supernet.data.inventory",
    "Refused": "export.runtimes",
    "Regularisation": "supernet.passes",
    "Runtime": "predictors.runtime",
    "SearchAlgorithm": "search.algorithm",
    "SearchSpace": "search_space.space",
    "Source": "search.metrics",
    "Setting": "predictors.setting",
    "SourceOptions": "supernet.data.options",
    "Split": "supernet.data.dataset",
    "Standardisation": "supernet.data.dataset",
    "Supernet": "supernet.network",
    "TokenInput": "search_space.inputs",
    "TrainingMethod": "supernet.trainer",
    "arguments": "supernet.network",
    "image_dataset": "supernet.data.images",
}

__all__ = [
    "Adjustments",
    "Architecture",
    "Batch",
    "Carving",
    "Choice",
    "Constraint",
    "DataError",
    "Dataset",
    "Decoding",
    "Evaluation",
    "ImageInput",
    "Inventory",
    "Labelled",
    "LayerSpec",
    "LeftOut",
    "MethodOptions",
    "NamesFile",
    "Objective",
    "Options",
    "PairInput",
    "Passes",
    "Prepared",
    "Problem",
    "Refused",
    "Regularisation",
    "Runtime",
    "SearchAlgorithm",
    "SearchSpace",
    "Setting",
    "SourceOptions",
    "Split",
    "Standardisation",
    "Supernet",
    "TokenInput",
    "TrainingMethod",
    "arguments",
    "image_dataset",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
