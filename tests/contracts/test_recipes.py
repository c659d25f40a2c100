"""Every recipe is a whole job, whose parts are there; and any algorithm can take the place of its own."""

import pytest
from pydantic import ValidationError

from job.spec import JobSpec
from plugins import kinds
from search.metrics import METRICS
from search.options import BudgetedOptions
from search_space import plugins
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions
from tests.tiers import mostly_thorough

RECIPES = kinds.RECIPES.names()


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


@pytest.mark.parametrize("recipe", mostly_thorough(RECIPES, "bignas", "simq_nas"))
@pytest.mark.parametrize("algorithm", kinds.ALGORITHMS.names())
def test_every_algorithm_can_take_the_place_of_a_recipes_own(recipe, algorithm):
    given, own = {"recipe": recipe, "search": {"algorithm": algorithm}}, JobSpec.model_validate({"recipe": recipe})
    options = kinds.ALGORITHMS.options(algorithm).OPTIONS()
    searches = own.gradient is None and isinstance(options, BudgetedOptions)
    if searches and (said := options.misfit(own.space(), own.search.evaluations)):
        with pytest.raises(ValidationError) as refused:  # one that not every space suits says what else to take
            JobSpec.model_validate(given)
        assert said in str(refused.value)
        return
    assert JobSpec.model_validate(given).search.algorithm == algorithm


def test_bignas_trains_as_the_paper_says():
    """Four networks a step: biggest, smallest and two random (section 3.1)."""
    assert BigNAS() == BigNAS(BigNASOptions(num_random=2, label_smoothing=0.1))
