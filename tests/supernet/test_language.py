"""Language models: exits, losses over tokens, and every method on a small Llama."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from search_space.adjustments import Adjustments
from search_space.nesting import Nesting
from search_space.plugins import load_family
from supernet import passes as passes_module
from supernet.data import Batch, Split
from supernet.evaluate import perplexity, score
from supernet.methods.alternating.method import Alternating
from supernet.methods.alternating.options import AlternatingOptions
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions
from supernet.methods.sortednet.method import SortedNet
from supernet.methods.sortednet.options import SortedNetOptions
from supernet.network import Supernet, extract
from supernet.passes import Passes
from supernet.trainer import Trainer
from tests.supernet.recipes import FEW_STEPS, changed

SPACE = load_family("llama", "tiny", Adjustments({"layer6_keep": (0, 1)}))
DEPTHS = [Nesting(SPACE, "depth").architecture(level) for level in range(Nesting(SPACE, "depth").shape[0])]


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(SPACE).train()


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 256, (4, 17), generator=generator)
    return Batch.of(ids[:, :-1], ids[:, 1:])


def gradients(supernet) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in supernet.named_parameters() if p.grad is not None}


def assert_same(first, second):
    assert set(first) == set(second)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-6)


def test_exits_of_one_pass_are_the_sub_networks_own_answers(supernet):
    outputs = Passes(supernet).run_exits(batch(), DEPTHS)
    for output, architecture in zip(outputs, DEPTHS, strict=True):
        torch.testing.assert_close(output.logits(), supernet(batch().x, architecture))


def test_sorted_fine_tuning_is_the_plain_mean_of_the_exits_losses(supernet):
    for architecture in DEPTHS:
        logits = supernet(batch().x, architecture)
        (F.cross_entropy(logits.flatten(0, 1), batch().targets.flatten()) / len(DEPTHS)).backward()
    expected = gradients(supernet)
    supernet.zero_grad(set_to_none=True)
    SortedNet(SortedNetOptions(exits=True)).step(Passes(supernet), batch(), np.random.default_rng(0))
    assert_same(gradients(supernet), expected)


def test_networks_that_are_not_one_anothers_beginning_have_no_exits(supernet):
    with pytest.raises(ValueError, match="is not a beginning"):
        Passes(supernet).run_exits(batch(), [SPACE.smallest(), SPACE.largest()])
    with pytest.raises(ValueError, match="shallowest to the deepest"):
        Passes(supernet).run_exits(batch(), [DEPTHS[1], DEPTHS[0], DEPTHS[-1]])


@pytest.mark.parametrize(
    "method",
    [
        BigNAS(),
        BigNAS(BigNASOptions(distillation="alpha")),
        Alternating(AlternatingOptions(alpha=0.3)),
        SortedNet(SortedNetOptions(exits=True)),
        SortedNet(SortedNetOptions(draws=2)),
    ],
)
def test_logits_in_parts_change_no_gradient_of_any_method(supernet, monkeypatch, method):
    method.step(Passes(supernet), batch(), np.random.default_rng(0))
    whole = gradients(supernet)
    supernet.zero_grad(set_to_none=True)
    monkeypatch.setattr(passes_module, "LOGITS_AT_ONCE", 16 * 256)
    method.step(Passes(supernet, activation_checkpointing=True), batch(), np.random.default_rng(0))
    assert_same(gradients(supernet), whole)


def test_a_space_whose_last_layer_always_stays_has_no_exits():
    with pytest.raises(ValueError, match="exits"):
        SortedNet(SortedNetOptions(exits=True)).prepare(Supernet(load_family("llama", "tiny")))


def test_perplexity_is_that_of_the_mean_token(supernet):
    split = Split(batch().x.int(), batch().targets.int())
    network = extract(supernet, SPACE.smallest())
    with torch.no_grad():
        loss = F.cross_entropy(network(batch().x).flatten(0, 1), batch().targets.flatten())
    assert perplexity(network, split) == pytest.approx(math.exp(loss), rel=1e-5)
    assert score(network, split) == perplexity(network, split)
    assert perplexity(network, split) > 100  # untrained: near the 256 of a guess


@pytest.mark.thorough
def test_a_network_that_knows_the_text_has_a_perplexity_near_one(supernet):
    """Trained on one block, it learns it by heart."""
    split = Split(batch().x[:2].int(), batch().targets[:2].int())
    options = changed(FEW_STEPS, epochs=40, batch_size=2, optimizer="adamw", learning_rate=0.003, schedule="constant")
    trainer = Trainer(supernet, Alternating(), split, options, seed=0)
    for _ in range(60):
        trainer.step()
    assert perplexity(extract(supernet, SPACE.largest()), split) < 3
    assert trainer.units_seen == 60 * 2 * 16


def test_padded_text_is_trained_with_its_mask():
    """What stands behind the end of a text does not change its gradients."""
    space = load_family("bert", "tiny")
    torch.manual_seed(0)
    supernet = Supernet(space).eval()  # no dropout, so that two passes compare

    def of(padding: int) -> dict[str, torch.Tensor]:
        ids = torch.full((2, 8), padding)
        ids[0, :5], ids[1, :3] = torch.arange(1, 6), torch.arange(1, 4)
        mask = torch.arange(8) < torch.tensor([5, 3])[:, None]
        supernet.zero_grad(set_to_none=True)
        passes, data = Passes(supernet), Batch.of(ids, torch.tensor([0, 1]), mask)
        passes.backward(passes.task_loss(passes.run(data, space.largest()), data))
        return {name: grad for name, grad in gradients(supernet).items() if ".embedding." not in name}

    assert_same(of(padding=0), of(padding=77))
