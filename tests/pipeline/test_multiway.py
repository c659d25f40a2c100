"""Networks of an image and a text in one sequence in the stages of a job: trained, searched with bits, written."""

from __future__ import annotations

import pytest
import torch

from export.formats.onnx.format import write as write_onnx
from export.measurable import write_fresh
from job.resolve import resolve
from job.spec import JobSpec
from pipeline import samples
from pipeline.check import check
from pipeline.materials import fresh_supernet, make_trainer, prepare_data
from pipeline.traced_layers import layers_of
from plugins.kinds import RUNTIMES
from predictors.instrument import Specimen
from predictors.setting import Setting
from quantization.quantized_evaluator import QuantizedEvaluator
from quantization.sensitivity import sensitivities
from search_space.adjustments import Adjustments
from search_space.plugins import load_family
from supernet.data.sources.labelled_pairs import example
from supernet.network import extract
from tests.pipeline.bench import MemoryReporter
from tests.supernet import beit3, beit3_vqa

CPU = torch.device("cpu")


def job(folder, **parts):
    beit3.with_tokenizer(beit3_vqa.saved(folder / "ck"))
    (folder / "data").mkdir()
    return {
        "recipe": "simq_nas",
        "supernet": {"family": "multiway", "pretrained": str(folder / "ck"), "importance": "activation"},
        "data": {"source": "labelled_pairs", **example.write(folder / "data"), "length": beit3.LENGTH},
        "training": {"epochs": 20, "batch_size": 16, "learning_rate": 1e-3, "options": {"num_random": 1}},
        "objectives": [{"metric": "accuracy"}, {"metric": "size_bytes"}],
        "quantization": {"bits": [8, 32], "tie": "block", "calibration_examples": 16},
        "search": {"algorithm": "random", "evaluations": 6},
        **parts,
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    spec = resolve(JobSpec.model_validate(job(tmp_path_factory.mktemp("multiway"))))
    check(spec, spec.supernet.space(), MemoryReporter())
    data = prepare_data(spec, spec.supernet.space(), CPU)
    return spec, data, fresh_supernet(spec, spec.supernet.space(), data, CPU)


def test_a_job_is_checked_and_trained_by_its_method(prepared):
    spec, data, supernet = prepared
    assert data.preprocessing["mean"] == [127.5] * 3
    assert sorted(data.preprocessing["labels"]) == ["blue", "green", "no", "red", "yes"]
    trainer = make_trainer(spec, supernet, data)
    seen = [float(trainer.step()["loss_largest"]) for _ in range(30)]
    assert sum(seen[-5:]) < 0.8 * sum(seen[:5]), seen
    assert all(torch.isfinite(parameter).all() for parameter in supernet.parameters())


def test_policies_of_both_halves_are_scored_by_accuracy(prepared):
    spec, data, supernet = prepared
    space = spec.space()
    evaluator = QuantizedEvaluator(supernet, data, 0, 0, space, observer="minmax", calibration_examples=16)
    full, small = space.quantized(space.base.largest(), 32), space.quantized(space.base.largest(), 8)
    found = evaluator.evaluate([full, small])
    assert all(0 <= one.metrics["accuracy"] <= 1 for one in found)
    assert found[1].metrics["size_bytes"] < 0.5 * found[0].metrics["size_bytes"]
    names = {layer for layer, precision in space.policy(small).items() if not precision.is_full}
    assert {"layer1.image_query", "layer1.text_ffn_out", "layer3.text_key", "head.wide"} <= names
    assert "layer3.text_query" not in names
    made = evaluator.quantizable(space.base.largest())
    candidates = {name: [precision] for name, precision in space.policy(small).items() if not precision.is_full}
    some = dict(list(candidates.items())[:2])
    assert all(one.divergence >= 0 and 0 <= one.agreement <= 1 for one in sensitivities(made, some, evaluator.examples))


def test_what_is_kept_of_pairs_has_their_classes(prepared):
    spec, data, _ = prepared
    tensors, _ = samples.packed(spec, spec.space(), data)
    assert {"test.texts", "test.rows", "test.stored", "activations.texts"} <= set(tensors)
    assert tensors["test.y"].dim() == 1


def test_onnx_takes_both_inputs_and_any_length(prepared, tmp_path):
    import onnxruntime

    _, _, supernet = prepared
    space = supernet.space
    network = extract(supernet.eval(), space.smallest()).eval()
    given = beit3.pairs(3)
    assert write_onnx(network, given, tmp_path) is None
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    assert [one.name for one in session.get_inputs()] == ["pixel_values", "input_ids"]
    assert [one.name for one in session.get_outputs()] == ["logits"]
    assert not (tmp_path / "text_model.onnx").exists()
    for length in (beit3.LENGTH, 9):
        asked = {**given, "input_ids": given["input_ids"][:, :length].contiguous()}
        with torch.no_grad():
            right = network(*asked.values())
        (found,) = session.run(None, {name: tensor.numpy() for name, tensor in asked.items()})
        torch.testing.assert_close(torch.from_numpy(found), right, atol=1e-4, rtol=1e-4)


@pytest.mark.thorough
def test_every_layer_is_measured_alone_and_the_network_whole(tmp_path):
    space = load_family("multiway", "tiny", Adjustments({"depth": (2,), "*_heads": (1, 4), "*_ffn": (64, 128)}))
    layers = layers_of(space, 100)
    assert [layer.spec.kind for layer in layers if layer.is_first] == ["image_tower", "text_tower"]
    assert [layer.spec.kind for layer in layers if layer.is_last] == ["answer_head"]
    by_kind = {layer.spec.kind: layer for layer in layers}
    assert by_kind["joint_sequence"].takes.shape == (1, 65 + 64, 128)
    assert by_kind["answer_head"].takes.shape == (1, 65, 128)
    for engine in ("onnxruntime", "torch"):
        setting = Setting(f"cpu-{engine}")
        specimen = Specimen.network(space, space.smallest())
        path = write_fresh(specimen.layers, specimen.samples, tmp_path / engine, setting)
        threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
        try:
            assert RUNTIMES.load(engine).prepare(path, setting).phases["forward"]() > 0
        finally:
            torch.set_num_threads(threads)
            torch.set_grad_enabled(grad)
        alone = Specimen.layer(by_kind["multiway_layer"])
        write_fresh(alone.layers, alone.samples, tmp_path / f"{engine} layer", setting, tied=False)
