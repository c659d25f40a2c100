"""Alternating fine-tuning and InstaTune's loss, against their terms written out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from search_space.plugins import load_family
from supernet.data import Batch
from supernet.methods.alternating.method import Alternating
from supernet.methods.alternating.options import AlternatingOptions
from supernet.network import Supernet
from supernet.passes import Passes

SPACE = load_family("mobilenet", "digits")


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(SPACE).train()


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch.of(torch.randn(16, 1, 8, 8, generator=generator), torch.randint(0, 10, (16,), generator=generator))


def gradients(supernet) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in supernet.named_parameters() if p.grad is not None}


def of_step(supernet, method, step: int = 0) -> dict[str, torch.Tensor]:
    supernet.zero_grad(set_to_none=True)
    passes = Passes(supernet)
    passes.step = step
    method.step(passes, batch(), np.random.default_rng(2))
    return gradients(supernet)


def assert_same(first, second):
    assert set(first) == set(second)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-6)


def test_even_steps_train_the_full_network_and_odd_steps_a_random_one(supernet):
    method, data = Alternating(), batch()
    for step, architecture in enumerate(method.architectures(SPACE, np.random.default_rng(2))):
        got = of_step(supernet, method, step)
        supernet.zero_grad(set_to_none=True)
        F.cross_entropy(supernet(data.x, architecture), data.targets).backward()
        assert_same(got, gradients(supernet))


def kl(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    p = teacher.detach().softmax(1)
    return (p * (p.log() - student.log_softmax(1))).sum(1).mean()


@pytest.mark.parametrize("gamma", [0, 1])
def test_instatunes_loss_has_the_terms_of_the_paper(supernet, gamma):
    """alpha (CE(S) + CE(S1)) + (1 - alpha) (gamma (KL(S, T) + KL(S1, T)) + (1 - gamma) KL(S1, S))."""
    method, data = Alternating(AlternatingOptions(alpha=0.3, gamma=gamma)), batch()
    method.prepare(supernet)
    full, small = method.architectures(SPACE, np.random.default_rng(2))
    teacher = supernet.eval()(data.x, full).detach()
    supernet.train()
    with torch.no_grad():  # the student has moved on since the teacher was kept
        for parameter in supernet.parameters():
            parameter.mul_(1.1)
    got = of_step(supernet, method)

    supernet.zero_grad(set_to_none=True)
    s = supernet(data.x, full)
    loss = 0.3 * F.cross_entropy(s, data.targets) + (0.7 * kl(s, teacher) if gamma else 0)
    loss.backward()
    s1 = supernet(data.x, small)
    (0.3 * F.cross_entropy(s1, data.targets) + 0.7 * kl(s1, teacher if gamma else s)).backward()
    assert_same(got, gradients(supernet))


def test_the_strong_teacher_does_not_move(supernet):
    method = Alternating(AlternatingOptions(alpha=0.3, gamma=1))
    method.prepare(supernet)
    kept = {name: p.clone() for name, p in method._teacher.supernet.named_parameters()}
    of_step(supernet, method)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(1)
    for name, parameter in method._teacher.supernet.named_parameters():
        assert torch.equal(parameter, kept[name])
        assert parameter.grad is None


def test_without_teachers_the_step_is_cheap(supernet):
    """One pass a step, as LLaMA-NAS wants it."""
    runs = []

    class Counting(Passes):
        def run(self, batch, architecture, regularisation=None):
            runs.append(architecture)
            return super().run(batch, architecture)

    Alternating().step(Counting(supernet), batch(), np.random.default_rng(0))
    assert len(runs) == 1
