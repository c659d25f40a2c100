"""How far a layer sees as a choice of its own: the same weights, other answers, and a smaller cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from export.decoder import CachedDecoder
from job.formats import refusal
from predictors.cost import kv_cache_bytes
from search_space import SearchSpace
from search_space.adjustments import Adjustments
from search_space.deployable import deployable_space
from search_space.plugins import load_family
from supernet.network import Supernet, extract
from supernet.weights import pretrained_supernet
from tests.export.random_networks import random_contents, samples_of, subject_of
from tests.supernet.checkpoints import CHECKPOINTS, save

WINDOWS = {"layer*_window": (4, 9, 1024)}


def seeing(**choices: Any) -> SearchSpace:
    return load_family("llama", "tiny", Adjustments({**WINDOWS, **choices}), None)


def of_largest(space: SearchSpace, **values: int) -> Any:
    return space.architecture(**{**space.largest().values, **values})


def test_the_largest_network_sees_everything_and_costs_the_same() -> None:
    space, plain = seeing(), load_family("llama", "tiny")
    assert space.layers(space.largest()) == plain.layers(plain.largest())
    narrow = of_largest(space, layer2_window=4)
    whole, short = (space.layers(one)["layer2"] for one in (space.largest(), narrow))
    assert (whole.window, short.window) == (0, 4)
    assert whole.params() == short.params()
    assert short.fits_in(whole)
    assert whole.fits_in(short)


def test_choices_that_say_nothing_new_are_none() -> None:
    plain = load_family("llama", "tiny")
    assert [c.name for c in seeing(**{"layer*_window": (1024,)}).choices] == [c.name for c in plain.choices]
    space = seeing(**{"layer*_kv_heads": (0, 4), "layer*_ffn": (352,)})
    rng = np.random.default_rng(0)
    drawn = {one.id: tuple(space.layers(one).items()) for one in (space.sample(rng) for _ in range(400))}
    assert len(set(drawn.values())) == len(drawn)


@pytest.mark.parametrize("wrong", [0, -3, 1025, 2.5])
def test_a_window_is_a_number_of_positions_that_a_text_has(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"layer1_window.*must be"):
        seeing(**{"layer*_window": (wrong, 1024)})


def test_a_sliced_network_is_the_extracted_one_and_sees_no_further() -> None:
    torch.manual_seed(0)
    space = seeing()
    supernet = Supernet(space).eval()
    texts = torch.randint(1, 256, (2, 30))
    narrow = of_largest(space, **{f"layer{i}_window": 4 for i in range(1, 7)})
    other = texts.clone()
    other[:, 0] = (other[:, 0] + 1) % 256
    with torch.no_grad():
        found = supernet(texts, narrow)
        assert torch.equal(extract(supernet, narrow).eval()(texts), found)
        assert not torch.allclose(supernet(texts, space.largest()), found, atol=1e-3)
        # Six layers of windows of 4 see 6 * 3 positions back.
        moved = (supernet(other, narrow) - found).abs().amax((0, 2))
    assert moved[0] > 0
    assert float(moved[19:].max()) == 0


def test_it_computes_what_transformers_does_with_that_window(tmp_path) -> None:
    _, kind, config = CHECKPOINTS["mistral-window"]
    model = save(kind, config, tmp_path).eval()
    length, own = config.max_position_embeddings, config.sliding_window
    supernet, _ = pretrained_supernet(tmp_path, None, Adjustments({"layer*_window": (2, own, length)}))
    supernet.eval()
    texts = samples_of(supernet.space)
    layers = range(1, config.num_hidden_layers + 1)
    for window in (2, own, length):
        model.config.sliding_window = None if window == length else window
        model.config._attn_implementation = "eager"
        one = of_largest(supernet.space, **{f"layer{i}_window": window for i in layers})
        with torch.no_grad():
            right = model(texts).logits
            assert torch.allclose(supernet(texts, one), right, atol=2e-6)


def test_keys_and_values_are_kept_as_far_as_each_layer_sees() -> None:
    space = seeing()
    space.cache_tokens = 100
    whole = kv_cache_bytes(space, space.largest())
    assert kv_cache_bytes(space, of_largest(space, layer3_window=4)) == pytest.approx(whole * (5 + 4 / 100) / 6)


def test_it_decodes_with_a_cache_as_without() -> None:
    space = seeing()
    contents = random_contents(space, 3, architecture=of_largest(space, layer2_window=4, layer5_window=9))
    decoder, texts = CachedDecoder(contents.network).eval(), samples_of(space)[:1]
    places, seen = torch.arange(texts.shape[1])[None], torch.ones_like(texts)
    empty = [torch.zeros(1, groups, 0, width) for groups, width in decoder.caches for _ in range(2)]
    with torch.no_grad():
        first, *kept = decoder(texts[:, :7], seen[:, :7], places[:, :7], *empty)
        rest, *_ = decoder(texts[:, 7:], seen, places[:, 7:], *kept)
        whole = contents.network(texts)
    assert torch.allclose(torch.cat([first, rest], 1), whole, atol=1e-5)


@pytest.mark.parametrize("name", ["huggingface", "gguf", "block_configs"])
def test_files_that_cannot_say_it_are_refused(name: str) -> None:
    space = seeing()
    assert refusal(name, subject_of(random_contents(space, 3, architecture=space.largest()))) is None
    narrow = random_contents(space, 3, architecture=of_largest(space, layer2_window=4))
    assert "window" in (refusal(name, subject_of(narrow)) or "")


def test_a_space_for_an_engine_has_no_windows() -> None:
    def load(adjustments: Adjustments) -> SearchSpace:
        return load_family("llama", "tiny", adjustments, None)

    with pytest.raises(ValueError, match=r"layer1_window.*Leave the choice out"):
        deployable_space(load, Adjustments(WINDOWS), ["huggingface"])
