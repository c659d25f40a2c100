"""Losses against their formulas, written out."""

import math

import pytest
import torch
import torch.nn.functional as F

from supernet.losses import adaptive_alpha_divergence, distillation_loss, divergence, task_loss


def pair(seed: int = 0, rows: int = 6, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.float64).float().requires_grad_()
    return logits, torch.randn(rows, classes, generator=generator).softmax(1)


def test_the_loss_of_a_language_model_is_the_mean_over_tokens():
    logits = torch.randn(2, 3, 7)
    targets = torch.randint(0, 7, (2, 3))
    by_hand = -torch.stack([logits[n, t].log_softmax(0)[targets[n, t]] for n in range(2) for t in range(3)]).mean()
    torch.testing.assert_close(task_loss(logits, targets), by_hand)


def test_ignored_targets_do_not_count():
    logits, targets = torch.randn(4, 7), torch.tensor([1, -100, 2, -100])
    torch.testing.assert_close(task_loss(logits, targets), F.cross_entropy(logits[::2], targets[::2]))


def test_divergence_is_zero_and_flat_where_student_and_teacher_agree():
    logits = torch.randn(4, 5, requires_grad=True)
    loss = divergence(logits, logits.detach(), temperature=3.0)
    (grad,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(grad, torch.zeros_like(grad), atol=1e-6, rtol=0)


def test_divergence_softens_both_sides_and_keeps_the_size_of_gradients():
    student, teacher, tau = torch.randn(3, 4), torch.randn(3, 4), 2.0
    p, q = (teacher / tau).softmax(1), (student / tau).softmax(1)
    by_hand = tau**2 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(divergence(student, teacher, tau), by_hand)


# --- AlphaNet ---------------------------------------------------------------------------------------


def by_definition(p: torch.Tensor, q: torch.Tensor, alpha: float) -> torch.Tensor:
    """D_alpha per row, without clipping (arXiv 2102.07954, equation 2)."""
    if alpha == 1:
        return (p * (p / q).log()).sum(1)
    return ((q * (p / q) ** alpha).sum(1) - 1) / (alpha * (alpha - 1))


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-0.5, 2.0)])
def test_without_clipping_the_loss_is_the_larger_divergence_of_every_example(low, high):
    logits, teacher = pair()
    q = logits.softmax(1)
    expected = torch.maximum(by_definition(teacher, q, low), by_definition(teacher, q, high)).mean()
    loss = adaptive_alpha_divergence(logits, teacher, low, high, clip=1e9)
    torch.testing.assert_close(loss, expected)
    (ours,) = torch.autograd.grad(loss, logits)
    (theirs,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_clipping_bounds_the_gradient_of_a_sure_and_wrong_student():
    """A student at 1e-6 where the teacher is sure: unclipped, the negative divergence's gradient explodes."""
    teacher = torch.tensor([[1e-6, 1 - 1e-6]])

    def steepness(clip: float) -> float:
        logits = torch.tensor([[20.0, 0.0]], requires_grad=True)
        loss = adaptive_alpha_divergence(logits, teacher, -1.0, 1.0, clip)
        (grad,) = torch.autograd.grad(loss, logits)
        return float(grad.abs().max())

    assert steepness(5.0) <= 5.0
    assert math.isfinite(steepness(1e30))


def test_with_equal_predictions_nothing_is_learned():
    logits, _ = pair()
    loss = adaptive_alpha_divergence(logits, logits.detach().softmax(1), -1.0, 1.0, 5.0)
    (grad,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(grad, torch.zeros_like(grad), atol=1e-6, rtol=0)


def test_alpha_one_alone_is_plain_distillation():
    """Where the positive divergence is the larger one, the gradient is that of the soft cross-entropy."""
    logits, teacher = pair(3)
    q = logits.softmax(1).detach()
    rows = by_definition(teacher, q, 1.0) > by_definition(teacher, q, -0.01)
    assert rows.any()
    chosen = logits.detach()[rows].requires_grad_()
    (ours,) = torch.autograd.grad(adaptive_alpha_divergence(chosen, teacher[rows], -0.01, 1.0, 1e9), chosen)
    (plain,) = torch.autograd.grad(distillation_loss(chosen, teacher[rows]), chosen)
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-6)
