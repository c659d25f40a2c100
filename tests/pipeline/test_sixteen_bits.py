"""A checkpoint of 16-bit floats: 16 bits are counted, measured and shipped, and trained weights are rounded."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from export.bundle import BundleContents, write_bundle
from export.measurable import write_measurable
from export.runtimes.torch.runtime import prepare
from pipeline.materials import fresh_supernet, prepare_data
from pipeline.shipping import rounded, shipped
from predictors.cost import costs, params
from predictors.setting import Setting
from supernet.evaluate import accuracy
from tests.pipeline.test_checkpoint_job import (
    CPU,
    PROCESSOR,
    bert,
    checked,
    largest,
    pictures,
    text_spec,
    texts,
    vit,
    vit_spec,
)


def in_type(folder: Path, dtype: torch.dtype) -> Path:
    tensors = {name: value.to(dtype) for name, value in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config.pop("torch_dtype", None)
    config["dtype"] = str(dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.thorough)])
def test_sixteen_bits_are_counted_measured_and_shipped_as_such(dtype, tmp_path):
    checkpoint, path = bert(tmp_path / "ck", ("pos", "neg")), texts(tmp_path, {"good": "pos", "bad": "neg"})
    full = text_spec(checkpoint, path)
    spec = text_spec(in_type(checkpoint, dtype), path)
    name = str(dtype).removeprefix("torch.")
    assert any(f"shipped in {name}" in text for text in checked(tmp_path, spec).messages)

    space = spec.supernet.space()
    architecture = space.largest()
    assert costs(space, architecture)["size_bytes"] == 2 * params(space, architecture)
    assert costs(full.supernet.space(), architecture)["size_bytes"] == 4 * params(space, architecture)
    as_asked = text_spec(checkpoint, path, dtype="float32").supernet.space()
    assert costs(as_asked, architecture)["size_bytes"] == 4 * params(space, architecture)

    network, data = largest(spec)
    layers, inputs = space.layers(architecture), data.test.inputs(slice(0, 4))
    network = shipped(network, spec)
    subject = BundleContents(network, layers, {"dtype": name}, "# card\n")
    bundle = write_bundle(subject, inputs, data.test.y[:4], tmp_path / "bundle")
    stored = load_file(bundle.folder / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {dtype}
    assert sum(value.nbytes for value in stored.values()) == costs(space, architecture)["size_bytes"]
    assert bundle.report["formats"]["safetensors"]["max_abs_difference"] == 0
    assert accuracy(network, data.test) == 1.0

    setting = Setting("cpu-torch", dtype=name)
    measurable = write_measurable(largest(spec)[0], layers, inputs, tmp_path / "measured", setting)
    assert prepare(measurable, setting).facts["dtype"] == name
    torch.set_grad_enabled(True)


def test_trained_weights_are_rounded_to_what_is_shipped(tmp_path):
    checkpoint, path = bert(tmp_path / "ck", ("pos", "neg")), texts(tmp_path, {"good": "pos", "bad": "neg"})
    spec = text_spec(in_type(checkpoint, torch.bfloat16), path)
    space = spec.supernet.space()
    supernet = fresh_supernet(spec, space, prepare_data(spec, space, CPU), CPU)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(1e-5)
    for parameter in rounded(supernet, spec).parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, parameter.bfloat16().float())


def test_a_type_that_is_none_is_refused(tmp_path):
    checkpoint = bert(tmp_path / "ck", ("pos", "neg"))
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "dtype": "int8"}))
    with pytest.raises(ValidationError, match="has dtype 'int8'; known are"):
        text_spec(checkpoint, tmp_path / "lab.tsv")


@pytest.mark.thorough
def test_images_go_through_sixteen_bits_too(tmp_path):
    spec = vit_spec(in_type(vit(tmp_path / "ck", PROCESSOR), torch.bfloat16), pictures(tmp_path / "set"))
    network, data = largest(spec)
    layers, inputs = spec.supernet.space().layers(spec.supernet.space().largest()), data.test.inputs(slice(0, 4))
    assert 0 <= accuracy(shipped(network, spec), data.test) <= 1
    subject = BundleContents(shipped(network, spec), layers, {"dtype": "bfloat16"}, "# card\n")
    report = write_bundle(subject, inputs, data.test.y[:4], tmp_path / "bundle").report
    assert report["formats"]["safetensors"]["max_abs_difference"] == 0
    setting = Setting("cpu-torch", dtype="bfloat16")
    measurable = write_measurable(network, layers, inputs, tmp_path / "measured", setting)
    assert prepare(measurable, setting).facts["dtype"] == "bfloat16"
    torch.set_grad_enabled(True)
