"""Exported classifiers of padded texts: a mask says where a text ends, in every format."""

import numpy as np
import onnxruntime
import pytest
import torch

from export.bundle import BundleContents, write_bundle
from export.measurable import write_measurable
from export.measure import Effort, Setting, measure
from export.verify import VerificationError, verify
from search_space.plugins import load_family
from supernet.network import build_network, takes_mask

SPACE = load_family("bert", "tiny")


@pytest.fixture(scope="module")
def texts():
    """Eight texts of 3 to 10 tokens in 16 places, and their mask."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 8000, (8, 16), generator=generator)
    mask = torch.arange(16) < torch.arange(3, 11)[:, None]
    return ids * mask, mask


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network(SPACE.layers(SPACE.smallest())).eval()


@pytest.fixture(scope="module")
def bundle(network, texts, tmp_path_factory):
    ids, mask = texts
    subject = BundleContents(network, SPACE.layers(SPACE.smallest()), {"format": "test"}, "# A card\n")
    folder = tmp_path_factory.mktemp("exports") / "texts"
    return write_bundle(subject, {"input": ids, "mask": mask}, torch.zeros(8, dtype=torch.int64), folder)


def answers(bundle, ids, mask):
    session = onnxruntime.InferenceSession(str(bundle.folder / "model.onnx"))
    return session.run(None, {"input": ids.numpy(), "mask": mask.numpy()})[0]


def test_the_file_gives_a_padded_text_the_answer_that_it_has_without_padding(bundle, network, texts):
    ids, mask = texts
    found = answers(bundle, ids, mask)
    with torch.no_grad():
        np.testing.assert_allclose(found, network(ids, mask).numpy(), atol=1e-5)
        for row, length in enumerate(mask.sum(1).tolist()):
            np.testing.assert_allclose(found[row], network(ids[row : row + 1, :length])[0].numpy(), atol=1e-5)
    assert np.abs(found - answers(bundle, ids, torch.ones_like(mask))).max() > 1e-4


def test_the_card_tells_how_padded_texts_are_given(bundle):
    assert "`mask` (bool)" in (bundle.folder / "README.md").read_text()


@pytest.mark.thorough
def test_formats_are_compared_on_padded_texts(bundle, network, texts):
    ids, mask = texts
    given, labels = {"input": ids, "mask": mask}, torch.zeros(8, dtype=torch.int64)
    report = verify(bundle.folder, network, given, labels, ["safetensors", "onnx"])
    assert report["formats"]["safetensors"]["max_abs_difference"] == 0
    other = build_network(SPACE.layers(SPACE.smallest())).eval()
    with pytest.raises(VerificationError, match="differs from the network"):
        verify(bundle.folder, other, given, labels, ["onnx"])


def test_what_is_measured_has_the_mask_too(network, texts, tmp_path):
    ids, _ = texts
    path = write_measurable(network, SPACE.layers(SPACE.smallest()), ids, tmp_path, Setting())
    assert [tensor.name for tensor in onnxruntime.InferenceSession(str(path)).get_inputs()] == ["input", "mask"]
    (result,) = measure(path, batch=2, effort=Effort(processes=1, blocks=2, max_seconds=0.05))
    assert (result["phase"], result["input_shape"]) == ("forward", [2, 16])


def test_images_and_texts_that_go_on_have_no_mask():
    vit, llama = (
        build_network(space.layers(space.smallest()))
        for space in (load_family("vit", "cifar"), load_family("llama", "tiny"))
    )
    assert not takes_mask(vit, torch.zeros(1, 3, 32, 32))
    assert not takes_mask(llama, torch.zeros(1, 8, dtype=torch.int64))
