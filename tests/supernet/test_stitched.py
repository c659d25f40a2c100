"""Stitched networks of small checkpoints: loaded, solved for by least squares, trained, and the same when extracted."""

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

from search_space.adjustments import Adjustments
from search_space.plugins import load_family
from supernet.data import load_dataset
from supernet.methods.stitching.method import Stitching
from supernet.methods.stitching.options import StitchingOptions
from supernet.network import Supernet, extract
from supernet.stitching import features, fit_pair, load_fits, stitches_of, tensors_of
from supernet.trainer import Trainer
from supernet.weights import pretrained_supernet
from tests.supernet import recipes
from tests.supernet.checkpoints import answer, inputs, save
from tests.tiers import mostly_thorough

IMAGES = {"image_size": 32, "patch_size": 8, "num_labels": 7, "num_attention_heads": 2}
TEXTS = {"vocab_size": 101, "num_attention_heads": 2, "max_position_embeddings": 64, "pad_token_id": None}


def vit(embed, layers=3, **more):
    return ViTConfig(hidden_size=embed, intermediate_size=2 * embed, num_hidden_layers=layers, **IMAGES | more)


def llama(embed, layers=3, **more):
    sizes = {"hidden_size": embed, "intermediate_size": 2 * embed, "num_hidden_layers": layers}
    return LlamaConfig(**sizes, num_key_value_heads=1, tie_word_embeddings=True, **TEXTS | more)


def bert(embed, layers=3):
    sizes = {"hidden_size": embed, "intermediate_size": 2 * embed, "num_hidden_layers": layers, "num_labels": 3}
    return BertConfig(**sizes, vocab_size=101, num_attention_heads=2)


PAIRS = {
    "vit": (ViTForImageClassification, vit(16), vit(24)),
    "vit-deeper": (ViTForImageClassification, vit(16), vit(24, 6)),
    "llama": (LlamaForCausalLM, llama(16), llama(24)),
    "bert": (BertForSequenceClassification, bert(16), bert(24)),
}


def made(kind, tmp_path):
    """The supernet of a pair, its folders and transformers' own networks."""
    model, *configs = PAIRS[kind]
    folders = [tmp_path / str(number) for number in range(len(configs))]
    models = [save(model, config, folder) for config, folder in zip(configs, folders, strict=True)]
    supernet, loaded = pretrained_supernet(folders)
    return supernet.eval(), loaded, folders, models


def batch_of(kind):
    return inputs("vit" if kind.startswith("vit") else "bert")


