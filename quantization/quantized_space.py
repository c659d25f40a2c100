"""QuantizedSpace: a space and the quantization policies of its networks as one space.

A policy is part of an architecture's values: one choice of the bits of every layer that can be quantized, and one
of its weights' mode where that is searched. So ids, encodings, costs, exports and pages carry it like any other
choice. Which layers a network has is read off the space itself, so this works for every family.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache

import numpy as np

from quantization.policies import Quantization
from search_space.architecture import Architecture, Option
from search_space.layers import LayerSpec, Precision
from search_space.layers.precision import EMBEDDING, SCHEMES
from search_space.space import Choice, SearchSpace, Values

# Random networks that are described to learn under which choices a layer is there.
PROBES = 128
TIES = ("layer", "block", "stage", "kind")
# Specs remembered per space.
REMEMBERED_SPECS = 1 << 14

# How a layer is called: `slot.part`, as in `stage1_block2.expand`.
LayerName = str


@dataclass(frozen=True, slots=True)
class _Group:
    """Layers that share a choice."""

    name: str
    members: tuple[LayerName, ...]
    bits: tuple[int, ...]
    when: tuple[str, tuple[Option, ...]] | None = None


class QuantizedArchitecture(Architecture):
    """A network of a space with the policy of its layers."""

    __slots__ = ()


class QuantizedSpace(SearchSpace):
    """Every network of a space with every policy.

    Args:
        base: a space with layers.

    Raises:
        ValueError: a width that nothing executes, a layer that does not exist, a layer that is pinned and
            searched, or nothing that can be quantized.
    """

    makes = QuantizedArchitecture

    def __init__(self, base: SearchSpace, quantization: Quantization) -> None:
        if not base.has_layers:
            raise ValueError(f"Space {base.name!r} has no layers, so there is nothing to quantize.")
        self.base, self.quantization = base, quantization
        probes = list(_probes(base))
        tables = bool(quantization.embeddings)
        operations = {name: part for layers in probes for name, part in _quantizable(layers[1], tables)}
        order = _in_order(base, operations)
        self._options = _options(order, operations, quantization, base.name)
        groups = _grouped(base, order, self._options, operations, quantization.tie)
        presence = _Presence(base, probes, tables)
        groups = list(_expressible(groups, presence))
        self._fixed = {name: options[-1] for name, options in self._options.items()}
        self._group_of = {member: group.name for group in groups for member in group.members}
        if not groups and set(self._fixed.values()) == {32}:
            raise ValueError(
                f"Nothing of space {base.name!r} can be quantized to {list(quantization.bits)} bits: "
                "its layers are pinned, or the schemes have no kernels for them."
            )
        # Described by the hundred thousand in a search: what does not change is worked out once.
        self._spec = lru_cache(REMEMBERED_SPECS)(LayerSpec.with_policy)
        self._precision = lru_cache(self._make_precision)
        self._parts = lru_cache(REMEMBERED_SPECS)(self._make_parts)
        # Choices of widths, each with its layers, and choices of the weights' modes.
        self._widths: list[tuple[Choice, tuple[LayerName, ...]]] = []
        self._mode_choices: list[Choice] = []
        choices = [*base.choices]
        for group in groups:
            width = Choice(f"{group.name}_bits", group.bits, group.when, "bits")
            self._widths.append((width, group.members))
            choices.append(width)
            with_modes = tuple(
                bits
                for bits in group.bits
                if any(len(self._modes(bits, operations[name])) > 1 for name in group.members)
            )
            if with_modes:
                when = (f"{group.name}_bits", with_modes)
                mode = Choice(f"{group.name}_weights", quantization.modes, when, "weights")
                self._mode_choices.append(mode)
                choices.append(mode)
        self._base_choices = len(base.choices)
        super().__init__(f"{base.name}/quantized", choices, self._layers, capacity=base.capacity, takes=base.takes)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Everything that a layer may be stored in, 32 bits first."""
        widths = self.quantization.bits
        asked = (self.quantization.precision(bits, mode) for bits in widths for mode in self._modes(bits))
        return tuple(dict.fromkeys((Precision(), *asked)))

    def _modes(self, bits: int, operation: str = "") -> tuple[str, ...]:
        scheme = SCHEMES[self.quantization.precision(bits, "symmetric", operation).scheme]
        return tuple(mode for mode in self.quantization.modes if mode in scheme.modes_for(operation))

    # --- from an architecture to its halves -------------------------------------------------------

    def network(self, architecture: Architecture) -> Architecture:
        """The architecture of the base space without the policy."""
        return self.base.from_genes(architecture.genes[: self._base_choices])

    def policy(self, architecture: Architecture) -> dict[LayerName, Precision]:
        """Layer name -> precision of every layer of the network that can be quantized, in forward order."""
        layers = self.layers(architecture)
        return {f"{slot}.{part}": chosen for slot, spec in layers.items() for part, chosen in spec.policy}

    def quantized(self, network: Architecture, bits: Mapping[LayerName, int] | int, mode: str = "") -> Architecture:
        """A network of the base space with a policy; widths that a layer cannot have become its nearest above.

        Args:
            bits: bits of each layer by name, or of all; layers that are not named have their largest. Layers that
                share a choice have the largest of theirs.
            mode: mode of the weights; empty: the first of the policies' modes.
        """
        values: dict[str, Option] = dict(network.values)
        values |= {choice.name: mode or self.quantization.modes[0] for choice in self._mode_choices}
        for choice, members in self._widths:
            wanted = [bits if isinstance(bits, int) else bits.get(name, int(choice.options[-1])) for name in members]
            possible = [option for option in choice.options if int(option) >= max(wanted)]
            values[choice.name] = possible[0] if possible else choice.options[-1]
        return self.architecture(**values)

    def _layers(self, values: Values) -> dict[str, LayerSpec]:
        return {slot: self._with_policy(slot, spec, values) for slot, spec in self.base.describe(values).items()}

    def _with_policy(self, slot: str, spec: LayerSpec, values: Values) -> LayerSpec:
        usual = self.quantization.modes[0]
        policy = tuple(
            (part, self._precision(values.get(bits, fixed), values.get(mode, usual), operation))
            for part, operation, bits, mode, fixed in self._parts(slot, spec)
        )
        return self._spec(spec, policy) if policy else spec

    def _make_precision(self, bits: int, mode: str, operation: str) -> Precision:
        """What a width means for a layer of this operation."""
        return self.quantization.precision(bits, mode, operation).of(operation)

    def _make_parts(self, slot: str, spec: LayerSpec) -> tuple[tuple[str, str, str, str, int], ...]:
        """(part, operation, name of its choice of bits, of its choice of a mode, its width without one) of a layer."""
        made = []
        for part, numbers in spec.quantizable(embeddings=bool(self.quantization.embeddings)).items():
            name = f"{slot}.{part}"
            group = self._group_of.get(name, "")
            made.append((part, numbers.operation, f"{group}_bits", f"{group}_weights", self._fixed[name]))
        return tuple(made)


