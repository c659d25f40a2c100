"""What a checkpoint's folder said, and which engines were decided, when its supernet was trained holds for the searches
that reuse it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from job.resolve import opened, resolve
from job.spec import JobSpec
from service import jobs
from service.errors import InvalidRequest
from tests.pipeline.test_checkpoint_job import bert, text_spec, texts


def row_of(spec: JobSpec, **found: Any) -> SimpleNamespace:
    """The trained supernet's row: `found` instead of what the folder says now."""
    parts = spec.model_dump(mode="json", include={"supernet", "data", "training"})
    return SimpleNamespace(id="old", version=spec.version, **{**parts, "supernet": {**parts["supernet"], **found}})


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    """Of a classifier that needs no training."""
    return resolve(text_spec(bert(tmp_path / "ck", ("pos", "neg")), texts(tmp_path, {"good": "pos", "bad": "neg"})))


def reusing(spec: JobSpec, row: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, **supernet: Any) -> JobSpec:
    monkeypatch.setattr(jobs.queries, "supernet", lambda session, name, hold: row)
    asked = spec.supernet.model_copy(update={"reuse": row.id, **supernet})
    return jobs.reusing(None, spec.model_copy(update={"supernet": asked}))


def test_a_supernet_that_is_older_than_the_question_can_be_named_with_its_checkpoint(spec, monkeypatch):
    row = row_of(spec)
    del row.supernet["found"], row.supernet["dtype"], row.supernet["labels"]
    assert spec.supernet.found is not None
    assert reusing(spec, row, monkeypatch).supernet.found is None


def test_what_the_folder_said_then_is_kept(spec, monkeypatch):
    then = {**spec.supernet.found.model_dump(mode="json"), "labels": ["then", "too"]}
    assert reusing(spec, row_of(spec, found=then), monkeypatch).supernet.found.labels == ("then", "too")


def test_another_type_of_numbers_is_another_supernet(spec, monkeypatch):
    with pytest.raises(InvalidRequest, match="a supernet part of its own"):
        reusing(spec, row_of(spec), monkeypatch, dtype="bfloat16")


def test_a_repeated_request_is_the_same_although_its_job_is_older_than_the_question(spec):
    stored = spec.model_dump(mode="json")
    del stored["supernet"]["found"]
    job = SimpleNamespace(id="old", spec=stored, request_sha256="of another form")
    assert jobs._same_request(job, spec) is job
    other = spec.model_copy(update={"name": "another"})
    with pytest.raises(InvalidRequest, match="another body"):
        jobs._same_request(job, other)


# --- engines --------------------------------------------------------------------------------------


def llama(**supernet: Any) -> JobSpec:
    return JobSpec.model_validate({"recipe": "llama_nas", "supernet": supernet})


def older(spec: JobSpec) -> SimpleNamespace:
    """The row of a supernet that version 4 trained without engines, which it had no field for at first."""
    row = row_of(resolve(spec))
    row.version = 4
    del row.supernet["deployable"]
    return row


@pytest.mark.parametrize("preset", ["tiny", "llama2_7b"])
def test_a_space_that_is_older_than_its_engines_stays_where_it_is_reused(preset, monkeypatch):
    row = older(llama(preset=preset))
    for asked in (llama(preset=preset), llama()):  # its own words, and those of the recipe that nobody asked for
        reused = resolve(reusing(asked, row, monkeypatch))
        assert (reused.supernet.preset, reused.supernet.deployable) == (preset, ())
        again = reusing(opened(reused), row, monkeypatch)
        assert again.supernet == reused.supernet


def test_engines_that_the_supernet_was_not_trained_for_are_refused(monkeypatch):
    with pytest.raises(InvalidRequest, match="a supernet part of its own"):
        reusing(llama(deployable=["gguf"]), older(llama()), monkeypatch)
    with pytest.raises(InvalidRequest, match="a supernet part of its own"):
        reusing(llama(deployable=[]), row_of(resolve(llama())), monkeypatch)
    assert reusing(llama(), row_of(resolve(llama())), monkeypatch).supernet.deployable == ("gguf",)


def test_a_repeated_request_is_the_same_although_its_job_is_older_than_the_engines():
    stored = resolve(llama(deployable=[])).model_dump(mode="json") | {"version": 4}
    del stored["supernet"]["deployable"]
    job = SimpleNamespace(id="old", spec=stored, request_sha256="of another form")
    assert jobs._same_request(job, llama()) is job
    with pytest.raises(InvalidRequest, match="another body"):
        jobs._same_request(job, llama(deployable=["gguf"]))


def test_a_request_that_names_other_engines_is_another_one():
    named = SimpleNamespace(id="new", spec=resolve(llama(deployable=[])).model_dump(mode="json"), request_sha256="x")
    assert jobs._same_request(named, llama(deployable=[])) is named
    with pytest.raises(InvalidRequest, match="another body"):
        jobs._same_request(named, llama())


def test_seeds_are_of_the_space_that_is_reused(monkeypatch):
    row = older(llama())
    search = {"seed_architectures": [llama(deployable=[]).space().smallest().values]}
    asked = JobSpec.model_validate({"recipe": "llama_nas", "supernet": {"reuse": row.id}, "search": search})
    assert reusing(asked, row, monkeypatch).space().smallest().values in search["seed_architectures"]
    with pytest.raises(InvalidRequest, match="88"):
        reusing(asked, row_of(resolve(llama())), monkeypatch)
