"""What a job may say: recipes, families, metrics, algorithms, methods, data."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fastapi import APIRouter

from job.spec import ALGORITHM_OPTIONS, DATA_SOURCES, METHOD_OPTIONS, OPTIMIZERS, JobSpec
from predictors.targets import RUNTIMES
from search.metrics import METRICS
from search_space import plugins
from search_space.family_files import culprit
from service.api.deps import READ
from service.profile import input_facts, log10
from service.store.models import JOB_STATES, STAGES

router = APIRouter(prefix="/v1/catalog", tags=["catalog"])


@router.get("", dependencies=[READ])
def catalog() -> dict[str, Any]:
    """Everything that a job can be made of, with the defaults of each recipe. Exact numbers of architectures are
    text, because they may exceed what a JSON number holds. A family file of the user's that cannot be used is in
    `families_refused`, with the reason."""
    users = plugins.users_families()
    return _catalog() | _families(None if users is None else (str(users.folder), users.stamp()))


@lru_cache(maxsize=1)
def _catalog() -> dict[str, Any]:
    recipes = plugins.names("job.recipes")
    return {
        "recipes": {name: JobSpec.model_validate({"recipe": name}).model_dump(mode="json") for name in recipes},
        "metrics": {
            name: {"goal": m.goal, "unit": m.unit, "source": m.source, "meaning": m.meaning}
            for name, m in METRICS.items()
        },
        "training_methods": {name: model.model_json_schema() for name, model in METHOD_OPTIONS.items()},
        "search_algorithms": {name: model.model_json_schema() for name, model in ALGORITHM_OPTIONS.items()},
        "optimizers": list(OPTIMIZERS),
        "data_sources": list(DATA_SOURCES),
        "runtimes": list(RUNTIMES),
        "job_states": list(JOB_STATES),
        "stages": list(STAGES),
    }


@lru_cache(maxsize=1)
def _families(_stamp: Any) -> dict[str, Any]:
    """Every preset with its sizes; built again when a file of the user's has changed."""
    users = plugins.users_families()
    refused = users.refused() if users is not None else {}
    families: dict[str, Any] = {}
    for family in plugins.names(plugins.FAMILIES):
        if users is not None and family in users.names() and family in refused:
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
