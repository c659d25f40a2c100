"""Bundles of quantized networks: integers in the files, reloaded without Winnow."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from export import proof
from export.bundle import BundleContents, write_bundle
from export.runtimes.onnxruntime.exactness import exact_weight_bits
from predictors.cost import weight_bytes
from search_space.layers import Precision
from supernet.flat import own_tensors
from tests.quantization.networks import inputs_for, quantizable, space_of


@pytest.mark.thorough
def test_a_quantized_llama_reloads_and_its_weights_are_integers(tmp_path):
    """Images go the same way in tests/e2e/test_quantized_job.py."""
    space = space_of("llama")
    architecture = space.sample(np.random.default_rng(0))
    made = quantizable(space, architecture)
    network = made.with_policy(space.policy(architecture))
    inputs = inputs_for(space, 12, seed=3)
    with torch.no_grad():
        labels = network(inputs).argmax(-1)
    layers = space.layers(architecture)
    bundle = write_bundle(
        BundleContents(network, layers, {"format": "test"}, "# card\n"), inputs, labels, tmp_path / "one"
    )
    formats = bundle.report["formats"]
    assert formats["safetensors"]["max_abs_difference"] == 0.0
    assert formats["safetensors"]["accuracy"] == 1.0
    assert formats["onnx"]["accuracy_difference"] <= formats["onnx"]["accuracy_tolerance"]
    recipe = json.loads((bundle.folder / "quantization.json").read_text())
    tensors = load_file(bundle.folder / "model.safetensors")
    assert recipe["layers"]
    for path, how in recipe["layers"].items():
        assert tensors[f"{path}.values"].dtype in (torch.uint8, torch.int8)
        assert f"{path}.weight" not in tensors
        assert Precision(how["scheme"], how["mode"], how["group"]) in space.policy(architecture).values()
    stored = sum(tensor.nbytes for tensor in tensors.values())
    assert stored == pytest.approx(weight_bytes(space, architecture), rel=0.02)


def test_sixteen_bits_are_stored_in_sixteen_bits():
    from quantization.quantizable import applied_to
    from quantization.stored import stored_network

    space = space_of("llama")
    made = quantizable(space, space.largest())
    policy = {name: Precision("bf16") for name in made.paths if not name.startswith("embedding")}
    network = made.with_policy(policy)
    stored = stored_network(applied_to(network))
    inputs = inputs_for(space, 3)
    with torch.no_grad():
        assert torch.equal(stored(inputs), network(inputs))
    sizes = {name: tensor.dtype for name, tensor in own_tensors(stored).items() if name.endswith("values")}
    assert set(sizes.values()) == {torch.bfloat16}
    assert len(sizes) == len(policy)


def test_torch_measures_a_quantized_llama_as_it_is_stored(tmp_path):
    from export.measurable import write_measurable
    from export.measure import Setting
    from export.runtimes.torch import runtime

    space = space_of("llama", bits=(4, 8, 16))
    architecture = space.sample(np.random.default_rng(1))
    layers = space.layers(architecture)
    made = quantizable(space, architecture)
    network = made.with_policy(space.policy(architecture))
    setting = Setting("cpu-torch")
    path = write_measurable(network, layers, inputs_for(space, 1), tmp_path / "network", setting)
    prepared = runtime.prepare(path, setting)
    torch.set_grad_enabled(True)
    assert set(prepared.phases) == {"prefill", "decode"}
    assert all(run() > 0 for run in prepared.phases.values())


@pytest.mark.thorough
def test_a_bundle_of_eight_bits_is_exact_and_says_where_it_is_not(tmp_path, capsys):
    """Checked when it is written, and by `winnow verify`, on whatever machine this is."""
    space = space_of("mobilenet", weight_bits=8)
    architecture = space.quantized(space.base.largest(), 8)
    network = quantizable(space, architecture).with_policy(space.policy(architecture))
    inputs = inputs_for(space, 8, seed=3)
    with torch.no_grad():
        labels = network(inputs).argmax(-1)
    contents = BundleContents(network, space.layers(architecture), {"space": space.name}, "# card\n", formats=("onnx",))
    bundle = write_bundle(contents, inputs, labels, tmp_path / "one")
    saturates = exact_weight_bits() == 7
    assert bundle.report["formats"]["onnx"]["accuracy_difference"] == 0
    assert len(bundle.report.get("remarks", [])) == saturates
    assert ("without it, its answers here may be wrong" in (bundle.folder / "README.md").read_text()) == saturates
    assert proof.main([str(bundle.archive)]) == 0
    assert ("kernels of ONNX Runtime on this machine saturate" in capsys.readouterr().out) == saturates
