"""The formats `gguf` and `block_configs`: read back as engines read them, they compute what the network computes."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from weakref import ref

import numpy as np
import pytest
import torch

from export import tools
from export.formats.block_configs import format as block_configs
from export.formats.gguf import format as gguf_format
from export.formats.gguf import quantizing
from export.generation import continuation
from export.tools import CannotWrite
from job.formats import Subject, refusal
from plugins.kinds import FORMATS
from search_space.plugins import load_family
from tests.export.random_networks import (
    answers,
    checkpoint_of,
    random_contents,
    reloaded,
    samples_of,
    space_of,
    subject_of,
)
from tests.supernet.checkpoints import CHECKPOINTS
from tests.tiers import mostly_thorough

gguf = pytest.importorskip("gguf")

DECODERS = [name for name, (family, _, _) in CHECKPOINTS.items() if family == "llama"]


@pytest.mark.parametrize("name", mostly_thorough([*DECODERS, "llama/tiny"], "qwen2", "llama/tiny"))
def test_gguf_gives_the_networks_answers_and_tokens(name: str, tmp_path, monkeypatch) -> None:
    space = space_of(name)
    contents, texts = random_contents(space, seed=4), samples_of(space)
    if (reason := refusal("gguf", subject_of(contents))) is not None:
        assert "window" in name
        assert "no sliding window" in reason
        return
    gguf_format.write_contents(contents, texts, tmp_path)
    stored = gguf_format.as_stored(contents.network)
    run = reloaded("gguf", tmp_path, monkeypatch, "f16")
    assert np.abs(run(texts.numpy()) - answers(stored, texts)).max() <= 1e-5
    right = continuation(stored, texts)
    assert right is not None
    assert right.compared(run.generate(right.prompts, right.count), 1e-5)["parted_at"] is None
    rounded = reloaded("gguf", tmp_path, monkeypatch, "q8_0")(texts.numpy())
    assert np.abs(rounded - answers(stored, texts)).max() <= 0.1


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_a_llama_whose_layers_differ_says_the_same_64_tokens_everywhere(tmp_path, monkeypatch) -> None:
    """In PyTorch, transformers, llama.cpp's file and ONNX Runtime, with a cache; in llama.cpp too where it is there."""
    space = space_of("llama/tiny")
    contents, texts = random_contents(space, seed=4), samples_of(space)
    layers = [layer for layer in contents.layers.values() if layer.kind == "decoder_layer"]
    assert len({(layer.kv_heads, layer.ffn) for layer in layers}) > 1
    # Numbers that 16 bits have, so that one network is asked everywhere.
    contents = replace(contents, network=gguf_format.as_stored(contents.network))
    right = continuation(contents.network, texts)
    assert right is not None
    assert right.count == 64
    for name in ("huggingface", "gguf", "onnx", "torch_export"):
        module, home = FORMATS.load(name), tmp_path / name
        home.mkdir()
        module.write_contents(contents, texts, home)
        files = module.parts(home) if name == "gguf" else {"": None}
        for part in [file for file in files if not file.startswith("q")]:
            found = reloaded(name, home, monkeypatch, part).generate(right.prompts, right.count)
            told = right.compared(found, 1e-2 if part.endswith(gguf_format.IN_ENGINE) else 1e-4)
            assert told["parted_at"] is None, (name, part)
            assert told["same"] + told["tied"] == right.tokens.size


def test_gguf_is_deci_where_llamas_layers_differ(tmp_path) -> None:
    space = space_of("llama/tiny")
    contents = random_contents(space, seed=4)
    gguf_format.write_contents(contents, samples_of(space), tmp_path)
    fields = gguf.GGUFReader(tmp_path / "model-f16.gguf").fields
    layers = [layer for layer in contents.layers.values() if layer.kind == "decoder_layer"]
    assert fields["general.architecture"].contents() == "deci"
    assert fields["deci.attention.head_count_kv"].contents() == [layer.kv_heads for layer in layers]
    assert fields["deci.feed_forward_length"].contents() == [layer.ffn for layer in layers]


def without_engine(monkeypatch) -> None:
    """As on a worker without llama.cpp for Python."""
    for module in (gguf_format, quantizing):
        monkeypatch.setattr(module, "has_engine", lambda: False)


def quantizer(folder: Path, monkeypatch, body: str) -> None:
    """A `llama-quantize` on PATH that does this with `source`, `target` and `kind`."""
    script = folder / "bin" / "llama-quantize"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nimport shutil, sys\nsource, target, kind = sys.argv[1:]\n{body}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["llama/tiny", "llama", "mistral", "qwen2", "qwen3"])
