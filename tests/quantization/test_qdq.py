"""Quantized networks in ONNX Runtime's integer kernels against their fake-quantized evaluation."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export.formats.onnx import traced as onnx_format
from predictors.cost import weight_bytes
from quantization.calibration import with_stated_policy
from quantization.layer import FakeQuantized
from quantization.qdq import quantize_file, tensor_bytes
from search_space.layers import Precision
from supernet.network import build_network
from tests.quantization.networks import FAMILIES, inputs_for, quantizable, space_of
from tests.tiers import mostly_thorough


def shake(network, seed=0):
    """Values that differ, where fresh networks have ones and zeros, which an exporter stores once for all."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


def write(made, policy, inputs, folder):
    onnx_format.write_for_measuring(made.folded, inputs, folder)
    quantize_file(folder / "model.onnx", {made.paths[name]: plan for name, plan in made.plans(policy).items()})
    return folder / "model.onnx"


def run(path, inputs, optimized=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Weights alone are quantized here; by default the runtime also stores the activations of such layers in bytes.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if optimized:
        options.optimized_model_filepath = str(optimized)
    session = onnxruntime.InferenceSession(str(path), options)
    names = [tensor.name for tensor in session.get_inputs()]  # of padded texts also a mask
    # One by one, as the runtime has it at batch one: dynamic ranges are those of an example.
    return np.concatenate(
        [
            session.run(None, dict(zip(names, (x[None].numpy(), np.ones((1, len(x)), bool)), strict=False)))[0]
            for x in inputs
        ]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_file_computes_and_weighs_what_was_evaluated_and_counted(family, tmp_path):
    space = space_of(family, modes=("symmetric", "asymmetric"))
    rng = np.random.default_rng(1)
    for architecture in (space.smallest(), space.sample(rng)):
        made = quantizable(space, architecture)
        shake(made.folded)
        made._plans.clear()
        policy = space.policy(architecture)
        inputs = inputs_for(space, 6, seed=2)
        path = write(made, policy, inputs, tmp_path)
        with torch.no_grad():
            expected, full = made.with_policy(policy)(inputs).numpy(), made.folded(inputs).numpy()
        got = run(path, inputs)
        error = np.abs(full - expected).mean()
        assert error > 0
        # Rounding to the next step at ties, and what follows from it, stays below what quantization itself costs.
        assert np.abs(got - expected).mean() < error
        counted = weight_bytes(space, architecture)
        if family != "llama":  # whose rotations are constants of the graph, and no weights
            assert abs(tensor_bytes(path) - counted) / counted < 0.02


def test_every_convolution_becomes_an_integer_kernel(tmp_path):
    space = space_of("mobilenet")
    architecture = space.quantized(space.base.largest(), 8)
    made = quantizable(space, architecture)
    policy = space.policy(architecture)
    path = write(made, policy, inputs_for(space, 2), tmp_path)
    run(path, inputs_for(space, 1), tmp_path / "optimized.onnx")
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "optimized.onnx")).graph.node]
    convolutions = sum(not name.endswith("classifier") for name in policy)
    assert kinds.count("QLinearConv") == convolutions
    assert kinds.count("QGemm") == 1
    assert "Conv" not in kinds
    assert "Relu" not in kinds  # cutting off below zero is part of storing bytes


@pytest.mark.parametrize("calibrated", mostly_thorough(["minmax", "kl", "percentile", "on noise"], "on noise"))
def test_so_does_every_convolution_of_a_mix_whatever_it_was_calibrated_on(calibrated, tmp_path):
    space = space_of("mobilenet")
    architecture = space.sample(np.random.default_rng(1))
    policy = space.policy(architecture)
    if calibrated == "on noise":
        layers = space.layers(architecture)
        example = inputs_for(space, 1) * 0
        network = with_stated_policy(build_network(layers).eval(), layers, example)
        onnx_format.write_for_measuring(network, example, tmp_path)
    else:
        write(quantizable(space, architecture, calibrated), policy, inputs_for(space, 2), tmp_path)
    run(tmp_path / "model.onnx", inputs_for(space, 1), tmp_path / "optimized.onnx")
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "optimized.onnx")).graph.node]
    in_bytes = [name for name, precision in policy.items() if not precision.is_full]
    convolutions = sum(not name.endswith("classifier") for name in in_bytes)
    assert 0 < len(in_bytes) < len(policy)
    assert kinds.count("QLinearConv") == convolutions


