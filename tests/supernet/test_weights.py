"""Pretrained checkpoints give in a supernet what transformers computes with them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from predictors import cost
from search_space.adjustments import Adjustments
from search_space.checkpoint import CheckpointError, read_checkpoint
from search_space.plugins import load_family
from supernet.network import Supernet, extract
from supernet.weights import load_pretrained, pretrained_supernet
from tests.supernet.checkpoints import CHECKPOINTS, MASKED_BERT, answer, inputs, one_of_each_family, save
from tests.tiers import mostly_thorough

NAMES = list(CHECKPOINTS)


def config_of(folder: Path) -> dict:
    return read_checkpoint(folder).config


def supernet_of(family: str, folder: Path, adjustments: Adjustments | None = None) -> Supernet:
    torch.manual_seed(7)
    supernet = Supernet(load_family(family, None, adjustments, config_of(folder)))
    load_pretrained(supernet, folder, adjustments.classes if adjustments else None)
    return supernet.eval()


def logits(supernet: Supernet, x: Tensor, architecture=None, mask: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return supernet(x, architecture or supernet.space.largest(), mask)


@pytest.mark.parametrize("name", NAMES)
def test_the_largest_networks_logits_are_transformers_own(name, tmp_path):
    family, kind, config = CHECKPOINTS[name]
    model = save(kind, config, tmp_path)
    supernet = supernet_of(family, tmp_path)
    x = inputs(family)
    difference = (logits(supernet, x) - answer(model, x)).abs().max()
    assert difference <= 1e-5


@pytest.mark.parametrize("name", one_of_each_family(NAMES))
def test_every_parameter_of_the_checkpoint_is_counted(name, tmp_path):
    family, kind, config = CHECKPOINTS[name]
    model = save(kind, config, tmp_path)
    space = load_family(family, None, None, config_of(tmp_path))
    assert cost.params(space, space.largest()) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", mostly_thorough(["llama", "llama-tied", "bert", "vit"], "llama-tied", "vit"))
def test_a_sharded_checkpoint_is_the_same_network(name, tmp_path):
    family, kind, config = CHECKPOINTS[name]
    model = save(kind, config, tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    x = inputs(family)
    assert torch.allclose(logits(supernet_of(family, tmp_path), x), answer(model, x), atol=1e-5, rtol=0)


def test_padding_is_masked_as_transformers_masks_it(tmp_path):
    family, kind, config = CHECKPOINTS["bert"]
    model = save(kind, config, tmp_path)
    x = inputs(family)
    mask = torch.ones_like(x)
    mask[0, 9:], mask[1, 4:] = 0, 0
    supernet = supernet_of(family, tmp_path)
    expected = answer(model, x, attention_mask=mask)
    assert torch.allclose(logits(supernet, x, mask=mask.bool()), expected, atol=1e-5, rtol=0)
    assert not torch.allclose(logits(supernet, x), expected, atol=1e-3)
    with torch.no_grad():
        extracted = extract(supernet, supernet.space.largest())(x, mask.bool())
    assert torch.equal(extracted, logits(supernet, x, mask=mask.bool()))


GROUPED = ["llama", "llama-mha", "qwen2", "qwen3", "mistral-window"]


@pytest.mark.parametrize("name", mostly_thorough(GROUPED, "llama", "qwen3"))
def test_a_network_with_fewer_groups_is_transformers_network_with_those_heads(name, tmp_path):
    """Under grouped-query attention whole groups stay: the first key-value heads with all of their queries."""
    family, kind, config = CHECKPOINTS[name]
    save(kind, config, tmp_path)
    supernet = supernet_of(family, tmp_path, Adjustments({"layer*_kv_heads": [1, config.num_key_value_heads]}))
    space = supernet.space
    values = space.largest().values
    narrow = space.architecture(**{**values, "layer2_kv_heads": 1, "layer3_kv_heads": 1})
    # The same by hand, in transformers' own network: all heads beyond the first group add nothing.
    model = kind.from_pretrained(tmp_path).eval()
    width = config.head_dim if getattr(config, "head_dim", None) else config.hidden_size // config.num_attention_heads
    kept = width * config.num_attention_heads // config.num_key_value_heads
    with torch.no_grad():
        for layer in (model.model.layers[1], model.model.layers[2]):
            layer.self_attn.o_proj.weight[:, kept:] = 0
    x = inputs(family)
    assert torch.allclose(logits(supernet, x, narrow), answer(model, x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["llama", "bert", "vit"])
def test_left_out_layers_and_neurons_are_those_of_transformers(name, tmp_path):
    family, kind, config = CHECKPOINTS[name]
    save(kind, config, tmp_path)
    supernet = supernet_of(family, tmp_path, Adjustments({"layer*_ffn": [24, 88]}))
    values = {**supernet.space.largest().values, "layer1_ffn": 24}
    values |= {"layer2_keep": 0} if family == "llama" else {"depth": 3}
    model = kind.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        if family == "llama":
            model.model.layers[0].mlp.down_proj.weight[:, 24:] = 0
            del model.model.layers[1]
        else:
            body = model.bert.encoder.layer if family == "bert" else model.vit.layers
            first = body[0].output.dense if family == "bert" else body[0].mlp.fc2
            first.weight[:, 24:] = 0
            del body[3]
    x = inputs(family)
    small = supernet.space.architecture(**values)
    assert torch.allclose(logits(supernet, x, small), answer(model, x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", one_of_each_family(NAMES))
def test_sub_networks_of_checkpoints_are_what_is_extracted(name, tmp_path):
    import numpy as np

    family, kind, config = CHECKPOINTS[name]
    save(kind, config, tmp_path)
    supernet = supernet_of(family, tmp_path)
    x, rng = inputs(family), np.random.default_rng(0)
    for architecture in [supernet.space.smallest(), *(supernet.space.sample(rng) for _ in range(8))]:
        network = extract(supernet, architecture)
        with torch.no_grad():
            assert torch.equal(network(x), logits(supernet, x, architecture))
        assert cost.params(supernet.space, architecture) == sum(p.numel() for p in network.parameters())


def test_tied_weights_stay_one_parameter(tmp_path):
    family, kind, config = CHECKPOINTS["llama-tied"]
    save(kind, config, tmp_path)
    supernet = supernet_of(family, tmp_path)
    network = extract(supernet, supernet.space.largest())
    for blocks in (supernet, network):
        names = [name for name, _ in blocks.named_parameters()]
        assert not [name for name in names if "output.weight" in name]
    embedding, head = network.embedding.tokens.weight, network.head.output.weight
    assert embedding is head
    assert embedding.data_ptr() != supernet.slot("embedding").block.tokens.weight.data_ptr()


def test_training_a_tied_supernet_moves_embedding_and_head_together(tmp_path):
    family, kind, config = CHECKPOINTS["llama-tied"]
    model = save(kind, config, tmp_path)
    supernet, x = supernet_of(family, tmp_path).train(), inputs(family)
    loss = supernet(x, supernet.space.largest()).logsumexp(-1).mean()
    loss.backward()
    model.train()
    model(x).logits.logsumexp(-1).mean().backward()
    ours = supernet.slot("embedding").block.tokens.weight.grad
    assert torch.allclose(ours, model.model.embed_tokens.weight.grad, atol=1e-6)


def test_gradients_of_a_sub_network_reach_only_its_slices(tmp_path):
    family, kind, config = CHECKPOINTS["llama"]
    save(kind, config, tmp_path)
    supernet = supernet_of(family, tmp_path, Adjustments({"layer*_kv_heads": [1, 3], "layer*_ffn": [24, 88]})).train()
    supernet(inputs(family), supernet.space.smallest()).logsumexp(-1).mean().backward()
    attention = supernet.slot("layer1").block.layer.self_attn
    assert attention.q_proj.weight.grad[:16].abs().sum() > 0
    assert not attention.q_proj.weight.grad[16:].any()
    assert not supernet.slot("layer1").block.layer.mlp.down_proj.weight.grad[:, 24:].any()
    assert all(p.grad is None for p in supernet.slot("layer2").parameters())


# --- heads ----------------------------------------------------------------------------------------------


def test_another_number_of_classes_gets_a_fresh_classifier(tmp_path):
    family, kind, config = CHECKPOINTS["vit"]
    save(kind, config, tmp_path)
    supernet = Supernet(load_family(family, None, Adjustments(classes=5), config_of(tmp_path)))
    loaded = load_pretrained(supernet, tmp_path, classes=5)
    assert loaded.fresh == ("classifier.bias", "classifier.weight")
    assert loaded.dropped == ("classifier.bias", "classifier.weight")
    assert logits(supernet, inputs(family)).shape == (3, 5)


def test_a_masked_language_model_gives_its_encoder_to_a_classifier(tmp_path):
    kind, config = MASKED_BERT
    model = save(kind, config, tmp_path)
    supernet = Supernet(load_family("bert", None, Adjustments(classes=2), config_of(tmp_path))).eval()
    loaded = load_pretrained(supernet, tmp_path, classes=2)
    assert set(loaded.fresh) == {f"{m}.{k}" for m in ("bert.pooler.dense", "classifier") for k in ("weight", "bias")}
    assert loaded.dropped
    assert all(name.startswith("cls.") for name in loaded.dropped)
    x = inputs("bert")
    trunk = nn.Sequential(*(supernet.slot(slot).block for slot in list(supernet.slots)[:-1]))
    with torch.no_grad():
        assert torch.allclose(trunk(x), model.bert(x).last_hidden_state, atol=1e-5, rtol=0)


# --- what does not fit ----------------------------------------------------------------------------------


@pytest.fixture
def llama(tmp_path) -> Path:
    _, kind, config = CHECKPOINTS["llama"]
    save(kind, config, tmp_path)
    return tmp_path


def rewrite(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def refused(folder: Path, message: str) -> None:
    supernet = Supernet(load_family("llama", None, None, config_of(folder)))
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(supernet, folder)
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


def test_a_missing_tensor_is_named(llama):
    rewrite(llama, lambda tensors: tensors.pop("model.layers.2.mlp.up_proj.weight"))
    refused(llama, "lacks the tensor 'model.layers.2.mlp.up_proj.weight'")


def test_an_extra_tensor_is_named(llama):
    rewrite(llama, lambda tensors: tensors.update({"model.layers.4.mlp.up_proj.weight": torch.ones(2)}))
    refused(llama, r"holds the tensor 'model.layers.4.mlp.up_proj.weight', which its config.json does not ask for")


def test_a_tensor_of_the_wrong_shape_is_named_with_both_shapes(llama):
    rewrite(llama, lambda tensors: tensors.update({"model.norm.weight": torch.ones(47)}))
    refused(llama, r"'model.norm.weight' of .* has shape \(47,\); its config.json asks for \(48,\)")


def test_rotary_frequencies_of_old_checkpoints_are_passed_over(llama):
    rewrite(llama, lambda tensors: tensors.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}))
    supernet = Supernet(load_family("llama", None, None, config_of(llama)))
    assert load_pretrained(supernet, llama).dropped == ("model.layers.0.self_attn.rotary_emb.inv_freq",)


def test_a_supernet_of_another_checkpoint_is_refused(llama):
    other = {**config_of(llama), "intermediate_size": 96}
    supernet = Supernet(load_family("llama", None, None, other))
    with pytest.raises(ValueError, match=r"shape \(48, 96\) where the checkpoint's .* has \(48, 88\)"):
        load_pretrained(supernet, llama)


def test_half_precision_weights_are_converted(llama):
    rewrite(llama, lambda tensors: tensors.update({name: t.bfloat16() for name, t in tensors.items()}))
    supernet = Supernet(load_family("llama", None, None, config_of(llama)))
    load_pretrained(supernet, llama)
    stored = load_file(llama / "model.safetensors")["model.norm.weight"]
    assert torch.equal(supernet.slot("head").block.norm.weight, stored.float())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gptj"}, "model_type is 'gptj'; this family supports llama, mistral, qwen2, qwen3"),
        ({"model_type": None}, "model_type is None"),
        ({"hidden_size": None}, "must give 'hidden_size' as a whole number of at least 1; got None"),
        ({"num_hidden_layers": 0}, "'num_hidden_layers' as a whole number of at least 1; got 0"),
        ({"intermediate_size": "88"}, "'intermediate_size' as a whole number of at least 1; got '88'"),
        ({"num_key_value_heads": 4}, "6 query heads for 4 key-value heads: not a multiple"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "is a LlamaForSequenceClassification; this family"),
        ({"quantization_config": {"bits": 4}}, "weights are quantized"),
        ({"rms_norm_eps": -1}, "'rms_norm_eps' as a number of at least 0; got -1"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_in_words(llama, changes, message):
    config = {**config_of(llama), **changes}
    with pytest.raises(CheckpointError, match=message):
        load_family("llama", None, None, config)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"layer2_ffn": [88, 96]}, r"Option 96 of choice 'layer2_ffn' of .* must be a whole number from 0 to 88"),
        ({"layer*_kv_heads": [4]}, "Option 4 of choice 'layer1_kv_heads'"),
        ({"layer5_ffn": [88]}, "no choice 'layer5_ffn'"),
        ({"layer2_ffn": []}, "Choice 'layer2_ffn' of .* has no options; give at least one"),
        ({"layer2_ffn": ["all"]}, "Option 'all' of choice 'layer2_ffn'"),
        ({"layer2_keep": [2]}, "must be a whole number from 0 to 1"),
    ],
)
def test_choices_larger_than_the_checkpoint_are_refused(llama, choices, message):
    with pytest.raises(ValueError, match=message):
        load_family("llama", None, Adjustments(choices), config_of(llama))


@pytest.mark.parametrize("family", ["bert", "vit"])
@pytest.mark.parametrize("choice", ["depth", "layer1_heads", "layer1_ffn"])
def test_choices_larger_than_an_encoder_are_refused(family, choice, tmp_path):
    _, kind, config = CHECKPOINTS[family]
    save(kind, config, tmp_path)
    with pytest.raises(ValueError, match=f"of choice '{choice}' of .* must be a whole number from 1 to"):
        load_family(family, None, Adjustments({choice: [1000]}), config_of(tmp_path))


def test_llama_2_7b_starts_from_its_checkpoints_configuration():
    """LLaMA-NAS's options on a configuration as it lies in the published checkpoint, old keys and all."""
    config = json.loads(
        '{"architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", '
        '"hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008, '
        '"max_position_embeddings": 4096, "model_type": "llama", "num_attention_heads": 32, '
        '"num_hidden_layers": 32, "num_key_value_heads": 32, "pretraining_tp": 1, "rms_norm_eps": 1e-05, '
        '"rope_scaling": null, "tie_word_embeddings": false, "torch_dtype": "float16", "use_cache": true, '
        '"vocab_size": 32000}'
    )
    space = load_family("llama", "llama2_7b", None, config)
    assert space.size() == 2**24 + 2**28 + 2**32
    assert cost.params(space, space.largest()) == 6_738_415_616


@pytest.mark.parametrize("name", mostly_thorough(["llama", "qwen3", "bert", "vit"], "llama", "bert"))
def test_a_folder_alone_gives_its_supernet(name, tmp_path):
    family, kind, config = CHECKPOINTS[name]
    model = save(kind, config, tmp_path)
    supernet, loaded = pretrained_supernet(tmp_path)
    assert loaded.fresh == ()
    x = inputs(family)
    assert torch.allclose(logits(supernet.eval(), x), answer(model, x), atol=1e-5, rtol=0)


def test_a_model_type_that_no_family_has_is_refused_with_those_that_there_are(llama):
    (llama / "config.json").write_text(json.dumps({**config_of(llama), "model_type": "mamba"}))
    with pytest.raises(
        ValueError,
        match=r"is 'mamba'; supported are beit, beit3, beit3_retrieval, beit3_vqa, bert, .*mistral, .*vit, xlm-roberta",
    ):
        pretrained_supernet(llama)