def test_llama_cpp_itself_reads_the_files_and_rounds_them(name: str, tmp_path, monkeypatch) -> None:
    """Compiling llama.cpp takes minutes, so `make test` goes without: pip install 'winnow[llamacpp]'."""
    pytest.importorskip("llama_cpp")
    space = space_of(name)
    contents, texts = random_contents(space, seed=4), samples_of(space)
    told = gguf_format.write_contents(contents, texts, tmp_path)
    assert gguf_format.ENGINE_RAN in told["notes"]
    assert any("model-q4_k_m.gguf` is of " in note for note in told["notes"])
    parts = gguf_format.parts(tmp_path)
    assert {"q4_k_m", "f16 in llama.cpp", "q8_0 in llama.cpp"} < parts.keys()
    stored = gguf_format.as_stored(contents.network)
    run, right = reloaded("gguf", tmp_path, monkeypatch, "f16 in llama.cpp"), continuation(stored, texts)
    allowed = parts["f16 in llama.cpp"].tolerance
    assert allowed is not None
    assert np.abs(run(texts.numpy()) - answers(stored, texts)).max() <= allowed / 2
    assert right is not None
    assert right.compared(run.generate(right.prompts, right.count), allowed)["parted_at"] is None
    rounded = [reloaded("gguf", tmp_path, monkeypatch, f"q8_0{of}")(texts.numpy()) for of in ("", " in llama.cpp")]
    # llama.cpp rounds what it multiplies with 8 bits to 8 bits too.
    assert np.abs(rounded[0] - rounded[1]).max() <= 0.1


def test_a_file_that_llama_cpp_does_not_load_is_told(tmp_path, monkeypatch) -> None:
    pytest.importorskip("llama_cpp")
    (tmp_path / "model-f16.gguf").write_bytes(b"GGUF and nothing")
    with pytest.raises(SystemExit, match=r"llama.cpp does not load model-f16.gguf"):
        reloaded("gguf", tmp_path, monkeypatch, "f16 in llama.cpp")


def test_llama_cpps_quantizer_is_asked_where_it_is(tmp_path, monkeypatch) -> None:
    without_engine(monkeypatch)
    space = space_of("llama/tiny")
    contents, texts = random_contents(space, seed=4), samples_of(space)
    gguf_format.write_contents(contents, texts, tmp_path)
    assert list(gguf_format.parts(tmp_path)) == ["f16", "q8_0"]
    body = "assert kind == 'Q4_K_M'; shutil.copy(source.replace('f16', 'q8_0'), target)"
    quantizer(tmp_path, monkeypatch, body)
    told = gguf_format.write_contents(contents, texts, tmp_path)
    assert any("llama-quantize on the worker" in note for note in told["notes"])
    assert gguf_format.ENGINE_MISSING in told["notes"]
    assert list(gguf_format.parts(tmp_path)) == ["f16", "q8_0", "q4_k_m"]
    run = reloaded("gguf", tmp_path, monkeypatch, "q4_k_m")
    assert np.abs(run(texts.numpy()) - answers(contents.network, texts)).max() <= 0.1
    gguf_format.leave_out(tmp_path, "q4_k_m")
    assert list(gguf_format.parts(tmp_path)) == ["f16", "q8_0"]


def test_a_quantizer_that_fails_fails_the_export_with_its_words(tmp_path, monkeypatch) -> None:
    space = space_of("llama/tiny")
    quantizer(tmp_path, monkeypatch, "sys.exit('no such type')")
    with pytest.raises(CannotWrite, match="llama-quantize ended with 1: no such type"):
        gguf_format.write_contents(random_contents(space, seed=4), samples_of(space), tmp_path)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "It has all layers of the original"),
        ({"layer2_keep": 0}, "llama-quantize --prune-layers 1 original-f16.gguf model-f16.gguf COPY"),
        ({"layer1_ffn": 24}, "layers are narrower, or there is no original"),
    ],
)
def test_commands_lie_beside_the_files(values: dict, says: str, tmp_path) -> None:
    space = space_of("llama")
    architecture = space.architecture(**{**space.largest().values, **values})
    contents = random_contents(space, 4, architecture=architecture, checkpoint=checkpoint_of("llama"))
    gguf_format.write_contents(contents, samples_of(space), tmp_path)
    written = (tmp_path / "llama-quantize.txt").read_text()
    assert says in written
    assert "llama-quantize model-f16.gguf model-q4_k_m.gguf Q4_K_M" in written


