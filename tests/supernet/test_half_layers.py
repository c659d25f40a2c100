"""Decoder layers without attention or without a feed-forward network: what they compute, cost and become."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from export.decoder import CachedDecoder
from export.formats.block_configs import format as block_configs
from export.formats.huggingface import format as huggingface
from export.generation import continuation
from export.runtimes.torch.runtime import language_phases
from job.formats import refusal
from search_space import SearchSpace
from search_space.adjustments import Adjustments
from search_space.layers import DecoderLayerSpec
from search_space.nesting import Nesting
from search_space.plugins import load_family
from supernet.network import Supernet, extract
from supernet.weights import pretrained_supernet
from tests.export.random_networks import answers, random_contents, reloaded, samples_of, subject_of
from tests.supernet.checkpoints import CHECKPOINTS, save

HALVES: dict[str, Any] = {"layer*_ffn": (0, 176, 352), "layer*_kv_heads": (0, 2, 4)}


def halved(**choices: Any) -> SearchSpace:
    return load_family("llama", "tiny", Adjustments({**HALVES, **choices}), None)


def without(space: SearchSpace, **values: int) -> Any:
    return space.architecture(**{**space.largest().values, **values})


def test_a_layer_without_either_is_left_out_and_has_one_name() -> None:
    space = halved()
    assert space.choices[0].options == space.choices[3].options == (1,)
    assert "layer3" not in space.layers(without(space, layer3_ffn=0, layer3_kv_heads=0))
    rng = np.random.default_rng(0)
    drawn = {one.id: tuple(space.layers(one).items()) for one in (space.sample(rng) for _ in range(300))}
    assert len(set(drawn.values())) == len(drawn)
    for choices in ({"layer3_keep": (0, 1)}, {"layer*_keep": (0, 1)}):
        with pytest.raises(ValueError, match="two names of one network"):
            halved(**choices)


def test_parts_that_are_not_there_cost_nothing() -> None:
    space = halved()
    whole, no_ffn, no_attention = (
        space.layers(without(space, **values))["layer2"] for values in ({}, {"layer2_ffn": 0}, {"layer2_kv_heads": 0})
    )
    assert no_ffn.params() + no_attention.params() == whole.params()
    assert no_ffn.macs() + no_attention.macs() == whole.macs()
    assert not {"ffn_in", "ffn_norm"} & no_ffn.parts().keys()
    assert not {"query", "attention_norm"} & no_attention.parts().keys()


@pytest.mark.parametrize("name", ["llama-biases", "mistral-window", "qwen2-window", "qwen3"])
def test_it_computes_what_transformers_does_with_a_half_that_adds_zero(name: str, tmp_path) -> None:
    _, kind, config = CHECKPOINTS[name]
    model = save(kind, config, tmp_path).eval()
    choices = {"layer*_ffn": (0, config.intermediate_size), "layer*_kv_heads": (0, config.num_key_value_heads)}
    supernet, _ = pretrained_supernet(tmp_path, None, Adjustments(choices))
    supernet.eval()
    tokens = samples_of(supernet.space)
    for half, choice in (("mlp", "layer2_ffn"), ("self_attn", "layer2_kv_heads")):
        zeroed = copy.deepcopy(model)
        out = zeroed.model.layers[1].get_submodule(f"{half}.{'down_proj' if half == 'mlp' else 'o_proj'}")
        with torch.no_grad():
            for parameter in out.parameters():
                parameter.zero_()
            right = zeroed(tokens).logits
            one = without(supernet.space, **{choice: 0})
            found, alone = supernet(tokens, one), extract(supernet, one).eval()
            assert torch.equal(alone(tokens), found)
        assert torch.allclose(found, right, atol=2e-6)
        assert not any(half in parameter for parameter, _ in alone.layer2.named_parameters())


def test_it_decodes_with_a_cache_that_has_no_room_for_what_does_not_attend() -> None:
    space = halved()
    contents = random_contents(space, seed=2)
    inputs = samples_of(space)[:1]
    layers = [layer for layer in contents.layers.values() if isinstance(layer, DecoderLayerSpec)]
    attentive = [layer for layer in layers if layer.heads]
    assert 0 < len(attentive) < len(layers)
    phases = language_phases(list(contents.network.children()), inputs[:, :-1])
    assert phases is not None
    decoder = CachedDecoder(contents.network).eval()
    assert [groups for groups, _ in decoder.caches] == [layer.kv_heads for layer in attentive]
    places = torch.arange(inputs.shape[1])[None]
    with torch.no_grad():
        whole = contents.network(inputs)
        seen = torch.ones_like(inputs)
        first, *cache = decoder(inputs[:, :-1], seen[:, :-1], places[:, :-1], *decoder.empty_cache(1))
        last, *_ = decoder(inputs[:, -1:], seen, places[:, -1:], *cache)
        assert torch.allclose(torch.cat((first, last), 1), whole, atol=1e-5)
        assert torch.allclose(phases["prefill"](), whole[:, :-1], atol=1e-5)
        phases["decode"]()


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [2, 5])
def test_files_give_the_same_answers_and_tokens(seed: int, tmp_path, monkeypatch) -> None:
    space = halved(layer1_kv_heads=(2, 4))
    contents, inputs = random_contents(space, seed=seed), samples_of(space)
    for name, format_of in (("huggingface", huggingface), ("block_configs", block_configs)):
        folder = tmp_path / name
        folder.mkdir()
        assert refusal(name, subject_of(contents)) is None
        format_of.write_contents(contents, inputs, folder)
        run = reloaded(name, folder, monkeypatch)
        assert np.abs(run(inputs.numpy()) - answers(contents.network, inputs)).max() <= 1e-5
        right = continuation(contents.network, inputs)
        assert right is not None
        assert right.compared(run.generate(right.prompts, right.count), 1e-5)["parted_at"] is None
    blocks = json.loads((tmp_path / "block_configs" / "config.json").read_text())["block_configs"]
    layers = [layer for layer in contents.layers.values() if isinstance(layer, DecoderLayerSpec)]
    assert [block["attention"]["no_op"] for block in blocks] == [not layer.heads for layer in layers]
    assert [block["ffn"]["no_op"] for block in blocks] == [not layer.ffn for layer in layers]
    assert any(not layer.heads or not layer.ffn for layer in layers)


def test_formats_that_forbid_it_refuse_with_the_reason() -> None:
    space = halved()
    contents = random_contents(space, seed=2)
    said = refusal("gguf", subject_of(contents))
    assert said is not None
    assert "has no" in said
    assert "huggingface writes it with zeros" in said
    first = without(space, layer1_kv_heads=0)
    alone = replace(contents, network=extract(Supernet(space), first), layers=space.layers(first))
    assert "first layer has no attention" in str(refusal("block_configs", subject_of(alone)))


def test_matformer_nests_an_eighth_to_all_of_every_feed_forward_network(tmp_path) -> None:
    """MatFormer-OLMo's widths: h / 8, h / 4, h / 2 and h, mixed at will; of a checkpoint those of its own width."""
    space = load_family("llama", "matformer")
    assert space.size() == 4**6
    assert {c.options for c in space.choices if c.name.endswith("_ffn")} == {(64, 128, 256, 512)}
    layers = space.layers(space.architecture(**{**space.largest().values, "layer2_ffn": 64}))
    assert layers["layer1"].params() - layers["layer2"].params() == 3 * 128 * (512 - 64)
    nesting = Nesting(space, "width")
    assert [space.layers(one)["layer3"].fields()["ffn"] for one in nesting.all()] == [64, 128, 256, 512]
    _, kind, config = CHECKPOINTS["qwen3"]
    save(kind, config, tmp_path)
    own = pretrained_supernet(tmp_path, "matformer")[0].space
    assert own.size() == 4**config.num_hidden_layers
    assert own.layers(own.smallest())["layer1"].fields()["ffn"] == config.intermediate_size // 8
