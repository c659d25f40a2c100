"""A job that searches by blocks: divergences are scored, the table is kept, and any limits are answered from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from job.spec import JobSpec
from pipeline.hardware import Hardware
from pipeline.reporter import Interrupted
from search.blocks.parts import Blocks
from service import solving
from service.store.models import JobEvent, JobState
from service.store.records import BlockScores
from tests.pipeline.bench import search
from tests.pipeline.llama_bench import evaluator_of, llama_spec, text_file
from tests.pipeline.test_sharing import claimed, running

CHOICES: dict[str, Any] = {
    "layer*_ffn": (0, 176, 352),
    "layer*_kv_heads": (0, 4),
    **{f"layer{i}_ffn": (0,) for i in (3, 4, 5)},
    **{f"layer{i}_kv_heads": (0,) for i in (3, 4, 5)},
}


def blocks_spec(path, **search: Any) -> JobSpec:
    """Three layers, each with or without attention and with all, half or no feed-forward network."""
    return llama_spec(
        path,
        supernet={"preset": "tiny", "choices": CHOICES},
        search={"algorithm": "blocks", "evaluations": 30, "options": {"combinations": 8, "batch": 4}, **search},
        constraints=[{"metric": "kv_cache_bytes", "limit": 1e9}],
    )


@pytest.fixture
def spec(tmp_path) -> JobSpec:
    return blocks_spec(text_file(tmp_path))


def test_every_alternative_is_scored_and_any_limit_is_answered_from_the_record(database, settings, spec) -> None:
    shop, evaluator = running(database, settings, spec), evaluator_of(spec)
    done = search(shop, evaluator, Hardware())
    space = shop.space
    blocks = Blocks(space)
    assert [len(block.alternatives) for block in blocks.blocks] == [6, 6, 6]
    by_id = {one.architecture.id: one for one in done}
    singles = [by_id[blocks.architecture(one).id] for one in blocks.singles()]
    assert len(singles) == 16
    assert all("kl_divergence" in one.metrics for one in done)
    (stored,) = shop.reporter.records(BlockScores)
    metrics = {one.metric: one for one in stored.metrics}
    assert metrics["kl_divergence"].costs[0][0] == pytest.approx(singles[1].metrics["kl_divergence"])
    assert metrics["kl_divergence"].combinations == len(done) - 16
    for metric in ("params", "macs", "size_bytes", "kv_cache_bytes", "serving_bytes"):
        assert metrics[metric].error == 0
    limits = {"kv_cache_bytes": 2 * 4 * 16 * 128 * 4, "params": 0.8 * done[0].metrics["params"]}
    with database.transaction() as session:
        answer = solving.solve_for(session, shop.job_id, limits)
    (one,) = answer.solutions
    network = space.architecture(**one.values)
    (true,) = evaluator.evaluate([network])
    assert one.feasible
    assert all(true.metrics[metric] <= limit for metric, limit in limits.items())
    for metric in limits:
        assert one.predicted[metric].value == pytest.approx(true.metrics[metric])
    # These weights are random: blocks have nothing to do with one another, and that is said.
    assert "rank held-out combinations with a tau of" in answer.distrust[0]
    assert any("Do not" in line or "tau of" in line for line in told(shop))


def told(shop) -> list[str]:
    with shop.reporter.database.transaction() as session:
        events = session.query(JobEvent).filter_by(job_id=shop.job_id)
        return [str(event.data.get("text", "")) for event in events]


@pytest.mark.thorough
def test_a_search_that_was_interrupted_goes_on_and_keeps_the_same_scores(database, settings, spec) -> None:
    whole = running(database, settings, spec)
    right = search(whole, evaluator_of(spec), Hardware())
    shop, evaluator = running(database, settings, spec), evaluator_of(spec)
    real, left = evaluator.evaluate, [20]

    def some(architectures):
        left[0] -= len(architectures)
        if left[0] < 0:
            raise Interrupted(JobState.PAUSING)
        return real(architectures)

    evaluator.evaluate = some  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        search(shop, evaluator, Hardware())
    assert not shop.reporter.records(BlockScores)
    again = claimed(database, settings, spec, shop.job_id)
    assert search(again, evaluator_of(spec), Hardware()) == right
    assert again.reporter.records(BlockScores) == whole.reporter.records(BlockScores)


@pytest.mark.thorough
def test_what_is_evaluated_is_said_beside_what_is_predicted(database, settings, spec) -> None:
    shop = running(database, settings, spec)
    search(shop, evaluator_of(spec), Hardware())
    with database.transaction() as session:
        answer = solving.solve_for(session, shop.job_id, {}, "kl_divergence")
    (one,) = answer.solutions
    assert one.architecture_id == shop.space.largest().id
    assert one.evaluated is not None
    assert np.isfinite(one.evaluated["perplexity"] or np.nan)
    assert one.predicted["kl_divergence"].value == 0