def test_layers_left_in_float_stay_in_float_between_integer_ones(tmp_path):
    """By default ONNX Runtime makes such a layer an integer one by itself, with weights of its own rounding."""
    space = space_of("mobilenet")
    largest = space.base.largest()
    names = list(space.policy(space.quantized(largest, 8)))
    architecture = space.quantized(largest, {name: 8 if i % 2 else 32 for i, name in enumerate(names)})
    policy = space.policy(architecture)
    made = quantizable(space, architecture)
    shake(made.folded)
    made._plans.clear()
    inputs = inputs_for(space, 6, seed=2)
    path = write(made, policy, inputs, tmp_path)
    got = run(path, inputs, tmp_path / "optimized.onnx")
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "optimized.onnx")).graph.node]
    convolutions = [precision.is_full for name, precision in policy.items() if not name.endswith("classifier")]
    assert kinds.count("QLinearConv") == convolutions.count(False)
    assert kinds.count("Conv") + kinds.count("FusedConv") == convolutions.count(True)
    with torch.no_grad():
        expected, full = made.with_policy(policy)(inputs).numpy(), made.folded(inputs).numpy()
    assert np.abs(got - expected).mean() < 0.1 * np.abs(full - expected).mean()


SCHEMES = ("int8_static", "int8_dynamic", "int8_weight", "int4_weight")
LINEAR = [(scheme, name) for scheme in SCHEMES for name in ("layer1.query", "head.pooler")]


@pytest.mark.parametrize(("scheme", "name"), mostly_thorough(LINEAR, *LINEAR[::2]))
def test_one_linear_layer_is_within_a_step_of_onnxruntimes(scheme, name, tmp_path):
    space = space_of("bert")
    made = quantizable(space, space.largest())
    precision = Precision(scheme, group=32 if scheme == "int4_weight" else 0)
    layer, plan = made.layer(name), made.plan(name, precision)
    x = torch.randn(5, layer.in_features) * 2
    x = x if name == "head.pooler" else x[:, None]
    onnx_format.write_for_measuring(Wrapped(layer, torch.nn.Identity()), x, tmp_path)
    quantize_file(tmp_path / "model.onnx", {"it": plan})

    with torch.no_grad():
        expected = FakeQuantized(layer, plan)(x).numpy()
    step = plan.inputs.scale * float(plan.weight.scale.max()) if plan.inputs else 1e-5
    assert np.abs(run(tmp_path / "model.onnx", x) - expected).max() <= max(step, 1e-5)


CONVOLUTIONS = [
    (name, mode)
    for name in ("stem.conv", "stage1_block1.depthwise", "stage2_block1.expand")
    for mode in ("symmetric", "asymmetric")
]


@pytest.mark.parametrize(("name", "mode"), mostly_thorough(CONVOLUTIONS, CONVOLUTIONS[0], CONVOLUTIONS[3]))
def test_one_convolution_is_within_a_step_of_onnxruntimes(name, mode, tmp_path):
    space = space_of("mobilenet")
    made = quantizable(space, space.largest())
    layer, plan = made.layer(name), made.plan(name, Precision("int8_static", mode))
    x = torch.randn(4, layer.in_channels, 8, 8)
    onnx_format.write_for_measuring(Wrapped(layer, torch.nn.ReLU()), x, tmp_path)
    quantize_file(tmp_path / "model.onnx", {"it": plan})

    with torch.no_grad():
        expected = FakeQuantized(layer, plan)(x).numpy()
    difference = np.abs(run(tmp_path / "model.onnx", x) - expected)
    assert difference.max() <= plan.outputs.scale * 1.001
    assert (difference < plan.outputs.scale / 2).mean() > 0.999


class Wrapped(torch.nn.Module):
    """A layer and the activation after it."""

    def __init__(self, layer, activation):
        super().__init__()
        self.it, self.activation = layer, activation

    def forward(self, x):
        return self.activation(self.it(x))


def test_16_bits_are_refused_for_onnxruntime(tmp_path):
    space = space_of("llama")
    made = quantizable(space, space.largest())
    with pytest.raises(ValueError, match="no kernels for scheme 'bf16'"):
        write(made, {"layer1.query": Precision("bf16")}, inputs_for(space, 2), tmp_path)
