"""Label-Gradient Alignment (Mok et al., CVPR 2022, arXiv 2203.14577): how a little-trained network sorts its classes.

For n labelled samples, row i of G is the gradient of the network's output on sample i with respect to its weights;
K = G G^T is the empirical neural tangent kernel; L is +1 where two samples are of one class, -1 where they are not.
Then

    LGA = <K - mean(K), L - mean(L)> / (|K - mean(K)| |L - mean(L)|)

with the Frobenius product and the mean over all n^2 entries: the correlation of the two matrices, from -1 to 1, higher
is better. The paper's point is that kernels at initialisation say little and after a little training much.

As in its public implementation, the output is the sum of a sample's logits and only parameters called `weight` count,
those of normalisation included. Batch normalisation runs on its running statistics here, so calibrate the network
first; that implementation lets it see the batch, which couples the samples (`coupled=True`). What it cannot know: the
sum of logits has no notion of which class is right, only of which samples pull the weights alike.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supernet.inputs import Inputs, count, named, part

# Bytes of gradients in memory at once; parameters beyond that take another round of backward passes.
MOST_BYTES = 256 << 20


def label_gradient_alignment(
    network: nn.Module, inputs: Tensor | Inputs, labels: Tensor, *, coupled: bool = False
) -> float:
    """LGA of a network that gives one row of logits per sample.

    Costs n backward passes, and a multiple of that for networks whose gradients do not fit in `MOST_BYTES`. The
    network's mode, gradients and statistics are left as they were.

    Args:
        inputs: inputs of one batch, samples first. 32 to 128 are usual.
        labels: classes, shape (num_samples,).
        coupled: whether batch normalisation takes its statistics from this batch, as in the public implementation.

    Raises:
        ValueError: fewer than 2 samples, or labels all of one class or all different, so that nothing aligns; an output
            that is not one row per sample; no parameter called `weight`.
    """
    inputs = named(inputs)
    if count(inputs) != len(labels) or len(labels) < 2:
        raise ValueError(f"Got {count(inputs)} samples and {len(labels)} labels; at least 2 of each are needed.")
    alike = labels[:, None] == labels[None, :]
    if alike.all() or int(alike.sum()) == len(labels):
        raise ValueError("Labels must be of at least two classes, and some samples of one class, to align with.")
    kernel = gradient_kernel(network, inputs, coupled=coupled)
    return alignment(kernel, alike.to(kernel) * 2 - 1)


def alignment(kernel: Tensor, labels: Tensor) -> float:
    """Correlation of two matrices over all entries; 0 where the kernel is constant.

    Args:
        kernel, labels: shape (num_samples, num_samples).
    """
    first, second = kernel.double() - kernel.double().mean(), labels.double() - labels.double().mean()
    norms = first.norm() * second.norm()
    return float((first * second).sum() / norms) if norms > 0 else 0.0


def gradient_kernel(network: nn.Module, inputs: Tensor | Inputs, *, coupled: bool = False) -> Tensor:
    """K, shape (num_samples, num_samples): products of samples' gradients of the sum of their logits.

    Raises:
        ValueError: an output that is not one row per sample, or no parameter called `weight`.
    """
    inputs = named(inputs)
    num_samples = count(inputs)
    weights = [p for name, p in network.named_parameters() if name.rpartition(".")[2] == "weight"]
    if not weights:
        raise ValueError("The network has no parameter called 'weight', so there are no gradients to compare.")
    modes = {module: module.training for module in network.modules()}
    wanted = [p.requires_grad for p in weights]
    network.eval()
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)] if coupled else []
    tracked = [norm.track_running_stats for norm in norms]
    try:
        for norm in norms:
            # In training mode and without tracking it takes the batch's statistics and keeps its own.
            norm.train()
            norm.track_running_stats = False
        for p in weights:
            p.requires_grad_(True)
        kernel = torch.zeros(num_samples, num_samples, dtype=torch.float64, device=weights[0].device)
        for group in _groups(weights, num_samples):
            rows = torch.stack(_gradients(network, inputs, group, coupled))
            kernel += (rows @ rows.T).double()
        return kernel
    finally:
        for p, was in zip(weights, wanted, strict=True):
            p.requires_grad_(was)
        for norm, was in zip(norms, tracked, strict=True):
            norm.track_running_stats = was
        for module, was in modes.items():
            module.training = was


def _groups(weights: list[nn.Parameter], num_samples: int) -> list[list[nn.Parameter]]:
    """Weights whose gradients for all samples fit in memory together."""
    groups: list[list[nn.Parameter]] = [[]]
    room = MOST_BYTES
    for p in weights:
        size = p.numel() * 4 * num_samples
        if groups[-1] and size > room:
            groups.append([])
            room = MOST_BYTES
        groups[-1].append(p)
        room -= size
    return groups


def _gradients(network: nn.Module, inputs: Inputs, weights: list[nn.Parameter], coupled: bool) -> list[Tensor]:
    """For each sample, the gradient with respect to the weights as one vector."""
    rows = []
    with torch.enable_grad():
        together = _logits(network, inputs) if coupled else None
        for i in range(count(inputs)):
            logits = _logits(network, part(inputs, slice(i, i + 1)))[0] if together is None else together[i]
            # A weight that one sample's logits do not depend on (an expert, an unused embedding) has gradient 0.
            found = torch.autograd.grad(
                logits.sum(), weights, retain_graph=coupled, allow_unused=True, materialize_grads=True
            )
            rows.append(torch.cat([gradient.flatten().float() for gradient in found]))
    return rows


def _logits(network: nn.Module, inputs: Inputs) -> Tensor:
    logits: Tensor = network(*inputs.values())
    if logits.ndim != 2 or len(logits) != count(inputs):
        raise ValueError(
            f"The network gives an output of shape {tuple(logits.shape)} for {count(inputs)} samples; label-gradient "
            f"alignment needs one row of logits for each."
        )
    return logits
