"""Passes: regularisation of the largest network, recomputation, precision, and losses in parts."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from search_space.inputs import INPUT
from search_space.plugins import FAMILIES, load_family
from supernet import passes as passes_module
from supernet.contract import example_inputs
from supernet.data import Batch
from supernet.losses import distillation_loss, divergence, task_loss
from supernet.network import Supernet
from supernet.passes import NONE, Output, Passes, Regularisation, dropped_examples

SPACE = load_family("mobilenet", "digits")


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(SPACE).train()


def batch(count: int = 16) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch.of(
        torch.randn(count, 1, 8, 8, generator=generator), torch.randint(0, 10, (count,), generator=generator)
    )


def gradients(of: Passes, architecture, **options) -> dict[str, torch.Tensor]:
    of.supernet.zero_grad(set_to_none=True)
    of.backward(of.task_loss(of.run(batch(), architecture, **options), batch()))
    return {name: p.grad.clone() for name, p in of.supernet.named_parameters() if p.grad is not None}


def test_a_plain_pass_is_the_supernets_own(supernet):
    got = Passes(supernet).run(batch(), SPACE.largest()).logits()
    assert torch.equal(got, supernet(batch().x, SPACE.largest()))


def test_recomputing_blocks_changes_no_gradient(supernet):
    plain = gradients(Passes(supernet), SPACE.largest())
    again = gradients(Passes(supernet, activation_checkpointing=True), SPACE.largest())
    assert set(plain) == set(again)
    for name in plain:
        assert torch.equal(plain[name], again[name]), name


def test_a_batchs_weight_scales_its_gradients(supernet):
    whole = gradients(Passes(supernet), SPACE.smallest())
    of = Passes(supernet)
    of.weight = 0.25
    for name, gradient in gradients(of, SPACE.smallest()).items():
        torch.testing.assert_close(gradient, 0.25 * whole[name])


def test_bfloat16_passes_give_float32_losses_and_gradients_near_those_of_float32(supernet):
    exact = gradients(Passes(supernet), SPACE.largest())
    of = Passes(supernet, precision="bfloat16")
    assert of.run(batch(), SPACE.largest()).logits().dtype == torch.bfloat16
    rough = gradients(of, SPACE.largest())
    flat = [torch.cat([g.flatten() for _, g in sorted(some.items())]) for some in (exact, rough)]
    assert all(g.dtype == torch.float32 for g in rough.values())
    assert F.cosine_similarity(*flat, dim=0) > 0.95


# --- regularisation of the biggest -------------------------------------------------------------------


def test_dropout_is_of_one_pass_and_leaves_no_trace(supernet):
    of = Passes(supernet)
    clean = of.run(batch(), SPACE.largest()).logits()
    noisy = of.run(batch(), SPACE.largest(), Regularisation(dropout=0.5)).logits()
    assert not torch.equal(noisy, clean)
    assert torch.equal(of.run(batch(), SPACE.largest()).logits(), clean)


def test_dropout_zeroes_the_classifiers_inputs_and_scales_the_rest(supernet):
    name, spec = list(supernet.layers(SPACE.largest()).items())[-1]
    seen: list[torch.Tensor] = []
    classifier = supernet.slot(name).sub_block(spec).classifier
    hook = classifier.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0]))
    Passes(supernet).run(batch(), SPACE.largest())
    Passes(supernet).run(batch(), SPACE.largest(), Regularisation(dropout=0.5))
    hook.remove()
    clean, dropped = seen
    zeroed = (dropped == 0) & (clean != 0)
    assert 0.3 < float(zeroed.float().mean() / (clean != 0).float().mean()) < 0.7
    torch.testing.assert_close(dropped[~zeroed], 2 * clean[~zeroed])


def test_a_dropped_branch_is_left_out_or_scaled_up():
    torch.manual_seed(0)
    out = torch.randn(1000, 2, 3, 3)
    got = dropped_examples(out, 0.2)
    left_out = (got == 0).flatten(1).all(1)
    assert 150 < int(left_out.sum()) < 250
    torch.testing.assert_close(got[~left_out], (out / 0.8)[~left_out])


def test_drop_connect_rises_with_depth_and_spares_blocks_that_change_the_shape(supernet, monkeypatch):
    probabilities = []

    def watch(out, probability):
        probabilities.append(round(probability, 6))
        return out

    monkeypatch.setattr(passes_module, "dropped_examples", watch)
    Passes(supernet).run(batch(), SPACE.largest(), Regularisation(drop_connect=0.7))
    # Stem and six blocks before the head; the second block of each stage keeps its shape.
    assert probabilities == pytest.approx([0.7 * place / 7 for place in (3, 5, 7)])


def residual_spaces() -> list[tuple[str, str]]:
    """One space of every family whose layers name branches; a new family comes in by itself."""
    small = ("digits", "cifar", "tiny")
    offered = {name: FAMILIES.load(name).PRESETS for name in FAMILIES.names()}
    return [(name, next(preset for preset in small if preset in presets)) for name, presets in offered.items()]


@pytest.mark.parametrize(("family", "preset"), residual_spaces())
def test_every_family_with_residual_branches_leaves_them_out(family, preset):
    space = load_family(family, preset)
    torch.manual_seed(0)
    net = Supernet(space).train()
    layers = net.layers(space.largest(), dropout=False)
    branched = {name: spec for name, spec in layers.items() if spec.branches()}
    assert branched, f"{space.name} has residual blocks; let their specs name the branches"
    for name, spec in branched.items():
        block = net.slot(name).sub_block(spec)
        for parameter in block.parameters():
            assert parameter.device.type in ("cpu", "meta")
        assert all(block.get_submodule(branch) is not None for branch in spec.branches())
    inputs = example_inputs(space, 8, tokens=8)
    if space.takes.classes is not None:
        targets = torch.zeros(8, dtype=torch.long)
    else:
        targets = inputs[INPUT] if INPUT in inputs else torch.arange(8)[:, None].repeat(1, 2)
    given = Batch(inputs, targets)
    quiet = Passes(net).run(given, space.largest(), NONE).logits()
    assert torch.allclose(quiet, Passes(net).run(given, space.largest(), NONE).logits(), atol=1e-6)
    torch.manual_seed(1)
    dropped = Passes(net).run(given, space.largest(), Regularisation(drop_connect=0.5, own_dropout=False)).logits()
    assert not torch.allclose(dropped, quiet, atol=1e-4), "the switch is ignored"


@pytest.mark.parametrize(("family", "preset"), [("vit", "cifar"), ("llama", "tiny"), ("mobilenet", "digits")])
def test_without_any_branch_a_block_is_its_shortcut(family, preset, monkeypatch):
    space = load_family(family, preset)
    net = Supernet(space).train()
    name, spec = next((n, s) for n, s in net.layers(space.largest()).items() if s.branches())
    monkeypatch.setattr(passes_module, "dropped_examples", lambda out, _probability: 0 * out)
    seen = {}
    x = example_inputs(space, 4, tokens=8)[INPUT]
    targets = torch.zeros(4, dtype=torch.long) if space.takes.classes is not None else x
    block = net.slot(name).sub_block(spec)
    hook = block.register_forward_hook(lambda _, inputs, out: seen.update(before=inputs[0], after=out))
    Passes(net).run(Batch.of(x, targets), space.largest(), Regularisation(drop_connect=0.5))
    hook.remove()
    torch.testing.assert_close(seen["after"], seen["before"])


def test_recomputed_blocks_leave_out_the_same_branches(supernet):
    def of(checkpointing: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        passes = Passes(supernet, activation_checkpointing=checkpointing)
        return gradients(passes, SPACE.largest(), regularisation=Regularisation(drop_connect=0.5))

    plain, again = of(False), of(True)
    for name in plain:
        torch.testing.assert_close(plain[name], again[name], msg=name)


def test_only_the_biggest_network_of_a_sandwich_drops_out_anything():
    """BERT's own dropouts are the biggest's alone, too: the others answer the same however often they are asked."""
    space = load_family("bert", "tiny")
    torch.manual_seed(0)
    net = Supernet(space).train()
    x = example_inputs(space, 4, tokens=8)[INPUT]
    given, of = Batch.of(x, torch.zeros(4, dtype=torch.long)), Passes(net)
    assert any(spec.without_dropout() != spec for spec in net.layers(space.largest()).values())
    for architecture in (space.smallest(), space.largest()):
        first, second = (of.run(given, architecture, NONE).logits() for _ in range(2))
        assert torch.equal(first, second)
        first, second = (of.run(given, architecture).logits() for _ in range(2))
        assert not torch.equal(first, second)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_a_compiled_block_still_drops_out(supernet):
    slots = ("stage1_block2", "head")
    nn.init.ones_(supernet.slot(slots[0]).block.project_norm.weight)
    for slot in slots:
        supernet.slot(slot).sub_block(supernet.layers(SPACE.largest())[slot]).compile(backend="eager")
    of = Passes(supernet)
    clean = of.run(batch(), SPACE.largest()).logits()
    for regularisation in (Regularisation(dropout=0.5), Regularisation(drop_connect=0.7)):
        assert not torch.allclose(of.run(batch(), SPACE.largest(), regularisation).logits(), clean)
    assert torch.allclose(of.run(batch(), SPACE.largest()).logits(), clean, atol=1e-5)


# --- losses in parts ---------------------------------------------------------------------------------


@pytest.fixture
def language():
    """Hidden states, a head and targets of a language model with 11 tokens in its vocabulary."""
    torch.manual_seed(0)
    head = torch.nn.Linear(6, 11)
    hidden = torch.randn(5, 4, 6, requires_grad=True)
    return hidden, head, torch.randint(0, 11, (5, 4))


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_a_loss_in_parts_is_the_loss_of_the_whole(language, monkeypatch, rows):
    hidden, head, targets = language
    whole = task_loss(head(hidden), targets, 0.1)
    expected = torch.autograd.grad(whole, [hidden, *head.parameters()])
    monkeypatch.setattr(passes_module, "LOGITS_AT_ONCE", rows * 4 * 11)
    output = Output(hidden, head, vocab=11)
    loss = output.mean_loss(lambda logits, y: task_loss(logits, y, 0.1), targets)
    torch.testing.assert_close(loss, whole)
    for got, wanted in zip(torch.autograd.grad(loss, [hidden, *head.parameters()]), expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_a_teacher_in_parts_teaches_the_same_and_gets_no_gradient(language, monkeypatch):
    hidden, head, _ = language
    teacher_head, taught = copy.deepcopy(head), torch.randn(5, 4, 6, requires_grad=True)
    whole = divergence(head(hidden), teacher_head(taught).detach(), 2.0)
    monkeypatch.setattr(passes_module, "LOGITS_AT_ONCE", 2 * 4 * 11)
    teacher = Output(taught, teacher_head, vocab=11).detach()
    loss = Output(hidden, head, vocab=11).mean_loss(lambda a, b: divergence(a, b, 2.0), teacher)
    torch.testing.assert_close(loss, whole)
    loss.backward()
    assert taught.grad is None
    assert all(parameter.grad is None for parameter in teacher_head.parameters())
    assert hidden.grad is not None


def test_logits_of_one_part_at_a_time_are_held(language, monkeypatch):
    hidden, head, targets = language
    sizes = []

    def watching(part):
        sizes.append(part.shape[0])
        return head(part)

    monkeypatch.setattr(passes_module, "LOGITS_AT_ONCE", 2 * 4 * 11)
    Output(hidden, watching, vocab=11).mean_loss(task_loss, targets).backward()
    assert sizes == [2, 2, 1, 1, 2, 2]  # forward, and again from the end in backward


def test_small_vocabularies_are_not_cut(language):
    hidden, head, targets = language
    torch.testing.assert_close(Output(hidden, head, 11).mean_loss(task_loss, targets), task_loss(head(hidden), targets))
    soft = torch.randn(5, 4, 11).softmax(-1)
    torch.testing.assert_close(
        Output(hidden, head, 11).mean_loss(distillation_loss, soft), distillation_loss(head(hidden), soft)
    )
