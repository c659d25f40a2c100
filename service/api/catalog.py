"""What a job may say: recipes, families, metrics, algorithms, methods, data."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fastapi import APIRouter

from search.metrics import METRICS
from search.spec import ALGORITHM_OPTIONS, DATA_SOURCES, METHOD_OPTIONS, OPTIMIZERS, JobSpec
from search_space import plugins
from service.store.models import JOB_STATES, STAGES

router = APIRouter(prefix="/v1/catalog", tags=["catalog"])


@router.get("")
def catalog() -> dict[str, Any]:
    """Everything that a job can be made of, with the defaults of each recipe."""
    return _catalog()


@lru_cache(maxsize=1)
def _catalog() -> dict[str, Any]:
    recipes = plugins.names("search.recipes")
    return {
        "recipes": {name: JobSpec.model_validate({"recipe": name}).model_dump(mode="json") for name in recipes},
        "families": {
            family: {preset: _preset(family, preset) for preset in plugins.presets(family)}
            for family in plugins.names("search_space.families")
        },
        "metrics": {
            name: {"goal": m.goal, "unit": m.unit, "source": m.source, "meaning": m.meaning}
            for name, m in METRICS.items()
        },
        "training_methods": {name: model.model_json_schema() for name, model in METHOD_OPTIONS.items()},
        "search_algorithms": {name: model.model_json_schema() for name, model in ALGORITHM_OPTIONS.items()},
        "optimizers": list(OPTIMIZERS),
        "data_sources": list(DATA_SOURCES),
        "job_states": list(JOB_STATES),
        "stages": list(STAGES),
    }


def _preset(family: str, preset: str) -> dict[str, Any]:
    from predictors.cost import costs  # numpy: not needed to start

    space = plugins.load_family(family, preset)
    return {
        "architectures": space.size(),
        "choices": {choice.name: list(choice.options) for choice in space.choices},
        "smallest": costs(space, space.smallest()),
        "largest": costs(space, space.largest()),
    }
