"""Weights in bytes use eight bits where kernels multiply them exactly, and every file says how many it uses."""

import json
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export.formats.onnx import format as onnx_format
from export.formats.openvino import format as openvino_format
from export.runtimes.onnxruntime import exactness
from export.runtimes.onnxruntime.exactness import EXACTLY, SATURATES, exact_weight_bits
from export.tools import CannotWrite
from job.quantization_spec import QuantizationSpec
from job.spec import JobSpec
from pipeline.check import said_of_weight_bits
from predictors.tables import key_of
from quantization.quantizable import applied_to
from quantization.stored import recipe_of
from search_space.layers import ConvSpec, Precision
from tests.quantization.networks import inputs_for, quantizable, space_of
from tests.tiers import mostly_thorough

WIDE = "flags\t\t: fpu avx2 avx512_vnni fma\n"
NARROW = "processor\t: 0\nflags\t\t: fpu avx2 avx512bw fma\n"


@pytest.fixture
def asked():
    exactness._found.cache_clear()
    yield exact_weight_bits
    exactness._found.cache_clear()


def saturates() -> bool:
    """What kernels here really do."""
    space: dict[str, object] = {}
    exec(SATURATES, space)
    return space["saturates"]()


def test_this_machine_is_what_its_kernels_do(asked):
    assert asked() == (7 if saturates() else 8)


