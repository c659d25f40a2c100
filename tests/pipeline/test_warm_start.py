"""A second search of a supernet learns from the first, asks nothing again and keeps the best of both."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from job.spec import JobSpec
from pipeline.hardware import Hardware
from service.store import queries
from service.store.models import Artifact
from tests.pipeline.bench import heard, search
from tests.pipeline.llama_bench import evaluator_of, llama_spec, text_file
from tests.pipeline.test_sharing import Dying, claimed, front, running

FILE = {"kind": "supernet", "step": 1, "path": "supernets/x.safetensors", "sha256": "ab", "size_bytes": 1}


def searched(database, settings, spec, sha256="ab"):
    """The workshop of a job that has a supernet's file. Its row is of a job without reuse, whose supernet is there."""
    given = spec.model_dump(mode="json")
    plain = {
        **given,
        "supernet": {**given["supernet"], "reuse": None},
        "search": {**given["search"], "warm_start": False},
    }
    shop = replace(running(database, settings, JobSpec.model_validate(plain)), spec=spec)
    shop.reporter.artifact(lambda: Artifact(job_id=shop.job_id, **{**FILE, "sha256": sha256}))
    return shop


def reusing(spec: JobSpec, **search) -> JobSpec:
    given = spec.model_dump(mode="json")
    search = {**given["search"], "warm_start": True, **search}
    return JobSpec.model_validate({**given, "supernet": {**given["supernet"], "reuse": "ab"}, "search": search})


@pytest.mark.thorough
def test_a_warm_start_is_learned_from_and_may_be_on_the_front(database, settings, tmp_path):
    spec = llama_spec(text_file(tmp_path), search={"evaluations": 16, "options": {"population": 8}})
    evaluator = evaluator_of(spec)
    first = search(searched(database, settings, spec, "first"), evaluator, Hardware())
    other = search(searched(database, settings, spec, "another"), evaluator, Hardware())
    assert [e.metrics for e in other] == [e.metrics for e in first]

    again = reusing(spec, seed=1)
    shop = searched(database, settings, again, "first")
    with pytest.raises(KeyboardInterrupt):
        search(shop, Dying(evaluator, 1), Hardware())
    shop = claimed(database, settings, again, shop.job_id)
    done = search(shop, evaluator, Hardware())
    ids = [e.architecture.id for e in done]
    assert set(ids[:16]) == {e.architecture.id for e in first}
    assert len(set(ids)) == 32
    assert "16 evaluations of earlier searches of this supernet are known." in [
        event["text"] for event in heard(shop.reporter, "message")
    ]
    best = front(done, spec)
    assert front(first, spec) != best
    with database.transaction() as session:
        stored = {row.architecture_id for row in queries.evaluations(session, shop.job_id)}
    assert {e.architecture.id for e in best} <= stored
    undisturbed = search(searched(database, settings, reusing(spec, seed=1), "none"), evaluator, Hardware())
    assert len(undisturbed) == 16  # nobody else has searched that one


def test_scores_of_other_metrics_are_no_warm_start(database, settings, tmp_path):
    spec = llama_spec(text_file(tmp_path), search={"evaluations": 8})
    evaluator = evaluator_of(spec)
    search(searched(database, settings, spec, "kl"), evaluator, Hardware())
    kl = [{"metric": "kl_divergence"}, {"metric": "params"}]
    other = reusing(JobSpec.model_validate({**spec.model_dump(mode="json"), "objectives": kl}))
    done = search(searched(database, settings, other, "kl"), evaluator_of(other), Hardware())
    assert len(done) == 8
    assert all("kl_divergence" in e.metrics for e in done)


def test_a_warm_start_needs_a_supernet_that_was_searched(tmp_path):
    with pytest.raises(ValidationError, match=r"name it in supernet\.reuse"):
        llama_spec(text_file(tmp_path), search={"warm_start": True})
