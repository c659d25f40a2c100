"""Networks of two towers in the stages of a job: measured layer by layer and whole, kept for exports, examined."""

from __future__ import annotations

import pytest
import torch

from export.measurable import write_fresh
from job.resolve import resolve
from job.spec import JobSpec
from pipeline import samples
from pipeline.check import check
from pipeline.exams import exams_of, held_out_exams_of
from pipeline.materials import fresh_supernet, make_trainer, prepare_data
from pipeline.traced_layers import layers_of
from plugins.kinds import RUNTIMES
from predictors.instrument import Specimen
from predictors.setting import Setting
from quantization.quantized_evaluator import QuantizedEvaluator
from quantization.sensitivity import sensitivities
from search_space.adjustments import Adjustments
from search_space.plugins import load_family
from supernet.data.sources.pairs import example
from supernet.evaluate import scores
from tests.pipeline.bench import MemoryReporter
from tests.supernet import beit3
from tests.supernet.towers import SIZES

CPU = torch.device("cpu")
FEW = Adjustments({"*_depth": (2,), "*_heads": (1, 4), "*_ffn": (64, 128)})
CONFIG = {
    "model_type": "siglip",
    "vision_config": {**SIZES, "image_size": 16, "patch_size": 4},
    "text_config": {**SIZES, "num_hidden_layers": 2, "vocab_size": 256, "max_position_embeddings": 32},
}


def checkpoint(kind, folder):
    """A SigLIP whose texts are bytes, or a BEiT-3 with a tokenizer; the length of their texts."""
    from transformers import SiglipConfig, SiglipModel

    if kind == "beit3":
        beit3.with_tokenizer(beit3.saved(folder))
        return beit3.LENGTH
    torch.manual_seed(0)
    texts = {name: value for name, value in CONFIG.items() if name != "model_type"}
    SiglipModel(SiglipConfig(**texts)).save_pretrained(folder)
    return 32


def job(folder, kind="siglip", **parts):
    length = checkpoint(kind, folder / "ck")
    (folder / "data").mkdir()
    return {
        "recipe": "simq_nas",
        "supernet": {"family": "two_tower", "pretrained": str(folder / "ck"), "importance": "activation"},
        "data": {"source": "pairs", **example.write(folder / "data"), "length": length},
        "training": {"epochs": 20, "batch_size": 16, "options": {"num_random": 1, "label_smoothing": 0.0}},
        "objectives": [{"metric": "recall_at_1"}, {"metric": "size_bytes"}],
        "quantization": {"bits": [8, 32], "tie": "block", "calibration_examples": 16},
        "search": {"algorithm": "random", "evaluations": 6},
        **parts,
    }


@pytest.fixture(scope="module", params=["siglip", "beit3"])
def prepared(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("towers")
    spec = resolve(JobSpec.model_validate(job(folder, request.param)))
    check(spec, spec.supernet.space(), MemoryReporter())
    data = prepare_data(spec, spec.supernet.space(), CPU)
    return spec, data, fresh_supernet(spec, spec.supernet.space(), data, CPU)


def test_a_job_of_pairs_is_checked_and_trained_by_its_method(prepared):
    spec, data, supernet = prepared
    trainer = make_trainer(spec, supernet, data)
    seen = [trainer.step() for _ in range(12)]
    assert seen[-1]["loss_largest"] < seen[0]["loss_largest"]
    assert all(torch.isfinite(parameter).all() for parameter in supernet.parameters())


def test_policies_of_both_towers_are_scored_by_recall(prepared):
    spec, data, supernet = prepared
    space = spec.space()
    evaluator = QuantizedEvaluator(supernet, data, 0, 0, space, observer="minmax", calibration_examples=16)
    full, small = space.quantized(space.base.largest(), 32), space.quantized(space.base.largest(), 8)
    found = evaluator.evaluate([full, small])
    for one in found:
        assert {"recall_at_1", "text_recall_at_5", "image_recall_at_10", "size_bytes"} <= set(one.metrics)
    assert found[1].metrics["size_bytes"] < 0.5 * found[0].metrics["size_bytes"]
    names = {layer for layer, precision in space.policy(small).items() if not precision.is_full}
    assert {name.split("_")[0] for name in names} >= {"image", "text"}
    made = evaluator.quantizable(space.base.largest())
    candidates = {name: [precision] for name, precision in space.policy(small).items() if not precision.is_full}
    some = dict(list(candidates.items())[:2])
    assert all(one.divergence >= 0 and 0 <= one.agreement <= 1 for one in sensitivities(made, some, evaluator.examples))


def test_images_are_standardised_as_the_checkpoints_were(prepared):
    spec, data, _ = prepared
    # BEiT-3's name says how; a SigLIP without a processor gets the mean of the training images.
    is_beit3 = spec.supernet.checkpoint["model_type"] == "beit3_retrieval"
    assert (data.preprocessing["mean"] == [127.5] * 3) == is_beit3


def test_what_is_kept_of_pairs_is_what_was_scored(prepared):
    spec, data, _ = prepared
    tensors, facts = samples.packed(spec, spec.space(), data)
    assert {"test.texts", "test.rows", "test.stored", "activations.texts"} <= set(tensors)
    assert facts["name"] == data.name
    digests = samples.fingerprint(data.test)
    other = data.test.take(torch.arange(len(data.test)).flip(0))
    assert samples.fingerprint(other) != digests


def test_zero_shot_accuracy_is_an_exam_of_its_own(tmp_path):
    objectives = [{"metric": "zero_shot_accuracy"}, {"metric": "recall_at_1"}, {"metric": "params"}]
    spec = resolve(JobSpec.model_validate(job(tmp_path, recipe="bignas", objectives=objectives, quantization=None)))
    space = spec.supernet.space()
    data = prepare_data(spec, space, CPU)
    network = fresh_supernet(spec, space, data, CPU)
    from supernet.network import extract

    plain, found = extract(network, space.largest()), {}
    for exam in (*exams_of(spec, space, data, None), *held_out_exams_of(spec, space, data, None)):
        found |= scores(plain, exam).values
    assert {"zero_shot_accuracy", "test_zero_shot_accuracy", "recall_at_10"} <= set(found)


@pytest.mark.thorough
def test_every_layer_of_both_towers_is_measured_alone_and_the_network_whole(tmp_path):
    space = load_family("two_tower", "cifar", FEW)
    layers = layers_of(space, 100)
    first = [layer.spec.kind for layer in layers if layer.is_first]
    assert first == ["image_tower", "text_tower"]
    assert [layer.spec.kind for layer in layers if layer.is_last] == ["pair_head"]
    by_kind = {layer.spec.kind: layer for layer in layers}
    assert by_kind["text_tower"].takes.shape == (1, 64)
    assert by_kind["pair_head"].takes.shape == (1, 2, 128)
    for engine in ("onnxruntime", "torch"):
        setting = Setting(f"cpu-{engine}")
        specimen = Specimen.network(space, space.smallest())
        path = write_fresh(specimen.layers, specimen.samples, tmp_path / engine, setting)
        threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
        try:
            prepared = RUNTIMES.load(engine).prepare(path, setting)
            assert prepared.phases["forward"]() > 0
        finally:
            torch.set_num_threads(threads)
            torch.set_grad_enabled(grad)
        alone = Specimen.layer(by_kind["transformer_layer"])
        write_fresh(alone.layers, alone.samples, tmp_path / f"{engine} layer", setting, tied=False)
