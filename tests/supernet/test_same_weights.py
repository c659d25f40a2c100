"""However a checkpoint spells, ties and stores its tensors: the largest network computes what transformers computes."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, BertConfig, BertForPreTraining, BertForSequenceClassification, BertModel

from search_space.adjustments import Adjustments
from search_space.checkpoint import CheckpointError, read_checkpoint
from search_space.plugins import check_checkpoint, load_family
from supernet.network import Supernet
from supernet.weights import load_pretrained
from tests.supernet.checkpoints import CHECKPOINTS, ENCODER, TEXT, answer, inputs, save

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"


def respell(folder: Path, spell: Callable[[str], str]) -> None:
    save_file(
        {spell(name): tensor for name, tensor in load_file(folder / FILE).items()},
        folder / FILE,
        {"format": "pt"},
    )


def reconfigure(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def is_the_same_network(name: str, folder: Path) -> None:
    """Winnow's largest network and transformers' network, both read from the folder as it lies there."""
    family, kind, _ = CHECKPOINTS[name]
    supernet = Supernet(load_family(family, None, None, read_checkpoint(folder).config)).eval()
    load_pretrained(supernet, folder)
    x = inputs(family)
    with torch.no_grad():
        ours = supernet(x, supernet.space.largest())
    assert (ours - answer(kind.from_pretrained(folder).eval(), x)).abs().max() <= 1e-5


def old_norms(name: str) -> str:
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def version_5(name: str) -> str:
    """ViT's names as transformers 5 has them in memory."""
    name = name.replace("encoder.layer.", "layers.").replace("attention.output.dense", "attention.o_proj")
    name = re.sub(r"attention\.attention\.(query|key|value)", lambda m: f"attention.{m[1][0]}_proj", name)
    return name.replace("intermediate.dense", "mlp.fc1").replace("output.dense", "mlp.fc2")


SPELLINGS = {
    "as saved": lambda name: name,
    "gamma and beta": old_norms,
    "gamma and beta without a prefix": lambda name: old_norms(name).removeprefix("bert."),
    "a prefix": lambda name: f"bert.{name}",
    "no model": lambda name: name.removeprefix("model."),
    "no vit": lambda name: name.removeprefix("vit."),
    "version 5": version_5,
}


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("bert", "gamma and beta"),
        ("bert", "gamma and beta without a prefix"),
        ("bert-model", "gamma and beta"),
        ("bert-model", "a prefix"),
        ("vit", "no vit"),
        ("vit", "version 5"),
        ("llama", "no model"),
        ("qwen3", "no model"),
    ],
)
def test_every_spelling_that_transformers_knows(name, spelling, tmp_path):
    _, kind, config = CHECKPOINTS[name]
    save(kind, config, tmp_path)
    before = set(load_file(tmp_path / FILE))
    respell(tmp_path, SPELLINGS[spelling])
    assert set(load_file(tmp_path / FILE)) != before
    is_the_same_network(name, tmp_path)


def test_old_names_of_a_masked_language_model_fill_a_classifier(tmp_path):
    """bert-base-uncased as it lies on the Hub: a head of another task, a pooler, and gamma and beta."""
    model = save(BertForPreTraining, BertConfig(**ENCODER, vocab_size=101), tmp_path)
    reconfigure(tmp_path, architectures=["BertForMaskedLM"])
    respell(tmp_path, old_norms)
    supernet = Supernet(load_family("bert", None, Adjustments(classes=2), read_checkpoint(tmp_path).config))
    loaded = load_pretrained(supernet, tmp_path, 2)
    assert loaded.fresh == ("classifier.bias", "classifier.weight")
    assert all(name.startswith("cls.") for name in loaded.dropped)
    norm = supernet.slot("layer2").block.ffn_norm.weight
    assert torch.equal(norm, model.bert.encoder.layer[1].output.LayerNorm.weight)


def test_two_names_of_one_tensor_are_a_question(tmp_path):
    _, kind, config = CHECKPOINTS["bert"]
    save(kind, config, tmp_path)
    tensors = load_file(tmp_path / FILE)
    tensors["bert.embeddings.LayerNorm.gamma"] = tensors["bert.embeddings.LayerNorm.weight"] + 1
    save_file(tensors, tmp_path / FILE)
    with pytest.raises(CheckpointError, match=r"LayerNorm.gamma' and .*LayerNorm.weight', which are two names of one"):
        check_checkpoint("bert", read_checkpoint(tmp_path))


# --- tied or not --------------------------------------------------------------------------------------------


