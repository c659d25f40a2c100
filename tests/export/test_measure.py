"""Latency of a file, measured in isolated processes."""

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from export.measurable import write_measurable
from export.measure import Effort, MeasurementError, Setting, bench, cpu_name, describe_machine, measure, measure_many
from export.runtimes.onnxruntime.runtime import refusal, weights_dtype
from export.runtimes.torch.runtime import language_phases
from search_space.plugins import load_family
from supernet.network import build_network

SPACE = load_family("mobilenet", "digits")
LITTLE = Effort(processes=1, blocks=2, block_seconds=0.005, max_seconds=0.02)


def written(folder, space, architecture, example, setting):
    torch.manual_seed(0)
    layers = space.layers(architecture)
    return write_measurable(build_network(layers).eval(), layers, example, folder, setting)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The smallest digits network as ONNX."""
    folder = tmp_path_factory.mktemp("model")
    return written(folder, SPACE, SPACE.smallest(), torch.randn(2, 1, 8, 8), Setting())


@pytest.fixture(scope="module")
def results(model):
    """One and two threads, a batch of three, two processes."""
    return measure(model, [1, 2], batch=3, effort=Effort(blocks=4, max_seconds=0.2))


def test_there_is_a_result_for_every_number_of_threads(results):
    assert [result["threads"] for result in results] == [1, 2]


def test_a_latency_is_a_median_with_its_spread(results):
    for result in results:
        low, high = result["interval_ms"]
        assert 0 <= low < result["median_ms"] < high
        assert result["median_ms"] <= result["p95_ms"]
        assert result["mad_ms"] >= 0
        assert result["processes"] == 2
        assert result["blocks"] >= 4
        assert result["runs"] >= 3 * 4 / 2


def test_a_latency_says_how_it_was_obtained(results):
    result = results[0]
    assert (result["metric"], result["target"], result["phase"]) == ("latency_ms", "cpu-onnxruntime", "forward")
    assert (result["batch"], result["input_shape"], result["dtype"]) == (3, [3, 1, 8, 8], "float32")
    assert result["isolated"] is True
    assert set(result["versions"]) == {"onnxruntime", "python"}
    assert result["memory_bytes"] > 10_000
    assert result["affinity"]
    assert "load_average" in result["clocks_before"]
    assert result["device"] == cpu_name() != ""
    assert describe_machine()["cores"] >= 1


def test_one_broken_file_among_many_has_its_error_and_the_others_their_numbers(model, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    missing = tmp_path / "missing.onnx"
    good, broken, gone = measure_many([model, tmp_path / "broken.onnx", missing], [Setting()], LITTLE)
    assert good[0]["median_ms"] > 0
    assert isinstance(broken, MeasurementError)
    assert "broken.onnx" in str(broken)
    assert "missing.onnx" in str(gone)


def test_a_process_that_is_silent_for_too_long_is_ended(model):
    with pytest.raises(MeasurementError, match=r"Measuring model\.onnx took longer than 0\.01 s"):
        measure(model, [1], timeout_seconds=0.01)


def test_a_missing_operator_is_named(tmp_path):
    node = helper.make_node("Warble", ["x"], ["y"], domain="com.example")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    path = tmp_path / "strange.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    with pytest.raises(MeasurementError, match="no operator Warble") as raised:
        measure(path, effort=LITTLE)
    assert raised.value.operator == "Warble"


def test_the_runtimes_own_words_for_a_missing_kernel_are_understood(tmp_path):
    said = "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for QLinearGlobalPool(1) node"
    assert refusal(tmp_path, RuntimeError(said)).operator == "QLinearGlobalPool"


def test_a_network_larger_than_the_memory_is_refused_with_both_numbers(model, monkeypatch):
    monkeypatch.setattr(bench, "available_memory_bytes", lambda: 1000)
    with pytest.raises(MeasurementError, match=r"does not fit in this machine's memory: it needs about .* are free"):
        measure(model)


def test_networks_that_fit_once_but_not_twice_are_measured_in_one_process(model, monkeypatch):
    size = model.stat().st_size
    monkeypatch.setattr(bench, "available_memory_bytes", lambda: int(3 * size))
    assert bench._fitting_processes([model], 2, {}) == 1


def test_an_unknown_runtime_and_no_threads_are_refused():
    with pytest.raises(ValueError, match="Got runtime 'abacus'"):
        Setting("abacus")
    with pytest.raises(ValueError, match="at least 1"):
        Setting(threads=0)


def test_a_runtime_that_this_machine_lacks_says_so(model):
    with pytest.raises(MeasurementError, match="no CUDAExecutionProvider"):
        measure(model, runtime="cuda-onnxruntime", effort=LITTLE)


def test_the_dtype_of_a_file_is_that_of_its_weights(tmp_path):
    def weight(name, kind, shape):
        return helper.make_tensor(name, kind, shape, [0] * (shape[0] * shape[1]))

    weights = [weight("a", TensorProto.INT8, (8, 8)), weight("b", TensorProto.FLOAT, (2, 2))]
    graph = helper.make_graph([], "g", [], [], initializer=weights)
    onnx.save(helper.make_model(graph), tmp_path / "q.onnx")
    assert weights_dtype(tmp_path / "q.onnx") == "int8 + float32"


@pytest.mark.thorough
def test_torch_runs_the_bundles_own_code(tmp_path):
    setting = Setting("cpu-torch")
    folder = written(tmp_path, SPACE, SPACE.smallest(), torch.randn(2, 1, 8, 8), setting)
    (result,) = measure(folder, runtime="cpu-torch", effort=LITTLE)
    assert (result["phase"], result["dtype"], result["input_shape"]) == ("forward", "float32", [1, 1, 8, 8])
    assert result["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize("groups", [1, 4])
def test_the_token_that_decoding_adds_sees_the_whole_prompt(groups):
    space = load_family("llama", "tiny")
    values = {name: groups if name.endswith("kv_heads") else value for name, value in space.largest().values.items()}
    torch.manual_seed(0)
    network = build_network(space.layers(space.architecture(**values))).eval()
    prompt = torch.randint(0, 256, (2, 16))
    with torch.no_grad():
        phases = language_phases(network, prompt)
        torch.testing.assert_close(phases["prefill"](), network(prompt), rtol=1e-4, atol=1e-5)
        longer = network(torch.cat([prompt, torch.zeros(2, 1, dtype=torch.int64)], dim=1))
        for _ in range(2):  # at the same place however often
            torch.testing.assert_close(phases["decode"](), longer[:, -1:], rtol=1e-4, atol=1e-5)


@pytest.mark.thorough
def test_a_language_model_has_a_prefill_and_with_torch_a_decode(tmp_path):
    space = load_family("llama", "tiny")
    tokens = torch.zeros(2, 16, dtype=torch.int64)
    path = written(tmp_path / "onnx", space, space.smallest(), tokens, Setting())
    (prefill,) = measure(path, effort=LITTLE)
    assert (prefill["phase"], prefill["input_shape"]) == ("prefill", [1, 16])
    assert prefill["tokens_per_second"] == pytest.approx(16_000 / prefill["median_ms"])
    folder = written(tmp_path / "torch", space, space.smallest(), tokens, Setting("cpu-torch"))
    prefill, decode = measure(folder, runtime="cpu-torch", effort=LITTLE)
    assert (prefill["phase"], decode["phase"]) == ("prefill", "decode")
    assert decode["tokens_per_second"] == pytest.approx(1000 / decode["median_ms"])
    assert prefill["time_to_first_token_ms"] == prefill["median_ms"]


def test_a_measurement_says_how_far_it_is(tmp_path):
    space = load_family("mobilenet", "digits")
    inputs = torch.zeros(1, 1, 8, 8)
    ends = (space.smallest(), space.largest())
    paths = [written(tmp_path / str(number), space, one, inputs, Setting()) for number, one in enumerate(ends)]
    heard = []
    # While somebody else measures on this machine, nothing is known of the share.
    measure_many(paths, [Setting()], LITTLE, tick=lambda done=None: done is not None and heard.append(done))
    assert heard == sorted(heard)
    assert heard[0] < 0.1
    assert heard[-1] == 1
    assert len(set(heard)) > 5


def test_whoever_waits_for_another_measurement_can_be_stopped() -> None:
    from export.measure.bench import one_at_a_time

    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    with one_at_a_time(), pytest.raises(Stopped), one_at_a_time(stop):
        pass
    with one_at_a_time(stop):
        pass
