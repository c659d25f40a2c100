"""Jobs from the checkpoints that people bring are checked, ordered by importance and fine-tuned as any others."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from safetensors.torch import load_file, save_file

from job.resolve import resolve
from job.spec import JobSpec
from pipeline.check import check
from pipeline.materials import fresh_supernet, make_trainer, prepare_data
from tests.pipeline.bench import MemoryReporter
from tests.supernet.checkpoints import save
from tests.supernet.published_cnns import written
from tests.tiers import mostly_thorough

CPU = torch.device("cpu")
DECODER = {"vocab_size": 256, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
DECODER |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32, "pad_token_id": 0}
TEXT = {"vocab_size": 256, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
TEXT |= {"num_attention_heads": 4, "max_position_embeddings": 40}
MODERN = {**TEXT, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
IMAGE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "mlp_ratio": 2}
IMAGE |= {"image_size": 8, "patch_size": 4, "num_channels": 1}
STAGED = {"hidden_sizes": [8, 12], "depths": [1, 2], "num_stages": 2, "patch_size": 2}
STAGED |= {"image_size": 8, "num_channels": 1}
KINDS: dict[str, tuple[str, type, Any]] = {
    "gemma2": ("llama", t.Gemma2ForCausalLM, t.Gemma2Config(**DECODER, head_dim=8, sliding_window=6)),
    "mixtral": ("llama", t.MixtralForCausalLM, t.MixtralConfig(**DECODER, num_local_experts=3)),
    "roberta": ("bert", t.RobertaModel, t.RobertaConfig(**TEXT)),
    "modernbert": ("bert", t.ModernBertModel, t.ModernBertConfig(**MODERN)),
    "dinov2": ("vit", t.Dinov2Model, t.Dinov2Config(**IMAGE)),
    "convnext": ("convnext", t.ConvNextModel, t.ConvNextConfig(**STAGED)),
}


def job(family: str, folder: Path) -> dict[str, Any]:
    supernet: dict[str, Any] = {"family": family, "pretrained": str(folder / "ck"), "importance": "activation"}
    metric = "perplexity" if family == "llama" else "accuracy"
    if family == "llama":
        (folder / "text.txt").write_text("The first ones are kept, and the others go. " * 200)
        data: dict[str, Any] = {"source": "text", "path": str(folder / "text.txt"), "length": 16}
    elif family == "bert":
        lines = [f"{word} film {i}\t{word}" for i in range(40) for word in ("good", "bad", "odd")]
        (folder / "texts.tsv").write_text("\n".join(lines))
        data = {"source": "labelled_text", "path": str(folder / "texts.tsv"), "length": 16}
        supernet["classes"] = 3
    else:
        data = {"source": "digits"}
        supernet["classes"] = 10
    return {
        "recipe": "sortednet",
        "supernet": supernet,
        "data": data,
        "training": {"epochs": 1, "batch_size": 16},
        "objectives": [{"metric": metric}, {"metric": "params"}],
        "search": {"algorithm": "random", "evaluations": 4},
    }


@pytest.mark.parametrize("name", mostly_thorough(KINDS, "mixtral", "modernbert", "convnext"))
def test_a_checkpoint_is_checked_ordered_and_trained(name, tmp_path):
    family, kind, config = KINDS[name]
    save(kind, config, tmp_path / "ck")
    spec = resolve(JobSpec.model_validate(job(family, tmp_path)))
    check(spec, spec.supernet.space(), MemoryReporter())
    space = spec.supernet.space()
    data = prepare_data(spec, space, CPU)
    supernet = fresh_supernet(spec, space, data, CPU)
    trainer = make_trainer(spec, supernet, data)
    before = [parameter.detach().clone() for parameter in supernet.parameters()]
    for _ in range(3):
        trainer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, supernet.parameters(), strict=True))
    assert all(torch.isfinite(parameter).all() for parameter in supernet.parameters())


@pytest.mark.thorough
def test_so_are_weights_of_torchvision_with_widths_of_stages(tmp_path):
    told = {"pretrained_cfg": {"input_size": [1, 8, 8]}, "model_args": {"in_chans": 1}}
    written("torchvision", "mobilenet_v3_small", tmp_path / "ck", **told)
    tensors = load_file(tmp_path / "ck" / "model.safetensors")
    tensors["features.0.0.weight"] = tensors["features.0.0.weight"].sum(1, keepdim=True)
    save_file(tensors, tmp_path / "ck" / "model.safetensors")
    wanted = job("mobilenet", tmp_path)
    wanted["supernet"]["choices"] = {"stage*_width": [8, 16], "stage*_hidden": [8, 16]}
    spec = resolve(JobSpec.model_validate(wanted))
    check(spec, spec.supernet.space(), MemoryReporter())
    space = spec.supernet.space()
    assert {"stage1_width", "stage5_width"} <= set(space.smallest().values)
    data = prepare_data(spec, space, CPU)
    unordered = {**wanted, "supernet": {**wanted["supernet"], "importance": None}}
    plain = fresh_supernet(resolve(JobSpec.model_validate(unordered)), space, data, CPU)
    ordered = fresh_supernet(spec, space, data, CPU)
    x = torch.randn(4, 1, 8, 8)
    moved = ordered.slot("stage2_block1").block.project.weight
    assert not torch.equal(moved, plain.slot("stage2_block1").block.project.weight)
    trainer = make_trainer(spec, ordered, data)
    for _ in range(3):
        trainer.step()
    assert all(torch.isfinite(parameter).all() for parameter in ordered.parameters())
    assert torch.isfinite(ordered.eval()(x, space.smallest())).all()
