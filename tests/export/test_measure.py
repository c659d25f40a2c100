"""Latency of a file, measured in an isolated process."""

import time

import numpy as np
import pytest
import torch

from export import measure as measuring
from export.formats.onnx import write
from export.measure import MeasurementError, cpu_name, describe_machine, measure
from search_space.plugins import load_family
from supernet.network import build_network

SPACE = load_family("mobilenet", "digits")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    write(build_network(SPACE.layers(SPACE.smallest())).eval(), torch.randn(2, 1, 8, 8), folder)
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def results(model):
    return measure(model, threads=[1, 2])


def test_there_is_a_result_for_every_number_of_threads(results):
    assert [result["threads"] for result in results] == [1, 2]


def test_a_latency_is_a_median_with_its_spread(results):
    for result in results:
        assert 0 < result["median_ms"] <= result["p95_ms"]
        assert 0 <= result["mad_ms"] < result["p95_ms"]
        assert result["runs"] >= measuring.MIN_RUNS
        assert result["warm_up_runs"] >= 2 * measuring.WINDOW


def test_a_latency_says_how_it_was_obtained(results):
    for result in results:
        assert result["batch"] == 1
        assert result["input_shape"] == [1, 1, 8, 8]
        assert result["dtype"] == "float32"
        assert result["target"] == "cpu-onnxruntime"
        assert set(result["versions"]) == {"onnxruntime", "python"}
        assert result["device"]
        assert result["isolated"] is True


def test_a_file_that_is_no_model_is_refused(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(MeasurementError, match=r"Measuring broken\.onnx failed with exit code 1: .*(Protobuf|INVALID)"):
        measure(broken, threads=[1])


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(MeasurementError, match=r"Measuring missing\.onnx failed with exit code 1: .*missing\.onnx"):
        measure(tmp_path / "missing.onnx", threads=[1])


def test_a_measurement_that_takes_too_long_is_ended(model):
    with pytest.raises(MeasurementError, match=r"Measuring model\.onnx took longer than 0\.01 s"):
        measure(model, threads=[1], timeout_seconds=0.01)


def test_warm_up_runs_are_not_in_the_times():
    calls = []

    def run():
        calls.append(time.sleep(0.001))

    times, warm_up_runs = measuring._time(run)
    assert len(times) + warm_up_runs == len(calls)
    assert np.median(times) >= 1.0


def test_the_machine_has_a_name_and_cores():
    described = describe_machine()
    assert described["device"] == cpu_name() != ""
    assert described["cores"] >= 1


def test_a_network_of_text_is_measured_on_token_ids(tmp_path):
    space = load_family("llama", "tiny")
    torch.manual_seed(0)
    network = build_network(space.layers(space.smallest())).eval()
    write(network, torch.zeros(2, 16, dtype=torch.int64), tmp_path)
    (result,) = measure(tmp_path / "model.onnx", threads=[1])
    assert result["input_shape"] == [1, 16]
    assert result["median_ms"] > 0
