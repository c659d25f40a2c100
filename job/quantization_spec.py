"""What a job says about quantization: which policies its search may choose from, and how they are calibrated."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StrictInt, model_validator

from job.parts import InnerPart

if TYPE_CHECKING:
    from quantization.policies import Quantization
    from quantization.quantized_space import QuantizedSpace
    from search_space.space import SearchSpace

# Spaces remembered by their description: learning which layers there are takes tenths of a second.
REMEMBERED_SPACES = 32


class QuantizationSpec(InnerPart):
    """Which quantization policies are searched together with the architecture; absent: none."""

    bits: Annotated[tuple[StrictInt, ...], Field(min_length=1, max_length=4)] = Field(
        description="Widths that a layer may have, from 4, 8, 16 and 32.", examples=[[8, 32]]
    )
    schemes: dict[int, str] = Field(
        default_factory=dict,
        description="Scheme of a width where it is not the usual one (32 fp32, 16 bf16, 8 int8_static, 4 int4_weight), "
        "such as gptq for 4.",
        examples=[{"8": "int8_weight"}],
    )
    weights: Annotated[tuple[Literal["symmetric", "asymmetric"], ...], Field(min_length=1, max_length=2)] = Field(
        default=("symmetric",),
        description="Modes of a layer's weights that are searched; one: fixed. Depthwise layers are always symmetric: "
        "ONNX Runtime takes about twenty times as long for the others.",
    )
    group: Literal[0, 16, 32, 64, 128, 256] = Field(
        default=0, description="Inputs that share a scale in weight-only schemes; 0: the scheme's usual number."
    )
    tie: Literal["layer", "block", "stage", "kind"] = Field(
        default="layer", description="What has one choice together: every layer, a block, a stage, a kind of layer."
    )
    layers: dict[str, Annotated[tuple[StrictInt, ...], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Widths of layers by name (`slot.part`, `*` stands for anything) instead of `bits`.",
        examples=[{"stage1_*": [8]}],
    )
    pinned: dict[str, StrictInt] = Field(
        default_factory=dict,
        description="Layers that keep one width: `first`, `last`, or a name or pattern.",
        examples=[{"first": 32, "last": 32}],
    )
    embeddings: Annotated[tuple[Literal[4, 8, 32], ...], Field(max_length=3)] = Field(
        default=(),
        description="Widths that tables of words may have, and heads tied to them, from 4, 8 and 32. Empty: they "
        "keep full precision, and no policy names them.",
        examples=[[8, 32]],
    )
    observer: Literal["minmax", "percentile", "kl"] = Field(
        default="kl", description="How the range of an activation follows from what calibration saw of it."
    )
    calibration_examples: Annotated[
        int, Field(ge=16, le=100_000, description="Training examples from which the ranges of activations are taken.")
    ] = 100
    sensitivity: bool = Field(
        default=True, description="Score every layer at every width first, and start the search from what that says."
    )
    baseline_evaluations: Annotated[
        int,
        Field(ge=1, le=100_000, description="Evaluations of the search for the best architecture in full precision."),
    ] = 50

    @model_validator(mode="after")
    def _different(self) -> QuantizationSpec:
        for name, values in (("bits", self.bits), ("weights", self.weights), ("embeddings", self.embeddings)):
            if len(set(values)) != len(values):
                raise ValueError(f"quantization.{name} lists a value twice: {list(values)}.")
        self.quantization()
        return self

    def quantization(self) -> Quantization:
        """The quantization as the search space knows it.

        Raises:
            ValueError: a width that no scheme has.
        """
        from quantization.policies import Quantization  # not needed to start the API

        asked = Quantization(
            tuple(sorted(self.bits)),
            dict(self.schemes),
            tuple(self.weights),
            self.group,
            self.tie,
            {pattern: tuple(sorted(bits)) for pattern, bits in self.layers.items()},
            dict(self.pinned),
            tuple(sorted(self.embeddings)),
        )
        for bits in self.bits:
            asked.precision(bits, self.weights[0])
        return asked


def quantized_space(base: SearchSpace, key: str, spec: QuantizationSpec) -> QuantizedSpace:
    """The space of a job that searches policies too.

    Args:
        key: what `base` was made from, as text; spaces are remembered by it.

    Raises:
        ValueError: a policy that the space cannot have.
    """
    text = spec.model_dump_json()
    return _remembered(_Keyed(base, key), text)


class _Keyed:
    """A space that is equal to another one made from the same text."""

    def __init__(self, space: SearchSpace, key: str) -> None:
        self.space, self._key = space, key

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Keyed) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@lru_cache(REMEMBERED_SPACES)
def _remembered(base: _Keyed, text: str) -> QuantizedSpace:
    from quantization.quantized_space import QuantizedSpace

    return QuantizedSpace(base.space, QuantizationSpec.model_validate_json(text).quantization())
