"""The text of a family's file."""

from __future__ import annotations

import textwrap

from supernet.from_module.dims import Atom
from supernet.from_module.family import Plan, Width, depths
from supernet.from_module.sizes import pieces_of

HEAD = '''"""{title}

Written by `winnow family from-module`, to be read and changed: options below, names, what is elastic. After a
change, `winnow family check {name}` says whether the file still describes what it computes.

{kept}
"""

from dataclasses import dataclass
from typing import ClassVar

from search_space.from_module import Group, Repeat, Weight, check_config, made_layout, made_space
from search_space.inputs import ImageInput
from search_space.layers import LayerSpec, Part

PRESETS = {{"module": None}}
# The folder beside this file with the module's weights, and what it answered to samples.
CHECKPOINT = "{name}"
TAKES = ImageInput(channels={channels}, size={size}, classes={classes})
'''

SPACE = '''

def layers(v):
    """Every block in forward order; `v` holds the width of each group, and `classes`."""
    return {{
{calls}
    }}


def space(preset, adjustments):
    return made_space(
        "{name}", preset, adjustments, takes=TAKES, groups=GROUPS, repeats=REPEATS, layers=layers
    )


def checkpoint_space(config, preset, adjustments):
    check_config("{name}", config)
    return space(preset or "module", adjustments)


def layout(config, classes):
    check_config("{name}", config)
    return made_layout(WEIGHTS, UNUSED, CLASSIFIER, TAKES.classes, classes)
'''

BLOCKS = """

# --- the torch modules: constructor arguments are the fields of the spec, in order -----------------


def blocks():
    import torch
    import torch.nn.functional as F
    from torch import nn

{classes}

    return {{{kinds}}}
"""


def source_of(plan: Plan) -> str:
    """The file."""
    names = {width.atom: f'v["{width.name}"]' for width in plan.widths}
    if plan.flow.classes is not None:
        names[plan.flow.classes.root] = 'v["classes"]'
    parts = [_head(plan), _groups(plan), _repeats(plan)]
    parts += [
        "\n# --- the layers, in numbers -----------------------------------------------------------------------\n"
    ]
    has_classes = plan.flow.classes is not None
    parts += [f"\n\n{one.spec_source(has_classes)}\n" for one in plan.classes]
    parts += [SPACE.format(name=plan.name, calls=_calls(plan, names))]
    kinds = ", ".join(f'"{one.kind}": {one.name}' for one in plan.classes)
    parts += [BLOCKS.format(classes="\n\n".join(one.module_source() for one in plan.classes), kinds=kinds)]
    parts += [_weights(plan)]
    tables = plan.tables.source()
    parts += (
        [f"\n# --- tables that the module computed from nothing -----------------------------------\n\n{tables}"]
        if tables
        else []
    )
    return "".join(parts)


def _head(plan: Plan) -> str:
    title = f"Family `{plan.name}`, made from {plan.origin}."
    kept = ["What stays as it is, because nothing proves that it may change:", ""]
    for line in plan.kept:
        kept += textwrap.wrap(line, 112, initial_indent="- ", subsequent_indent="  ", break_long_words=False)
    text = "\n".join(kept if plan.kept else ["Every width but those of input and answer is elastic."]).replace(
        "\\", "/"
    )
    classes = plan.graph.answer.meta["val"].shape[1]
    return HEAD.format(
        title=title, name=plan.name, kept=text, channels=plan.shape[1], size=plan.shape[2], classes=classes
    )


def _groups(plan: Plan) -> str:
    lines = [
        "\n# Widths that must agree: units in the module, options, and the axes of weights that have them.",
        "GROUPS = {",
    ]
    for width in plan.widths:
        unit = _unit(plan, width)
        shown = f", unit={unit}" if unit > 1 else ""
        lines += [
            f'    "{width.name}": Group(',
            f"        {width.atom.size},",
            f"        {width.options},",
            "        (",
        ]
        lines += [f'            "{axis}",' for axis in width.axes]
        lines += [f"        ){shown},", "    ),"]
    return "\n".join([*lines, "}", ""])


def _unit(plan: Plan, width: Width) -> int:
    """Most elements of a weight's axis that one unit is."""
    found = 1
    for node in plan.graph.parameters:
        for dim in plan.flow.of[node]:
            for piece in pieces_of(dim) or []:
                if piece.width is width.atom:
                    found = max(found, piece.count)
    return found


def _repeats(plan: Plan) -> str:
    lines = [
        "# Blocks that compute the same: how many there may be, their slots, and the widths that only they have.",
        "REPEATS = {",
    ]
    for name, slots in plan.repeats.items():
        own: dict[str, list[str]] = {}
        for width in plan.widths:
            if width.slots and all(slot in slots for slot in width.slots):
                own.setdefault(min(width.slots, key=slots.index), []).append(width.name)
        lines += [f'    "{name}": Repeat(', f"        {depths(len(slots))},", "        ("]
        lines += [f'            "{slot}",' for slot in slots]
        lines += ["        ),", "        {"]
        lines += [f'            "{slot}": ({", ".join(repr(one) for one in names)},),' for slot, names in own.items()]
        lines += ["        },", "    ),"]
    return "\n".join([*lines, "}", ""])


def _calls(plan: Plan, names: dict[Atom, str]) -> str:
    of_slot = {slot: one for one in plan.classes for slot in one.templates}
    return "\n".join(f'        "{slot}": {of_slot[slot].call(slot, names)},' for slot in plan.templates)


def _weights(plan: Plan) -> str:
    lines = [
        "\n\n# --- where the module's weights go ----------------------------------------------------------------\n",
        "WEIGHTS = [",
    ]
    used, classifier = set(), set()
    for slot, template in plan.templates.items():
        for one in template.sources:
            used.add(one.name)
            more = (f", cuts={one.cuts}" if one.cuts else "") + (f", order={one.order}" if one.order else "")
            lines.append(f'    Weight("{slot}", "{one.parameter}", "{one.name}", {one.shape}{more}),')
    lines.append("]")
    if plan.flow.classes is not None:
        for template in plan.templates.values():
            classifier |= {owned.layer for owned in template.owned if owned.width is plan.flow.classes.root}
    unused = [name for name in plan.graph.module.state_dict() if name not in used]
    lines += ["# Tensors with a row for each class.", f"CLASSIFIER = {sorted(classifier)!r}"]
    lines += ["# Tensors that no network needs.", "UNUSED = ["]
    lines += [f'    "{name}",' for name in unused]
    return "\n".join([*lines, "]", ""])