def test_a_byte_level_tokenizer_goes_into_the_file(tmp_path) -> None:
    from dataclasses import replace

    from tokenizers import Tokenizer, models, pre_tokenizers

    vocab = {token: number for number, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet())[:98])}
    made = Tokenizer(models.BPE(vocab | {"ab": 98}, [("a", "b")]))
    made.add_special_tokens(["<end>"])
    made.save(str(tmp_path / "tokenizer.json"))
    space = space_of("qwen2")
    contents = replace(random_contents(space), companions=(tmp_path / "tokenizer.json",))
    gguf_format.write_contents(contents, samples_of(space), tmp_path)
    fields = gguf.GGUFReader(tmp_path / "model-f16.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    assert (len(tokens), tokens[98], tokens[99]) == (101, "ab", "<end>")
    assert fields["tokenizer.ggml.merges"].contents() == ["a b"]
    assert fields["tokenizer.ggml.model"].contents() == "gpt2"


@pytest.mark.parametrize("name", mostly_thorough([*DECODERS, "llama/tiny"], "qwen3", "llama/tiny"))
def test_block_configs_give_the_networks_answers(name: str, tmp_path, monkeypatch) -> None:
    space = space_of(name)
    contents, texts = random_contents(space, seed=4), samples_of(space)
    if (reason := refusal("block_configs", subject_of(contents))) is not None:
        assert any(word in reason for word in ("window", "describes llamas", "do not fill"))
        return
    block_configs.write_contents(contents, texts, tmp_path)
    got = reloaded("block_configs", tmp_path, monkeypatch)(texts.numpy())
    assert np.abs(got - answers(contents.network, texts)).max() <= 1e-5
    blocks = json.loads((tmp_path / "config.json").read_text())["block_configs"]
    assert all(isinstance(block["ffn"]["ffn_mult"], float) and not block["attention"]["no_op"] for block in blocks)


@pytest.mark.parametrize(
    ("width", "hidden", "said"),
    [(11008, 4096, 4.03125), (5632, 2048, 4.125), (14336, 4096, 5.25), (4864, 896, 8.142857), (9728, 2560, 5.7)],
)
def test_multipliers_are_those_of_published_models(width: int, hidden: int, said: float) -> None:
    assert block_configs.multiplier(width, hidden) == said


def test_engines_attributes_are_there(tmp_path) -> None:
    from transformers import AutoConfig

    space = space_of("llama")
    block_configs.write_contents(random_contents(space), samples_of(space), tmp_path)
    config = AutoConfig.from_pretrained(tmp_path, trust_remote_code=True)
    assert config.block_configs[0].attention.n_heads_in_group >= 1
    assert config.block_configs[0].ffn.ffn_mult > 0


def test_what_no_language_model_is_and_a_tool_that_is_not_there_are_told(monkeypatch) -> None:
    space = load_family("vit", "cifar")
    subject = Subject(space.name, space.layers(space.smallest()))
    assert refusal("gguf", subject) == refusal("block_configs", subject) == "it holds language models of decoder layers"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(tools.MissingTool, match=r"pip install 'winnow\[gguf\]'"):
        tools.require("gguf")


def test_weights_that_16_bits_do_not_hold_are_refused(tmp_path) -> None:
    space = space_of("llama")
    contents = random_contents(space)
    with torch.no_grad():
        next(contents.network.parameters())[0, 0] = 1e6
    with pytest.raises(ValueError, match="16 bits do not hold"):
        gguf_format.write_contents(contents, samples_of(space), tmp_path)


@pytest.mark.parametrize("name", ["llama/tiny", "qwen2"])
def test_gguf_is_written_one_tensor_at_a_time(name: str, tmp_path, monkeypatch) -> None:
    space = space_of(name)
    contents = random_contents(space, seed=4)
    given: list[ref] = []
    most, turned = [], gguf_format._turned

    def watched(array: np.ndarray, groups: int) -> np.ndarray:
        made = turned(array, groups)
        given.append(ref(made))
        most.append(sum(one() is not None for one in given))
        return made

    monkeypatch.setattr(gguf_format, "_turned", watched)
    gguf_format.write_contents(contents, samples_of(space), tmp_path)
    # The one before goes when the next has come.
    assert max(most) <= 2
    assert len(most) == 2 * len(gguf.GGUFReader(tmp_path / "model-f16.gguf").tensors)
