"""Pairs of images and texts: what networks of two towers are trained and scored by.

A pair's answer are two vectors whose product is its logit (`PairHeadSpec`); N pairs have N x N logits, of which those
of the same image, or of the same text, are no negatives of one another.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Logit of what must not be told apart: exp() of it is 0, and a probability of 0 times it is 0 too.
APART = -1e4


def similarities(answers_N2W: Tensor, numbers_N2: Tensor) -> Tensor:
    """Logits of a batch both ways, `(2N, N)`: of each image over the texts, then of each text over the images.

    So the mean over rows of a loss or a divergence is the mean of both directions.

    Args:
        numbers_N2: numbers of each pair's image and text; pairs that share one of them are no negatives.
    """
    answers_N2W = answers_N2W.float()
    logits_NN = answers_N2W[:, 0] @ answers_N2W[:, 1].T
    alike_NN = (numbers_N2[:, None] == numbers_N2[None]).any(-1)
    alike_NN.fill_diagonal_(False)
    logits_NN = logits_NN.masked_fill(alike_NN, APART)
    return torch.cat((logits_NN, logits_NN.T))


def own_places(logits_MN: Tensor) -> Tensor:
    """For each row of `similarities`, the column of its own pair."""
    return torch.arange(logits_MN.shape[1], device=logits_MN.device).repeat(2)


def contrastive_loss(logits_MN: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """CLIP's: the mean of the cross-entropies of both directions (arXiv 2103.00020, figure 3).

    Args:
        logits_MN: logits of `similarities`.
    """
    return F.cross_entropy(logits_MN, own_places(logits_MN), label_smoothing=label_smoothing)


def sigmoid_loss(logits_MN: Tensor) -> Tensor:
    """SigLIP's: -log sigmoid of every logit of a batch, negated where the pair is none, summed and divided by the
    number of pairs (arXiv 2303.15343, equation 2).

    Args:
        logits_MN: logits of `similarities`, whose second half is the first once more.
    """
    count = logits_MN.shape[1]
    logits_NN = logits_MN[:count]
    signs_NN = 2 * torch.eye(count, device=logits_MN.device) - 1
    return -F.logsigmoid(signs_NN * logits_NN).sum() / count
