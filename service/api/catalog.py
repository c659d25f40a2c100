"""What a job may say: recipes, families, metrics, algorithms, methods, data."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fastapi import APIRouter

from job.spec import JobSpec
from plugins.kinds import ALGORITHMS, FORMATS, METHODS, OPEN, RECIPES, SOURCES
from plugins.registry import Kind
from predictors.targets import RUNTIMES
from search.metrics import METRICS
from search_space import plugins
from search_space.family_files import culprit
from service.api.deps import READ
from service.profile import input_facts, log10
from service.store.models import JOB_STATES, STAGES
from supernet.options import OPTIMIZERS

router = APIRouter(prefix="/v1/catalog", tags=["catalog"])


@router.get("", response_description="Everything that a job may name", dependencies=[READ])
def catalog() -> dict[str, Any]:
    """List what a job can be made of.

    The answer has every recipe with its defaults, families, metrics and plug-ins. Exact numbers of architectures are
    text, because they may exceed what a JSON number holds. Options are JSON schemas, with bounds and help.
    `families_refused` and `plugins_refused` list the user's files and installed packages that cannot be used, with the
    reason.
    """
    users = plugins.users_families()
    return _catalog() | _families(None if users is None else (str(users.folder), users.stamp()))


@router.get("/job", response_description="The JSON schema of a job", dependencies=[READ])
def job_schema() -> dict[str, Any]:
    """Read the JSON schema of a job.

    Each field has a help text: a form can be made of it.
    """
    return _job_schema()


@lru_cache(maxsize=1)
def _job_schema() -> dict[str, Any]:
    return JobSpec.model_json_schema()


@lru_cache(maxsize=1)
def _catalog() -> dict[str, Any]:
    recipes = RECIPES.names()
    return {
        "recipes": {name: JobSpec.model_validate({"recipe": name}).model_dump(mode="json") for name in recipes},
        "recipe_words": {name: _first_lines(RECIPES.load(name).__doc__) for name in recipes},
        "metrics": {
            name: {"goal": m.goal, "unit": m.unit, "source": m.source, "meaning": m.meaning}
            for name, m in METRICS.items()
        },
        "training_methods": _schemas(METHODS),
        "search_algorithms": _schemas(ALGORITHMS),
        "optimizers": list(OPTIMIZERS),
        "data_sources": _schemas(SOURCES),
        "runtimes": list(RUNTIMES),
        "export_formats": {name: module.MEANING for name, module in FORMATS.every_options().items()},
        "export_loads": {
            name: str(getattr(module, "LOADS", "")).strip() for name, module in FORMATS.every_options().items()
        },
        "plugins_refused": {kind.word: kind.refused() for kind in OPEN},
        "job_states": list(JOB_STATES),
        "stages": list(STAGES),
    }


def _first_lines(words: str | None) -> dict[str, str]:
    """What a recipe's file says of it: its first sentence, and the paragraphs after it."""
    first, _, rest = (words or "").strip().partition("\n\n")
    return {"title": " ".join(first.split()), "more": "\n\n".join(" ".join(p.split()) for p in rest.split("\n\n"))}


def _schemas(kind: Kind) -> dict[str, Any]:
    """Options of every plug-in that can be used, with bounds and help."""
    return {name: declared.OPTIONS.model_json_schema() for name, declared in kind.every_options().items()}


@lru_cache(maxsize=1)
def _families(_stamp: Any) -> dict[str, Any]:
    """Every preset with its sizes; built again when a file of the user's has changed."""
    refused = plugins.FAMILIES.refused()
    families: dict[str, Any] = {}
    for family in plugins.FAMILIES.names():
        if family in refused and family not in plugins.FAMILIES.built_in():
            continue
        try:
            families[family] = {preset: _preset(family, preset) for preset in plugins.presets(family)}
        except Exception as error:
            theirs = culprit(error)
            if theirs is None:
                raise
            refused[family] = str(theirs)
    return {"families": families, "families_refused": refused}


def _preset(family: str, preset: str) -> dict[str, Any]:
    from predictors.cost import costs  # numpy: not needed to start

    space = plugins.load_family(family, preset)
    size = space.size()
    return {
        "takes": "" if space.takes is None else str(space.takes),
        "input": input_facts(space),
        "architectures": str(size),
        "architectures_log10": log10(size),
        "choices": {choice.name: list(choice.options) for choice in space.choices},
        "smallest": costs(space, space.smallest()),
        "largest": costs(space, space.largest()),
    }