@pytest.fixture
def tied(tmp_path) -> Path:
    _, kind, config = CHECKPOINTS["llama-tied"]
    save(kind, config, tmp_path)
    return tmp_path


def store(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / FILE)
    change(tensors)
    save_file(tensors, folder / FILE, {"format": "pt"})


def test_a_tied_head_of_other_values_is_kept_as_transformers_keeps_it(tied):
    store(tied, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 0.1}))
    is_the_same_network("llama-tied", tied)
    checkpoint = read_checkpoint(tied)
    assert checkpoint.config["tie_word_embeddings"] is False
    assert "differ" in checkpoint.notes[0]
    assert check_checkpoint("llama", checkpoint).dropped == ()


def test_one_value_that_differs_is_found_however_large_the_tensor(tied, monkeypatch):
    monkeypatch.setattr("search_space.checkpoint.COMPARED", 64)

    def change(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        tensors["lm_head.weight"][-1, -1] += 1

    store(tied, change)
    assert read_checkpoint(tied).config["tie_word_embeddings"] is False
    is_the_same_network("llama-tied", tied)


def test_a_tied_head_of_the_same_values_stays_tied(tied):
    store(tied, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    is_the_same_network("llama-tied", tied)
    checkpoint = read_checkpoint(tied)
    assert (checkpoint.config["tie_word_embeddings"], checkpoint.notes) == (True, ())


def test_a_tied_head_that_is_stored_alone_is_the_embedding(tied):
    store(tied, lambda t: t.update({"lm_head.weight": t.pop("model.embed_tokens.weight")}))
    is_the_same_network("llama-tied", tied)


# --- one file or many ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", ["there", "gone"])
def test_one_file_goes_before_an_index_of_older_shards(shards, tmp_path):
    _, kind, config = CHECKPOINTS["llama"]
    save(kind, config, tmp_path, max_shard_size="40KB")
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    torch.manual_seed(9)
    kind(config).save_pretrained(tmp_path)
    for name, content in kept.items():
        if name == INDEX or (shards == "there" and name.endswith(".safetensors")):
            (tmp_path / name).write_bytes(content)
    assert (tmp_path / FILE).is_file()
    is_the_same_network("llama", tmp_path)
    assert "index of shards" in read_checkpoint(tmp_path).notes[0]


# --- weights that are none ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn, torch.float8_e5m2, torch.int32])
def test_packed_weights_without_a_configuration_are_refused(dtype, tmp_path):
    _, kind, config = CHECKPOINTS["llama"]
    save(kind, config, tmp_path)
    name = "model.layers.1.mlp.up_proj.weight"
    store(tmp_path, lambda t: t.update({name: t[name].mul(9).to(dtype), f"{name}_scale": torch.ones(88, 1)}))
    with pytest.raises(CheckpointError, match=rf"holds the tensor '{name}' as \w+: weights that are quantized"):
        check_checkpoint("llama", read_checkpoint(tmp_path))


@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
def test_quantized_weights_with_a_configuration_are_refused(key, tmp_path):
    _, kind, config = CHECKPOINTS["llama"]
    save(kind, config, tmp_path)
    reconfigure(tmp_path, **{key: {"quant_method": "gptq", "bits": 4}})
    with pytest.raises(CheckpointError, match="weights are quantized; start from the full-precision"):
        check_checkpoint("llama", read_checkpoint(tmp_path))


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_value_that_is_no_number_is_refused_by_the_name_of_its_tensor(value, dtype, tmp_path):
    family, kind, config = CHECKPOINTS["llama"]
    save(kind, config, tmp_path)
    name = "model.layers.1.mlp.down_proj.weight"

    def spoil(tensors):
        tensors.update({key: tensor.to(dtype) for key, tensor in tensors.items()})
        tensors[name][3, 5] = value

    store(tmp_path, spoil)
    supernet = Supernet(load_family(family, None, None, read_checkpoint(tmp_path).config))
    before = {key: tensor.clone() for key, tensor in supernet.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"Tensor '{name}' of .* holds (NaN|infinity)"):
        load_pretrained(supernet, tmp_path)
    assert all(torch.equal(tensor, before[key]) for key, tensor in supernet.state_dict().items())


def test_a_tensor_that_is_not_loaded_may_hold_anything(tmp_path):
    family, kind, config = CHECKPOINTS["bert"]
    save(kind, config, tmp_path)
    store(tmp_path, lambda t: t["classifier.weight"].fill_(float("nan")))
    supernet = Supernet(load_family(family, None, Adjustments(classes=5), read_checkpoint(tmp_path).config))
    assert "classifier.weight" in load_pretrained(supernet, tmp_path, 5).dropped


# --- configurations that cannot be built ---------------------------------------------------------------------


def builds(folder: Path, kind: type) -> bool:
    """Whether transformers makes a network of the configuration and runs it."""
    try:
        model = kind(AutoConfig.from_pretrained(folder)).eval()
        answer(model, torch.ones(1, 5, dtype=torch.long))
    except Exception:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("llama", {"hidden_size": 56}, "hidden size of 56 for 6 heads"),
        ("llama", {"hidden_size": 56, "head_dim": 8}, "hidden size of 56 for 6 heads"),
        ("llama", {"num_key_value_heads": 4}, "6 query heads for 4 key-value heads"),
        ("llama", {"hidden_size": 42, "head_dim": None}, "heads of 7 numbers"),
        ("mistral", {"head_dim": 9}, "heads of 9 numbers"),
        ("qwen3", {"head_dim": 15}, "heads of 15 numbers"),
        ("llama", {"hidden_act": "swiglu"}, "hidden_act 'swiglu'"),
        ("llama", {"attention_bias": "yes"}, "'attention_bias' as true or false"),
        ("llama", {"tie_word_embeddings": 1}, "'tie_word_embeddings' as true or false"),
        ("llama", {"rope_parameters": {"rope_type": "ntk", "rope_theta": 1e4}}, "rotary scaling 'ntk'"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}}, "without its 'factor'"),
        ("llama", {"pad_token_id": 101}, "pad_token_id 101, outside its vocabulary of 101"),
        ("qwen3", {"layer_types": ["full_attention"] * 3}, "'layer_types' for each of its 4 layers"),
        ("bert", {"num_attention_heads": 5}, "hidden size of 48 for 5 heads"),
        ("bert", {"hidden_dropout_prob": 2}, "'hidden_dropout_prob' as a number from 0 to 1"),
        ("bert", {"hidden_act": "swoosh"}, "hidden_act 'swoosh'"),
        ("bert", {"pad_token_id": 5000}, "outside its vocabulary"),
    ],
)
def test_what_transformers_does_not_build_is_refused_by_a_rule(name, changes, message, tmp_path):
    family, kind, config = CHECKPOINTS[name]
    config.save_pretrained(tmp_path)
    assert builds(tmp_path, kind)
    reconfigure(tmp_path, **changes)
    assert not builds(tmp_path, kind)
    with pytest.raises(CheckpointError, match=message):
        load_family(family, None, None, json.loads((tmp_path / "config.json").read_text()))


