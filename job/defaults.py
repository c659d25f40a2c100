"""What a job's recipe fills in, before the job is checked."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from plugins.kinds import RECIPES

DEFAULT_RECIPE = "bignas"
# A checkpoint's folder has its tokenizer where one of these is.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def filled(given: dict[str, Any], data_models: dict[str, Any]) -> dict[str, Any]:
    """A job as it was given, over the defaults of its recipe.

    What belongs together is not mixed: options belong to their method, words to their data source, preset and
    choices to their family. Where a checkpoint is named, a recipe's preset is left out, because the checkpoint has
    sizes of its own; the recipe's `WITH_PRETRAINED` goes over its defaults, and data sources that tokenize use that
    checkpoint's tokenizer unless the job says otherwise.

    Args:
        data_models: models of the options of every data source.

    Raises:
        UnknownPluginError: no such recipe.
    """
    # A paper's name has a hyphen, the file of its recipe an underscore; the job keeps the latter.
    name = given.get("recipe", DEFAULT_RECIPE).replace("-", "_")
    recipe = RECIPES.load(name)
    defaults = copy.deepcopy(recipe.DEFAULTS)
    pretrained = _part(given, "supernet").get("pretrained")
    if pretrained is not None:
        defaults["supernet"].pop("preset", None)
        defaults = merge(defaults, copy.deepcopy(getattr(recipe, "WITH_PRETRAINED", {})))
    for part, plugin in (("training", "method"), ("search", "algorithm")):
        chosen = _part(given, part)
        # Whoever names another method starts from that one's own defaults.
        if chosen.get(plugin, defaults[part][plugin]) != defaults[part][plugin]:
            defaults[part].pop("options", None)
            if part == "search":
                defaults.pop("gradient", None)
    for part, owner in (("data", "source"), ("supernet", "family")):
        if _part(given, part).get(owner, defaults[part][owner]) != defaults[part][owner]:
            defaults[part] = {}
    merged = merge(defaults, given)
    if "recipe" in merged:
        merged["recipe"] = name
    data = merged.get("data")
    named = [pretrained] if isinstance(pretrained, str) else pretrained
    if isinstance(named, list | tuple) and isinstance(data, dict) and "tokenizer" not in data:
        model = data_models.get(str(data.get("source")))
        # Those of several checkpoints are the same, as far as there are any (`search_space.joined`).
        own = next((folder for folder in named if isinstance(folder, str) and has_tokenizer(folder)), None)
        if model is not None and "tokenizer" in model.model_fields and own is not None:
            merged["data"] = {**data, "tokenizer": own}
    return merged


def has_tokenizer(checkpoint: str) -> bool:
    """Whether a checkpoint's folder has a tokenizer."""
    return any((Path(checkpoint) / name).is_file() for name in TOKENIZER_FILES)


def merge(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """`given` over `defaults`: dicts are merged key by key, anything else is replaced whole."""
    merged = dict(defaults)
    for key, value in given.items():
        both = isinstance(value, dict) and isinstance(defaults.get(key), dict)
        merged[key] = merge(defaults[key], value) if both else value
    return merged


def _part(given: dict[str, Any], name: str) -> dict[str, Any]:
    part = given.get(name)
    return part if isinstance(part, dict) else {}
