"""A job that names several checkpoints: each is read and judged; those that do not belong together are refused."""

import json
import shutil

import pytest
from pydantic import ValidationError

import winnow
from job.defaults import filled
from job.paths import POLICY, PathPolicy, named_paths
from job.resolve import resolve
from job.spec import JobSpec, SupernetSpec
from search_space.checkpoint import read_checkpoint
from search_space.joined import read_checkpoints
from search_space.plugins import FAMILIES
from tests.search_space.test_checkpoint import safetensors

VIT = {
    "model_type": "vit",
    "architectures": ["ViTForImageClassification"],
    "id2label": {"0": "cat", "1": "dog"},
    "image_size": 16,
    "patch_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
}
WORDS = {"version": "1.0", "truncation": None, "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}


def checkpoint(folder, base, embed, **more):
    """A folder of zeros that its own family takes."""
    config = {**base, "hidden_size": embed, "intermediate_size": 2 * embed, **more}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    family = FAMILIES.load(base["model_type"])
    safetensors(folder / "model.safetensors", {n: p.shape for n, p in family.layout(config).places.items()})
    return folder


@pytest.fixture
def folders(tmp_path):
    return [str(checkpoint(tmp_path / f"vit{embed}", VIT, embed)) for embed in (8, 16)]


@pytest.fixture
def llamas(tmp_path):
    return [checkpoint(tmp_path / f"llama{embed}", LLAMA, embed) for embed in (8, 16)]


def spec(folders, **more):
    named = list(map(str, folders))
    return SupernetSpec.model_validate({"family": "stitched", "pretrained": named, **more})


def refused(message, folders, **more):
    with pytest.raises(ValidationError, match=message):
        spec(folders, **more)


def test_several_checkpoints_are_one_whose_parts_are_numbered(folders):
    found = read_checkpoints(folders)
    assert [part.folder.name for part in found.parts] == ["vit8", "vit16"]
    assert found.config["anchors"] == [read_checkpoint(folder).config for folder in folders]
    name = "vit.embeddings.cls_token"
    assert found.tensors[f"2:{name}"].shape == (16,)
    assert found.tensors[f"2:{name}"].own == name


def test_the_space_is_of_both_and_the_job_needs_no_folder_any_more(folders):
    stored = spec(folders).model_dump(mode="json")
    for folder in folders:
        shutil.rmtree(folder)
    after = SupernetSpec.model_validate(stored)
    assert after.folders == tuple(folders)
    assert [c.name for c in after.space().choices] == ["path"]
    assert after.found.labels == ("cat", "dog")
    assert not after.found.fresh


def test_paths_are_resolved_and_each_is_among_those_that_a_job_names(folders):
    given = {"recipe": "sn_net", "supernet": {"family": "stitched", "pretrained": [f"{one}/" for one in folders]}}
    given["data"] = {"source": "images", "path": folders[0], "size": 16}
    made = resolve(JobSpec.model_validate(given))
    assert made.supernet.pretrained == tuple(folders)
    assert [text for field, text, _ in named_paths(made) if field == "supernet.pretrained"] == folders
    assert resolve(JobSpec.model_validate(made.model_dump(mode="json"))) == made


def test_each_folder_must_be_open_to_jobs(folders, tmp_path):
    elsewhere = tmp_path / "open"
    elsewhere.mkdir()
    shutil.move(folders[0], elsewhere / "vit8")
    token = POLICY.set(PathPolicy((elsewhere.resolve(),)))
    try:
        refused("is not an absolute path below a folder that is open to jobs", [elsewhere / "vit8", folders[1]])
    finally:
        POLICY.reset(token)


def test_a_network_is_profiled_without_its_weights(folders):
    found = winnow.profile(family="stitched", pretrained=folders)
    assert found.architectures == "6"
    with pytest.raises(ValueError, match=r"supernet.pretrained is one; give a list of folders"):
        winnow.profile(family="stitched", pretrained=folders[0])


# --- what is refused -------------------------------------------------------------------------------------


def test_one_checkpoint_is_not_stitched(folders):
    refused("Got a list of 1 checkpoint; name two or more", folders[:1])
    refused("is listed twice", [folders[0], folders[0]])
    with pytest.raises(ValidationError, match=r"supernet.pretrained is one; give a list of folders"):
        SupernetSpec.model_validate({"family": "stitched", "pretrained": folders[0]})


def test_other_families_start_from_one(folders):
    refused("Family 'vit' starts from one checkpoint, and supernet.pretrained lists several", folders, family="vit")


def test_relative_paths_and_missing_folders_are_refused(folders, tmp_path):
    refused("give the absolute path", [folders[0], "vit16"])
    refused("There is no checkpoint folder", [folders[0], tmp_path / "nowhere"])


def test_tensors_of_every_folder_are_checked(folders, tmp_path):
    config = read_checkpoint(folders[1]).config
    shapes = {n: p.shape for n, p in FAMILIES.load("vit").layout(config).places.items()}
    safetensors(tmp_path / "vit16" / "model.safetensors", {**shapes, "vit.layernorm.weight": (7,)})
    refused(r"'vit.layernorm.weight' of .*vit16 has shape \(7,\)", folders)


def test_other_patches_are_refused(folders, tmp_path):
    other = checkpoint(tmp_path / "fine", VIT, 16, patch_size=4)
    refused("checkpoint 1 has patches of 8 pixels, checkpoint 2 patches of 4 pixels", [folders[0], other])


def test_other_names_of_classes_are_refused(folders, tmp_path):
    other = checkpoint(tmp_path / "turned", VIT, 16, id2label={"0": "dog", "1": "cat"})
    refused("give their classes different names or another order", [folders[0], other])


def test_images_that_are_prepared_differently_are_refused(folders, tmp_path):
    given = {"image_processor_type": "ViTImageProcessor", "size": 16, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "vit8" / "preprocessor_config.json").write_text(json.dumps(given))
    found = spec(folders).found
    assert found.preprocessing.mean == (0.5,) * 3
    assert any("vit16 has no preprocessor_config.json" in note for note in found.notes)
    (tmp_path / "vit16" / "preprocessor_config.json").write_text(json.dumps({**given, "image_mean": [0.4] * 3}))
    refused("prepare images differently", folders)


def test_an_order_by_importance_and_a_preset_are_refused(folders):
    refused("an order by importance decides nothing", folders, importance="activation")
    refused("has anchors of its own; leave it out", folders, preset="cifar")


def test_other_tokenizers_are_refused(llamas):
    for folder in llamas:
        (folder / "tokenizer.json").write_text(json.dumps(WORDS))
    spec(llamas)
    # How texts are cut is a matter of the copy.
    (llamas[1] / "tokenizer.json").write_text(json.dumps({**WORDS, "truncation": {"max_length": 8}}))
    spec(llamas)
    turned = {**WORDS, "model": {**WORDS["model"], "vocab": {"a": 1, "b": 0}}}
    (llamas[1] / "tokenizer.json").write_text(json.dumps(turned))
    refused("have different tokenizers: their tokenizer.json differs", llamas)
    (llamas[1] / "tokenizer.json").unlink()
    (llamas[1] / "vocab.txt").write_text("a\nb\n")
    refused("one has tokenizer.json and the other vocab.txt, which cannot be compared", llamas)


def test_a_tokenizer_that_one_folder_has_is_used(llamas):
    from job.data_spec import DATA_MODELS

    (llamas[1] / "tokenizer.json").write_text(json.dumps(WORDS))
    given = {
        "recipe": "sn_net",
        "supernet": {"family": "stitched", "pretrained": list(map(str, llamas))},
        "data": {"source": "text", "path": "/texts"},
    }
    assert filled(given, DATA_MODELS)["data"]["tokenizer"] == str(llamas[1])


def test_a_damaged_tokenizer_is_refused(llamas):
    for folder in llamas:
        (folder / "tokenizer.json").write_text("{")
    refused("tokenizer.json is not readable JSON", llamas)


def test_numbers_of_different_types_are_said(tmp_path):
    both = [
        checkpoint(tmp_path / dtype, LLAMA, embed, dtype=dtype) for dtype, embed in (("float32", 8), ("bfloat16", 16))
    ]
    found = spec(both).found
    assert found.dtype == "float32"
    assert any("numbers of different types (bfloat16, float32): float32 is used" in note for note in found.notes)
