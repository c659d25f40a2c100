"""Presets that are too big to be run in a test, narrowed to small options by the adjustments that users have.

The contract counts such a preset without storage and runs the narrowed one: same code, small sizes.
"""

from search_space import SearchSpace, plugins
from search_space.adjustments import Adjustments

_BLOCKS = {"stem_width": (8, 16), "stage*_width": (8, 16), "head_width": (16, 32), "resolution": (32, 40)}

NARROWED: dict[tuple[str, str], Adjustments] = {
    ("mobilenet", "bignas"): Adjustments({**_BLOCKS, "stage*_depth": (1, 2)}, classes=10),
    ("mobilenet", "attentivenas"): Adjustments({**_BLOCKS, "stage*_depth": (1, 2)}, classes=10),
    ("proxyless", "imagenet"): Adjustments({"width": (0.1, 0.25)}, classes=10),
    ("resnet", "ofa_resnet50"): Adjustments(
        {
            "stem_inner_width": (4, 8),
            "stem_width": (8, 16),
            "stage*_width": (32, 64),
            "stage*_expansion": (0.25, 0.5),
        },
        classes=10,
    ),
    ("resnet", "resnet50"): Adjustments({"stem_width": (8, 16), "stage*_width": (32, 64)}, classes=10),
}


def buildable(family: str, preset: str) -> SearchSpace:
    """The preset, narrowed if it is too big to be run in a test."""
    return plugins.load_family(family, preset, NARROWED.get((family, preset)))
