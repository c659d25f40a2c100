"""A job that stitches checkpoints: checked, solved pair by pair, resumed, trained, scored and exported."""

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

from export.bundle import BundleContents, write_bundle
from job.formats import Subject, possible, refusal
from job.resolve import resolve
from job.spec import JobSpec
from pipeline import stitching
from pipeline.check import check
from pipeline.materials import fresh_supernet, prepare_data
from pipeline.reporter import Interrupted
from pipeline.stitching import fitted_stitches
from pipeline.workshop import JobFailed, make_evaluator
from supernet.network import extract
from supernet.weights import pretrained_supernet
from tests.pipeline.bench import MemoryReporter, train_supernet, workshop
from tests.supernet.checkpoints import save

CPU = torch.device("cpu")
SIZES = {"num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 8, "patch_size": 4, "num_channels": 1}


def anchors(folder, count=2):
    folders = [folder / f"anchor {number}" for number in range(count)]
    for number, each in enumerate(folders):
        width = 16 + 8 * number
        save(
            ViTForImageClassification,
            ViTConfig(**SIZES, hidden_size=width, intermediate_size=2 * width, num_labels=10),
            each,
        )
    return [str(each) for each in folders]


def job(folders, **parts):
    return {
        "recipe": "sn_net",
        "supernet": {"family": "stitched", "pretrained": folders},
        "data": {"source": "digits"},
        "training": {"epochs": 1, "batch_size": 32, "learning_rate": 1e-3, "warmup_epochs": 0},
        "search": {"algorithm": "random", "evaluations": 4},
        **parts,
    }


def shop_of(folder, folders, reporter, **parts):
    spec = resolve(JobSpec.model_validate(job(folders, **parts)))
    return workshop(folder, reporter, **spec.model_dump(mode="json"))


def fitted(shop, data):
    return fitted_stitches(shop.spec, shop.space, data, CPU, shop.files, shop.reporter)


def test_a_job_is_checked_trained_and_its_networks_are_scored(tmp_path):
    reporter = MemoryReporter()
    shop = shop_of(tmp_path, anchors(tmp_path), reporter)
    check(shop.spec, shop.space, shop.reporter)
    assert any("Every tensor of the checkpoint is used" in text for text in reporter.messages)
    data = prepare_data(shop.spec, shop.space, CPU)
    supernet = train_supernet(shop, data)
    (said,) = [text for text in reporter.messages if "least squares" in text]
    assert "between anchors 1 and 2" in said
    found = make_evaluator(shop.spec, supernet, data).evaluate(list(shop.space.every()))
    assert len({one.metrics["macs"] for one in found}) == len(found) == shop.space.size()
    assert all(0 <= one.metrics["accuracy"] <= 1 for one in found)


def test_a_job_that_is_interrupted_goes_on_with_the_next_pair(tmp_path, monkeypatch):
    folders = anchors(tmp_path, 3)
    reporter = MemoryReporter(interrupt_at=20)  # of 16 batches a pair
    shop = shop_of(tmp_path, folders, reporter)
    data = prepare_data(shop.spec, shop.space, CPU)
    solved, own = [], stitching.fit_pair

    def watched(supernet, stitches, batches):
        solved.append(stitches[0].slot.split("_")[0])
        return own(supernet, stitches, batches)

    monkeypatch.setattr(stitching, "fit_pair", watched)
    with pytest.raises(Interrupted):
        fitted(shop, data)
    assert solved == ["stitch1", "stitch2"]
    resumed = fitted(shop, data)
    assert solved == ["stitch1", "stitch2", "stitch2"]
    assert fitted(shop, data).keys() == resumed.keys()
    assert len(solved) == 3
    assert len(shop.files.recorded(stitching.KIND)) == 1
    # The same weights as a process has that solves for all of them by itself.
    one, other = (fresh_supernet(shop.spec, shop.space, data, CPU, given) for given in (resumed, None))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_stitches_may_be_searched_as_they_were_solved_for(tmp_path):
    """Zero epochs: no step is made, and anchors answer as they came."""
    reporter = MemoryReporter()
    folders = anchors(tmp_path)
    shop = shop_of(tmp_path, folders, reporter, training={"epochs": 0, "batch_size": 32})
    data = prepare_data(shop.spec, shop.space, CPU)
    supernet, (plain, _) = train_supernet(shop, data), pretrained_supernet(folders)
    images = data.test.take(torch.arange(4)).batch(slice(None)).x if hasattr(data.test, "batch") else None
    images = torch.randn(4, 1, 8, 8) if images is None else images
    for end in (shop.space.smallest(), shop.space.largest()):
        assert torch.equal(supernet.eval()(images, end), plain.eval()(images, end))
    middle = shop.space.architecture(path="1.2-2.2")
    assert not torch.equal(supernet(images, middle), plain(images, middle))


def test_too_few_examples_fail_the_job(tmp_path):
    reporter = MemoryReporter()
    shop = shop_of(tmp_path, anchors(tmp_path), reporter)
    data = prepare_data(shop.spec, shop.space, CPU)
    from dataclasses import replace

    few = replace(data, train=data.train.take(torch.arange(2)))
    with pytest.raises(JobFailed, match="at least 17 positions of examples; got 10"):
        fitted(shop, few)


# --- exports ---------------------------------------------------------------------------------------------


def subject(space, architecture, config):
    return Subject(space.name, space.layers(architecture), facts={"checkpoint": config})


def test_a_stitched_network_has_the_formats_of_plain_ones_and_an_anchor_transformers_too(tmp_path):
    spec = resolve(JobSpec.model_validate(job(anchors(tmp_path))))
    space, config = spec.supernet.space(), spec.supernet.checkpoint
    through = subject(space, space.architecture(path="1.2-2.2"), config)
    assert {"safetensors", "onnx", "torch_export", "winnow"} <= set(possible(through))
    assert "which no class of transformers has" in refusal("huggingface", through)
    for end in (space.smallest(), space.largest()):
        assert refusal("huggingface", subject(space, end, config)) is None


@pytest.mark.thorough
@pytest.mark.parametrize("path", ["1.2-2.2", pytest.param("anchor2", marks=pytest.mark.thorough)])
def test_exports_answer_as_the_network(path, tmp_path):
    folders = anchors(tmp_path)
    spec = resolve(JobSpec.model_validate(job(folders)))
    supernet, _ = pretrained_supernet(folders)
    space = supernet.space
    one = space.architecture(path=path)
    facts = {
        "space": space.name,
        "dtype": "float32",
        "checkpoint": spec.supernet.checkpoint,
        "preprocessing": {"mean": 0.0, "std": 1.0, "labels": [str(n) for n in range(10)]},
    }
    formats = ("onnx", "safetensors", "torch_export", "winnow", *(["huggingface"] if path == "anchor2" else []))
    network = extract(supernet, one).eval()
    contents = BundleContents(network, space.layers(one), facts, "# Stitched\n", formats=formats)
    images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    bundle = write_bundle(contents, images, torch.arange(6), tmp_path / "export")
    assert set(formats) <= set(bundle.report["formats"])
    with torch.no_grad():
        expected = network(images).numpy()
    session = onnxruntime.InferenceSession(str(next(bundle.folder.rglob("model.onnx"))))
    found = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    if path == "anchor2":
        model = ViTForImageClassification.from_pretrained(bundle.folder / "huggingface")
        with torch.no_grad():
            np.testing.assert_allclose(model(images).logits.numpy(), expected, rtol=1e-4, atol=1e-4)
