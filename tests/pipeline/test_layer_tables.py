"""Tables of layers, on a bench whose costs are known."""

import json

import numpy as np
import onnx
import pytest

from export.measurable import write_fresh
from pipeline.benches import LocalBench, MemoryStore, place_facts
from pipeline.traced_layers import layers_of
from predictors.instrument import Instrument, Specimen, Unmeasurable, place_of
from predictors.latency_fit import PredictedCost, fit_predictor
from predictors.layer_tables import build_table, overhead
from predictors.readings import MeasurementError
from predictors.setting import Effort, Setting
from predictors.tables import LatencyTable, Row, key_of
from predictors.targets import RUNTIMES
from quantization.policies import Quantization
from quantization.quantized_space import QuantizedSpace
from search_space.distinct import TooManyLayers
from search_space.plugins import load_family

SPACE = load_family("mobilenet", "digits")
SETTING = Setting()
# What the bench below charges: for a call, for a reordering of one element, for a weight.
CALL_MS, REORDER_MS, WEIGHT_MS = 0.01, 1e-5, 1e-4


class PricedBench:
    """Charges a call, reorderings of 4-D inputs and outputs by size, and every weight: a machine without noise."""

    place = {"device": "an abacus"}  # noqa: RUF012

    def __init__(self):
        self.measured = []

    def measure(self, models, settings, effort, tick):
        tick()
        self.measured += models
        return [[self.result(onnx.load(path))] for path in models]

    def result(self, model):
        graph = model.graph
        weights = sum(int(np.prod(weight.dims)) for weight in graph.initializer if len(weight.dims) >= 2)
        shapes = [
            [d.dim_value or 1 for d in tensor.type.tensor_type.shape.dim] for tensor in (*graph.input, *graph.output)
        ]
        moved = sum(int(np.prod(shape)) for shape in shapes if len(shape) == 4 and shape[1] > 1)
        ms = CALL_MS + REORDER_MS * moved + WEIGHT_MS * weights
        return {"phase": "forward", "median_ms": ms, "mad_ms": 0.0, "runs": 3}


def instrument(bench, store):
    return Instrument(bench, SETTING, store, write_fresh)


@pytest.fixture(scope="module")
def few():
    """A digits space of two networks a stage, so that there are few layers."""
    from search_space.adjustments import Adjustments

    choices = {"*_width": (16,), "*_depth": (1, 2), "*_kernel": (3,), "*_expansion": (2,), "head_width": (16,)}
    return load_family("mobilenet", "digits", Adjustments(choices, None, None))


@pytest.fixture(scope="module")
def layers(few):
    return layers_of(few, 100)


def test_layers_know_the_shapes_that_they_have_inside_a_network(few, layers):
    first = [layer for layer in layers if layer.is_first]
    last = [layer for layer in layers if layer.is_last]
    assert {layer.takes.shape for layer in first} == {(1, 1, 8, 8)}
    assert {layer.gives.shape for layer in last} == {(1, 10)}
    assert len(layers) == len({layer.spec for layer in layers})


@pytest.mark.thorough
def test_what_a_session_costs_is_taken_off_so_that_prices_add_up_to_whole_networks(few, layers):
    bench, store = PricedBench(), MemoryStore()
    table = build_table("abacus", layers, instrument(bench, store), lambda done: None)
    assert set(table.rows) == {key_of(layer.spec) for layer in layers}
    assert table.overhead_ms == pytest.approx(CALL_MS, abs=2e-3)
    for architecture in few.every():
        specimen = Specimen.network(few, architecture)
        whole = instrument(bench, store).measure([specimen], "network", Effort.quick(), lambda done: None)
        truth = whole[specimen.subject][0]["median_ms"]
        assert table.price(few.layers(architecture)) == pytest.approx(truth, rel=0.03)


def test_a_second_table_of_the_same_space_measures_nothing(few, layers):
    bench, store = PricedBench(), MemoryStore()
    first = build_table("abacus", layers, instrument(bench, store), lambda done: None)
    measured = len(bench.measured)
    assert build_table("abacus", layers, instrument(bench, store), lambda done: None) == first
    assert len(bench.measured) == measured


def test_a_table_that_was_interrupted_goes_on_where_it_was(few, layers):
    class Stop(Exception):
        pass

    def stop_late(done):
        if done > 0.5:
            raise Stop

    bench, store = PricedBench(), MemoryStore()
    with pytest.raises(Stop):
        build_table("abacus", layers, instrument(bench, store), stop_late)
    kept = len(store.rows)
    assert kept > 0
    build_table("abacus", layers, instrument(bench, store), lambda done: None)
    assert len(bench.measured) <= len(store.rows) + len(layers)
    assert len(store.rows) > kept