# --- layers and what they may have ----------------------------------------------------------------


def _quantizable(layers: Mapping[str, LayerSpec], tables: bool) -> Iterator[tuple[LayerName, str]]:
    for slot, spec in layers.items():
        for part, numbers in spec.quantizable(embeddings=tables).items():
            yield f"{slot}.{part}", numbers.operation


def _probes(base: SearchSpace) -> Iterator[tuple[Architecture, dict[str, LayerSpec]]]:
    """Networks that show which layers there are: both ends, each with every single change, and random ones."""
    seen: set[str] = set()
    ends = [base.largest(), base.smallest()]
    changed = [
        [*end.genes[:i], gene, *end.genes[i + 1 :]]
        for end in ends
        for i, choice in enumerate(base.choices)
        for gene in range(len(choice.options))
    ]
    rng = np.random.default_rng(0)
    random = [rng.integers(0, base.option_counts).tolist() for _ in range(PROBES)]
    for genes in (*([*end.genes] for end in ends), *changed, *random):
        network = base.from_genes(genes)
        if network.id not in seen:
            seen.add(network.id)
            yield network, base.layers(network)


def _in_order(base: SearchSpace, operations: Mapping[LayerName, str]) -> list[LayerName]:
    """Layer names in forward order, as far as the largest network has them."""
    first = [name for name, _ in _quantizable(base.capacity(), tables=True) if name in operations]
    return [*first, *sorted(set(operations) - set(first))]


def _options(
    order: list[LayerName], operations: Mapping[LayerName, str], asked: Quantization, space: str
) -> dict[LayerName, tuple[int, ...]]:
    """Widths of every layer, smallest first; a layer that the schemes cannot have keeps 32 bits."""
    if not order:
        raise ValueError(f"Space {space!r} has no convolutions or linear layers to quantize.")
    for bits in (*asked.bits, *(b for many in asked.layers.values() for b in many), *asked.pinned.values()):
        asked.precision(bits, "symmetric")
    ends = {"first": order[0], "last": order[-1]}
    pinned = {ends.get(pattern, pattern): bits for pattern, bits in asked.pinned.items()}
    for pattern in (*pinned, *asked.layers):
        if not any(fnmatchcase(name, pattern) for name in order):
            raise ValueError(
                f"Space {space!r} has no layer {pattern!r}. Its layers: {', '.join(order[:12])}"
                f"{f' and {len(order) - 12} more' if len(order) > 12 else ''}; `*` stands for anything."
            )
    found: dict[LayerName, tuple[int, ...]] = {}
    for name in order:
        kept = [bits for pattern, bits in pinned.items() if fnmatchcase(name, pattern)]
        listed = [bits for pattern, bits in asked.layers.items() if fnmatchcase(name, pattern)]
        if kept and listed:
            raise ValueError(
                f"Layer {name!r} is pinned to {kept[0]} bits and searched over {list(listed[0])}: take one."
            )
        usual = asked.embeddings if operations[name] == EMBEDDING else asked.bits
        wanted = tuple(kept[:1]) if kept else (listed[0] if listed else usual)
        refused = [bits for bits in wanted if not asked.can(bits, operations[name])]
        if refused and (kept or listed):
            scheme = asked.precision(refused[0], "symmetric", operations[name]).scheme
            raise ValueError(
                f"Layer {name!r} is a {operations[name]} layer, for which scheme {scheme!r} ({refused[0]} bits) has no "
                f"kernels; it has them for {', '.join(SCHEMES[scheme].operations)}."
            )
        found[name] = tuple(sorted(set(wanted) - set(refused))) or (32,)
    return found


