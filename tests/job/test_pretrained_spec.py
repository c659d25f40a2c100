"""A job that starts from a checkpoint: read and judged when it is submitted, self-contained afterwards."""

import json
import shutil

import pytest
from pydantic import ValidationError

from job.defaults import filled
from job.spec import SupernetSpec
from tests.search_space.test_checkpoint import safetensors

CONFIG = {
    "model_type": "llama",
    "vocab_size": 11,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "tie_word_embeddings": True,
}
LAYER = {
    "input_layernorm.weight": (8,),
    "post_attention_layernorm.weight": (8,),
    "self_attn.q_proj.weight": (8, 8),
    "self_attn.k_proj.weight": (4, 8),
    "self_attn.v_proj.weight": (4, 8),
    "self_attn.o_proj.weight": (8, 8),
    "mlp.gate_proj.weight": (16, 8),
    "mlp.up_proj.weight": (16, 8),
    "mlp.down_proj.weight": (8, 16),
}
TENSORS = {
    "model.embed_tokens.weight": (11, 8),
    "model.norm.weight": (8,),
    **{f"model.layers.{i}.{name}": shape for i in range(2) for name, shape in LAYER.items()},
}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "checkpoint"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIG))
    safetensors(made / "model.safetensors", TENSORS)
    return made


def spec(folder, **more) -> SupernetSpec:
    return SupernetSpec.model_validate({"family": "llama", "pretrained": str(folder), **more})


def refused(message: str, folder, **more) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(folder, **more)


def test_the_space_is_the_checkpoints_own(folder):
    space = spec(folder).space()
    assert space.takes.vocab == 11
    assert {choice.name for choice in space.choices} >= {"layer1_ffn", "layer2_kv_heads"}


def test_the_stored_job_does_not_need_the_folder_any_more(folder):
    stored = spec(folder, choices={"layer1_ffn": [8, 16]}).model_dump(mode="json")
    before = SupernetSpec.model_validate(stored).space()
    shutil.rmtree(folder)
    after = SupernetSpec.model_validate(stored).space()
    assert after.name == before.name
    assert after.largest().id == before.largest().id


def test_a_preset_needs_no_checkpoint_and_a_checkpoint_no_preset(folder):
    assert SupernetSpec(family="llama", preset="tiny").checkpoint is None
    with pytest.raises(ValidationError, match="Name a preset of family 'llama': llama2_7b, matformer, tiny"):
        SupernetSpec(family="llama")


def test_a_missing_folder_is_refused(tmp_path):
    refused("There is no checkpoint folder", tmp_path / "nowhere")


def test_a_relative_path_is_refused():
    refused("give the absolute path", "models/llama")


def test_tensors_are_checked_at_submission(folder):
    safetensors(folder / "model.safetensors", {**TENSORS, "model.norm.weight": (7,)})
    refused(r"has shape \(7,\); its config.json asks for \(8,\)", folder)


def test_a_truncated_file_is_refused_at_submission(folder):
    safetensors(folder / "model.safetensors", TENSORS, cut=100)
    refused("truncated or damaged", folder)


def test_a_pickle_is_refused_at_submission(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused("holds its weights as a pickle", folder)


def test_a_checkpoint_of_another_family_is_refused(folder):
    refused("model_type is 'llama'; this family supports bert", folder, family="bert")


def test_a_family_without_checkpoints_says_so(folder):
    refused("'proxyless' does not start from a pretrained checkpoint", folder, family="proxyless", preset="digits")


def test_a_family_refuses_the_checkpoint_of_another(folder):
    refused("is 'llama'; family 'mobilenet' supports mobilenet_v2, efficientnet", folder, family="mobilenet")


def test_a_recipes_preset_is_left_out_where_a_checkpoint_is_named(folder):
    named = {"family": "llama", "pretrained": str(folder)}
    assert filled({"recipe": "llama_nas", "supernet": named}, {})["supernet"].get("preset") is None
    for recipe in ("bignas", "sortednet"):
        asked = {"recipe": recipe, "supernet": {"family": "mobilenet", "pretrained": "/models/mine"}}
        assert "preset" not in filled(asked, {})["supernet"]
        assert filled({"recipe": recipe}, {})["supernet"]["preset"] == "digits"


def test_options_larger_than_the_checkpoint_are_refused(folder):
    refused("Option 32 of choice 'layer1_ffn'", folder, choices={"layer1_ffn": [16, 32]})


def test_only_pretrained_weights_are_ordered_by_importance(folder):
    assert spec(folder, importance="activation").importance == "activation"
    with pytest.raises(ValidationError, match="Only pretrained weights can be ordered by importance"):
        SupernetSpec(family="llama", preset="tiny", importance="weight")
