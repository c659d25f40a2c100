"""Stored jobs: any version is read, unknown fields hide nothing, and requests stay strict."""

import copy

import pytest
from pydantic import ValidationError

from job.resolve import resolve
from job.spec import JobSpec
from job.version import JOB_VERSION
from job.versions import UPGRADES, read_job, read_trained, upgraded
from plugins.kinds import RECIPES as KIND

RECIPES = KIND.names()


def first_version(**parts):
    """A job as version 1 stored it: what the client left open is null, and there is no number and no engine."""
    stored = JobSpec.model_validate(parts).model_dump(mode="json")
    del stored["version"], stored["supernet"]["deployable"]
    if stored["gradient"]:
        del stored["gradient"]["warmup_lr_decay_epochs"]
    return stored


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_job_of_the_first_version_means_what_it_meant(recipe):
    stored = first_version(recipe=recipe)
    before = copy.deepcopy(stored)
    assert read_job(stored) == resolve(JobSpec.model_validate({"recipe": recipe, "supernet": {"deployable": []}}))
    assert stored == before


def test_decisions_of_the_first_version_are_those_of_its_workers():
    llama = {"recipe": "llama_nas", "training": {"processes": 2, "epochs": 15, "lr_decay_epochs": None}}
    training = upgraded(first_version(**llama))["training"]
    assert (training["sharded"], training["lr_decay_epochs"]) == (True, 0.1)
    gradient = upgraded(first_version(recipe="proxylessnas"))["gradient"]
    assert (gradient["held_out_batch_size"], gradient["warmup_lr_decay_epochs"]) == (64, 20 / 150)
    assert gradient["final"]["lr_decay_epochs"] == 0.2


@pytest.mark.parametrize("version", [1, 4])
@pytest.mark.parametrize("named", [None, [], ["vllm"]], ids=str)
def test_a_stored_space_stays_what_it_was(version, named):
    supernet = {"family": "llama", "preset": "llama2_7b", "deployable": named or []}
    today = JobSpec.model_validate({"recipe": "llama_nas", "supernet": supernet})
    stored = {**today.model_dump(mode="json"), "version": version}
    if named is None:  # written before there was such a field
        del stored["supernet"]["deployable"]
    read = read_job(stored)
    assert read.supernet.deployable == tuple(named or ())
    assert read.space().choices == today.space().choices
    assert (read.space().size() == 2**24 + 2**28 + 2**32) == (not named)
    parts = read_trained(version, stored["supernet"], stored["data"], stored["training"])
    assert parts.supernet == read.supernet


def test_every_version_has_a_step_to_the_next():
    assert sorted(UPGRADES) == list(range(1, JOB_VERSION))


def test_a_stored_job_of_today_stays_as_it_is():
    stored = resolve(JobSpec.model_validate({"recipe": "simq_nas"})).model_dump(mode="json")
    assert upgraded(stored) == stored
    assert stored["version"] == JOB_VERSION


@pytest.mark.parametrize(
    "where",
    [(), ("training",), ("training", "options"), ("search", "options"), ("data",), ("objectives", 0), ("hardware",)],
    ids=str,
)
@pytest.mark.parametrize("version", [1, JOB_VERSION + 1])
def test_an_unknown_field_hides_nothing_and_is_said(where, version, caplog):
    stored = first_version() if version == 1 else {**resolve(JobSpec.model_validate({})).model_dump(mode="json")}
    stored["version"] = version
    part = stored
    for name in where:
        part = part[name]
    part["mood"] = "sunny"
    assert read_job(stored) == resolve(JobSpec.model_validate({}))
    assert "mood" in caplog.text
    assert part["mood"] == "sunny"
    with pytest.raises(ValidationError):
        JobSpec.model_validate({**stored, "version": JOB_VERSION})


def test_a_value_that_cannot_be_is_still_refused():
    with pytest.raises(ValidationError, match=r"training\.epochs"):
        read_job({**first_version(), "training": {**first_version()["training"], "epochs": -1}})


def test_parts_of_a_supernet_are_read_like_those_of_a_job():
    stored = first_version(recipe="llama_nas", training={"processes": 2}, data={"source": "text", "path": "/a//b.txt"})
    stored["data"]["mood"] = "sunny"
    parts = read_trained(1, stored["supernet"], stored["data"], stored["training"])
    spec = read_job(stored)
    assert (parts.supernet, parts.data, parts.training) == (spec.supernet, spec.data, spec.training)
    assert parts.data.path == "/a/b.txt"
