"""Checkpoints of the model types that people bring give in a supernet what transformers computes with them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as t
from safetensors.torch import load_file, save_file
from torch import Tensor

from export.runtimes.torch.runtime import language_phases
from predictors import cost
from quantization.calibration import calibrate_activations
from quantization.quantizable import QuantizableNetwork
from search_space.adjustments import Adjustments
from search_space.checkpoint import CheckpointError, read_checkpoint
from search_space.companions import Preprocessing, image_preprocessing
from search_space.layers import Precision
from search_space.plugins import family_of, load_family
from supernet.data.dataset import Batch
from supernet.importance import order_by_importance
from supernet.network import Supernet, extract
from supernet.passes import Passes
from supernet.weights import load_pretrained
from tests.supernet.brought import BROUGHT, DECODER, TEXT, answered
from tests.supernet.checkpoints import inputs, save
from tests.tiers import mostly_thorough

NAMES = list(BROUGHT)
FIRST = [name for name in NAMES if "-" not in name.replace("xlm-roberta", "")]
# One for each family's way of reading a checkpoint: of decoders, encoders, images and convolutions.
SOME = ("gemma2", "gpt2", "mixtral", "modernbert", "beit", "efficientnet")


def supernet_of(folder: Path, adjustments: Adjustments | None = None) -> Supernet:
    config = read_checkpoint(folder).config
    supernet = Supernet(load_family(family_of(config), None, adjustments, config))
    load_pretrained(supernet, folder, adjustments.classes if adjustments else None)
    return supernet.eval()


def brought(name: str, folder: Path, adjustments: Adjustments | None = None):
    """(transformers' network, ours, a batch)."""
    family, kind, config = BROUGHT[name]
    save(kind, config, folder)
    size = getattr(config, "image_size", 224 if family == "resnet" else 32)
    return kind.from_pretrained(folder).eval(), supernet_of(folder, adjustments), inputs(family, size)


def logits(supernet: Supernet, x: Tensor, architecture=None, mask: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return supernet(x, architecture or supernet.space.largest(), mask)


@pytest.mark.parametrize("name", mostly_thorough(NAMES, *FIRST))
def test_the_largest_network_is_transformers_own(name, tmp_path):
    model, supernet, x = brought(name, tmp_path)
    assert (logits(supernet, x) - answered(model, x)).abs().max() <= 1e-5
    space = supernet.space
    assert cost.params(space, space.largest()) == sum(p.numel() for p in model.parameters())
    if BROUGHT[name][0] == "bert":
        mask = torch.ones_like(x)
        mask[0, 9:], mask[1, 4:] = 0, 0
        expected = answered(model, x, attention_mask=mask)
        assert (logits(supernet, x, mask=mask.bool()) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("name", mostly_thorough(NAMES, *SOME))
def test_sub_networks_are_what_is_extracted(name, tmp_path):
    _, supernet, x = brought(name, tmp_path)
    space, rng = supernet.space, np.random.default_rng(0)
    for architecture in [space.smallest(), *(space.sample(rng) for _ in range(4))]:
        network = extract(supernet, architecture)
        with torch.no_grad():
            assert torch.equal(network(x), logits(supernet, x, architecture))
        assert cost.params(space, architecture) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", mostly_thorough(FIRST, *SOME))
def test_ordering_by_importance_changes_no_output(name, tmp_path):
    _, supernet, x = brought(name, tmp_path)
    before = logits(supernet, x)
    orders = order_by_importance(supernet, [x])
    assert any(order != sorted(order) for order in orders.values())
    assert torch.allclose(logits(supernet, x), before, atol=1e-5, rtol=0)


# Where transformers keeps what reads the heads of a layer, and what reads its neurons.
READERS = {
    "gpt2": ("transformer.h", "attn.c_proj", "mlp.c_proj"),
    "gpt_neox": ("gpt_neox.layers", "attention.dense", "mlp.dense_4h_to_h"),
    "roberta": ("roberta.encoder.layer", "attention.output.dense", "output.dense"),
    "xlm-roberta": ("roberta.encoder.layer", "attention.output.dense", "output.dense"),
    "camembert": ("roberta.encoder.layer", "attention.output.dense", "output.dense"),
    "distilbert": ("distilbert.transformer.layer", "attention.out_lin", "ffn.lin2"),
    "electra": ("electra.encoder.layer", "attention.output.dense", "output.dense"),
    "modernbert": ("model.layers", "attn.Wo", "mlp.Wo"),
    "deit": ("deit.layers", "attention.o_proj", "mlp.fc2"),
    "dinov2": ("dinov2.encoder.layer", "attention.o_proj", "mlp.fc2"),
    "dinov2-registers": ("dinov2_with_registers.encoder.layer", "attention.o_proj", "mlp.fc2"),
    "beit": ("beit.layers", "attention.o_proj", "mlp.fc2"),
}
USUAL = ("model.layers", "self_attn.o_proj", "mlp.down_proj")
SLICED = [name for name in (*FIRST, "dinov2-registers") if name not in ("olmo2", "mixtral", "qwen3_moe")]
SLICED = [name for name in SLICED if BROUGHT[name][0] not in ("convnext", "mobilenet", "resnet")]


def options(supernet: Supernet, choice: str) -> tuple:
    return next(each.options for each in supernet.space.choices if each.name == choice)


def cut(space, layers: int, **changes) -> object:
    """The largest network with changes in each of the first layers."""
    wanted = {f"layer{i}_{word}": value for i in range(1, layers + 1) for word, value in changes.items()}
    return space.architecture(**{**space.largest().values, **wanted})


@pytest.mark.parametrize("name", mostly_thorough(SLICED, "gemma2", "gpt2", "modernbert", "beit"))
def test_fewer_heads_and_neurons_are_those_of_transformers(name, tmp_path):
    """In transformers' own network, those that are cut off add nothing."""
    model, supernet, x = brought(name, tmp_path)
    word = "kv_heads" if BROUGHT[name][0] == "llama" else "heads"
    heads, ffn = options(supernet, f"layer1_{word}"), options(supernet, "layer1_ffn")[0]
    assert heads[0] < heads[-1]
    path, attention, feed_forward = READERS.get(name, USUAL)
    layer = model.get_submodule(path)[0]
    with torch.no_grad():
        for reader in (attention, feed_forward):
            weight = layer.get_submodule(reader).weight
            columns = weight if name == "gpt2" else weight.T
            columns[ffn if reader == feed_forward else len(columns) * heads[0] // heads[-1] :] = 0
    small = cut(supernet.space, 1, ffn=ffn, **{word: heads[0]})
    assert torch.allclose(logits(supernet, x, small), answered(model, x), atol=1e-5, rtol=0)


CONVOLUTIONS = {
    "convnext": ("convnext.encoder.stages.1.layers", 1, "pwconv2"),
    "mobilenet_v2": ("mobilenet_v2.layer", 3, "reduce_1x1.convolution"),
    "efficientnet": ("efficientnet.encoder.blocks", 3, "projection.project_conv"),
    "resnet": ("resnet.encoder.stages.1.layers", 1, "layer.2.convolution"),
}


@pytest.mark.parametrize("name", mostly_thorough(CONVOLUTIONS, "efficientnet", "convnext"))
def test_fewer_channels_and_blocks_are_those_of_transformers(name, tmp_path):
    """Channels inside of one block that are cut off add nothing, and the last block of its stage goes."""
    model, supernet, x = brought(name, tmp_path)
    path, number, reader = CONVOLUTIONS[name]
    blocks = model.get_submodule(path)
    hidden = options(supernet, "stage2_block2_hidden")[0]
    with torch.no_grad():
        for module in {reader, reader.replace("layer.2", "layer.1")}:
            blocks[number].get_submodule(module).weight[:, hidden:] = 0
    narrow = supernet.space.architecture(**{**supernet.space.largest().values, "stage2_block2_hidden": hidden})
    if name != "efficientnet":  # there a gate reads all channels, so that zeros in some are not the same
        assert torch.allclose(logits(supernet, x, narrow), answered(model, x), atol=1e-5, rtol=0)
    model = type(model).from_pretrained(tmp_path).eval()
    model.get_submodule(path)[number + 1].forward = lambda hidden, *_, **__: hidden
    assert options(supernet, "stage2_depth") == (2, 3)
    shallow = supernet.space.architecture(**{**supernet.space.largest().values, "stage2_depth": 2})
    assert torch.allclose(logits(supernet, x, shallow), answered(model, x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["gemma2", "smollm3", "gpt2", "modernbert", "beit"])
def test_layers_that_stay_are_those_of_transformers(name, tmp_path):
    """Each with its own window and positions, wherever it stands then."""
    model, supernet, x = brought(name, tmp_path)
    before = logits(supernet, x)
    values = supernet.space.largest().values
    left_out = 2 if "layer2_keep" in values else 3
    changes = {"layer2_keep": 0} if left_out == 2 else {"depth": 2}
    layer = model.get_submodule(READERS.get(name, USUAL)[0])[left_out - 1]
    layer.forward = lambda hidden, *_, **__: hidden
    small = supernet.space.architecture(**{**values, **changes})
    assert torch.allclose(logits(supernet, x, small), answered(model, x), atol=1e-5, rtol=0)
    assert not torch.allclose(logits(supernet, x, small), before, atol=1e-3)


def test_a_norm_over_all_heads_is_cut_with_them(tmp_path):
    """OLMo 2 with fewer heads is transformers' with so many heads; with zeros in their place it would be another."""
    model, supernet, x = brought("olmo2", tmp_path)
    config = t.Olmo2Config(**{**DECODER, "num_attention_heads": 4, "num_key_value_heads": 2}, head_dim=8)
    narrow, wide = t.Olmo2ForCausalLM(config).eval(), dict(model.named_parameters())
    with torch.no_grad():
        for key, parameter in narrow.named_parameters():
            parameter.copy_(wide[key][tuple(slice(0, n) for n in parameter.shape)])
    small = cut(supernet.space, 3, kv_heads=2)
    assert torch.allclose(logits(supernet, x, small), answered(narrow, x), atol=1e-5, rtol=0)
    assert supernet.space.capacity()["layer1"].norms_across == {"heads", "kv_heads"}


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe"])
def test_fewer_experts_are_those_of_transformers(name, tmp_path):
    """The first experts with their rows of the router, and fewer of them for each position."""
    _, kind, config = BROUGHT[name]
    model, supernet, x = brought(name, tmp_path, Adjustments({"layer*_top_k": (1,), "layer*_experts": (2, 4)}))
    width = "intermediate_size" if name == "mixtral" else "moe_intermediate_size"
    ffn, full = options(supernet, "layer1_ffn")[0], getattr(config, width)
    made = type(config)(**{**config.to_dict(), "num_local_experts": 2, "num_experts_per_tok": 1, width: ffn})
    narrow, wide = kind(made).eval(), dict(model.named_parameters())
    with torch.no_grad():
        for key, parameter in narrow.named_parameters():
            whole = wide[key]
            if "gate_up_proj" in key:
                whole = torch.cat((whole[:, :ffn], whole[:, full : full + ffn]), dim=1)
            parameter.copy_(whole[tuple(slice(0, n) for n in parameter.shape)])
    small = cut(supernet.space, 3, experts=2, ffn=ffn)
    assert torch.allclose(logits(supernet, x, small), answered(narrow, x), atol=1e-5, rtol=0)


def test_more_experts_for_each_token_than_there_may_be_are_refused():
    config = t.MixtralConfig(**DECODER, num_local_experts=4, architectures=["MixtralForCausalLM"]).to_dict()
    with pytest.raises(ValueError, match=r"'layer1_experts' .* must be a whole number from 2 to 4"):
        load_family("llama", None, Adjustments({"layer1_experts": (1, 4)}), config)
    with pytest.raises(CheckpointError, match="has 4 experts, of which each token would use 5"):
        load_family("llama", None, None, {**config, "num_experts_per_tok": 5})


# --- sentence encoders ---------------------------------------------------------------------------------------


def sentence_folder(folder: Path, mode: str, normalize: bool = True) -> None:
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if not i else f"{i}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 48, "pooling_mode_cls_token": False, f"pooling_mode_{mode}": True})
    )


@pytest.mark.parametrize(("mode", "kind"), [("mean_tokens", t.BertModel), ("cls_token", t.XLMRobertaModel)])
def test_a_sentence_encoder_keeps_its_pooling(mode, kind, tmp_path):
    model = save(kind, kind.config_class(**TEXT), tmp_path)
    sentence_folder(tmp_path, mode)
    supernet, x = supernet_of(tmp_path), inputs("bert")
    mask = torch.ones_like(x)
    mask[0, 9:], mask[1, 4:] = 0, 0
    with torch.no_grad():
        hidden = model(x, attention_mask=mask).last_hidden_state
    one = mask[..., None]
    pooled = (hidden * one).sum(1) / one.sum(1) if mode == "mean_tokens" else hidden[:, 0]
    expected = torch.nn.functional.normalize(pooled, dim=-1)
    assert torch.allclose(logits(supernet, x, mask=mask.bool()), expected, atol=1e-5, rtol=0)
    assert supernet.space.takes.features == 48
    assert "sentence encoder" in read_checkpoint(tmp_path).notes[-1]
    classified = supernet_of(tmp_path, Adjustments(classes=4))
    assert logits(classified, x).shape == (3, 4)


def test_modules_that_are_not_computed_are_refused(tmp_path):
    save(t.BertModel, t.BertConfig(**TEXT), tmp_path)
    sentence_folder(tmp_path, "weightedmean_tokens")
    with pytest.raises(CheckpointError, match="pools by pooling_mode_weightedmean_tokens"):
        read_checkpoint(tmp_path)
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules[2]["type"] = "sentence_transformers.models.Dense"
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match=r"Transformer, Pooling, Dense; supported are .* and Dense is none"):
        read_checkpoint(tmp_path)


# --- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "gpt_neox-in-turn"])
def test_a_tied_head_may_be_stored_too_or_alone_and_may_differ(name, tmp_path):
    model, _, x = brought(name, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    words = {"gpt2": "transformer.wte", "gemma2": "model.embed_tokens", "gpt_neox-in-turn": "gpt_neox.embed_in"}
    embedding = f"{words[name]}.weight"
    head = "embed_out.weight" if "neox" in name else "lm_head.weight"
    expected = answered(model, x)
    for stored in (
        tensors | {head: tensors[embedding].clone()},
        {key: value for key, value in tensors.items() if key != embedding} | {head: tensors[embedding]},
    ):
        save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
        assert torch.allclose(logits(supernet_of(tmp_path), x), expected, atol=1e-5, rtol=0)
    save_file(tensors | {head: tensors[embedding] + 0.1}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert read_checkpoint(tmp_path).config["tie_word_embeddings"] is False
    expected = answered(type(model).from_pretrained(tmp_path).eval(), x)
    assert torch.allclose(logits(supernet_of(tmp_path), x), expected, atol=1e-5, rtol=0)


def test_gpt2s_old_names_and_masks_are_read(tmp_path):
    model, _, x = brought("gpt2", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {key.removeprefix("transformer."): value for key, value in tensors.items()}
    old |= {f"h.{i}.attn.bias": torch.ones(1, 1, 64, 64) for i in range(3)}
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert torch.allclose(logits(supernet_of(tmp_path), x), answered(model, x), atol=1e-5, rtol=0)


def test_a_new_classifier_starts_fresh_and_the_rest_is_loaded(tmp_path):
    for name, fresh in {
        "roberta": {"classifier.out_proj"},
        "roberta-model": {"classifier"},
        "distilbert-model": {"classifier", "pre_classifier"},
        "dinov2-model": {"classifier"},
        "modernbert-model": {"classifier", "head.dense", "head.norm"},
    }.items():
        folder = tmp_path / name
        family, kind, config = BROUGHT[name]
        save(kind, config, folder)
        read = read_checkpoint(folder).config
        supernet = Supernet(load_family(family, None, Adjustments(classes=11), read))
        loaded = load_pretrained(supernet, folder, 11)
        assert {each.rpartition(".")[0] for each in loaded.fresh} == fresh
        assert logits(supernet.eval(), inputs(family)).shape == (3, 11)


@pytest.mark.parametrize("name", ["dinov2", "dinov2-registers", "dinov2-model"])
def test_positions_are_resized_to_the_images_that_the_processor_gives(name, tmp_path):
    model, _, _ = brought(name, tmp_path)
    crop = {"height": 24, "width": 24}
    processor = {"image_processor_type": "BitImageProcessor", "do_resize": True, "size": {"shortest_edge": 28}}
    processor |= {"do_center_crop": True, "crop_size": crop, "resample": 3, "do_rescale": True, "do_normalize": True}
    processor |= {"rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    supernet = supernet_of(tmp_path)
    x = torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    assert supernet.space.takes.size == 24
    assert torch.allclose(logits(supernet, x), answered(model, x), atol=1e-5, rtol=0)


# --- what is not computed is refused by name -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention True: each token would see"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping 50.0: scores of attention would be"),
        ("gemma2", {"hidden_activation": "swoosh"}, "hidden_activation 'swoosh'"),
        ("gemma2", {"layer_types": ["full_attention"]}, "'layer_types' for each of its 3 layers"),
        ("phi3", {"rope_parameters": {"rope_type": "ntk", "rope_theta": 1.0}}, "rotary scaling 'ntk'"),
        ("phi3", {"final_logit_softcapping": 30.0}, "final_logit_softcapping 30.0, which layers of model_type 'phi3'"),
        ("olmo2", {"clip_qkv": 8.0}, "clip_qkv 8.0, which layers of model_type 'olmo2'"),
        ("granite", {"num_local_experts": 8}, "num_local_experts 8, which layers of"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention True: layers would read another"),
        ("gpt2", {"n_head": 5}, "hidden size of 48 for 5 heads"),
        ("gpt_neox", {"head_dim": 20}, "head_dim 20: heads would not share"),
        ("smollm3", {"no_rope_layers": [1]}, "'no_rope_layers' as 3 zeros and ones"),
        ("qwen3_moe", {"mlp_only_layers": [7]}, "'mlp_only_layers' as numbers of layers"),
        ("mixtral", {"partial_rotary_factor": 0.5}, "turns only a share of 0.5"),
        ("roberta", {"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ("roberta", {"is_decoder": True}, "is_decoder True: each token would see only those before"),
        ("roberta", {"pad_token_id": 65}, "66 positions, which begin behind pad_token_id 65"),
        ("modernbert", {"local_attention": 1}, "local_attention of 1"),
        ("modernbert", {"classifier_pooling": "max"}, "classifier_pooling 'max'"),
        ("distilbert", {"n_heads": 5}, "hidden size of 48 for 5 heads"),
        ("beit", {"use_shared_relative_position_bias": True}, "all layers would share one table"),
        ("dinov2", {"image_size": [32, 64]}, "'image_size' as the side of a square"),
        ("resnet", {"hidden_act": "gelu"}, "hidden_act 'gelu'; supported are relu"),
        ("resnet", {"downsample_in_bottleneck": True}, "downsample_in_bottleneck True"),
        ("efficientnet", {"hidden_dim": 100}, "hidden_dim of 100; its width coefficient makes 640"),
        ("convnext", {"depths": [1, 2]}, "'depths' as 3 whole numbers"),
        ("deit", {"num_register_tokens": 4}, "num_register_tokens 4, which layers of"),
    ],
)
def test_what_is_not_computed_is_refused_by_the_name_of_its_key(name, changes, message):
    family, kind, config = BROUGHT[name]
    read = {**config.to_dict(), "architectures": [kind.__name__]}
    load_family(family, None, None, read)
    with pytest.raises(CheckpointError, match=message):
        load_family(family, None, None, {**read, **changes})


def test_another_class_is_refused_with_those_that_are_taken():
    with pytest.raises(CheckpointError, match=r"is a RobertaForTokenClassification; this family starts from Roberta"):
        load_family("bert", None, None, {"model_type": "roberta", "architectures": ["RobertaForTokenClassification"]})


# --- what else works with them -------------------------------------------------------------------------------


CACHED = ["gemma2", "phi3-partial", "gpt_neox", "olmo2", "mixtral-window", "smollm3-window"]


@pytest.mark.parametrize("name", mostly_thorough(CACHED, "gemma2", "gpt_neox"))
def test_a_token_behind_a_prompt_sees_it_through_keys_and_values(name, tmp_path):
    _, supernet, x = brought(name, tmp_path)
    network = extract(supernet, supernet.space.smallest()).eval()
    with torch.no_grad():
        phases = language_phases(network, x)
        torch.testing.assert_close(phases["prefill"](), network(x), rtol=1e-4, atol=1e-5)
        longer = network(torch.cat([x, torch.zeros(3, 1, dtype=torch.int64)], dim=1))
        torch.testing.assert_close(phases["decode"](), longer[:, -1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", mostly_thorough([*FIRST, "dinov2-registers"], *SOME))
def test_gradients_of_small_and_large_networks_meet_in_the_same_weights(name, tmp_path):
    _, supernet, x = brought(name, tmp_path)
    passes = Passes(supernet.train(), precision="bfloat16")
    language = BROUGHT[name][0] == "llama"
    batch = Batch.of(x, x.roll(-1, 1) if language else torch.tensor([0, 1, 2]))
    for architecture in (supernet.space.smallest(), supernet.space.largest()):
        passes.backward(passes.task_loss(passes.run(batch, architecture), batch))
    trained = {key: p.grad for key, p in supernet.named_parameters() if p.requires_grad}
    assert all(grad is not None and torch.isfinite(grad).all() for grad in trained.values())


@pytest.mark.parametrize("name", ["mixtral", "gpt2", "modernbert", "beit", "roberta", "convnext", "efficientnet"])
def test_layers_are_quantized_experts_that_no_example_chooses_too(name, tmp_path):
    _, supernet, x = brought(name, tmp_path)
    architecture = supernet.space.largest()
    layers = supernet.space.layers(architecture)
    network = extract(supernet, architecture).eval()
    if name == "mixtral":
        with torch.no_grad():
            network.layer1.router.weight[3] = 0
            network.layer1.router.weight[:3].abs_()
    made = QuantizableNetwork(network, layers, {"input": x})
    few = [{"input": x[:, :2] if x.dim() == 2 else x}] * 8
    calibrate_activations(made, layers, lambda: iter(few), "minmax")
    policy = {
        f"{slot}.{part}": Precision("int8_static") for slot, spec in layers.items() for part in spec.quantizable()
    }
    with torch.no_grad():
        near, exact = made.with_policy(policy)(x), network(x)
    assert (near - exact).abs().mean() < 0.1 * exact.abs().mean()


# --- how images are prepared ---------------------------------------------------------------------------------


def prepared(folder: Path, side: int, **said) -> Preprocessing | None:
    numbers = {"resample": 3, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "do_resize": True}
    numbers |= {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (folder / "preprocessor_config.json").write_text(json.dumps(numbers | said))
    return image_preprocessing(folder, side, 3)


def test_convnexts_processor_cuts_or_squeezes(tmp_path):
    cut = prepared(tmp_path, 224, image_processor_type="ConvNextImageProcessor", size=224, crop_pct=0.875)
    assert (cut.edge, cut.keeps_ratio, cut.crop) == (256, True, 224)
    squeezed = prepared(tmp_path, 384, image_processor_type="ConvNextImageProcessor", size={"shortest_edge": 384})
    assert (squeezed.edge, squeezed.keeps_ratio, squeezed.crop) == (384, False, None)
    with pytest.raises(CheckpointError, match="asks for crop_pct"):
        prepared(tmp_path, 224, image_processor_type="ViTImageProcessor", size=224, crop_pct=0.875)


@pytest.mark.parametrize("top", [True, False])
def test_efficientnets_processor_divides_twice_with_a_top(top, tmp_path):
    said = {"size": {"height": 64, "width": 64}, "include_top": top, "rescale_offset": False}
    made = prepared(tmp_path, 64, image_processor_type="EfficientNetImageProcessor", do_center_crop=False, **said)
    x = torch.rand(3, 4, 4)
    mean, std = (torch.tensor(each)[:, None, None] for each in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]))
    expected = (x - mean) / std / (std if top else 1)
    ours = (x - torch.tensor(made.mean)[:, None, None]) / torch.tensor(made.std)[:, None, None]
    assert torch.allclose(ours, expected, atol=1e-5)
