"""Presets that are too big to be built in a test, narrowed to small options by the adjustments that users have.

The contract counts such a preset without storage and builds the narrowed one: same code, small sizes. A new big preset
needs a line here.
"""

from predictors import cost
from search_space import SearchSpace, plugins
from search_space.adjustments import Adjustments

MAX_PARAMS, MAX_PIXELS = 10_000_000, 200

_BLOCKS = {"stem_width": (8, 16), "stage*_width": (8, 16), "head_width": (16, 32), "resolution": (32, 40)}

_LAYERS = {"depth": (1, 2), "layer*_heads": (1, 2)}
_AUTOFORMER = Adjustments({**_LAYERS, "embed": (24, 32), "layer*_ratio": (1.0, 2.0)}, classes=10)

# None: nothing that a user may adjust makes its networks small; the family's other presets run the same code.
NARROWED: dict[tuple[str, str], Adjustments | None] = {
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
    ("vit", "vit_base"): Adjustments({**_LAYERS, "embed": (32,), "layer*_ffn": (32, 64)}, classes=10),
    ("vit", "autoformer_tiny"): _AUTOFORMER,
    ("vit", "autoformer_small"): _AUTOFORMER,
    ("vit", "autoformer_base"): _AUTOFORMER,
    ("bert", "bert_base"): None,
    ("llama", "llama2_7b"): None,
}


def is_big(space: SearchSpace) -> bool:
    """Whether its largest network takes too much memory or time for a test."""
    return cost.params(space, space.largest()) > MAX_PARAMS or getattr(space.takes, "size", 0) > MAX_PIXELS


def can_be_built(family: str, preset: str) -> bool:
    """Whether the preset, or a narrowed version of it, is small enough for a test."""
    return NARROWED.get((family, preset), Adjustments()) is not None


def buildable(family: str, preset: str) -> SearchSpace:
    """The preset, narrowed if it is too big to be built."""
    space = plugins.load_family(family, preset)
    if not is_big(space):
        return space
    adjustments = NARROWED.get((family, preset))
    assert adjustments is not None, f"{space.name} is too big to be built; add a line to tests/contracts/narrow.py"
    return plugins.load_family(family, preset, adjustments)