@pytest.mark.parametrize("kind", mostly_thorough(PAIRS, "vit-deeper", "llama"))
def test_anchors_answer_as_transformers_does(kind, tmp_path):
    supernet, loaded, _, models = made(kind, tmp_path)
    assert not loaded.fresh
    ends = supernet.space.smallest(), supernet.space.largest()
    for architecture, model in zip(ends, models, strict=True):
        with torch.no_grad():
            ours = supernet(batch_of(kind), architecture)
        torch.testing.assert_close(ours, answer(model, batch_of(kind)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", mostly_thorough(PAIRS, "vit-deeper", "bert"))
def test_every_network_is_the_same_when_it_is_extracted(kind, tmp_path):
    supernet, *_ = made(kind, tmp_path)
    for architecture in supernet.space.every():
        alone = extract(supernet, architecture)
        shared = supernet(batch_of(kind), architecture)
        assert torch.equal(shared, alone(batch_of(kind)))
        built = sum(parameter.numel() for parameter in alone.parameters())
        assert built == sum(layer.params() for layer in supernet.space.layers(architecture).values())


def test_a_stitched_network_runs_the_one_the_stitch_and_the_other(tmp_path):
    """Against transformers' own layers."""
    supernet, _, _, (small, large) = made("vit", tmp_path)
    batch = batch_of("vit")
    with torch.no_grad():
        ours = supernet(batch, supernet.space.architecture(path="1.2-2.3"))
        hidden = small(batch, output_hidden_states=True).hidden_states[2]
        # That of the last window, with which this position came.
        hidden = supernet.slot("stitch1_2").block(hidden)
        for layer in large.vit.layers[2:]:
            hidden = layer(hidden)
        expected = large.classifier(large.vit.layernorm(hidden)[:, 0])
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


# --- least squares ---------------------------------------------------------------------------------------


def solution(x, y):
    """By torch's own solver, of `[x 1] W = y`."""
    x = torch.cat((x.flatten(0, -2), torch.ones(x.flatten(0, -2).shape[0], 1)), 1).double()
    found = torch.linalg.lstsq(x, y.flatten(0, -2).double()).solution
    return found[:-1].T.float(), found[-1].float()


def test_stitches_are_the_mean_solution_of_their_positions(tmp_path):
    """Targets are what enters a layer: of the first one what the embedding gives."""
    supernet, _, _, (small, large) = made("vit", tmp_path)
    batches = [torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    (stitches,) = stitches_of(supernet.space)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    fits = fit_pair(supernet, stitches, lambda: batches)
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())
    with torch.no_grad():
        x, y = (model(torch.cat(batches), output_hidden_states=True).hidden_states for model in (small, large))
    windows = {"stitch1_1": [(1, 1), (1, 2), (2, 1), (2, 2)], "stitch1_2": [(2, 3), (3, 2), (3, 3)]}
    assert set(fits) == set(windows)
    for slot, positions in windows.items():
        solved = [solution(x[leave], y[enter - 1]) for leave, enter in positions]
        weight, bias = (torch.stack(each).mean(0) for each in zip(*solved, strict=True))
        torch.testing.assert_close(fits[slot].weight, weight, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(fits[slot].bias, bias, rtol=1e-3, atol=1e-3)


def test_a_network_that_holds_another_is_stitched_without_loss(tmp_path):
    """The back one's first layers are the front one: what leaves layer j is what enters layer j + 1."""
    model, config = ViTForImageClassification, vit(16)
    front = save(model, config, tmp_path / "front")
    back = save(model, vit(16, 4), tmp_path / "back")
    back.load_state_dict(front.state_dict(), strict=False)
    back.save_pretrained(tmp_path / "back")
    places = ["1.1-2.2", "1.2-2.3", "1.3-2.4"]
    choices = {"path": ["anchor1", *places, "anchor2"]}
    supernet, _ = pretrained_supernet([tmp_path / "front", tmp_path / "back"], None, Adjustments(choices))
    (stitches,) = stitches_of(supernet.space)
    fits = fit_pair(supernet, stitches, lambda: [torch.randn(64, 3, 32, 32)])
    assert all(fit.left < 1e-6 for fit in fits.values())
    load_fits(supernet, tensors_of(fits))
    batch = batch_of("vit")
    with torch.no_grad():
        whole = supernet.eval()(batch, supernet.space.largest())
        for place in places:
            through = supernet(batch, supernet.space.architecture(path=place))
            torch.testing.assert_close(through, whole, rtol=1e-3, atol=1e-3)


def test_memory_decides_how_many_stitches_are_solved_for_at_once(tmp_path):
    supernet, *_ = made("vit", tmp_path)
    (stitches,) = stitches_of(supernet.space)
    passes = []

    def batches():
        passes.append(1)
        return [torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))]

    at_once = fit_pair(supernet, stitches, batches)
    assert len(passes) == 1
    one_by_one = fit_pair(supernet, stitches, batches, memory=1)
    assert len(passes) == 1 + len(stitches)
    for slot, fit in at_once.items():
        assert torch.equal(fit.weight, one_by_one[slot].weight)
        assert fit.left == one_by_one[slot].left


def test_padding_of_texts_does_not_count(tmp_path):
    supernet, *_ = made("bert", tmp_path)
    batch, mask = batch_of("bert"), torch.ones(3, 17, dtype=torch.bool)
    mask[0, 9:] = False
    slots = [slot for slot in supernet.slots if slot.startswith("anchor1")]
    with torch.no_grad():
        found = features(supernet, slots, {"input": batch, "mask": mask}, ["anchor1_layer2"])
        other = batch.clone()
        other[0, 9:] = 5
        same = features(supernet, slots, {"input": other, "mask": mask}, ["anchor1_layer2"])
    assert found["anchor1_layer2"].shape == (3 * 17 - 8, 16)
    torch.testing.assert_close(found["anchor1_layer2"], same["anchor1_layer2"])


def test_too_few_examples_are_refused(tmp_path):
    supernet, *_ = made("vit", tmp_path)
    (stitches,) = stitches_of(supernet.space)
    with pytest.raises(ValueError, match="need at least one batch"):
        fit_pair(supernet, stitches, list)
    supernet_of_texts, *_ = made("llama", tmp_path / "texts")
    (stitches,) = stitches_of(supernet_of_texts.space)
    with pytest.raises(ValueError, match="at least 17 positions of examples; got 5"):
        fit_pair(supernet_of_texts, stitches, lambda: [torch.ones(1, 5, dtype=torch.int64)])


# --- training --------------------------------------------------------------------------------------------


class Drawn(Stitching):
    """Remembers what it drew."""

    def architecture(self, space, rng):
        drawn = super().architecture(space, rng)
        seen.append(drawn.values["path"])
        return drawn


seen: list[str] = []


def trained(supernet, method, steps=12, **options):
    data = load_dataset("digits", 0)
    trainer = Trainer(supernet, method, data.train, recipes.changed(recipes.FEW_STEPS, **options), seed=0)
    return [trainer.step() for _ in range(steps)], trainer


def digits(tmp_path):
    folders = [tmp_path / "small", tmp_path / "large"]
    for folder, embed in zip(folders, (16, 24), strict=True):
        sizes = {"image_size": 8, "patch_size": 4, "num_channels": 1, "num_labels": 10}
        save(ViTForImageClassification, vit(embed, **sizes), folder)
    return pretrained_supernet(folders)[0]


def changed(supernet, before):
    return {slot.partition("_")[0] for slot in supernet.slots if not same(supernet, before, f"slots.{slot}.")}


def same(supernet, before, prefix):
    after = supernet.state_dict()
    return all(torch.equal(tensor, after[name]) for name, tensor in before.items() if name.startswith(prefix))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_frozen_anchors_keep_every_bit_and_stitches_learn(optimizer, tmp_path):
    supernet = digits(tmp_path)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    seen.clear()
    method = Drawn(StitchingOptions(anchors="frozen"))
    trained(supernet, method, 60, optimizer=optimizer, weight_decay=0.1)
    assert changed(supernet, before) == {"stitch1"}
    assert not {name for name in seen if name.startswith("anchor")}
    # What comes after the training, such as healing, may train all weights.
    assert all(parameter.requires_grad for parameter in supernet.parameters())


@pytest.mark.thorough
def test_tuned_anchors_learn_too_and_every_network_has_its_turn(tmp_path):
    supernet = digits(tmp_path)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    seen.clear()
    trained(supernet, Drawn(), 80)
    assert changed(supernet, before) == {"anchor1", "stitch1", "anchor2"}
    assert set(seen) == set(supernet.space.choices[0].options)


def test_the_largest_network_teaches_where_it_is_asked_to(tmp_path):
    torch.manual_seed(0)
    alone, _ = trained(digits(tmp_path / "a"), Stitching(), 3)
    taught, _ = trained(digits(tmp_path / "b"), Stitching(StitchingOptions(distillation=0.5)), 3)
    assert alone[0] == taught[0]  # the loss that is shown is that on labels
    assert alone[-1] != taught[-1]


def test_a_training_is_resumed_exactly(tmp_path):
    method = Stitching(StitchingOptions(anchors="frozen"))
    straight, whole = trained(digits(tmp_path), method, 6)
    _, first = trained(digits(tmp_path), method, 3)
    _, second = trained(digits(tmp_path), method, 0)
    second.restore(first.tensors(), 3)
    assert [second.step() for _ in range(3)] == straight[3:]
    for name, tensor in whole.supernet.state_dict().items():
        assert torch.equal(tensor, second.supernet.state_dict()[name]), name


def test_frozen_anchors_need_stitches():
    space = load_family("mobilenet", "digits")
    said = StitchingOptions(anchors="frozen").misfit(space)
    assert said is not None
    assert "have no stitching layers" in said
    with pytest.raises(ValueError, match="have no stitching layers"):
        Stitching(StitchingOptions(anchors="frozen")).prepare(Supernet(space))


def test_a_choice_without_stitches_is_refused_where_anchors_are_frozen():
    space = load_family("stitched", "cifar", Adjustments({"path": ["anchor1", "anchor2"]}))
    with pytest.raises(ValueError, match="has a stitching layer; widen"):
        Stitching(StitchingOptions(anchors="frozen")).architecture(space, np.random.default_rng(0))
