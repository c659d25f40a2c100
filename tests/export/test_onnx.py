"""The format `onnx`: batch and length are free, a language model keeps what it has read, a file says what it is."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export.contents import Part
from export.decoder import CachedDecoder
from export.formats.onnx import format as onnx_format
from export.generation import continuation
from search_space.plugins import load_family
from supernet.network import arguments
from tests.export.random_networks import answers, random_contents, reloaded, samples_of, space_of
from tests.supernet.brought import BROUGHT
from tests.supernet.checkpoints import CHECKPOINTS
from tests.tiers import mostly_thorough

DECODERS = [name for name, (family, _, _) in CHECKPOINTS.items() if family == "llama"]


@pytest.mark.parametrize("name", mostly_thorough(DECODERS, "qwen2-window"))
def test_a_decoder_with_a_cache_computes_what_the_network_does(name: str) -> None:
    space = space_of(name)
    network, texts = random_contents(space, seed=1).network, samples_of(space)
    decoder = CachedDecoder(network)
    ones, places = torch.ones_like(texts), torch.arange(texts.shape[1])[None].expand_as(texts)
    with torch.no_grad():
        first, *past = decoder(texts[:, :5], ones[:, :5], places[:, :5], *decoder.empty_cache(len(texts)))
        rest, *past = decoder(texts[:, 5:], ones, places[:, 5:], *past)
    assert np.abs(torch.cat([first, rest], 1).numpy() - answers(network, texts)).max() <= 1e-5
    assert past[0].shape[1:3] == (decoder.caches[0][0], texts.shape[1])


def test_padding_on_the_left_changes_nothing() -> None:
    space = space_of("llama")
    network, texts = random_contents(space).network, samples_of(space, 1)
    decoder, length = CachedDecoder(network), texts.shape[1]
    padded, mask = torch.nn.functional.pad(texts, (3, 0)), torch.nn.functional.pad(torch.ones_like(texts), (3, 0))
    places = torch.nn.functional.pad(torch.arange(length)[None], (3, 0))
    with torch.no_grad():
        logits, *_ = decoder(padded, mask, places, *decoder.empty_cache(1))
    assert np.abs(logits[:, 3:].numpy() - answers(network, texts)).max() <= 1e-5


@pytest.mark.thorough
@pytest.mark.parametrize("name", mostly_thorough(DECODERS, "qwen2"))
def test_a_language_model_is_called_as_optimum_calls_its(name: str, tmp_path, monkeypatch) -> None:
    space = space_of(name)
    contents, texts = random_contents(space, seed=2), samples_of(space)
    onnx_format.write_contents(contents, texts, tmp_path)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    inputs = [one.name for one in session.get_inputs()]
    layers = len([spec for spec in contents.layers.values() if spec.kind == "decoder_layer"])
    cache = [f"{number}.{kind}" for number in range(layers) for kind in ("key", "value")]
    wanted = ["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{one}" for one in cache)]
    assert inputs == wanted
    assert [one.name for one in session.get_outputs()] == ["logits", *(f"present.{one}" for one in cache)]
    run = reloaded("onnx", tmp_path, monkeypatch)
    for count, length in ((3, 12), (1, 1), (2, 7)):
        part = texts[:count, :length]
        assert np.abs(run(part.numpy()) - answers(contents.network, part)).max() <= 1e-4
    right = continuation(contents.network, texts)
    assert right is not None
    assert right.compared(run.generate(right.prompts, right.count), 1e-4)["parted_at"] is None


@pytest.mark.thorough
@pytest.mark.parametrize("name", mostly_thorough(BROUGHT, "roberta"))
def test_types_that_people_bring_are_written_too(name: str, tmp_path, monkeypatch) -> None:
    family, kind, config = BROUGHT[name]
    space = load_family(family, None, None, {**config.to_dict(), "architectures": [kind.__name__]})
    contents, inputs = random_contents(space), samples_of(space)
    told = onnx_format.write_contents(contents, inputs, tmp_path)
    assert told is None or "have 12 tokens" in told["notes"][0]
    given = arguments(contents.network, inputs)
    got = reloaded("onnx", tmp_path, monkeypatch)(*(each.numpy() for each in given))
    assert np.abs(got - answers(contents.network, inputs)).max() <= 1e-4


@pytest.mark.parametrize(
    "name",
    mostly_thorough(["bert", "vit", "mobilenet/digits", "resnet/cifar"], "bert"),
)
def test_a_classifier_takes_any_batch_and_a_text_any_length(name: str, tmp_path, monkeypatch) -> None:
    space = space_of(name)
    labels = {"labels": ["no", "perhaps", "yes"], "mean": [1.0]}
    contents, inputs = random_contents(space, preprocessing=labels, licence="mit"), samples_of(space)
    onnx_format.write_contents(contents, inputs, tmp_path)
    assert onnx_format.parts(tmp_path) == {"": Part(onnx_format.TOLERANCE)}
    run = reloaded("onnx", tmp_path, monkeypatch)
    for part in (inputs, inputs[:1], inputs[:2, :7] if inputs.dim() == 2 else inputs[:2]):
        given = [part.numpy(), np.ones(part.shape, bool)] if inputs.dim() == 2 else [part.numpy()]
        assert np.abs(run(*given) - answers(contents.network, part)).max() <= 1e-4
    model = onnx.load(str(tmp_path / "model.onnx"))
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(told["class_names"]) == labels["labels"]
    assert json.loads(told["preprocessing"]) == {"mean": [1.0]}
    assert told["license"] == "mit"
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert b"/export/" not in model.SerializeToString()


@pytest.mark.parametrize(
    ("operator", "shapes"),
    [
        ("MatMul", ([2, 2], [2, 2])),
        ("Gemm", ([2, 2], [2, 2])),
        ("Conv", ([1, 2, 4, 4], [2, 2, 3, 3])),
        ("Add", ([2, 2], [2, 2])),
    ],
)
def test_onnx_runtime_has_no_bfloat16_on_a_cpu(operator: str, shapes: tuple[list[int], ...]) -> None:
    """Why there is no such file (docs/formats.md); the day it has, there should be one."""
    kind = onnx.TensorProto.BFLOAT16
    given = [onnx.helper.make_tensor_value_info(name, kind, shape) for name, shape in zip("ab", shapes, strict=True)]
    out = onnx.helper.make_tensor_value_info("y", kind, None)
    graph = onnx.helper.make_graph([onnx.helper.make_node(operator, ["a", "b"], ["y"])], "one", given, [out])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)], ir_version=10)
    with pytest.raises(Exception, match="NOT_IMPLEMENTED"):
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
