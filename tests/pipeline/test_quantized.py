"""Scoring of policies, the policies that a search begins with, and what is measured of them."""

import numpy as np
import onnx
import pytest

from export.measurable import write_fresh
from job.spec import JobSpec
from pipeline.policies import first_policies
from pipeline.workshop import make_evaluator
from predictors.instrument import Specimen
from predictors.setting import Setting
from predictors.tables import key_of
from quantization.first_policies import seeds_from
from service.store.records import LayerSensitivity
from supernet.data import load_dataset
from supernet.evaluate import score
from supernet.network import Supernet
from tests.pipeline.bench import MemoryReporter, workshop

QUANTIZATION = {"bits": [8, 32], "tie": "block", "calibration_examples": 32}


@pytest.fixture(scope="module")
def data():
    return load_dataset("digits", 0)


@pytest.fixture(scope="module")
def spec():
    return JobSpec.model_validate(
        {"recipe": "simq_nas", "quantization": QUANTIZATION, "search": {"calibration_images": 64, "evaluations": 9}}
    )


@pytest.fixture(scope="module")
def evaluator(data, spec):
    return make_evaluator(spec, Supernet(spec.supernet.space()), data)


def test_a_policy_of_full_precision_scores_what_the_network_scores(evaluator, data):
    space = evaluator.policies
    network = space.base.largest()
    (evaluation,) = evaluator.evaluate([space.quantized(network, 32)])
    plain = score(evaluator.network(network), data.validation)
    assert evaluation.metrics["accuracy"] == pytest.approx(plain, abs=1.5 / len(data.validation))
    assert evaluation.source_of("size_bytes") == "analytic"


def test_policies_of_one_network_share_its_calibration_and_come_together(evaluator):
    space = evaluator.policies
    rng = np.random.default_rng(0)
    networks = [space.base.sample(rng) for _ in range(3)]
    mixed = [space.quantized(network, bits) for bits in (8, 32) for network in networks]
    order = evaluator.in_order(mixed)
    assert sorted(a.id for a in order) == sorted(a.id for a in mixed)
    halves = [space.network(a).id for a in order]
    assert halves[0::2] == halves[1::2]
    assert evaluator.quantizable(networks[0]) is evaluator.quantizable(networks[0])


def test_a_network_of_the_supernet_is_scored_without_a_policy(evaluator):
    (evaluation,) = evaluator.evaluate([evaluator.policies.base.smallest()])
    assert evaluation.architecture.space == "mobilenet/digits"


def test_the_search_begins_with_widths_alone_and_the_least_sensitive_layers(evaluator):
    space = evaluator.policies
    names = list(space.policy(space.largest()))
    rows = [
        LayerSensitivity(layer=name, precision="int8_static", divergence=float(i), agreement=1.0, bits=8)
        for i, name in enumerate(names)
    ]
    seeds = seeds_from(space, rows, 250)
    assert seeds[:2] == [space.quantized(space.base.largest(), 8), space.quantized(space.base.largest(), 32)]
    counts = [sum(not p.is_full for p in space.policy(seed).values()) for seed in seeds[4:]]
    assert counts == sorted(counts, reverse=True)
    assert seeds_from(space, rows, 40) == seeds[:5]
    assert seeds_from(space, rows, 4) == seeds[:1]
    # The least sensitive are the first layers here; policies are tied, so a block joins when all of it does.
    assert not space.policy(seeds[-1])["stem.conv"].is_full
    assert all(space.policy(seed)["head.classifier"].is_full for seed in seeds[4:])


def test_sensitivity_is_worked_out_once(evaluator, tmp_path):
    reporter = MemoryReporter()
    shop = workshop(tmp_path, reporter, recipe="simq_nas", quantization=QUANTIZATION, search={"evaluations": 24})
    first = first_policies(shop.spec, evaluator, reporter)
    assert first_policies(shop.spec, evaluator, reporter) == first
    (event,) = reporter.events("sensitivity")
    assert {row["layer"] for row in event["layers"]} == set(evaluator.policies.policy(evaluator.policies.largest()))
    assert max(row["divergence"] for row in event["layers"]) > 0
    assert len(first) == 3


def test_what_is_measured_of_a_policy_are_its_integer_kernels(evaluator, tmp_path):
    space = evaluator.policies
    setting = Setting("cpu-onnxruntime")
    eight, full = (space.quantized(space.base.largest(), bits) for bits in (8, 32))
    specimens = [Specimen.network(space, one) for one in (eight, full)]
    assert specimens[0].subject != specimens[1].subject
    files = [
        write_fresh(specimen.layers, specimen.samples, tmp_path / str(i), setting)
        for i, specimen in enumerate(specimens)
    ]
    graphs = [onnx.load(str(file)).graph for file in files]
    kinds = [{node.op_type for node in graph.node} for graph in graphs]
    assert "QuantizeLinear" in kinds[0]
    assert "QuantizeLinear" not in kinds[1]
    stems = [key_of(space.layers(one)["stem"]) for one in (eight, full)]
    assert stems[0] == f"{stems[1]}[conv=int8_static, symmetric]"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"quantization": {"bits": [16, 32]}}, "'cpu-onnxruntime' has no kernels for scheme 'bf16'"),
        (
            {"quantization": {"bits": [8, 32]}, "objectives": [{"metric": "latency_ms", "target": "cpu-torch"}]},
            "'cpu-torch' has no kernels for scheme 'int8_static' .8 bits.; it has them for fp32, bf16",
        ),
    ],
)
def test_schemes_that_the_target_cannot_execute_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        JobSpec.model_validate({"recipe": "simq_nas", "objectives": [{"metric": "accuracy"}], **changes})


def test_schemes_that_the_target_can_execute_are_not():
    spec = JobSpec.model_validate(
        {
            "recipe": "simq_nas",
            "objectives": [{"metric": "accuracy"}, {"metric": "latency_ms", "target": "cpu-torch"}],
            "quantization": {"bits": [16, 32]},
        }
    )
    assert spec.target == "cpu-torch"
