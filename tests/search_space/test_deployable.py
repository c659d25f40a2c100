"""Spaces of networks that engines run as they are."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from pydantic import ValidationError

from export.contents import BundleContents
from export.formats.block_configs import format as block_configs
from export.formats.gguf import format as gguf_format
from export.formats.huggingface import format as huggingface
from job.formats import Subject, refusal
from job.spec import SupernetSpec
from predictors.cost import params
from search_space.adjustments import Adjustments
from search_space.deployable import ENGINES, deployable_space
from search_space.families.llama import OWN_TYPES, PRESETS, TASKS
from search_space.plugins import load_family
from search_space.space import SearchSpace
from service.profile import asked_for, make_profile
from tests.export.random_networks import checkpoint_of, random_architecture, random_contents, samples_of

MISTRAL = {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None}
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

    def told(**more: list[str]) -> str | None:
        return make_profile(asked_for({"supernet": {**supernet, **more}}, {}, {}, 10, None)).deployable

    assert told(deployable=[]) is None
    costs = (
        "can run them without zeros there are 1.85e+19 networks instead of 4.58e+09, and the smallest has "
        "2,703,429,632 parameters instead of 3,496,153,088."
    )
    assert told(deployable=["vllm"]) == f"As vllm {costs}"
    decided = "Winnow decided that; `supernet.deployable: []` leaves the space whole."
    assert told() == f"As vllm, gguf {costs} {decided}"


# --- what is decided where a job names none ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "engines", "widths", "networks", "least"),
    [
        ("tiny", ("gguf",), (96, 192, 256, 352), "4.11e+06", 131_712),
        ("matformer", ("gguf",), (64, 128, 256, 512), "4.1e+03", 575_104),
        ("llama2_7b", ("vllm", "gguf"), (2816, 5632, 8192, 11008), "1.85e+19", 2_703_429_632),
    ],
)
def test_presets_are_kept_to_the_engines_that_run_them_whole(
    preset: str, engines: tuple, widths: tuple, networks: str, least: int
) -> None:
    spec = SupernetSpec(family="llama", preset=preset)
    assert spec.engines == engines
    space = spec.space()
    assert options(space)["layer2_ffn"] == widths
    assert (f"{space.size():.3g}", params(space, space.smallest())) == (networks, least)
    assert options(space) == options(space_of(*engines, preset=preset))
    letter = spec.model_copy(update={"deployable": ()})
    assert options(letter.space()) == options(load_family("llama", preset))


@pytest.mark.parametrize(
    ("choices", "engines"),
    [
        ({"layer2_ffn": (256, 512, 1376)}, ("gguf",)),
        ({"layer2_ffn": (256, 300)}, ()),
        ({"layer2_ffn": (0, 11008)}, ("vllm",)),
        ({"layer2_kv_heads": (0, 32)}, ("vllm",)),
        ({"layer1_kv_heads": (0, 32)}, ()),
        ({"layer2_kv_heads": (16, 32)}, ("gguf",)),
        ({"layer2_kv_heads": (16,)}, ("gguf",)),
        ({"layer2_window": (64, 4096)}, ()),
        ({"layer*_ffn": (11008,)}, ("vllm", "gguf")),
        ({"depth": (20, 32)}, ("vllm", "gguf")),
    ],
    ids=str,
)
def test_an_engine_that_the_choices_contradict_is_left_out(choices: dict, engines: tuple) -> None:
    spec = SupernetSpec(family="llama", preset="llama2_7b", choices=choices)
    assert spec.engines == engines
    found = options(spec.space())
    assert all(found[name] == given for name, given in choices.items() if "*" not in name)


@pytest.mark.parametrize(("first", "engines"), [((0, 1), ()), ((1,), ("vllm",))])
def test_a_layer_that_may_come_first_keeps_its_attention(first: tuple, engines: tuple) -> None:
    choices = {"layer1_keep": first, "layer*_ffn": (256, 512), "layer2_kv_heads": (0, 4), "layer*_kv_heads": (4,)}
    assert SupernetSpec(family="llama", preset="tiny", choices=choices).engines == engines


@pytest.mark.parametrize(
    ("changes", "engines"),
    [
        ({}, ("gguf",)),  # multiples of 256 would leave two widths of four
        ({"intermediate_size": 1024}, ("vllm", "gguf")),
        ({"intermediate_size": 480}, ("gguf",)),
        ({"intermediate_size": 100}, ()),
        ({"intermediate_size": 256}, ("gguf",)),
        ({"intermediate_size": 32}, ()),
        ({"head_dim": 32}, ("gguf",)),
        ({"head_dim": 8}, ("gguf",)),
        ({"hidden_act": "gelu"}, ()),
        ({**MISTRAL, "intermediate_size": 1024}, ("vllm", "gguf")),
        ({**MISTRAL, "sliding_window": 64}, ()),
        ({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}, ()),  # whose layers have one width there
    ],
    ids=str,
)
def test_a_checkpoint_decides_by_its_own_sizes(changes: dict, engines: tuple) -> None:
    config = {**PRESETS["matformer"].config, **changes}
    spec = SupernetSpec(family="llama", checkpoint=config)
    assert spec.engines == engines
    widths = options(spec.space())["layer2_ffn"]
    assert len(widths) > 1
    assert widths[-1] == config["intermediate_size"]


def test_decoders_of_other_types_and_other_families_are_kept_to_none() -> None:
    assert SupernetSpec(family="llama", checkpoint=checkpoint_of("gemma2")).engines == ()
    assert SupernetSpec(family="mobilenet", preset="digits").engines == ()


def random_supernet(rng: np.random.Generator) -> dict[str, Any]:
    """A llama of any sizes, and often choices of its client's."""
    groups, ratio, width = (int(rng.choice(some)) for some in ((1, 2, 4), (1, 2), (8, 16)))
    heads, layers = groups * ratio, int(rng.integers(1, 4))
    ffn = int(rng.choice([24, 32, 64, 96, 100, 256, 1024, 1024, 2048]))
    number = int(rng.choice(4, p=(0.5, 0.3, 0.1, 0.1)))
    config = {
        **PRESETS["tiny"].config,
        "model_type": OWN_TYPES[number],
        "architectures": [TASKS[number]],
        "vocab_size": 40,
        "hidden_size": heads * width * int(rng.choice([1, 1, 1, 2])),
        "head_dim": width,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "max_position_embeddings": 64,
        "tie_word_embeddings": bool(rng.integers(2)),
        "sliding_window": int(rng.choice([0, 0, 0, 16])) or None,
        "attention_bias": bool(rng.integers(2)),
    }
    offered = {
        "ffn": ([ffn], [ffn // 2, ffn], [0, ffn], [32, 64], [256, 512]),
        "kv_heads": ([groups], [1, groups], [0, groups], [1]),
        "keep": ([0, 1], [1]),
        "window": ([8, 64],),
    }
    choices = {}
    for word, many in offered.items():
        if rng.random() < (0.1 if word == "window" else 0.3):
            options = many[int(rng.integers(len(many)))]
            choices[f"layer{rng.choice(['*', '1', '2'])}_{word}"] = sorted(set(options))
    return {"family": "llama", "checkpoint": config, "choices": choices}


def zeros_in(engine: str, contents: BundleContents, space: SearchSpace, folder: Path) -> int:
    """Numbers of an engine's file that the network does not have."""
    folder.mkdir()
    if engine == "vllm":
        return int(block_configs.write_contents(contents, samples_of(space), folder)["padding_bytes"])
    gguf_format.write_contents(contents, samples_of(space), folder)
    held = sum(int(tensor.n_elements) for tensor in GGUFReader(folder / "model-f16.gguf").tensors)
    return held - sum(parameter.numel() for parameter in contents.network.parameters())


@pytest.mark.thorough
def test_networks_of_what_is_decided_are_written_without_zeros(tmp_path: Path) -> None:
    rng, decided, written = np.random.default_rng(0), Counter(), Counter()
    for made in range(250):
        given = random_supernet(rng)
        try:
            whole = SupernetSpec.model_validate({**given, "deployable": []}).space()
        except ValidationError:  # a configuration or choices that are none, whatever the engines
            continue
        spec = SupernetSpec.model_validate(given)
        space, engines = spec.space(), spec.engines
        assert options(space) == options(spec.model_copy(update={"deployable": engines}).space())
        assert space.layers(space.largest()) == whole.layers(whole.largest())
        decided[engines] += 1
        drawn = [random_architecture(space, 5 * made + number) for number in range(5)]
        held = [one for one in drawn if len(space.layers(one)) > 2]  # a layer between embedding and head
        for engine in engines:
            for one in held:
                assert refusal(ENGINES[engine].format, Subject(space.name, space.layers(one))) is None
            for one in held[:1] if decided[engines] <= 6 else ():
                contents = random_contents(space, architecture=one)
                assert zeros_in(engine, contents, space, tmp_path / f"{made}-{engine}") == 0, given
                written[engine] += 1
    assert set(decided) == {(), ("gguf",), ("vllm",), ("vllm", "gguf")}
    assert min(written.values()) >= 8


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
