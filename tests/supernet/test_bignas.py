"""The sandwich step, against separate passes (numeric checks of the BigNAS paper)."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from search_space.plugins import load_family
from supernet.data import Batch
from supernet.losses import distillation_loss
from supernet.methods.bignas.method import BigNAS, total_macs
from supernet.methods.bignas.options import BigNASOptions
from supernet.network import Supernet
from supernet.passes import Passes

SPACE = load_family("mobilenet", "digits")


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(SPACE)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(16, 1, 8, 8, generator=generator), torch.randint(0, 10, (16,), generator=generator)


def gradients(supernet) -> list[torch.Tensor | None]:
    return [None if p.grad is None else p.grad.clone() for p in supernet.parameters()]


def test_a_sandwich_has_the_biggest_first_the_smallest_last_and_random_ones_between():
    sandwich = BigNAS(BigNASOptions(num_random=3)).architectures(SPACE, np.random.default_rng(0))
    assert len(sandwich) == 5
    assert sandwich[0] == SPACE.largest()
    assert sandwich[-1] == SPACE.smallest()
    assert len(set(sandwich)) == 5


def test_the_random_members_come_from_the_generator():
    first, second, other = (BigNAS().architectures(SPACE, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first == second
    assert first != other


def test_the_summed_gradient_equals_separate_backward_passes(supernet):
    x, y = batch()
    method = BigNAS()
    biggest, *others = method.architectures(SPACE, np.random.default_rng(2))

    total: list[torch.Tensor | None] = [None] * len(gradients(supernet))

    def add_gradients(architecture, **target):
        # Cleared before the pass: a pass ties its sub-network's gradients to those of the supernet.
        supernet.zero_grad(set_to_none=True)
        F.cross_entropy(supernet(x, architecture), **target).backward()
        for i, grad in enumerate(gradients(supernet)):
            if grad is not None:
                total[i] = grad if total[i] is None else total[i] + grad

    teacher = supernet(x, biggest).detach().softmax(1)
    add_gradients(biggest, target=y, label_smoothing=0.1)
    for architecture in others:
        add_gradients(architecture, target=teacher)

    supernet.zero_grad(set_to_none=True)
    method.step(Passes(supernet), Batch.of(x, y), np.random.default_rng(2))
    for summed, expected in zip(gradients(supernet), total, strict=True):
        assert (summed is None) == (expected is None)
        assert summed is None or torch.equal(summed, expected)


def test_no_gradient_flows_through_the_teacher(supernet):
    """Where only the largest network has weights, the sandwich leaves the biggest's own gradient."""
    x, y = batch()
    alone = copy.deepcopy(supernet)
    F.cross_entropy(alone(x, SPACE.largest()), y, label_smoothing=0.1).backward()
    BigNAS(BigNASOptions(num_random=0)).step(Passes(supernet), Batch.of(x, y), np.random.default_rng(0))
    # The smallest network is one block deep, so second blocks belong to the largest alone.
    for s in (1, 2, 3):
        for name, parameter in supernet.slots[f"stage{s}_block2"].named_parameters():
            expected = alone.slots[f"stage{s}_block2"].get_parameter(name).grad
            assert torch.equal(parameter.grad, expected), name


def test_the_students_see_no_labels(supernet):
    """With other labels only the largest network's gradient changes."""
    x, y = batch()

    def students_gradient(labels):
        twin = copy.deepcopy(supernet)
        BigNAS(BigNASOptions(num_random=0)).step(Passes(twin), Batch.of(x, labels), np.random.default_rng(0))
        with_students = gradients(twin)
        twin.zero_grad(set_to_none=True)
        F.cross_entropy(twin(x, SPACE.largest()), labels, label_smoothing=0.1).backward()
        return [a - b for a, b in zip(with_students, gradients(twin), strict=True) if a is not None and b is not None]

    for first, second in zip(students_gradient(y), students_gradient((y + 1) % 10), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_label_smoothing_is_of_the_biggest_networks_loss(supernet):
    x, y = batch()
    for smoothing in (0.0, 0.3):
        losses = BigNAS(BigNASOptions(label_smoothing=smoothing)).step(
            Passes(supernet), Batch.of(x, y), np.random.default_rng(0)
        )
        expected = F.cross_entropy(supernet(x, SPACE.largest()), y, label_smoothing=smoothing)
        assert losses["loss_largest"] == pytest.approx(expected.item(), abs=1e-6)


def test_distillation_has_the_gradient_of_the_kullback_leibler_divergence():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 10, generator=generator, requires_grad=True)
    teacher = torch.randn(5, 10, generator=generator).softmax(1)
    (ours,) = torch.autograd.grad(distillation_loss(logits, teacher), logits)
    divergence = F.kl_div(logits.log_softmax(1), teacher, reduction="batchmean")
    (theirs,) = torch.autograd.grad(divergence, logits)
    torch.testing.assert_close(ours, theirs)


def test_distillation_pulls_a_student_nowhere_when_it_agrees_with_the_teacher():
    logits = torch.randn(5, 10, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (grad,) = torch.autograd.grad(distillation_loss(logits, logits.detach().softmax(1)), logits)
    torch.testing.assert_close(grad, torch.zeros_like(grad), atol=1e-7, rtol=0)


def test_a_sandwich_without_random_members_reports_two_losses(supernet):
    x, y = batch()
    losses = BigNAS(BigNASOptions(num_random=0)).step(Passes(supernet), Batch.of(x, y), np.random.default_rng(0))
    assert set(losses) == {"loss_largest", "loss_smallest"}


def test_preparation_zeroes_the_last_scales(supernet):
    BigNAS().prepare(supernet)
    assert (supernet.slots["stage1_block1"].block.project_norm.weight == 0).all()


def test_random_members_can_be_drawn_over_bins_of_a_cost():
    """Uniform genes of this space are rarely in the outer tenths of its MACs; uniform bins are in a fifth of draws."""
    space = load_family("mobilenet", "digits")
    low, high = total_macs(space, space.smallest()), total_macs(space, space.largest())
    method, rng = BigNAS(BigNASOptions.model_construct(num_random=100, sampling="macs")), np.random.default_rng(0)
    biggest, *middle, smallest = method.architectures(space, rng)
    assert (biggest, smallest) == (space.largest(), space.smallest())
    shares = [(total_macs(space, architecture) - low) / (high - low) for architecture in middle]
    assert 0.1 < sum(share < 0.1 or share > 0.9 for share in shares) / 100 < 0.3
