"""What families that were made from a module share: their groups of widths, their space, and where weights come from.

`winnow family from-module` writes files of tables that use it (docs/add-a-family.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from search_space.adjustments import Adjustments, Options, space_name, whole
from search_space.checkpoint import CheckpointError, Layout, Piece, Place
from search_space.inputs import ImageInput
from search_space.layers import LayerSpec
from search_space.space import Choice, SearchSpace, Values

# What config.json of a folder of such weights says.
MODEL_TYPE = "winnow_module"
FAMILY = "winnow_family"

Layers: TypeAlias = Callable[[Mapping[str, int]], dict[str, LayerSpec]]


@dataclass(frozen=True, slots=True)
class Group:
    """Widths that must agree, and so are one choice.

    Attributes:
        now: units that the module has.
        options: units that networks may have, `now` the most.
        axes: where weights of the module have it, as `name[axis]`.
        unit: elements of a tensor that one unit is, such as the width of a head.
    """

    now: int
    options: tuple[int, ...]
    axes: tuple[str, ...]
    unit: int = 1


@dataclass(frozen=True, slots=True)
class Repeat:
    """Blocks that compute the same, one behind the other; the last ones may be left out.

    Attributes:
        options: numbers of blocks that networks may have.
        blocks: their slots, in order.
        groups: slot -> groups that are in no block before it, so that they matter only where it is there.
    """

    options: tuple[int, ...]
    blocks: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter, and which part of which tensor of the module it is.

    Attributes:
        slot, parameter: its names in the supernet.
        name, shape: the module's tensor's.
        cuts: (axis, start, length) of its part; none: all of it.
        order: axes of the part in the parameter's order; none: as they are.
    """

    slot: str
    parameter: str
    name: str
    shape: tuple[int, ...]
    cuts: tuple[tuple[int, int, int], ...] = ()
    order: tuple[int, ...] = ()


def made_space(
    family: str,
    preset: str,
    adjustments: Adjustments,
    *,
    takes: ImageInput,
    groups: Mapping[str, Group],
    repeats: Mapping[str, Repeat],
    layers: Layers,
) -> SearchSpace:
    """The space of a family that was made from a module.

    Args:
        takes: what the module takes and answers.
        layers: from widths, and `classes`, to all blocks.

    Raises:
        ValueError: an adjustment that the family cannot honour.
    """
    name = space_name(family, preset, adjustments)
    classes = adjustments.classes or takes.classes
    options = Options(name, adjustments)
    when: dict[str, tuple[str, tuple[int, ...]]] = {}
    choices: list[Choice] = []
    for choice, repeat in repeats.items():
        counts = tuple(map(int, options.of(choice, repeat.options, whole(1, len(repeat.blocks)))))
        choices.append(Choice(choice, counts))
        for index, slot in enumerate(repeat.blocks, 1):
            deep_enough = tuple(count for count in counts if count >= index)
            for own in repeat.groups.get(slot, ()):
                if deep_enough and deep_enough != counts:
                    when[own] = (choice, deep_enough)
                elif not deep_enough:
                    when[own] = (choice, ())
    for choice, group in groups.items():
        widths = options.of(choice, group.options, whole(1, group.now))
        depends = when.get(choice)
        if depends is None or depends[1]:
            choices.append(Choice(choice, widths, depends))
    options.finish()
    widest = {choice: group.now for choice, group in groups.items()}

    def blueprint(values: Values) -> dict[str, LayerSpec]:
        sizes = {**widest, **{name: int(value) for name, value in values.items()}, "classes": classes}
        every = layers(sizes)
        for choice, repeat in repeats.items():
            for slot in repeat.blocks[sizes[choice] :]:
                del every[slot]
        return every

    return SearchSpace(name, choices, blueprint, takes=ImageInput(takes.channels, takes.size, classes))


def made_layout(
    weights: Sequence[Weight], unused: Sequence[str], classifier: Sequence[str], told: int, classes: int | None
) -> Layout:
    """Where the tensors of the module's state dict go.

    Args:
        unused: tensors that no network needs, such as tables of constants.
        classifier: tensors with a row for each class, which stay fresh where there are other classes.
        told: classes of the module.
    """
    others = classes is not None and classes != told
    pieces: dict[str, list[Weight]] = {}
    for weight in weights:
        pieces.setdefault(weight.name, []).append(weight)
    places = {
        name: Place(
            several[0].slot,
            several[0].parameter,
            several[0].shape,
            fresh=others and name in classifier,
            split=tuple(Piece(one.slot, one.parameter, cuts=one.cuts, order=one.order) for one in several),
        )
        for name, several in pieces.items()
    }
    return Layout(places, tuple(unused))


def check_config(family: str, config: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that is not of this family.

    Raises:
        CheckpointError: it is of another.
    """
    if config.get("model_type") != MODEL_TYPE or config.get(FAMILY) != family:
        raise CheckpointError(
            f"The checkpoint's config.json is not of family {family!r}: it says model_type "
            f"{config.get('model_type')!r} and {FAMILY} {config.get(FAMILY)!r}. Take the folder that winnow family "
            "from-module wrote beside the family."
        )
