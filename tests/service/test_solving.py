"""Any limits, answered from block scores: over HTTP, in the terminal, and refused with what is right."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from job.spec import JobSpec
from pipeline.block_scores import keep_scores
from pipeline.evaluating import row_of
from pipeline.hardware import Hardware
from pipeline.stages import search_problem
from pipeline.workshop import Workshop
from predictors.cost import costs
from predictors.tables import key_of
from search.algorithms import make_algorithm
from search.algorithms.blocks.algorithm import BlockSearch
from search.blocks.parts import Blocks
from search.evaluation import Evaluation
from search.metrics import METRICS
from search.objectives import Objective
from search_space import Architecture
from search_space.distinct import some_networks
from service import solving
from service.solve_commands import limits_of, said
from service.store.models import EvaluationRow, Job, JobState, Target
from service.store.records import BlockScores, ScoredBlock
from tests.api import open_api
from tests.conftest import TEMPORARY
from tests.pipeline.test_sharing import running

JOB: dict[str, Any] = {
    "recipe": "llama-nas",
    "data": {"path": f"{TEMPORARY}/plays.txt"},
    "search": {"algorithm": "blocks", "evaluations": 130, "options": {"combinations": 16}},
}


def searched(database, settings) -> Workshop:
    """A job whose block scores are kept as a job keeps them; how bad a network is follows from its parameters."""
    shop = running(database, settings, JobSpec.model_validate(JOB))
    space, rng = shop.spec.space(), np.random.default_rng(0)
    algorithm = make_algorithm("blocks", space, [Objective("perplexity"), Objective("size_bytes")], evaluations=130)
    assert isinstance(algorithm, BlockSearch)
    full = costs(space, space.largest())["params"]

    def score(one: Architecture) -> Evaluation:
        exact = costs(space, one)
        lost = (full - exact["params"]) / full
        metrics = {"perplexity": 5.0 * float(np.exp(3 * lost)), "kl_divergence": 2 * lost, **exact}
        return Evaluation(one, metrics, {name: METRICS[name].source for name in metrics})

    drawn = [space.sample(rng) for _ in range(20)]
    done = [score(one) for one in [*map(algorithm.blocks.architecture, algorithm.blocks.singles()), *drawn]]
    for one in {each.architecture.id: each for each in done}.values():
        shop.reporter.evaluation(row_of(one, 0.1))
    problem = search_problem(shop.spec, space, Hardware())
    keep_scores(algorithm.blocks, problem, done, Hardware(), shop.reporter)
    return shop


@pytest.fixture
def shop(database, settings) -> Workshop:
    return searched(database, settings)


def test_limits_are_answered_with_a_network_its_numbers_and_how_far_to_trust_them(shop: Workshop, settings) -> None:
    space = shop.spec.space()
    largest = costs(space, space.largest())
    with open_api(settings) as api:
        limits = {"params": 0.7 * largest["params"], "macs": 0.8 * largest["macs"]}
        answer = api.post(f"/v1/jobs/{shop.job_id}/solve", json={"limits": limits}).json()
    (one,) = answer["solutions"]
    assert (answer["objective"], answer["trusted"], answer["distrust"]) == ("perplexity", True, [])
    assert one["feasible"]
    network = space.architecture(**one["values"])
    assert network.id == one["architecture_id"]
    exact = costs(space, network)
    for metric in ("params", "macs", "size_bytes"):
        assert one["predicted"][metric] == {
            "value": pytest.approx(exact[metric]),
            "low": pytest.approx(exact[metric]),
            "high": pytest.approx(exact[metric]),
            "exact": True,
        }
    assert all(exact[metric] <= limit for metric, limit in limits.items())
    # Here the best network within them is the largest one.
    assert exact["params"] > 0.97 * limits["params"] or exact["macs"] > 0.97 * limits["macs"]
    found = one["predicted"]["perplexity"]
    true = 5.0 * float(np.exp(3 * (largest["params"] - exact["params"]) / largest["params"]))
    assert found["value"] == pytest.approx(true, rel=1e-3)
    assert found["low"] <= found["value"] <= found["high"]
    trust = {metric["metric"]: metric for metric in answer["metrics"]}["perplexity"]
    assert trust["combinations"] >= 15
    assert trust["tau"] > 0.99
    assert "peak_activation_bytes" in {*trust, *answer["left_out"], *one["predicted"]}


def test_limits_that_nothing_meets_give_the_nearest_network_with_its_numbers(shop: Workshop, settings) -> None:
    with open_api(settings) as api:
        answer = api.post(f"/v1/jobs/{shop.job_id}/solve", json={"limits": {"params": 10}}).json()
        lines = said(answer)
        narrow = Console(width=80, file=io.StringIO())
        narrow.print(lines[0])
        assert answer["solutions"][0]["architecture_id"] in narrow.file.getvalue()
    (one,) = answer["solutions"]
    smallest = shop.spec.space().smallest()
    assert not one["feasible"]
    assert one["predicted"]["params"]["value"] == costs(shop.spec.space(), smallest)["params"]
    (beyond,) = one["beyond"]
    assert (beyond["metric"], beyond["limit"]) == ("params", 10)
    assert beyond["by"] == pytest.approx(beyond["value"] / 10 - 1)
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as shown:
        for line in lines:
            console.print(line)
    assert "No network keeps these limits" in shown.get()


def test_a_sweep_is_a_front_of_different_networks(shop: Workshop, settings) -> None:
    with open_api(settings) as api:
        asked = {"sweep": {"metric": "params", "points": 6}}
        answer = api.post(f"/v1/jobs/{shop.job_id}/solve", json=asked).json()
    points = [
        (one["predicted"]["params"]["value"], one["predicted"]["perplexity"]["value"]) for one in answer["solutions"]
    ]
    assert len(points) == len({one["architecture_id"] for one in answer["solutions"]}) == 6
    assert [size for size, _ in points] == sorted(size for size, _ in points)
    assert [quality for _, quality in points] == sorted((quality for _, quality in points), reverse=True)
    assert answer["solutions"][-1]["evaluated"]["perplexity"] == pytest.approx(5.0)


@pytest.mark.thorough
def test_a_sweep_forgets_no_limit_on_what_it_sweeps(shop: Workshop, settings) -> None:
    half = 0.5 * costs(shop.spec.space(), shop.spec.space().largest())["params"]
    with open_api(settings) as api:
        within, beyond = (
            api.post(
                f"/v1/jobs/{shop.job_id}/solve",
                json={"sweep": {"metric": "params", "points": 4}, "limits": {"params": limit}},
            ).json()["solutions"]
            for limit in (half, 1)
        )
    assert len(within) > 1
    assert all(one["feasible"] and one["predicted"]["params"]["value"] <= half for one in within)
    assert [(one["feasible"], one["limits"], one["beyond"][0]["metric"]) for one in beyond] == [
        (False, {"params": 1.0}, "params")
    ]


@pytest.mark.thorough
@pytest.mark.parametrize("limit", [1e-308, 1e-30])
def test_a_limit_that_no_number_is_near_is_answered_with_the_nearest_network(shop, settings, limit: float) -> None:
    with open_api(settings) as api:
        answer = api.post(f"/v1/jobs/{shop.job_id}/solve", json={"limits": {"params": limit}})
    (one,) = answer.json()["solutions"]
    assert not one["feasible"]
    assert one["architecture_id"] == shop.spec.space().smallest().id


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"limits": {"nonsuch": 1}}, 422, "nonsuch"),
        ({"limits": {"accuracy": 0.5}}, 422, "'accuracy' was not scored in this job. Known: "),
        ({"limits": {"params": -1}}, 422, "Got a limit of -1 on params; it must be a positive number."),
        ({"objective": "latency_ms"}, 422, "'latency_ms' was not scored in this job"),
        ({"sweep": {"metric": "perplexity"}}, 422, "A sweep limits another metric than perplexity"),
        ({"sweep": {"metric": "params", "points": 1}}, 422, "points"),
    ],
)
def test_what_cannot_be_solved_for_is_refused(
    shop: Workshop, settings, asked: dict[str, Any], status: int, said: str
) -> None:
    with open_api(settings) as api:
        answer = api.post(f"/v1/jobs/{shop.job_id}/solve", json=asked)
    assert answer.status_code == status
    assert said in answer.text


def table(target: str, prices: dict[str, float]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["target", "key", "latency_ms"])
    writer.writerows([target, key, price] for key, price in prices.items())
    return text.getvalue()


def test_another_device_costs_no_evaluation(shop: Workshop, settings) -> None:
    space = shop.spec.space()
    layers = {key_of(spec): spec for one in some_networks(space) for spec in space.layers(one).values()}
    prices = {key: 0.1 + spec.params() / 1e5 for key, spec in layers.items()}
    uploaded = table("phone", {**prices, "overhead": 0.5})
    with open_api(settings) as api:
        assert api.post("/v1/targets", json={"name": "phone", "table": uploaded}).status_code == 201
        lacking = table("lacking", dict(list(prices.items())[:3]))
        assert api.post("/v1/targets", json={"name": "lacking", "table": lacking}).status_code == 201
        place = f"/v1/jobs/{shop.job_id}/solve"
        answer = api.post(place, json={"limits": {"latency_ms": 8}, "target": "phone"}).json()
        again = api.post(place, json={"limits": {"latency_ms": 8}, "target": "phone"}).json()
        wrong = [api.post(place, json={"target": name}) for name in ("lacking", "nonsuch")]
        unknown = api.post(place, json={"limits": {"latency_ms": 8}})
    (one,) = answer["solutions"]
    network = space.layers(space.architecture(**one["values"]))
    true = 0.5 + sum(prices[key_of(spec)] for spec in network.values())
    assert one["predicted"]["latency_ms"]["value"] == pytest.approx(true)
    assert one["feasible"]
    assert 7 < true <= 8
    assert again["solutions"][0]["predicted"]["latency_ms"]["value"] <= 8
    assert [each.status_code for each in wrong] == [422, 404]
    assert "The latency table of 'lacking' lacks" in wrong[0].text
    assert "'latency_ms' was not scored in this job" in unknown.text


@pytest.mark.thorough
def test_what_is_no_sum_over_blocks_is_counted_for_the_answer(shop: Workshop, settings) -> None:
    space = shop.spec.space()
    small = costs(space, space.smallest())
    limits = {"params": 1.01 * small["params"]}
    with open_api(settings) as api:
        place, metric = f"/v1/jobs/{shop.job_id}/solve", "peak_activation_bytes"
        kept, above, below = (
            api.post(place, json={"limits": {**limits, **more}}).json()["solutions"][0]
            for more in ({}, {metric: 1.05 * small[metric]}, {metric: 0.9 * small[metric]})
        )
    peak = costs(space, space.architecture(**kept["values"]))[metric]
    assert kept["predicted"][metric] == {"value": peak, "low": peak, "high": peak, "exact": True}
    assert above["feasible"]
    assert [(one["metric"], one["value"]) for one in below["beyond"]] == [(metric, small[metric])]


@pytest.mark.thorough
def test_prices_are_of_the_layers_that_no_block_shapes_too(shop: Workshop, settings) -> None:
    spaces = [
        JobSpec.model_validate({**JOB, "supernet": {"choices": {"layer2_ffn": (width,)}}}).space()
        for width in (88, 352)
    ]
    layers = {
        key_of(spec): spec for space in spaces for one in some_networks(space) for spec in space.layers(one).values()
    }
    prices = {key: 0.1 + spec.params() / 1e5 for key, spec in layers.items()}
    row = Target(name="phone", kind="table", table=table("phone", {**prices, "overhead": 0.5}))
    found = []
    for space in spaces:
        blocks = Blocks(space)
        names = tuple(
            ScoredBlock(name=block.name, alternatives=tuple(blocks.values(place)), largest=block.largest)
            for place, block in enumerate(blocks.blocks)
        )
        scores = BlockScores(blocks=names, metrics=(), left_out={}, evaluations=0)
        largest = sum(prices[key_of(spec)] for spec in space.layers(space.largest()).values())
        found.append((solving._priced(space, scores, row).largest, pytest.approx(0.5 + largest)))
    assert all(priced == true for priced, true in found)


@pytest.mark.thorough
def test_what_was_measured_on_one_device_is_not_shown_for_another(shop: Workshop, settings, database) -> None:
    space = shop.spec.space()
    layers = {key_of(spec): spec for one in some_networks(space) for spec in space.layers(one).values()}
    with database.transaction() as session:
        row = session.get(EvaluationRow, (shop.job_id, space.largest().id))
        row.metrics = {**row.metrics, "latency_ms": 1234.0}
    with open_api(settings) as api:
        uploaded = table("tablet", {**dict.fromkeys(layers, 1.0), "overhead": 0.5})
        assert api.post("/v1/targets", json={"name": "tablet", "table": uploaded}).status_code == 201
        place = f"/v1/jobs/{shop.job_id}/solve"
        own, other = (api.post(place, json=asked).json()["solutions"][0] for asked in ({}, {"target": "tablet"}))
    assert own["architecture_id"] == other["architecture_id"] == space.largest().id
    assert own["evaluated"]["latency_ms"] == 1234
    assert "latency_ms" not in other["evaluated"]
    assert other["evaluated"]["perplexity"] == own["evaluated"]["perplexity"]


def test_a_job_without_block_scores_says_what_to_do(database, settings) -> None:
    others = running(database, settings, JobSpec.model_validate({**JOB, "search": {}}))
    early = running(database, settings, JobSpec.model_validate(JOB))
    with open_api(settings) as api:
        answers = [api.post(f"/v1/jobs/{one.job_id}/solve", json={}) for one in (others, early)]
        assert api.post("/v1/jobs/nonsuch/solve", json={}).status_code == 404
        with database.transaction() as session:
            session.get(Job, early.job_id).state = JobState.CANCELLED
        answers.append(api.post(f"/v1/jobs/{early.job_id}/solve", json={}))
    assert [answer.status_code for answer in answers] == [409, 409, 409]
    assert "scores whole networks and no blocks" in answers[0].json()["detail"]
    assert "once its search has ended" in answers[1].json()["detail"]
    assert "is cancelled, and its search left no block scores" in answers[2].json()["detail"]


def test_a_budget_that_does_not_cover_the_blocks_is_refused_with_what_would(settings) -> None:
    with open_api(settings) as api:
        few = api.post("/v1/jobs", json={**JOB, "search": {"algorithm": "blocks", "evaluations": 60}})
        tied = api.post("/v1/jobs", json={"recipe": "bignas", "search": {"algorithm": "blocks"}})
    assert few.status_code == tied.status_code == 422
    assert "scores 71 networks" in few.text
    assert "Give it 129" in few.text
    assert "together" in tied.text


def test_the_command_line_knows_which_side_of_a_limit_is_better() -> None:
    assert limits_of(["latency_ms=5"], ["tokens_per_second=100"]) == {"latency_ms": 5, "tokens_per_second": 100}
    with pytest.raises(ValueError, match="--over tokens_per_second=100"):
        limits_of(["tokens_per_second=100"], [])
    with pytest.raises(ValueError, match="--under params=3"):
        limits_of([], ["params=3"])
    with pytest.raises(ValueError, match="has a limit twice"):
        limits_of(["params=3"], ["params=4"])
    with pytest.raises(ValueError, match="--under takes a metric and a number"):
        limits_of(["params"], [])