def test_a_head_dim_of_its_own_needs_no_multiple_where_transformers_needs_none(tmp_path):
    _, kind, config = CHECKPOINTS["mistral"]
    save(kind, type(config)(**{**TEXT, "hidden_size": 56}, head_dim=8, sliding_window=None), tmp_path)
    is_the_same_network("mistral", tmp_path)


def test_a_decoder_with_the_weights_of_bert_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is_decoder true"):
        load_family("bert", None, None, BertConfig(**ENCODER, is_decoder=True, architectures=["BertModel"]).to_dict())


# --- classifiers that do not classify ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"num_labels": 1}, "predicts a number .num_labels 1, problem_type not given"),
        ({"num_labels": 1, "problem_type": "regression"}, "problem_type regression.; only classification"),
        ({"num_labels": 3, "problem_type": "regression"}, "num_labels 3, problem_type regression"),
        ({"num_labels": 4, "problem_type": "multi_label_classification"}, "any of several labels at once"),
    ],
)
def test_a_regression_is_no_classifier_unless_it_gets_a_new_head(more, message, tmp_path):
    save(BertForSequenceClassification, BertConfig(**ENCODER, vocab_size=101, **more), tmp_path)
    config = read_checkpoint(tmp_path).config
    with pytest.raises(CheckpointError, match=message):
        load_family("bert", None, None, config)
    classes = more["num_labels"] if more["num_labels"] > 1 else 4
    supernet = Supernet(load_family("bert", None, Adjustments(classes=classes), config))
    loaded = load_pretrained(supernet, tmp_path, classes)
    assert loaded.fresh == loaded.dropped == ("classifier.bias", "classifier.weight")


def test_a_bare_encoder_is_one_whatever_its_labels(tmp_path):
    save(BertModel, BertConfig(**ENCODER, vocab_size=101, num_labels=1), tmp_path)
    is_the_same_network("bert-model", tmp_path)