def _grouped(
    base: SearchSpace,
    order: list[LayerName],
    options: Mapping[LayerName, tuple[int, ...]],
    operations: Mapping[LayerName, str],
    tie: str,
) -> list[_Group]:
    if tie not in TIES:
        raise ValueError(f"Policies can be tied per {', '.join(TIES)}; got {tie!r}.")
    capacity = base.capacity()

    def key(name: LayerName) -> str:
        slot, _, part = name.partition(".")
        if tie == "layer":
            return f"{slot}_{part}"
        if tie == "block":
            return slot
        if tie == "stage":
            return slot.split("_")[0] if "_" in slot else slot.rstrip("0123456789")
        kind = capacity[slot].kind if slot in capacity else slot.rstrip("0123456789")
        return f"{kind}_{part}"

    members: dict[str, list[LayerName]] = {}
    for name in order:
        if len(options[name]) > 1:
            members.setdefault(key(name), []).append(name)
    groups = []
    for group, names in members.items():
        different = [name for name in names if options[name] != options[names[0]]]
        if different:
            # Layers with other kernels, such as a ViT's convolution among linear layers, have a choice of their own.
            for widths in dict.fromkeys(options[name] for name in names):
                chosen = tuple(name for name in names if options[name] == widths)
                suffix = "" if widths == options[names[0]] else "_" + "_".join(map(str, widths))
                groups.append(_Group(group + suffix, chosen, widths))
        else:
            groups.append(_Group(group, tuple(names), options[names[0]]))
    return groups


# --- when a layer is there --------------------------------------------------------------------------


class _Presence:
    """Which choice decides whether layers are there, learned from described networks.

    Args:
        probes: networks with their layers.
    """

    def __init__(
        self, base: SearchSpace, probes: list[tuple[Architecture, dict[str, LayerSpec]]], tables: bool
    ) -> None:
        self._base = base
        self._networks = [network for network, _ in probes]
        self._names = [{name for name, _ in _quantizable(layers, tables)} for _, layers in probes]
        active = [base.is_active(network) for network in self._networks]
        # For each choice: its value in each network, None where the choice is inactive.
        self._values: list[list[Option | None]] = [
            [network.items[i][1] if active[k][i] else None for k, network in enumerate(self._networks)]
            for i in range(len(base.choices))
        ]

    def always(self, members: tuple[LayerName, ...]) -> bool:
        """Whether every network has one of these layers."""
        return all(not names.isdisjoint(members) for names in self._names)

    def when(self, members: tuple[LayerName, ...]) -> tuple[str, tuple[Option, ...]] | None:
        """The choice and its values under which one of these layers is there; None: always, or `unclear`."""
        if self.always(members):
            return None
        there = [not names.isdisjoint(members) for names in self._names]
        for choice, values in zip(self._base.choices, self._values, strict=True):
            with_it = {value for value, here in zip(values, there, strict=True) if here}
            if None in with_it:
                continue
            without = {value for value, here in zip(values, there, strict=True) if not here}
            if not with_it & without:
                return choice.name, tuple(option for option in choice.options if option in with_it)
        return None

    def implies(self, name: LayerName, members: tuple[LayerName, ...]) -> bool:
        """Whether one of `members` is there wherever the layer is."""
        return all(not names.isdisjoint(members) for names in self._names if name in names)

    def unclear(self, members: tuple[LayerName, ...]) -> bool:
        """Whether no single choice says when these layers are there."""
        return not self.always(members) and self.when(members) is None


def _expressible(groups: list[_Group], presence: _Presence) -> Iterator[_Group]:
    """Groups whose presence one choice decides.

    Whether a projection of a shortcut is there hangs on two widths, which no single choice says; such layers
    share the choice of the last clear group before them that has a layer of the same block and the same widths.
    """
    clear = [group for group in groups if not presence.unclear(group.members)]
    joined: dict[str, list[LayerName]] = {group.name: [] for group in clear}
    for group in groups:
        for name in group.members if group not in clear else ():
            slot = name.partition(".")[0]
            homes = [
                home
                for home in clear
                if home.bits == group.bits
                and any(member.startswith(f"{slot}.") for member in home.members)
                and presence.implies(name, home.members)
            ]
            # A layer without such a neighbour keeps its widest numbers.
            if homes:
                joined[homes[-1].name].append(name)
    for group in clear:
        yield replace(group, members=(*group.members, *joined[group.name]), when=presence.when(group.members))
