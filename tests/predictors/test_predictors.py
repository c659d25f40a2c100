"""Predictors as they are made and used: input, choice among models, known numbers, tables and other devices."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from predictors import make_predictor
from predictors.columns import Columns, cost_columns, layer_columns
from predictors.cost import macs
from predictors.devices import Device
from predictors.latency import latency_predictor
from predictors.learned import Candidate, LearnedPredictor
from predictors.predictor import NotFittedError
from predictors.report import held_out
from predictors.scales import SCALES
from predictors.tables import LatencyTable, MissingRow, Row, key_of
from quantization.policies import Quantization
from quantization.quantized_space import QuantizedSpace
from search_space import Choice, SearchSpace
from search_space.architecture import Architecture
from search_space.layers import LayerSpec
from search_space.plugins import UnknownPluginError, load_family

CELLS = SearchSpace("cells", [Choice(f"edge{i}", ("none", "skip", "conv1", "conv3", "pool")) for i in range(5)])


@lru_cache
def digits() -> SearchSpace:
    return load_family("mobilenet", preset="digits")


def drawn(space: SearchSpace, count: int, seed: int = 0) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return list({a.id: a for a in (space.sample(rng) for _ in range(4 * count))}.values())[:count]


def on_device(architecture: Architecture, which: int) -> float:
    """Latency of a cell: devices agree on what is cheap, and differ in what is dear."""
    price = np.array([[0, 0.1, 1, 3, 0.5], [0, 0.2, 1, 2, 2.5], [0, 0.1, 1.2, 2.6, 1.0], [0, 0.15, 1, 2.5, 1.5]])[which]
    genes = list(architecture.genes)
    return float(1 + sum(price[gene] for gene in genes) + 0.2 * genes.count(3) ** 2)


def of_layer(spec: LayerSpec) -> float:
    """Latency of a layer in ms: arithmetic, memory, and a start."""
    return 0.002 + 4e-7 * spec.macs() + 3e-7 * spec.peak_activations()


def latency(architecture: Architecture) -> float:
    return 0.05 + 0.8 * sum(of_layer(spec) for spec in digits().layers(architecture).values())


def table(networks: list[Architecture]) -> LatencyTable:
    layers = [digits().layers(a) for a in networks]
    return LatencyTable("toy", {key_of(spec): Row(of_layer(spec)) for net in layers for spec in net.values()})


class TestInput:
    def test_what_cannot_be_fitted_is_refused(self) -> None:
        predictor, cells = make_predictor("latency", CELLS), drawn(CELLS, 5)
        with pytest.raises(NotFittedError):
            predictor.predict(cells)
        with pytest.raises(ValueError, match="5 architectures and values of shape"):
            predictor.fit(cells, [1.0, 2.0])
        with pytest.raises(ValueError, match="Got 1 examples"):
            predictor.fit(cells[:1], [1.0])
        with pytest.raises(ValueError, match=r"Example 3 .* nan"):
            predictor.fit(cells, [1.0, 2.0, 3.0, float("nan"), 1.0])
        with pytest.raises(ValueError, match="not of space 'cells'"):
            predictor.fit(drawn(digits(), 2), [1.0, 2.0])

    def test_what_cannot_be_made_is_refused(self) -> None:
        some = table(drawn(digits(), 5))
        with pytest.raises(ValueError, match=r"'energy'.*latency, accuracy"):
            make_predictor("energy", CELLS)
        with pytest.raises(UnknownPluginError, match=r"'forest'.*ridge"):
            make_predictor("latency", CELLS, model="forest")
        with pytest.raises(ValueError, match="say nothing about accuracy"):
            make_predictor("accuracy", digits(), table=some)
        with pytest.raises(ValueError, match="has no layers"):
            make_predictor("latency", CELLS, table=some)
        with pytest.raises(ValueError, match="give one"):
            make_predictor("latency", digits(), model="table")
        with pytest.raises(ValueError, match="no blueprint"):
            cost_columns(CELLS)

    def test_too_few_examples_for_a_model_that_was_asked_for(self) -> None:
        cells = drawn(CELLS, 10)
        with pytest.raises(ValueError, match=r"boosting \(log\) needs 50 examples; got 10"):
            make_predictor("latency", CELLS, model="boosting").fit(cells, np.arange(1.0, 11))
        with pytest.raises(ValueError, match=r"needs values above 0; got -1"):
            latency_predictor(CELLS, candidates=[Candidate("ridge", "log")]).fit(cells, np.arange(-1.0, 9))

    @pytest.mark.parametrize("metric", ["latency", "accuracy"])
    def test_two_examples_are_enough_to_answer(self, metric: str) -> None:
        predictor, cells = make_predictor(metric, CELLS), drawn(CELLS, 10)
        predictor.fit(cells[:2], [1.0, 2.0])
        mean, std = predictor.predict(cells)
        assert np.isfinite(mean).all()
        assert (std > 0).all()

    def test_a_measurement_may_be_repeated(self) -> None:
        predictor, cells = make_predictor("latency", CELLS), drawn(CELLS, 12)
        noise = np.random.default_rng(0).normal(1, 0.02, 36)
        predictor.fit(cells * 3, [on_device(a, 0) * n for a, n in zip(cells * 3, noise, strict=True)])
        assert predictor.predict(cells)[0] == pytest.approx([on_device(a, 0) for a in cells], rel=0.1)


class TestColumns:
    def test_add_up_to_the_costs(self) -> None:
        networks = drawn(digits(), 3)
        for architecture, row in zip(networks, cost_columns(digits())(networks), strict=True):
            assert sum(v for name, v in row.items() if name.endswith(".macs")) == macs(digits(), architecture)
            assert sum(v for name, v in row.items() if name.endswith(".layers")) == len(digits().layers(architecture))

    def test_say_what_each_part_is(self) -> None:
        spec = digits().layers(digits().largest())["stem"]
        assert layer_columns(spec)["conv.conv.macs"] == spec.macs()
        assert layer_columns(spec)["conv.conv.parts"] == 1

    def test_schemes_are_kept_apart_and_their_changes_counted(self) -> None:
        space = QuantizedSpace(digits(), Quantization((8, 32), tie="layer"))
        network = digits().largest()
        full, mixed, whole = (
            cost_columns(space)([space.quantized(network, bits)])[0] for bits in (32, {"head.conv": 8}, 8)
        )
        plain = cost_columns(digits())([network])[0]
        assert full == plain
        assert whole["mbconv.expand@int8_static.macs"] == plain["mbconv.expand.macs"]
        assert "mbconv.expand.macs" not in whole
        assert mixed["head.classifier.macs"] == plain["head.classifier.macs"]
        assert whole["fp32 to int8_static.count"] == 1
        assert "int8_static to fp32.count" not in whole
        assert mixed["fp32 to int8_static.count"] == mixed["int8_static to fp32.count"] == 1
        head = digits().layers(network)["head"].parts()
        assert mixed["int8_static to fp32.elements"] == head["conv"].out_elements == 128 * 2 * 2
        last = [spec for spec in digits().layers(network).values() if spec.kind == "mbconv"][-1].parts()
        assert mixed["fp32 to int8_static.elements"] == list(last.values())[-1].out_elements

    def test_are_standardised_and_without_constant_or_equal_ones(self) -> None:
        networks = drawn(digits(), 40)
        count = iter(range(1000))

        def source(architectures: list[Architecture]) -> list[dict[str, float]]:
            rows = []
            for _ in architectures:
                i = next(count)
                rows.append(
                    {"constant": 3.0, "rising": float(i), "twice": 2.0 * i} | ({"rare": 1.0} if i % 7 == 0 else {})
                )
            return rows

        columns = Columns([source], networks)  # type: ignore[list-item]
        assert columns.names == ("rare", "rising")
        made = Columns([cost_columns(digits())], networks).of(networks)
        assert made.mean(axis=0) == pytest.approx(0, abs=1e-9)
        assert made.std(axis=0) == pytest.approx(1)


@pytest.mark.parametrize("name", SCALES)
def test_scales_give_back_what_they_were_given(name: str) -> None:
    values = np.random.default_rng(0).lognormal(size=30)
    scale = SCALES[name](values)
    mean, std = scale.back(scale.to(values), np.full(30, 0.1))
    assert mean == pytest.approx(values)
    assert (std > 0).all()


class TestLatency:
    def test_layers_make_twenty_measurements_enough(self) -> None:
        networks = drawn(digits(), 120)
        values = np.array([latency(a) for a in networks])
        predictor = make_predictor("latency", digits())
        predictor.fit(networks[:20], values[:20])
        report = held_out(predictor, networks[20:], values[20:])
        assert report.rmspe_percent is not None
        assert report.rmspe_percent < 3
        assert report.kendall_tau > 0.92

    def test_a_table_is_stretched_from_ten_measurements(self) -> None:
        networks = drawn(digits(), 60)
        values = np.array([latency(a) for a in networks])
        predictor = make_predictor("latency", digits(), table=table(networks), model="table")
        predictor.fit(networks[:10], values[:10])
        assert predictor.predict(networks)[0] == pytest.approx(values, rel=1e-3)

    def test_the_table_is_chosen_where_it_is_clearly_best(self) -> None:
        networks = drawn(digits(), 60)
        prices = table(networks)
        # Layers whose latency no sum of costs tells: by the digits of their key.
        odd = {key: Row(0.01 + (sum(map(ord, key)) % 17) / 100) for key in prices.rows}
        strange = LatencyTable("toy", odd)
        values = np.array([0.1 + 1.3 * strange.price(digits().layers(a)) for a in networks])
        predictor = make_predictor("latency", digits(), table=strange)
        assert isinstance(predictor, LearnedPredictor)
        predictor.fit(networks[:45], values[:45])
        assert predictor.chosen == Candidate("table", "plain")
        assert predictor.predict(networks[45:])[0] == pytest.approx(values[45:], rel=1e-3)

    def test_a_layer_that_the_table_lacks_is_named(self) -> None:
        predictor = make_predictor("latency", digits(), table=table([digits().smallest()]))
        with pytest.raises(MissingRow, match="mbconv"):
            predictor.fit([digits().smallest(), digits().largest()], [1.0, 2.0])

    def test_a_busy_moment_during_one_measurement_does_little(self) -> None:
        networks = drawn(digits(), 100)
        values = np.array([latency(a) for a in networks])
        spoiled = values.copy()
        spoiled[7] *= 5
        reports = []
        for measured in (values, spoiled):
            predictor = make_predictor("latency", digits(), model="gaussian_process")
            predictor.fit(networks[:40], measured[:40])
            reports.append(held_out(predictor, networks[40:], values[40:]))
        assert reports[1].kendall_tau > reports[0].kendall_tau - 0.1

    def test_numbers_that_are_known_help(self) -> None:
        cells = drawn(CELLS, 300)
        values = np.array([on_device(a, 0) for a in cells])
        taus = []
        for known in (None, {"nearly": lambda a: on_device(a, 0) + 0.2 * a.genes[0]}):
            predictor = make_predictor("latency", CELLS, known=known)
            predictor.fit(cells[:10], values[:10])
            taus.append(held_out(predictor, cells[10:], values[10:]).kendall_tau)
        assert taus[1] > taus[0]


class TestDevices:
    cells = drawn(CELLS, 400)
    truth = np.array([on_device(a, 3) for a in cells])

    def device(self, which: int, measured: list[Architecture]) -> Device:
        return Device(f"device{which}", tuple(measured), tuple(on_device(a, which) for a in measured))

    def spearman(self, devices: list[Device], count: int = 10) -> float:
        predictor = make_predictor("latency", CELLS, devices=devices)
        predictor.fit(self.cells[:count], self.truth[:count])
        return held_out(predictor, self.cells[count:], self.truth[count:]).spearman

    def test_three_known_devices_make_ten_measurements_enough(self) -> None:
        alone = self.spearman([])
        helped = self.spearman([self.device(which, self.cells) for which in range(3)])
        assert helped > max(alone, 0.97)

    def test_devices_measured_on_other_architectures_help_too(self) -> None:
        others = drawn(CELLS, 120, seed=9)
        assert self.spearman([self.device(which, others) for which in range(3)]) > max(self.spearman([]), 0.95)

    def test_impossible_devices(self) -> None:
        with pytest.raises(ValueError, match="12 architectures and 1 latencies"):
            Device("phone", tuple(self.cells[:12]), (1.0,))
        with pytest.raises(ValueError, match=r"3 measurements; at least 10"):
            self.device(0, self.cells[:3])
        with pytest.raises(ValueError, match=r"-1\.0 ms"):
            Device("phone", tuple(self.cells[:12]), (-1.0,) * 12)
        with pytest.raises(ValueError, match=r"different names; got device0, device0"):
            make_predictor("latency", CELLS, devices=[self.device(0, self.cells)] * 2)
        with pytest.raises(ValueError, match="not of 'mobilenet/digits'"):
            make_predictor("latency", digits(), devices=[self.device(0, self.cells)])


class TestAccuracy:
    def test_networks_that_learned_nothing_do_not_set_the_scale(self) -> None:
        cells = drawn(CELLS, 500)

        def accuracy(a: Architecture) -> float:
            return 10.0 if a.genes[0] == 0 and a.genes[1] == 0 else 90 + on_device(a, 0) / 4

        values = np.array([accuracy(a) for a in cells])
        taus = {}
        for candidate in (Candidate("gaussian_process", "scores"), Candidate("ridge", "plain")):
            predictor = LearnedPredictor(CELLS, [candidate])
            predictor.fit(cells[:60], values[:60])
            taus[candidate.model] = held_out(predictor, cells[60:], values[60:]).kendall_tau
        assert taus["gaussian_process"] > taus["ridge"] + 0.1

    def test_the_default_is_chosen_by_validation(self) -> None:
        cells = drawn(CELLS, 60)
        predictor = make_predictor("accuracy", CELLS)
        assert isinstance(predictor, LearnedPredictor)
        predictor.fit(cells[:20], [on_device(a, 0) for a in cells[:20]])
        assert not predictor.errors
        predictor.fit(cells, [on_device(a, 0) for a in cells])
        assert predictor.chosen in predictor.errors
        assert set(predictor.errors) == set(predictor.candidates)
