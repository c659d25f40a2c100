"""Every recipe is a whole job, whose parts are there; and any algorithm can take the place of its own."""

import pytest
from pydantic import ValidationError

from job.spec import JobSpec
from plugins import kinds
from search.metrics import METRICS
from search_space import plugins
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions

RECIPES = kinds.RECIPES.names()
# Of their default families a layer's width is a choice of the stage before it.
WIDTHS_ARE_SHARED = ("bignas", "simq_nas", "sortednet")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_a_whole_job_by_itself(recipe):
    spec = JobSpec.model_validate({"recipe": recipe})
    assert spec.recipe == recipe
    assert all(objective.metric in METRICS for objective in spec.objectives)


@pytest.mark.parametrize("recipe", RECIPES)
def test_everything_a_recipe_names_can_be_loaded(recipe):
    spec = JobSpec.model_validate({"recipe": recipe})
    plugins.load_family(spec.supernet.family, spec.supernet.preset)
    kinds.METHODS.load(spec.training.method).METHOD(spec.training.method_options)
    # A search by gradient is not an algorithm that asks for evaluations; it is a part of the job.
    if spec.gradient is None:
        kinds.ALGORITHMS.load(spec.search.algorithm)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("algorithm", kinds.ALGORITHMS.names())
def test_every_algorithm_can_take_the_place_of_a_recipes_own(recipe, algorithm):
    given = {"recipe": recipe, "search": {"algorithm": algorithm}}
    if algorithm == "blocks" and recipe in WIDTHS_ARE_SHARED:
        # It scores alternatives one by one, and says which choices are tied and what can take its place.
        with pytest.raises(ValidationError, match=r"shape stem to head together.* or take 'winnow'"):
            JobSpec.model_validate(given)
    else:
        assert JobSpec.model_validate(given).search.algorithm == algorithm


def test_bignas_trains_as_the_paper_says():
    """Four networks a step: biggest, smallest and two random (section 3.1)."""
    assert BigNAS() == BigNAS(BigNASOptions(num_random=2, label_smoothing=0.1))
