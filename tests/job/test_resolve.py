"""resolve: a stored job says everything that follows from it, once, whatever its spelling."""

import pytest
from pydantic import ValidationError

from job.resolve import opened, resolve
from job.spec import JobSpec
from job.version import JOB_VERSION
from plugins.kinds import RECIPES as KIND

RECIPES = KIND.names()


def job(**parts) -> JobSpec:
    return resolve(JobSpec.model_validate(parts))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_resolved_job_is_resolved(recipe):
    once = job(recipe=recipe)
    assert resolve(once) == once
    assert resolve(JobSpec.model_validate(once.model_dump(mode="json"))) == once


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_decision_about_a_training_is_left_to_a_worker(recipe):
    spec = job(recipe=recipe)
    trainings = [spec.training] + ([] if spec.gradient is None else [spec.gradient.final])
    assert all(training.lr_decay_epochs is not None and training.sharded is not None for training in trainings)
    assert all(objective.goal is not None for objective in spec.objectives)


def test_the_decay_of_bignas_is_a_150th_of_the_epochs():
    assert job(training={"epochs": 360}).training.lr_decay_epochs == 2.4
    assert job(training={"epochs": 0}, supernet={"reuse": "x"}).training.lr_decay_epochs == 1 / 150
    assert job(training={"epochs": 360, "lr_decay_epochs": 1}).training.lr_decay_epochs == 1


def test_several_processes_share_a_llama_where_they_can():
    llama = {"recipe": "llama_nas", "training": {"processes": 2}}
    assert job(**llama).training.sharded is True
    assert job(**{**llama, "training": {"processes": 2, "ema_decay": 0.9}}).training.sharded is False
    assert job(recipe="llama_nas").training.sharded is False
    assert job(training={"processes": 2}).training.sharded is False


def test_a_search_by_gradient_has_its_batches_and_decays():
    part = job(recipe="proxylessnas", training={"batch_size": 128}, gradient={"warmup_epochs": 30}).gradient
    assert (part.held_out_batch_size, part.warmup_lr_decay_epochs) == (128, 0.2)
    assert part.final.lr_decay_epochs == 0.2
    assert part.reference_ms is None  # only a table can tell
    same = job(recipe="proxylessnas", training={"lr_decay_epochs": 3}).gradient
    assert same.warmup_lr_decay_epochs == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"data": {"source": "text", "path": "/data/a.txt"}}, {"data": {"source": "text", "path": "//data/./a.txt/"}}),
        ({}, {"objectives": [{"metric": "perplexity", "goal": "minimize"}, {"metric": "size_bytes"}]}),
        ({}, {"training": {"sharded": False, "lr_decay_epochs": 1.0}}),
        (
            {"scoring": {"tasks": [{"name": "a", "path": "/tasks/a.yaml"}]}},
            {"scoring": {"tasks": [{"name": "a", "path": "/tasks//a.yaml"}]}},
        ),
    ],
    ids=["path", "goal", "training", "task"],
)
def test_a_spelling_makes_no_difference(one, other):
    assert job(recipe="llama_nas", **one) == job(recipe="llama-nas", **other)


def test_a_usual_scheme_that_is_written_down_makes_no_difference():
    asked = {"bits": [8, 32], "pinned": {"first": 32}}
    spelled = {"bits": [32, 8], "pinned": {"first": 32}, "schemes": {"8": "int8_static", "32": "fp32"}}
    one, other = (job(recipe="simq_nas", quantization=part) for part in (asked, spelled))
    assert one == other
    assert one.space().choices == JobSpec.model_validate({"recipe": "simq_nas", "quantization": asked}).space().choices


def test_a_name_on_a_hub_and_a_link_stay_as_they_are():
    data = {"source": "huggingface", "path": "org/name", "tokenizer": "/models/../base"}
    spec = job(supernet={"family": "llama", "preset": "tiny"}, data=data, objectives=[{"metric": "params"}])
    assert (spec.data.path, spec.data.tokenizer) == ("org/name", "/models/../base")


def test_a_request_may_name_the_version_that_is_spoken():
    assert JobSpec.model_validate({"version": JOB_VERSION}) == JobSpec.model_validate({})
    with pytest.raises(ValidationError, match=f"Got version 1 of the job format, and this is {JOB_VERSION}; leave it"):
        JobSpec.model_validate({"version": 1})


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_opened_job_resolves_to_itself(recipe):
    spec = resolve(JobSpec.model_validate({"recipe": recipe}))
    assert resolve(opened(spec)) == spec


def test_what_was_decided_follows_a_change_and_what_was_asked_stays():
    spec = resolve(JobSpec.model_validate({"recipe": "bignas", "training": {"epochs": 30}}))
    changed = opened(spec).model_dump(mode="json")
    changed["training"]["epochs"] = 300
    assert resolve(JobSpec.model_validate(changed)).training.lr_decay_epochs == 2.0
    own = resolve(JobSpec.model_validate({"recipe": "bignas", "training": {"epochs": 30, "lr_decay_epochs": 7.0}}))
    assert opened(own).training.lr_decay_epochs == 7.0


def test_batches_of_a_search_by_gradient_follow_those_of_the_training():
    spec = resolve(JobSpec.model_validate({"recipe": "proxylessnas"}))
    changed = opened(spec).model_dump(mode="json")
    changed["training"]["batch_size"] = 2 * spec.training.batch_size
    assert resolve(JobSpec.model_validate(changed)).gradient.held_out_batch_size == 2 * spec.training.batch_size


def of_llama(**supernet) -> JobSpec:
    return JobSpec.model_validate({"recipe": "llama_nas", "supernet": supernet})


@pytest.mark.parametrize(
    ("supernet", "engines"),
    [
        ({}, ("gguf",)),
        ({"preset": "llama2_7b"}, ("vllm", "gguf")),
        ({"preset": "llama2_7b", "deployable": []}, ()),
        ({"preset": "llama2_7b", "deployable": ["vllm"]}, ("vllm",)),
        ({"choices": {"layer*_ffn": [88, 352]}}, ()),
    ],
    ids=str,
)
def test_engines_are_decided_once_and_the_space_is_the_same_before_and_after(supernet, engines):
    asked = of_llama(**supernet)
    stored = resolve(asked)
    assert stored.supernet.deployable == engines
    assert stored.space().choices == asked.space().choices
    assert resolve(JobSpec.model_validate(opened(stored).model_dump(mode="json"))) == stored


def test_a_network_that_the_engines_leave_out_is_refused_with_what_to_do():
    network = JobSpec.model_validate({"recipe": "llama_nas", "supernet": {"deployable": []}}).space().smallest()
    given = {"recipe": "llama_nas", "search": {"seed_architectures": [network.values]}}
    with pytest.raises(
        ValidationError, match=r"88.* kept to networks that gguf can run .*`supernet\.deployable: \[\]`"
    ):
        JobSpec.model_validate(given)
    assert JobSpec.model_validate({**given, "supernet": {"deployable": []}}).supernet.kept_to == ""


def test_engines_that_were_decided_follow_a_change_and_those_that_were_asked_stay():
    decided, asked = (resolve(of_llama(preset="llama2_7b", **more)) for more in ({}, {"deployable": []}))
    for spec, engines in ((decided, ("gguf",)), (asked, ())):
        changed = opened(spec).model_dump(mode="json")
        changed["supernet"]["choices"] = {"layer*_ffn": [1376, 11008]}
        assert resolve(JobSpec.model_validate(changed)).supernet.deployable == engines
    assert (opened(decided).supernet.deployable, opened(asked).supernet.deployable) == (None, ())
