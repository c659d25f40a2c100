"""Bytes of keys and values: counted as a cache of transformers holds them, for the texts that a job states."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from job.spec import JobSpec
from predictors.cost import analytic, costs, kv_cache_bytes
from search_space.adjustments import Adjustments
from search_space.plugins import load_family
from service.profile import ProfileSpec, make_profile
from tests.conftest import TEMPORARY, TINY_JOB
from tests.export.random_networks import space_of
from tests.supernet.checkpoints import CHECKPOINTS

JOB = {"recipe": "llama-nas", "data": {"path": f"{TEMPORARY}/plays.txt"}}


@pytest.mark.parametrize("name", ["llama", "mistral-window", "qwen2-window", "qwen3"])
@pytest.mark.parametrize("tokens", [9, 40])
def test_bytes_are_those_of_transformers_own_cache(name: str, tokens: int) -> None:
    _, kind, config = CHECKPOINTS[name]
    model, space = kind(config).eval(), space_of(name)
    space.cache_tokens, space.cache_batch = tokens, 3
    with torch.no_grad():
        cache = model(torch.randint(1, config.vocab_size, (3, tokens)), use_cache=True).past_key_values
    held = [part for layer in cache.layers for part in (layer.keys, layer.values)]
    # transformers keeps the last window but one of a sliding layer: the newest token is always added to it.
    real = sum(
        part.shape[0] * part.shape[1] * part.shape[3] * part.element_size() * _kept(part, tokens) for part in held
    )
    largest = space.largest()
    windows = [getattr(layer, "window", 0) for layer in space.layers(largest).values()]
    spare = {part.shape[2] for part in held}
    assert spare <= {tokens, *(min(tokens, window - 1) for window in windows if window)}
    assert kv_cache_bytes(space, largest) == real


def _kept(part: torch.Tensor, tokens: int) -> int:
    """Tokens of a layer while the next one is computed, which is in the cache by then."""
    return tokens if part.shape[2] == tokens else part.shape[2] + 1


def test_published_numbers_are_met() -> None:
    """Llama-3.1-8B: 128 KiB a token in 16 bits; 98,304 MiB for 96 texts of 8,192 tokens, and 61,440 with 20 layers."""
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    }
    choices = {f"layer{i}_kv_heads": (0, 8) for i in range(19, 31)}
    space = load_family(
        "llama", None, Adjustments({"layer*_ffn": (14336,), **choices, "layer*_kv_heads": (8,)}), config
    )
    space.float_bits = 16
    space.cache_tokens, space.cache_batch = 1, 1
    assert kv_cache_bytes(space, space.largest()) == 128 * 2**10
    space.cache_tokens, space.cache_batch = 8192, 96
    assert kv_cache_bytes(space, space.largest()) == 98304 * 2**20
    twenty = space.architecture(**{**space.largest().values, **dict.fromkeys(choices, 0)})
    assert kv_cache_bytes(space, twenty) == 61440 * 2**20
    found = costs(space, twenty)
    assert found["serving_bytes"] == found["size_bytes"] + found["kv_cache_bytes"]


def test_a_job_states_how_long_texts_are_and_how_many() -> None:
    spec = JobSpec.model_validate(
        {**JOB, "objectives": [{"metric": "perplexity"}, {"metric": "kv_cache_bytes", "limit": 1e6}]}
    )
    more = JobSpec.model_validate({**JOB, "hardware": {"context": 512, "batch": 4}})
    space, larger = spec.space(), more.space()
    one = space.sample(np.random.default_rng(0))
    assert kv_cache_bytes(larger, one) == 4 * (512 / 128) * kv_cache_bytes(space, one)
    assert analytic(larger)["kv_cache_bytes"](one) == costs(larger, one)["kv_cache_bytes"]
    profiled = make_profile(ProfileSpec.model_validate({**JOB, "hardware": {"context": 512, "batch": 4}, "samples": 5}))
    (counted,) = (one for one in profiled.metrics if one.metric == "kv_cache_bytes")
    assert counted.largest == kv_cache_bytes(larger, larger.largest())


def test_what_continues_no_texts_has_none_and_what_networks_do_not_take_is_refused() -> None:
    assert "kv_cache_bytes" not in costs(space_of("bert"), space_of("bert").largest())
    objectives = [{"metric": "accuracy"}, {"metric": "kv_cache_bytes"}]
    with pytest.raises(ValidationError, match="Only language models have kv_cache_bytes"):
        JobSpec.model_validate({**TINY_JOB, "objectives": objectives})
    with pytest.raises(ValidationError, match="these networks take at most 1024"):
        JobSpec.model_validate({**JOB, "hardware": {"context": 4096}})
    with pytest.raises(ValueError, match="do not continue texts, so they have no serving_bytes"):
        make_profile(
            ProfileSpec.model_validate(
                {
                    "supernet": {"family": "mobilenet", "preset": "digits"},
                    "constraints": [{"metric": "serving_bytes", "limit": 1}],
                }
            )
        )
