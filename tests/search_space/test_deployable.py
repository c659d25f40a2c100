"""Spaces of networks that engines run as they are."""

from pathlib import Path

import numpy as np
import pytest
import torch

from export.formats.block_configs import format as block_configs
from export.formats.huggingface import format as huggingface
from job.spec import SupernetSpec
from search_space.adjustments import Adjustments
from search_space.deployable import deployable_space
from search_space.families.llama import PRESETS
from search_space.plugins import load_family
from search_space.space import SearchSpace
from service.profile import asked_for, make_profile
from tests.export.random_networks import random_contents, samples_of

WIDE = {"layer*_ffn": (256, 512, 768), "layer*_kv_heads": (1, 2, 4)}


def space_of(*engines: str, preset: str = "tiny", choices: dict | None = None) -> SearchSpace:
    return deployable_space(
        lambda adjusted: load_family("llama", preset, adjusted), Adjustments(choices or {}), engines
    )


def options(space: SearchSpace) -> dict[str, tuple]:
    return {choice.name: choice.options for choice in space.choices}


def test_widths_are_multiples_and_query_heads_stay() -> None:
    found = options(space_of("vllm", preset="llama2_7b"))
    assert found["layer1_ffn"] == (2816, 5632, 8192, 11008)
    assert all(width % 256 == 0 for width in found["layer1_ffn"])
    assert found["depth"] == (24, 28, 32)
    tiny = options(space_of("vllm"))
    assert (tiny["layer2_ffn"], tiny["layer2_kv_heads"], tiny["layer2_keep"]) == ((256,), (4,), (0, 1))
    assert options(space_of("gguf"))["layer2_ffn"] == (96, 192, 256, 352)
    assert options(space_of("gguf"))["layer2_kv_heads"] == (1, 2, 4)


@pytest.mark.parametrize("engine", ["vllm", "huggingface"])
def test_files_of_such_networks_have_no_zeros(engine: str, tmp_path: Path) -> None:
    choices = {"layer*_ffn": WIDE["layer*_ffn"], "layer*_kv_heads": (4,)}
    space, rng = space_of(engine, choices=choices), np.random.default_rng(0)
    writer = {"vllm": block_configs, "huggingface": huggingface}[engine]
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        contents = random_contents(space, number, architecture=space.sample(rng))
        told = writer.write_contents(contents, samples_of(space), folder)
        assert told["padding_bytes"] == 0


def test_layers_are_alike_for_transformers() -> None:
    space = space_of("huggingface", choices={"layer*_ffn": WIDE["layer*_ffn"], "layer*_kv_heads": (4,)})
    assert options(space)["ffn"] == (256, 512, 768)
    assert not any(name.startswith("layer") and "keep" not in name for name in options(space))
    layers = space.layers(space.sample(np.random.default_rng(1)))
    assert len({layer.ffn for layer in layers.values() if hasattr(layer, "ffn")}) == 1
    assert space.capacity()["layer1"].ffn == 768
    assert space.name.endswith("/alike")


@pytest.mark.parametrize(
    ("choices", "engines", "says"),
    [
        ({"layer*_ffn": (256, 300)}, ("vllm",), "gives layer1_ffn the option 300, and .* wants multiples of 256"),
        ({"layer2_kv_heads": (2, 4)}, ("vllm",), "gives layer2_kv_heads the option 2, and .* wants all groups"),
        ({"layer*_ffn": (64, 88)}, ("vllm",), "gives layer1_ffn the option 64"),
    ],
)
def test_options_that_an_engine_cannot_express_are_refused(choices: dict, engines: tuple, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        space_of(*engines, choices=choices)


def test_other_networks_have_no_engines() -> None:
    with pytest.raises(ValueError, match=r"space 'mobilenet/digits' has none; leave it out"):
        deployable_space(lambda adjusted: load_family("mobilenet", "digits", adjusted), Adjustments(), ("gguf",))


def test_a_profile_says_what_it_costs() -> None:
    supernet = {"family": "llama", "preset": "llama2_7b"}
    plain = make_profile(asked_for(None, supernet, {}, 10, None))
    assert plain.deployable is None
    told = make_profile(asked_for({"supernet": {**supernet, "deployable": ["vllm"]}}, {}, {}, 10, None)).deployable
    assert told == (
        "As vllm can run them without zeros there are 1.85e+19 networks instead of 4.58e+09, and the smallest has "
        "2,703,429,632 parameters instead of 3,496,153,088."
    )


def test_a_job_without_it_has_the_space_that_it_had() -> None:
    spec = SupernetSpec(family="llama", preset="tiny")
    assert spec.deployable == ()
    assert options(spec.space()) == options(load_family("llama", "tiny"))
    made = spec.model_copy(update={"deployable": ("vllm",)}).space()
    assert torch.prod(torch.tensor([len(one) for one in options(made).values()])) == 2**4


def test_a_network_that_is_too_narrow_is_refused() -> None:
    config = {**PRESETS["tiny"].config, "intermediate_size": 128}
    with pytest.raises(ValueError, match=r"has widths up to 128, and .* wants multiples of 256: there is none"):
        deployable_space(lambda adjusted: load_family("llama", None, adjusted, config), Adjustments(), ("vllm",))


def test_layers_without_a_half_stay_where_the_engine_runs_them() -> None:
    choices = {"layer*_kv_heads": (0, 4), "layer*_ffn": (0, 256), "layer*_keep": (1,)}
    found = options(space_of("vllm", choices={**choices, "layer1_kv_heads": (4,)}))
    assert (found["layer1_kv_heads"], found["layer2_kv_heads"], found["layer2_ffn"]) == ((4,), (0, 4), (0, 256))
    with pytest.raises(ValueError, match=r"gives layer1_kv_heads the option 0, and .* wants all groups"):
        space_of("vllm", choices=choices)
    with pytest.raises(ValueError, match=r"gives layer1_ffn the option 0, and .* wants multiples of 32"):
        space_of("gguf", choices=choices)
