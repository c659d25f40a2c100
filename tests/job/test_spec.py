"""JobSpec: what a client may ask for, and what it is told when it may not."""

import math

import pytest
from pydantic import ValidationError

from job.recipes import bignas
from job.spec import MAX_EVALUATIONS, JobSpec
from supernet.methods.bignas.options import BigNASOptions


def job(**parts) -> JobSpec:
    return JobSpec.model_validate({"recipe": "bignas", **parts})


def refusal(**parts) -> str:
    """What the client is told."""
    with pytest.raises(ValidationError) as raised:
        job(**parts)
    return str(raised.value)


# --- recipes ----------------------------------------------------------------------------------------


def test_a_recipe_alone_is_a_whole_job():
    spec = job()
    assert spec.supernet.family == bignas.DEFAULTS["supernet"]["family"]
    assert spec.training.epochs == bignas.DEFAULTS["training"]["epochs"]
    assert [o.metric for o in spec.objectives] == ["accuracy", "macs"]


def test_an_empty_job_is_the_default_recipe():
    assert JobSpec.model_validate({}) == job()


def test_what_is_written_wins_over_the_recipe():
    spec = job(training={"epochs": 3}, search={"evaluations": 7})
    assert (spec.training.epochs, spec.search.evaluations) == (3, 7)


def test_what_is_not_written_stays_as_the_recipe_has_it():
    spec = job(training={"epochs": 3})
    assert spec.training.model_copy(update={"epochs": job().training.epochs}) == job().training


def test_a_list_is_replaced_whole():
    assert [o.metric for o in job(objectives=[{"metric": "params"}]).objectives] == ["params"]


def test_one_option_of_the_method_may_be_written_alone():
    options = job(training={"options": {"num_random": 5}}).training.options
    assert options == {**BigNASOptions().model_dump(), "num_random": 5}


def test_options_of_the_algorithm_are_completed_with_their_defaults():
    assert job(search={"options": {"batch": 3}}).search.options == {"batch": 3, "initial": 10}


def test_merging_leaves_the_recipe_as_it_was():
    before = repr(bignas.DEFAULTS)
    job(training={"epochs": 3, "options": {"num_random": 1}}, objectives=[{"metric": "params"}])
    assert repr(bignas.DEFAULTS) == before


def test_a_stored_job_reads_back_as_the_same_job():
    spec = job(name="mine", objectives=[{"metric": "accuracy", "limit": 0.9}, {"metric": "macs"}])
    assert JobSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_job_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        job().name = "another"


def test_a_job_without_a_name_is_called_by_what_it_does():
    assert job().title == "bignas on digits"
    assert job(name="mine").title == "mine"


def test_an_objective_takes_the_metrics_own_direction():
    accuracy, macs = (o.objective() for o in job().objectives)
    assert (accuracy.goal, macs.goal) == ("maximize", "minimize")


def test_an_objective_keeps_its_limit():
    spec = job(objectives=[{"metric": "accuracy", "goal": "maximize", "limit": 0.9}])
    assert spec.objectives[0].objective().limit == 0.9


@pytest.mark.parametrize("limit", [0, 1, 0.5])
def test_an_accuracy_limit_may_be_any_share(limit):
    assert job(objectives=[{"metric": "accuracy", "limit": limit}]).objectives[0].limit == limit


# --- names that are not known -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"recipe": "bignasty"}, "No recipe named 'bignasty'. Known: bignas"),
        ({"supernet": {"family": "tiny"}}, "No family named 'tiny'. Known: mobilenet"),
        ({"supernet": {"preset": "huge"}}, "No preset of family 'mobilenet' named 'huge'. Known: digits"),
        ({"objectives": [{"metric": "beauty"}]}, "No metric named 'beauty'. Known: accuracy, macs, params, size_bytes"),
        (
            {"search": {"algorithm": "guess"}},
            "No search algorithm named 'guess'. Known: exhaustive, nsga2, nsga3, random",
        ),
        ({"training": {"method": "hope"}}, "No training method named 'hope'. Known: bignas"),
        ({"training": {"optimizer": "adam9"}}, "No optimizer named 'adam9'. Known: adamw, rmsprop, sgd"),
        ({"data": {"source": "letters"}}, "No data source named 'letters'. Known: digits"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(parts, message):
    said = refusal(**parts)
    kind, known = message.split(" Known: ")
    assert kind in said
    listed = said.split("Known: ", 1)[1].split(".", 1)[0].split(", ")
    assert set(known.split(", ")) <= set(listed)


# --- numbers that cannot be -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("evaluations", "message"),
    [
        (0, "greater than or equal to 1"),
        (-1, "greater than or equal to 1"),
        (1_000_000, f"less than or equal to {MAX_EVALUATIONS}"),
        (1.5, "valid integer"),
        ("many", "valid integer"),
        (None, "valid integer"),
    ],
)
def test_an_impossible_number_of_evaluations_is_refused(evaluations, message):
    said = refusal(search={"evaluations": evaluations})
    assert "search.evaluations" in said
    assert message in said


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", -1),
        ("batch_size", 1),
        ("learning_rate", 0),
        ("learning_rate", -0.1),
        ("lr_decay", 1.5),
        ("lr_decay_epochs", 0),
        ("lr_floor", -0.1),
        ("weight_decay", -1),
        ("momentum", 1.0),
        ("clip_norm", -1),
        ("seed", -1),
        ("seed", 2**31),
    ],
)
def test_an_impossible_number_in_training_is_refused(field, value):
    assert f"training.{field}" in refusal(training={field: value})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["learning_rate", "clip_norm", "lr_decay_epochs"])
