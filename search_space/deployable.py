"""Deployable: a space of decoders reduced to the networks that an engine runs as they are, without zeros to fill up.

What an engine cannot express costs nothing only as long as nobody deploys it: a file for it is filled up, and the
latency that was searched for is another one. Rules are those of the writers in `export/formats`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from search_space.adjustments import Adjustments
from search_space.architecture import Option
from search_space.checkpoint import shares
from search_space.layers import DecoderLayerSpec
from search_space.space import Choice, SearchSpace, Values

SIZES = re.compile(r"layer(\d+)_(ffn|kv_heads)")
# Model types whose files of these engines say every layer's own sizes; of other types all layers are filled up to one.
DIFFER = ("llama", "mistral")
# Files of these engines say nothing of how far a layer sees, or say it of all layers at once.
SEES = re.compile(r"layer\d+_window")


@dataclass(frozen=True, slots=True)
class Engine:
    """What a tool that runs decoders can express.

    Attributes:
        format: the export format that it reads.
        multiple: number that feed-forward widths are multiples of.
        all_heads: whether every layer has all query heads (fewer key-value groups mean fewer of them here).
        alike: whether all layers have one width.
        halves: whether a layer may lack its attention or its feed-forward network (an option of 0).
        first_attends: whether the first layer must have attention.
    """

    format: str
    multiple: int
    all_heads: bool
    alike: bool
    halves: tuple[str, ...]
    first_attends: bool = True


ENGINES: dict[str, Engine] = {
    # `ffn_mult` is rounded to 256; one number of query heads; without attention, layer 0 does not run.
    "vllm": Engine("block_configs", 256, all_heads=True, alike=False, halves=("ffn", "kv_heads")),
    # Rows of Q8_0 have blocks of 32, and the writer fills every layer.
    "gguf": Engine("gguf", 32, all_heads=False, alike=False, halves=()),
    # transformers' classes have one of each number.
    "huggingface": Engine("huggingface", 1, all_heads=True, alike=True, halves=()),
}


def deployable_space(
    load: Callable[[Adjustments], SearchSpace], adjustments: Adjustments, engines: Sequence[str]
) -> SearchSpace:
    """The space whose networks all of these engines run as they are.

    Args:
        load: gives the space with adjustments.
        engines: names from `ENGINES`.

    Raises:
        ValueError: a space of other networks, one that is too narrow, or options of the user's that an engine cannot
            express.
    """
    space = load(adjustments)
    found = _sizes(space)
    if not found:
        raise ValueError(
            f"supernet.deployable speaks of decoders with choices layer*_ffn and layer*_kv_heads, and space "
            f"{space.name!r} has none; leave it out."
        )
    if (sees := next((choice.name for choice in space.choices if SEES.fullmatch(choice.name)), None)) is not None:
        raise ValueError(
            f"supernet.choices gives {sees} options, and supernet.deployable ({', '.join(engines)}) wants layers that "
            "see what the full network's see. Leave the choice out, or leave deployable out."
        )
    kept = _Rules(tuple(engines), adjustments).of(space)
    # Sizes are said by name now; a pattern that no other choice takes would be refused as unused.
    others = {
        name: value
        for name, value in adjustments.choices.items()
        if name not in found and any(fnmatchcase(c.name, name) for c in space.choices if c.name not in found)
    }
    space = load(replace(adjustments, choices={**others, **kept}))
    return _alike(space) if any(ENGINES[name].alike for name in engines) else space


def fits(space: SearchSpace, adjustments: Adjustments, engine: str) -> bool:
    """Whether a space can be kept to an engine without anybody asking for it.

    The largest network meets the engine's rules itself, no option of the user's breaks them, layers may differ, and
    there are as many widths to choose from as before.

    Args:
        space: the space with these adjustments, kept to no engine.
        engine: a name from `ENGINES`.
    """
    rule = ENGINES[engine]
    layers = [layer for layer in space.layers(space.largest()).values() if isinstance(layer, DecoderLayerSpec)]
    if rule.alike or not layers or any(SEES.fullmatch(choice.name) for choice in space.choices):
        return False
    if json.loads(layers[0].config)["model_type"] not in DIFFER or any(layer.ffn % rule.multiple for layer in layers):
        return False
    if rule.all_heads and any(layer.heads and layer.heads * layer.head_dim != layer.embed for layer in layers):
        return False
    if rule.first_attends and _first_may_lack_attention(space):
        return False
    try:
        kept = _Rules((engine,), adjustments).of(space)
    except ValueError:  # an option of the user's
        return False
    widths = {choice.name: choice.options for choice in space.choices if choice.name.endswith("_ffn")}
    return all(len(kept[name]) >= len(options) for name, options in widths.items())


def _sizes(space: SearchSpace) -> dict[str, re.Match[str]]:
    """Choices of a size, with the layer's number and the size's word."""
    return {choice.name: match for choice in space.choices if (match := SIZES.fullmatch(choice.name))}


def _first_may_lack_attention(space: SearchSpace) -> bool:
    """Whether a layer without attention may be the first that is kept."""
    options = {choice.name: choice.options for choice in space.choices}
    for number in range(1, len(options) + 1):
        if 0 in options.get(f"layer{number}_kv_heads", ()):
            return True
        if 0 not in options.get(f"layer{number}_keep", ()):
            return False
    return False


@dataclass(frozen=True, slots=True)
class _Rules:
    """What several engines together allow of a size, and what the user said of it."""

    engines: tuple[str, ...]
    adjustments: Adjustments

    def of(self, space: SearchSpace) -> dict[str, tuple[Option, ...]]:
        """Options of every size of a space; see `kept`."""
        found = _sizes(space)
        return {c.name: self.kept(c, int(found[c.name][1]), found[c.name][2]) for c in space.choices if c.name in found}

    def kept(self, choice: Choice, number: int, word: str) -> tuple[Option, ...]:
        """Options that all engines can express; where the preset's are none, shares of the largest that are.

        Args:
            number: number of the layer, from 1.
            word: `ffn` or `kv_heads`.

        Raises:
            ValueError: the user gave one that is none, or no width is wide enough.
        """
        engines, name = [ENGINES[name] for name in self.engines], choice.name
        multiple = max(engine.multiple for engine in engines) if word == "ffn" else 1
        halves = all(word in engine.halves for engine in engines)
        halves &= not (word == "kv_heads" and number == 1 and any(engine.first_attends for engine in engines))
        sizes = [int(option) for option in choice.options]
        right = [size for size in sizes if size and size % multiple == 0]
        if word == "kv_heads" and any(engine.all_heads for engine in engines):
            right = right[-1:]
        zero = (0,) if halves and 0 in sizes else ()
        wrong = [size for size in sizes if size not in (*zero, *right)]
        said = any(fnmatchcase(name, key) for key in self.adjustments.choices)
        asked = f"supernet.deployable ({', '.join(self.engines)}) wants"
        if said and wrong:
            rule = f"multiples of {multiple}" if word == "ffn" else "all groups, so that all query heads stay"
            raise ValueError(
                f"supernet.choices gives {name} the option {wrong[0]}, and {asked} {rule}. Leave the option out, or "
                "leave deployable out."
            )
        if word == "ffn" and len(right) < 2 <= len(sizes) and not said:
            largest = max(sizes) // multiple * multiple
            if not largest:
                raise ValueError(
                    f"Choice {name} has widths up to {max(sizes)}, and {asked} multiples of {multiple}: there is none. "
                    "Leave deployable out, or take a wider network."
                )
            right = list(shares(largest, (1, 2, 3), multiple))
        return (*zero, *right)


def _alike(space: SearchSpace) -> SearchSpace:
    """The networks of a space whose layers have one width: one choice of each size instead of one a layer."""
    own = {choice.name: SIZES.fullmatch(choice.name) for choice in space.choices}
    words = dict.fromkeys(match[2] for match in own.values() if match)
    shared = []
    for word in words:
        many = [choice.options for choice in space.choices if (match := own[choice.name]) and match[2] == word]
        common = [option for option in many[0] if all(option in options for options in many)]
        if not common:
            raise ValueError(
                f"No option of {word} is in every layer, and supernet.deployable wants one for all layers."
            )
        shared.append(Choice(word, tuple(common)))

    def blueprint(values: Values) -> Mapping[str, object]:
        each = {name: values[match[2]] if match else values.get(name) for name, match in own.items()}
        return space.describe({name: value for name, value in each.items() if value is not None})

    others = [choice for choice in space.choices if not own[choice.name]]
    return SearchSpace(f"{space.name}/alike", [*others, *shared], blueprint, space.capacity, space.takes)  # type: ignore[arg-type]


def cost_of(space: SearchSpace, without: SearchSpace, engines: Sequence[str]) -> str:
    """What being deployable costs, as a sentence: networks, and the smallest one's parameters."""

    def smallest(of: SearchSpace) -> int:
        return sum(layer.params() for layer in of.layers(of.smallest()).values())

    ours, theirs = smallest(space), smallest(without)
    return (
        f"As {', '.join(engines)} can run them without zeros there are {space.size():.3g} networks instead of "
        f"{without.size():.3g}, and the smallest has {ours:,} parameters instead of {theirs:,}."
    )
