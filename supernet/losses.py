"""Losses of labels and of teachers, for one label an example or one target a token.

K classes; a trailing `NK` stands for `NTK` of language models as well: positions are averaged over.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.data.dataset import IGNORED


def task_loss(logits_NK: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy over every target that counts, in float32.

    Args:
        logits_NK: shape (..., K).
        targets: shape (...), int64; `IGNORED` does not count.
    """
    return F.cross_entropy(
        logits_NK.float().flatten(0, -2), targets.flatten(), ignore_index=IGNORED, label_smoothing=label_smoothing
    )


def losses_of_examples(logits: Tensor, targets: Tensor) -> Tensor:
    """Summed cross-entropy of every example's targets that count, in float32, shape (N,)."""
    each = F.cross_entropy(logits.float().flatten(0, -2), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return each.view(len(targets), -1).sum(1)


def divergences_of_examples(logits: Tensor, teacher_logits: Tensor, counted: Tensor | None = None) -> Tensor:
    """Kullback-Leibler divergence of the student from the teacher, summed over an example's positions, shape (N,).

    Args:
        counted: (N, T), True for positions that count; None: all do.
    """
    student, teacher = (each.float().flatten(0, -2).log_softmax(1) for each in (logits, teacher_logits))
    each = F.kl_div(student, teacher, reduction="none", log_target=True).sum(1)
    each = each if counted is None else each * counted.flatten()
    return each.view(len(logits), -1).sum(1)


def mixed_loss(
    logits_NK: Tensor, targets_N: Tensor, second_N: Tensor, share_N: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy of mixtures of two examples: `share` of the loss on the first label, the rest on the second.

    It is the cross-entropy with labels that are mixed as the examples are (arXiv 1710.09412).
    """
    first_N, other_N = (
        F.cross_entropy(logits_NK.float(), labels_N, reduction="none", label_smoothing=label_smoothing)
        for labels_N in (targets_N, second_N)
    )
    return torch.lerp(other_N, first_N, share_N).mean()


def distillation_loss(logits_NK: Tensor, teacher_NK: Tensor) -> Tensor:
    """Mean cross-entropy between the teacher's probabilities and the student's prediction.

    It equals the Kullback-Leibler divergence up to the teacher's entropy, which has no gradient.
    """
    return F.cross_entropy(logits_NK.float().flatten(0, -2), teacher_NK.flatten(0, -2))


def divergence(logits_NK: Tensor, teacher_logits_NK: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean Kullback-Leibler divergence of the student from the teacher, both softened by a temperature.

    Scaled by its square, so that gradients keep their size (Hinton et al., arXiv 1503.02531, section 2).
    """
    student, teacher = (_softened(each, temperature) for each in (logits_NK, teacher_logits_NK))
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def divergence_of_top(logits_NK: Tensor, teacher_logits_NK: Tensor, top: int, temperature: float = 1.0) -> Tensor:
    """The same, over the teacher's `top` likeliest answers and all others together as one more answer.

    Probabilities that are added up tell no more apart, so this is at most `divergence` (data processing inequality),
    and equal to it where `top` leaves no more than one answer out. Unlike with renormalised probabilities, a student
    that believes in other answers pays for it.
    """
    if top >= logits_NK.shape[-1] - 1:
        return divergence(logits_NK, teacher_logits_NK, temperature)
    student, teacher = (_softened(each, temperature) for each in (logits_NK, teacher_logits_NK))
    best = teacher.topk(top, 1).indices

    def with_rest(log_p: Tensor) -> Tensor:
        rest = log_p.scatter(1, best, -torch.inf).logsumexp(1, keepdim=True)
        return torch.cat([log_p.gather(1, best), rest], 1)

    return temperature**2 * F.kl_div(with_rest(student), with_rest(teacher), reduction="batchmean", log_target=True)


def hidden_distance(states: Tensor, teacher_states: Tensor) -> Tensor:
    """1 minus the mean cosine of two networks' hidden states, shapes (..., D)."""
    return 1 - F.cosine_similarity(_wide(states), _wide(teacher_states), dim=-1).mean()


def _softened(logits_NK: Tensor, temperature: float) -> Tensor:
    """Logarithms of the probabilities at a temperature, one row for each position."""
    return (_wide(logits_NK) / temperature).flatten(0, -2).log_softmax(1)


def _wide(values: Tensor) -> Tensor:
    """In float32, or wider as they are."""
    return values if values.dtype == torch.float64 else values.float()


def adaptive_alpha_divergence(
    logits_NK: Tensor, teacher_NK: Tensor, alpha_min: float, alpha_max: float, clip: float
) -> Tensor:
    """AlphaNet's loss (arXiv 2102.07954): per example, the larger of two alpha-divergences.

    D_alpha(p || q) = (sum_k q_k w_k - 1) / (alpha (alpha - 1)) with importance weights w = (p / q)^alpha,
    teacher p and student q; alpha = 1 is the Kullback-Leibler divergence. A negative alpha punishes a
    student that is sure where the teacher is not, a positive one a student that misses what the teacher sees.
    Its gradient is -E_q[w grad log q] / alpha, and there the weights are clipped, which bounds it.

    Args:
        logits_NK: logits of the student.
        teacher_NK: probabilities, without gradient.
        clip: largest importance weight.
    """
    log_q = logits_NK.float().flatten(0, -2).log_softmax(1)
    log_p = teacher_NK.float().flatten(0, -2).clamp_min(torch.finfo(torch.float32).tiny).log()
    low_value, low_slope = _alpha_divergence(log_p, log_q, alpha_min, clip)
    high_value, high_slope = _alpha_divergence(log_p, log_q, alpha_max, clip)
    larger = low_value > high_value
    value, slope = torch.where(larger, low_value, high_value), torch.where(larger, low_slope, high_slope)
    # The value of one and the gradient of the other.
    return (slope + (value - slope).detach()).mean()


def _alpha_divergence(log_p: Tensor, log_q: Tensor, alpha: float, clip: float) -> tuple[Tensor, Tensor]:
    """Per example: the divergence with clipped weights (no gradient), and a term that has its gradient."""
    q = log_q.exp()
    with torch.no_grad():
        # exp() of the clipped exponent, because the exponent itself may overflow.
        weights = (alpha * (log_p - log_q)).clamp_max(torch.tensor(clip).log()).exp()
        if alpha == 1.0:
            value = (log_p.exp() * (log_p - log_q)).sum(1)
        else:
            value = ((q * weights).sum(1) - 1) / (alpha * (alpha - 1))
    return value, -(weights * q).sum(1) / alpha