@pytest.mark.parametrize(
    ("flags", "machine", "printed", "bits"),
    [
        (NARROW, "x86_64", None, 7),
        (WIDE, "x86_64", "False", 8),
        (WIDE, "x86_64", "True", 7),
        (None, "arm64", "False", 8),
        ("Features\t: fp asimd asimddp\n", "aarch64", "True", 7),
        (WIDE, "x86_64", "", 7),
    ],
)
def test_flags_rule_out_and_a_product_decides(flags, machine, printed, bits, asked, monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    if flags is not None:
        info.write_text(flags)
    monkeypatch.setattr(exactness, "CPUINFO", info)
    monkeypatch.setattr(exactness.platform, "machine", lambda: machine)

    def run(command, **_):
        assert printed is not None, "a processor that cannot was asked"
        return subprocess.CompletedProcess(command, 0, stdout=f"{printed}\n")

    monkeypatch.setattr(exactness.subprocess, "run", run)
    assert asked() == bits


def test_what_a_busy_machine_did_not_answer_is_asked_again(asked, monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text(WIDE)
    monkeypatch.setattr(exactness, "CPUINFO", info)
    monkeypatch.setattr(exactness.platform, "machine", lambda: "x86_64")
    answers = iter([subprocess.TimeoutExpired("python", 60), subprocess.CompletedProcess([], 0, stdout="False\n")])

    def run(command, **_):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(exactness.subprocess, "run", run)
    assert [asked(), asked(), asked()] == [7, 8, 8]


def files(tmp_path, bits):
    """(network with a policy all in INT8, inputs, folder with its files)."""
    space = space_of("mobilenet", weight_bits=bits)
    architecture = space.quantized(space.base.largest(), 8)
    made = quantizable(space, architecture)
    network, inputs = made.with_policy(space.policy(architecture)), inputs_for(space, 16, seed=1)
    folder = tmp_path / str(bits)
    folder.mkdir()
    onnx_format.write(network, inputs[:2], folder)
    return network, inputs, folder


def answers_of(folder, inputs, **entries):
    options = onnxruntime.SessionOptions()
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0]


@pytest.mark.parametrize("bits", mostly_thorough([7, 8], 8))
def test_a_file_says_its_bits_and_computes_what_was_scored(bits, tmp_path):
    network, inputs, folder = files(tmp_path, bits)
    model = onnx.load(str(folder / "model.onnx"))
    assert {prop.key: prop.value for prop in model.metadata_props}["weight_bits"] == str(bits)
    stored = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert max(int(np.abs(t.astype(int)).max()) for t in stored if t.ndim > 1) == (64 if bits == 7 else 127)
    with torch.no_grad():
        expected = network(inputs).numpy()
    # As `verify` and `winnow verify` reload it: exactly, whatever kernels this machine has.
    reloaded: dict[str, object] = {}
    exec(onnx_format.RELOAD, reloaded)
    got = reloaded["reload"](str(folder))(inputs.numpy())
    # Ties may be rounded to the other step.
    assert np.abs(got - expected).mean() < 0.01 * expected.std()
    assert (got.argmax(1) == expected.argmax(1)).all()


@pytest.mark.thorough
def test_where_kernels_saturate_a_file_of_eight_bits_is_told_of(tmp_path, monkeypatch):
    folder = files(tmp_path, 8)[2]
    assert onnx_format.remark(files(tmp_path, 7)[2]) is None
    monkeypatch.setattr(onnx_format, "exact_weight_bits", lambda: 7)
    assert f'checked with the session option {EXACTLY} = "1"' in str(onnx_format.remark(folder))
    monkeypatch.setattr(onnx_format, "exact_weight_bits", lambda: 8)
    assert onnx_format.remark(folder) is None


@pytest.mark.thorough
def test_openvino_refuses_them_where_its_kernels_saturate(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    network, inputs, _ = files(tmp_path, 8)
    monkeypatch.setattr(openvino_format, "exact_weight_bits", lambda: 7)
    with pytest.raises(CannotWrite, match="OpenVINO's kernels on this machine saturate without VNNI"):
        openvino_format.write(network, inputs[:2], tmp_path)
    monkeypatch.setattr(openvino_format, "exact_weight_bits", lambda: 8)
    openvino_format.write(network, inputs[:2], tmp_path)
    assert openvino_format.remark(tmp_path) is None
    monkeypatch.setattr(openvino_format, "exact_weight_bits", lambda: 7)
    assert "its answers may be wrong" in str(openvino_format.remark(tmp_path))


@pytest.mark.skipif("not saturates()", reason="this machine's kernels are exact")
def test_without_the_option_a_file_of_eight_bits_is_wrong_here(tmp_path):
    """If this fails, ONNX Runtime has become exact without VNNI, and seven bits are needed no more."""
    space = space_of("mobilenet", weight_bits=8)
    architecture = space.quantized(space.base.largest(), 8)
    made = quantizable(space, architecture)
    with torch.no_grad():
        # Weights of one sign, and inputs of large bytes: sums of pairs of products are as large as they get.
        for parameter in made.folded.parameters():
            if parameter.dim() > 1:
                parameter.abs_()
    network, inputs = made.with_policy(space.policy(architecture)), inputs_for(space, 16, seed=1).abs() * 5
    onnx_format.write(network, inputs[:2], tmp_path)
    exact = answers_of(tmp_path, inputs, **{EXACTLY: "1"})
    assert np.abs(answers_of(tmp_path, inputs) - exact).max() > 0.05 * exact.std()


def test_tensors_say_their_bits_too():
    for bits in (7, 8):
        space = space_of("mobilenet", weight_bits=bits)
        architecture = space.quantized(space.base.largest(), 8)
        applied = applied_to(quantizable(space, architecture).with_policy(space.policy(architecture)))
        told = {layer.get("weight_bits", 7) for layer in recipe_of(applied)["layers"].values()}
        assert told == {bits}
        assert json.dumps(recipe_of(applied))


def test_eight_bits_are_another_key_of_latency_and_another_word():
    seven, eight = Precision("int8_static"), Precision("int8_static", weight_bits=8)
    assert (str(seven), str(eight)) == ("int8_static, symmetric", "int8_static, symmetric, 8 bits of weights")
    spec = ConvSpec(3, 8, 3, 1, 8, "ReLU")
    assert key_of(spec.uniform(seven)) != key_of(spec.uniform(eight))
    with pytest.raises(ValueError, match="Scheme 'int8_weight' has no weights of 8 bits in their bytes; int8_static"):
        Precision("int8_weight", weight_bits=8)
    with pytest.raises(ValueError, match="no weights of 6 bits"):
        Precision("int8_static", weight_bits=6)


def test_a_job_says_them_and_seven_is_what_is_right_everywhere():
    assert QuantizationSpec(bits=(8, 32)).quantization().precision(8, "symmetric").weight_bits == 7
    asked = QuantizationSpec(bits=(4, 8, 32), weight_bits=8).quantization()
    assert asked.precision(8, "symmetric").weight_bits == 8
    assert asked.precision(4, "symmetric").weight_bits == 7
    with pytest.raises(ValueError, match="Input should be 7 or 8"):
        QuantizationSpec(bits=(8, 32), weight_bits=6)


def test_a_job_of_eight_bits_on_a_machine_of_seven_is_told():
    spec = JobSpec.model_validate({"recipe": "simq_nas", "quantization": {"bits": [8, 32], "weight_bits": 8}})
    assert "kernels of ONNX Runtime on narrow-board are not known to be exact" in str(
        said_of_weight_bits(spec, 7, "narrow-board")
    )
    assert said_of_weight_bits(spec, 8, "this machine") is None
    narrow = spec.quantization.model_copy(update={"weight_bits": 7})
    assert said_of_weight_bits(spec.model_copy(update={"quantization": narrow}), 7, "this machine") is None
