"""LatencyTable: what each layer costs on one device and runtime, and networks priced by adding up.

A row's key is what a layer is, written out. There are three forms of keys:

- `winnow`: one row per layer spec, `key_of(spec)`; tables that Winnow measures, and that users upload.
- `proxylessnas`: ProxylessNAS's table of a Pixel 1, whose blocks name their expansion as a factor; a head is two rows.
- `once_for_all`: Once-for-all's tables of a Note 10, whose blocks name their hidden width, squeeze-and-excitation
  and hard swish; a head is four rows. Latencies depend on the input's resolution, which is part of the key.

A layer without a row is an error, never a constant: ProxylessNAS's own code prices a network that its table does not
know at a silent 200 ms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from search_space.layers import ConvSpec, HeadSpec, LayerSpec, MBConvSpec, Precision

WINNOW: Final = "winnow"
# Missing rows that an error names one by one.
NAMED_ROWS = 5
# Layers whose keys and prices are remembered.
REMEMBERED = 1 << 14


class MissingRow(ValueError):
    """The table has no rows for some layers. `keys` has all of them; the message names the first few."""

    def __init__(self, target: str, keys: Iterable[str]) -> None:
        self.target, self.keys = target, tuple(dict.fromkeys(keys))
        named = "; ".join(self.keys[:NAMED_ROWS])
        more = f"; and {len(self.keys) - NAMED_ROWS} more" if len(self.keys) > NAMED_ROWS else ""
        rows = "1 row" if len(self.keys) == 1 else f"{len(self.keys)} rows"
        super().__init__(
            f"The latency table of {target!r} lacks {rows}: {named}{more}. "
            f"Measure these layers on {target!r} and add them, or use a table that was made for this space."
        )


@dataclass(frozen=True, slots=True)
class Row:
    """The latency of one layer.

    Attributes:
        latency_ms: mean or median, whichever the table's maker took; positive and finite.
        spread_ms: standard deviation of one run, if known.
        runs: number of runs, if known.
    """

    latency_ms: float
    spread_ms: float | None = None
    runs: int | None = None


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of layers on one target.

    Attributes:
        target: name of the device and runtime.
        rows: by key; in a phone's form a key starts with the resolution, `224/Conv-input:...`.
        form: how its keys are written: `winnow`, `proxylessnas` or `once_for_all`.
        overhead_ms: what every network costs beside its layers.

    Raises:
        ValueError: no rows, a latency that is not positive and finite, a negative overhead, or an unknown form.
    """

    target: str
    rows: Mapping[str, Row]
    form: str = WINNOW
    overhead_ms: float = 0.0
    # A search prices tens of thousands of networks that are made of far fewer layers.
    _known: dict[tuple[LayerSpec, int | None], float] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"Unknown form of table {self.form!r}. Known: {', '.join(FORMS)}.")
        if not self.rows:
            raise ValueError(f"The latency table of {self.target!r} has no rows.")
        for key, row in self.rows.items():
            if not (row.latency_ms > 0 and math.isfinite(row.latency_ms)):
                raise ValueError(
                    f"The latency table of {self.target!r} has {row.latency_ms} ms for {key}; "
                    f"a latency is a positive number of milliseconds."
                )
        if not (self.overhead_ms >= 0 and math.isfinite(self.overhead_ms)):
            raise ValueError(f"The overhead of table {self.target!r} must be 0 ms or more; got {self.overhead_ms}.")

    def price(self, layers: Mapping[str, LayerSpec] | Iterable[LayerSpec]) -> float:
        """Latency in ms of a network: its layers' rows and the overhead, added up.

        Args:
            layers: in forward order, as `space.layers(architecture)` gives them.

        Raises:
            MissingRow: layers that the table does not know; all of them are named.
        """
        return self.overhead_ms + sum(self.layer_prices(layers))

    def layer_prices(self, layers: Mapping[str, LayerSpec] | Iterable[LayerSpec]) -> list[float]:
        """Latency in ms of each layer, in order, without the overhead. Raises as `price` does."""
        specs = list(layers.values() if isinstance(layers, Mapping) else layers)
        if not specs:
            return []
        return self._prices(specs, self._resolution(specs[0]))

    def layer_ms(self, spec: LayerSpec, resolution: int | None = None) -> float:
        """Latency in ms of one layer.

        Args:
            resolution: that of the network's input, for a phone's table of several; a table's only one may be left out.

        Raises:
            MissingRow: the table does not know the layer.
            ValueError: the table has several resolutions and none was given.
        """
        if resolution is None and self.form != WINNOW:
            known = self.resolutions
            if len(known) > 1:
                raise ValueError(
                    f"The table of {self.target!r} is for resolutions {', '.join(map(str, known))}; say which one."
                )
            resolution = known[0]
        return self._prices([spec], resolution)[0]

    def missing(self, networks: Iterable[Mapping[str, LayerSpec]]) -> tuple[str, ...]:
        """Keys of the layers of these networks that the table does not know, each once, in order."""
        keys: dict[str, None] = {}
        for layers in networks:
            specs = list(layers.values())
            resolution = self._resolution(specs[0]) if specs else None
            keys.update(dict.fromkeys(key for spec in specs for key in self._terms(spec, resolution)))
        return tuple(key for key in keys if key not in self.rows)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Resolutions of a phone's table, rising; empty for Winnow's own form, whose specs say their sizes."""
        if self.form == WINNOW:
            return ()
        return tuple(sorted({int(key.split("/", 1)[0]) for key in self.rows}))

    def _resolution(self, first: LayerSpec) -> int | None:
        """Resolution of the network's input, as its first layer says; None in Winnow's own form."""
        if self.form == WINNOW:
            return None
        size = first.fields().get("size")
        return size if isinstance(size, int) else None

    def _prices(self, specs: Sequence[LayerSpec], resolution: int | None) -> list[float]:
        if len(self._known) > REMEMBERED:
            self._known.clear()
        new = {spec: self._terms(spec, resolution) for spec in specs if (spec, resolution) not in self._known}
        missing = [key for terms in new.values() for key in terms if key not in self.rows]
        if missing:
            raise MissingRow(self.target, missing)
        for spec, terms in new.items():
            price = sum(share * self.rows[key].latency_ms for key, share in terms.items())
            self._known[spec, resolution] = price
        return [self._known[spec, resolution] for spec in specs]

    def _terms(self, spec: LayerSpec, resolution: int | None) -> dict[str, float]:
        """Rows that a layer's latency is made of, and how much of each.

        A layer whose parts have different precisions, and which was not measured as it is, is priced part by part: the
        share of a part, by its arithmetic and its activations, of what the layer takes wholly at that part's precision.
        """
        keys = self._keys(spec, resolution)
        if self.form != WINNOW or keys[0] in self.rows or len({precision for _, precision in spec.policy}) < 2:
            return dict.fromkeys(keys, 1.0)
        policy, plain = dict(spec.policy), spec.with_policy(())
        weights = {name: part.macs + part.live for name, part in plain.quantizable().items()}
        total, terms = sum(weights.values()), dict[str, float]()
        for name, weight in weights.items():
            key = _whole_key(plain, policy[name])
            terms[key] = terms.get(key, 0.0) + weight / total
        return terms

    def _keys(self, spec: LayerSpec, resolution: int | None) -> tuple[str, ...]:
        if self.form == WINNOW:
            return _own_keys(spec)
        # Phones' tables are of full precision; a quantized layer has a key that none has, so the error names it.
        quantized = any(not precision.is_full for _, precision in spec.policy)
        keys = _unknown_to_phones(spec) if quantized else FORMS[self.form](spec)
        return tuple(f"{resolution}/{key}" for key in keys)


# --- keys -----------------------------------------------------------------------------------------


def key_of(spec: LayerSpec) -> str:
    """`kind(field=value,...)`: what a layer is, the same in every process. Equal layers have equal keys.

    A layer with a quantization policy is another one: the parts that are quantized follow, `[part=precision;...]`.
    """
    key = f"{spec.kind}({','.join(f'{name}={value}' for name, value in spec.fields().items())})"
    quantized = ";".join(f"{part}={precision}" for part, precision in spec.policy if not precision.is_full)
    return f"{key}[{quantized}]" if quantized else key


@lru_cache(REMEMBERED)
def _whole_key(spec: LayerSpec, precision: Precision) -> str:
    """Key of a layer that is wholly at one precision."""
    return key_of(spec.uniform(precision))


def _own_keys(spec: LayerSpec) -> tuple[str, ...]:
    return (key_of(spec),)


def _square(size: int, channels: int) -> str:
    return f"{size}x{size}x{channels}"


def _unknown_to_phones(spec: LayerSpec) -> tuple[str, ...]:
    # Such a key is in no table, so the error names the layer.
    return (key_of(spec),)


def _block_shapes(spec: MBConvSpec) -> str:
    shapes = f"input:{_square(spec.size, spec.in_channels)}-output:{_square(spec.out_size, spec.out_channels)}"
    return f"expanded_conv-{shapes}"


def _strides(spec: MBConvSpec) -> str:
    return f"kernel:{spec.kernel}-stride:{spec.stride}-idskip:{int(spec.shortcut)}"


def _stem(spec: ConvSpec) -> str:
    shapes = f"input:{_square(spec.size, spec.in_channels)}-output:{_square(spec.out_size, spec.out_channels)}"
    return f"Conv-{shapes}"


def _proxylessnas_keys(spec: LayerSpec) -> tuple[str, ...]:
    if isinstance(spec, ConvSpec) and not spec.residual and spec.kernel == 3 and spec.stride == 2:
        return (_stem(spec),)
    if isinstance(spec, MBConvSpec) and not (spec.squeeze_channels or spec.project_shortcut):
        expand = spec.hidden_channels / spec.in_channels
        if expand.is_integer():
            return (f"{_block_shapes(spec)}-expand:{int(expand)}-{_strides(spec)}",)
    if isinstance(spec, HeadSpec) and not spec.mix_channels:
        hidden = _square(spec.size, spec.hidden_channels)
        return (
            f"Conv_1-input:{_square(spec.size, spec.in_channels)}-output:{hidden}",
            f"Logits-input:{hidden}-output:{spec.classes}",
        )
    return _unknown_to_phones(spec)


def _once_for_all_keys(spec: LayerSpec) -> tuple[str, ...]:
    if isinstance(spec, ConvSpec) and not spec.residual and spec.kernel == 3 and spec.stride == 2:
        return (_stem(spec),)
    if isinstance(spec, MBConvSpec) and not spec.project_shortcut and spec.activation in ("ReLU", "Hardswish"):
        squeeze, swish = int(spec.squeeze_channels > 0), int(spec.activation == "Hardswish")
        return (f"{_block_shapes(spec)}-expand:{spec.hidden_channels}-{_strides(spec)}-se:{squeeze}-hs:{swish}",)
    if isinstance(spec, HeadSpec) and spec.mix_channels:
        hidden, mixed = _square(spec.size, spec.hidden_channels), _square(1, spec.mix_channels)
        pooled = _square(1, spec.hidden_channels)
        return (
            f"Conv_1-input:{_square(spec.size, spec.in_channels)}-output:{hidden}",
            f"AvgPool2D-input:{hidden}-output:{pooled}",
            f"Conv_2-input:{pooled}-output:{mixed}",
            f"Logits-input:{mixed}-output:{spec.classes}",
        )
    return _unknown_to_phones(spec)


# Form -> the keys of the rows that a layer adds up from, without the resolution.
FORMS: Final[dict[str, Callable[[LayerSpec], tuple[str, ...]]]] = {
    WINNOW: _own_keys,
    "proxylessnas": _proxylessnas_keys,
    "once_for_all": _once_for_all_keys,
}
