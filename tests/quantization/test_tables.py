"""Tables of words in 8 and 4 bits: counted, computed and written, heads that are tied to them included."""

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_model, save_model

from export.formats.onnx import format as shipped_onnx
from export.formats.onnx import traced
from job.spec import JobSpec
from job.versions import read_job
from predictors.cost import costs, weight_bytes
from quantization.policies import Quantization
from quantization.portable import quantize
from quantization.qdq import tensor_bytes
from quantization.quantized_space import QuantizedSpace
from quantization.stored import recipe_of, stored_network
from search_space.layers import Precision
from search_space.plugins import load_family
from supernet.network import build_network, takes_mask
from tests.quantization.networks import inputs_for, quantizable
from tests.tiers import mostly_thorough

# A tied head, a head of its own kind, and learned positions beside the table.
SPACES = ("llama/tiny", "bert/tiny")
WIDTHS = {8: Precision("int8_embedding"), 4: Precision("int4_embedding", group=32)}


def space_of(name: str, *widths: int, bits: tuple[int, ...] = (32,)) -> QuantizedSpace:
    schemes = {8: "int8_weight"} if name.startswith("llama") else {}
    return QuantizedSpace(load_family(*name.split("/")), Quantization(bits, schemes, embeddings=widths))


def test_a_policy_speaks_of_tables_only_where_a_job_does() -> None:
    before = QuantizedSpace(load_family("bert", "tiny"), Quantization((8, 32)))
    after = QuantizedSpace(load_family("bert", "tiny"), Quantization((8, 32), embeddings=(4, 8, 32)))
    known = {choice.name for choice in before.choices}
    assert [choice.name for choice in after.choices if choice.name not in known] == ["embedding_tokens_bits"]
    assert not any("embedding" in name for name in before.policy(before.largest()))
    small = after.quantized(after.base.largest(), {"embedding.tokens": 4})
    assert after.policy(small)["embedding.tokens"] == WIDTHS[4]
    assert after.policy(after.quantized(after.base.largest(), 8))["embedding.tokens"] == WIDTHS[8]


def test_a_space_without_tables_has_none() -> None:
    plain, asked = (
        QuantizedSpace(load_family("mobilenet", "digits"), Quantization((8, 32), embeddings=widths))
        for widths in ((), (8, 32))
    )
    assert [c.name for c in plain.choices] == [c.name for c in asked.choices]


EACH = [(name, bits) for name in SPACES for bits in (8, 4)]


@pytest.mark.parametrize(("name", "bits"), mostly_thorough(EACH, ("llama/tiny", 4)))
def test_it_computes_and_weighs_what_was_evaluated_and_counted(name: str, bits: int, tmp_path) -> None:
    space = space_of(name, bits, 32)
    architecture = space.quantized(space.base.smallest(), {"embedding.tokens": bits})
    full = space.quantized(space.base.smallest(), 32)
    made, x = quantizable(space, architecture), inputs_for(space, 4, seed=2)
    policy = space.policy(architecture)
    network = made.with_policy(policy)
    table = made.folded.get_submodule("embedding.tokens").weight
    scales = table.shape[0] * (1 if bits == 8 else table.shape[1] // 32)
    saved = table.numel() * 4 - table.numel() * bits // 8 - scales * 4
    assert weight_bytes(space, full) - weight_bytes(space, architecture) == saved
    assert costs(space, architecture)["size_bytes"] < costs(space, full)["size_bytes"]
    with torch.no_grad():
        right, exact = network(x), made.folded(x)
    assert (right - exact).abs().max() > 1e-4
    if name == "llama/tiny":
        assert network.get_submodule("head.output").weight is network.get_submodule("embedding.tokens").weight

    # In plain PyTorch.
    stored = stored_network(network.applied_policy)
    save_model(stored, str(tmp_path / "model.safetensors"))
    rebuilt = quantize(build_network(space.base.layers(space.network(architecture))), recipe_of(network.applied_policy))
    load_model(rebuilt, str(tmp_path / "model.safetensors"))
    with torch.no_grad():
        torch.testing.assert_close(rebuilt.eval()(x), right, rtol=0, atol=1e-5)
    held = sum(tensor.nbytes for tensor in stored.state_dict().values())
    assert abs(held - weight_bytes(space, architecture)) <= 0.02 * held

    # In ONNX Runtime, by both exporters.
    for writer in (traced.write_for_measuring, shipped_onnx.write):
        folder = tmp_path / writer.__name__
        folder.mkdir()
        writer(network, x, folder)
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
        names = [one.name for one in session.get_inputs()]
        given = {names[0]: x.numpy()}
        if takes_mask(made.folded, x):
            given["mask"] = np.ones(x.shape, bool)
        if "attention_mask" in names:
            ones, places = np.ones(x.shape, np.int64), np.tile(np.arange(x.shape[1]), (len(x), 1))
            given = {"input_ids": x.numpy(), "attention_mask": ones, "position_ids": places}
            for one in session.get_inputs()[3:]:
                given[one.name] = np.zeros((len(x), one.shape[1], 0, one.shape[3]), np.float32)
        got = session.run(None, given)[0]
        assert np.abs(got - right.numpy()).max() <= 1e-4 * max(1.0, float(right.abs().max()))
        if name == "bert/tiny":
            assert abs(tensor_bytes(folder / "model.onnx") - weight_bytes(space, architecture)) <= 0.02 * held


def test_new_jobs_of_simq_nas_search_tables_and_stored_ones_keep_theirs() -> None:
    given = {"recipe": "simq_nas"}
    assert JobSpec.model_validate(given).quantization.embeddings == (8, 32)
    stored = JobSpec.model_validate(given).model_dump(mode="json")
    del stored["quantization"]["embeddings"]
    assert read_job({**stored, "version": 2}).quantization.embeddings == ()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"embeddings": (16,)}, "no kernels for 16 bits. Possible widths: 4, 8, 32"),
        ({"embeddings": (8, 32), "pinned": {"embedding.tokens": 16}}, "There are no kernels for 16 bits"),
    ],
)
def test_widths_without_kernels_are_refused(asked: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        QuantizedSpace(load_family("bert", "tiny"), Quantization((8, 32), **asked))