def test_a_training_number_that_is_not_finite_is_refused(field, number):
    assert "finite number" in refusal(training={field: number})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_limit_that_is_not_finite_is_refused(number):
    assert "finite number" in refusal(objectives=[{"metric": "macs", "limit": number}])


def test_an_option_that_is_not_finite_is_refused():
    assert "finite number" in refusal(search={"options": {"mutation": math.nan}})


@pytest.mark.parametrize("limit", [1.5, -0.1])
def test_an_accuracy_limit_that_is_no_share_is_refused(limit):
    said = refusal(objectives=[{"metric": "accuracy", "limit": limit}])
    assert f"Got an accuracy limit of {limit}; it is a share from 0 to 1" in said


def test_a_negative_limit_is_refused():
    said = refusal(objectives=[{"metric": "macs", "limit": -5}])
    assert "Got a limit of -5.0 on 'macs'; it must not be negative" in said


# --- objectives -------------------------------------------------------------------------------------


def test_an_objective_listed_twice_is_refused():
    said = refusal(objectives=[{"metric": "macs"}, {"metric": "accuracy"}, {"metric": "macs"}])
    assert "Objective 'macs' is listed twice; list each metric once" in said


@pytest.mark.parametrize(
    ("metric", "goal", "message"),
    [
        ("accuracy", "minimize", "Metric 'accuracy' can only be maximized, not minimized"),
        ("macs", "maximize", "Metric 'macs' can only be minimized, not maximized"),
        ("macs", "improve", "'minimize' or 'maximize'"),
    ],
)
def test_a_goal_against_the_metrics_direction_is_refused(metric, goal, message):
    assert message in refusal(objectives=[{"metric": metric, "goal": goal}])


def test_a_job_without_objectives_is_refused():
    assert "at least 1 item" in refusal(objectives=[])


# --- shape ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "where"),
    [
        ({"epochs": 3}, "epochs"),
        ({"training": {"epoch": 3}}, "training.epoch"),
        ({"search": {"budget": 3}}, "search.budget"),
        ({"supernet": {"width": 3}}, "supernet.width"),
        ({"data": {"path": "/"}}, "data.digits.path"),
        ({"objectives": [{"metric": "macs", "weight": 1}]}, "objectives.0.weight"),
        ({"training": {"options": {"num_randoms": 3}}}, "num_randoms"),
        ({"search": {"options": {"pop": 3}}}, "pop"),
    ],
)
def test_an_unknown_field_is_refused_by_its_name(parts, where):
    said = refusal(**parts)
    assert where in said
    assert "Extra inputs are not permitted" in said


@pytest.mark.parametrize("options", [{"population": 1}, {"mutation": 0}, {"mutation": 2}])
def test_an_impossible_option_of_the_algorithm_is_refused(options):
    assert next(iter(options)) in refusal(search={"algorithm": "nsga2", "options": options})


@pytest.mark.parametrize("options", [{"num_random": -1}, {"label_smoothing": 1.0}])
def test_an_impossible_option_of_the_method_is_refused(options):
    assert next(iter(options)) in refusal(training={"options": options})


@pytest.mark.parametrize("body", [[], "bignas", 3, None])
def test_a_body_that_is_no_object_is_refused(body):
    with pytest.raises(ValidationError, match="valid dictionary"):
        JobSpec.model_validate(body)


@pytest.mark.parametrize("recipe", [3, None, ["bignas"]])
def test_a_recipe_that_is_no_name_is_refused(recipe):
    assert "recipe" in refusal(recipe=recipe)


@pytest.mark.parametrize("part", ["supernet", "data", "training", "objectives", "search"])
def test_a_part_that_is_no_object_is_refused(part):
    assert part in refusal(**{part: 3})


def test_a_name_that_is_too_long_is_refused():
    assert "at most 200 characters" in refusal(name="x" * 201)


def test_another_family_does_not_inherit_the_recipes_preset():
    with pytest.raises(ValidationError, match="Name a preset of family 'proxyless'"):
        JobSpec.model_validate({"supernet": {"family": "proxyless"}})
    assert JobSpec.model_validate({"supernet": {"classes": 10}}).supernet.preset == "digits"