def test_numbers_of_another_place_or_setting_are_kept_apart(few, layers):
    bench = PricedBench()
    assert place_of(bench, SETTING)[0] != place_of(bench, Setting(threads=2))[0]
    assert place_of(bench, SETTING)[0] != place_of(LocalBench(SETTING.how), SETTING)[0]
    assert json.dumps(place_of(LocalBench(SETTING.how), SETTING)[1])
    assert LocalBench(SETTING.how).place["engine_version"] != "not installed"


def test_numbers_of_another_gpu_in_the_same_kind_of_machine_are_kept_apart():
    machine = {"device": "A processor", "cores": 8, "machine": "x86_64"}
    one, other = ({**machine, "gpu": name} for name in ("A GPU", "B GPU"))
    assert place_facts(RUNTIMES["cuda-torch"], one) != place_facts(RUNTIMES["cuda-torch"], other)
    assert place_facts(RUNTIMES["cpu-torch"], one) == place_facts(RUNTIMES["cpu-torch"], other)


def test_a_layer_that_the_target_cannot_run_is_named(few, layers):
    class Lacking(PricedBench):
        def measure(self, models, settings, effort, tick):
            return [MeasurementError("no operator Conv", "Conv") for _ in models]

    with pytest.raises(Unmeasurable, match=r"copies|conv\(.*no operator Conv"):
        build_table("abacus", layers, instrument(Lacking(), MemoryStore()), lambda done: None)


def test_the_overhead_is_what_one_layer_costs_beyond_itself():
    assert overhead(once_ms=5.0, chain_ms=9.0, copies=3) == 3.0
    assert overhead(once_ms=5.0, chain_ms=4.0, copies=3) == 5.0
    assert overhead(once_ms=1.0, chain_ms=9.0, copies=3) == 0.0


def test_a_network_of_text_has_layers_of_tokens_and_logits():
    found = layers_of(load_family("llama", "tiny"), 100)
    assert {layer.takes.dtype for layer in found if layer.is_first} == {"int64"}
    assert all(len(layer.gives.shape) == 3 for layer in found)


def test_layers_with_policies_are_measured_wholly_at_every_precision(few):
    policies = QuantizedSpace(few, Quantization((8, 32), modes=("symmetric", "asymmetric")))
    plain, found = layers_of(few, 400), layers_of(policies, 400)
    assert len(found) == 3 * len(plain)  # full, and two ways to have 8 bits
    assert {layer.spec for layer in found} == {
        one.spec.uniform(precision) for one in plain for precision in policies.precisions
    }
    rows = {key_of(layer.spec): Row(1.0) for layer in found}
    table = LatencyTable("here", rows)
    rng = np.random.default_rng(0)
    for architecture in (policies.sample(rng) for _ in range(20)):
        layers = policies.layers(architecture)
        assert table.price(layers) == pytest.approx(len(layers))
    with pytest.raises(TooManyLayers, match="each at 3 precisions"):
        layers_of(policies, len(found) - 3)


@pytest.mark.thorough
def test_a_predictor_is_judged_on_networks_that_it_did_not_see(few):
    bench, store = PricedBench(), MemoryStore()
    architectures = list(few.every())
    specimens = [Specimen.network(few, one) for one in architectures]
    found = instrument(bench, store).measure(specimens, "network", Effort.quick(), lambda done: None)
    values = [found[specimen.subject][0]["median_ms"] for specimen in specimens]
    made = fit_predictor(few, None, architectures, values, 0.9, "minimize", seed=0)
    assert made.report["num_fitted"] < len(architectures)
    assert made.within_10_percent > 0.9
    assert made.margin < 0.1
    assert made.value(architectures[0]) == pytest.approx(values[0], rel=0.1)
    faster = fit_predictor(few, None, architectures, [1 / v for v in values], 0.9, "maximize", seed=0)
    assert faster.margin >= 0


def test_a_predicted_cost_asks_once_for_each_network(few):
    asked = []

    class Counting:
        def predict(self, architectures):
            asked.extend(architectures)
            return np.ones(len(architectures)), np.ones(len(architectures))

    cost = PredictedCost(Counting())
    one, other = few.smallest(), few.largest()
    assert cost(one) == 1.0
    assert cost.many([one, other, one]) == [1.0, 1.0, 1.0]
    assert [a.id for a in asked] == [one.id, other.id]
