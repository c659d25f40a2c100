"""Healing: its loss and gradient against plain arithmetic, and what a step learns from its parent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from search_space.architecture import Architecture
from search_space.plugins import load_family
from search_space.space import SearchSpace
from supernet import losses
from supernet.data.dataset import Batch, Split
from supernet.healing import PROJECTION, Healing, HealingTrainer, Parent, by_itself, healed_tensors
from supernet.network import Supernet, extract
from supernet.options import DistillationOptions, TrainingOptions
from supernet.passes import Passes

CPU = torch.device("cpu")
ROWS, ANSWERS = 5, 7


def logits() -> tuple[Tensor, Tensor]:
    """Of a student and its teacher, in float64."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(ROWS, ANSWERS, dtype=torch.float64, generator=generator) for _ in range(2))
    return student.requires_grad_(), teacher


def plain_softmax(values: np.ndarray, temperature: float) -> np.ndarray:
    powers = np.exp(values / temperature - (values / temperature).max(1, keepdims=True))
    found: np.ndarray = powers / powers.sum(1, keepdims=True)
    return found


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_divergence_and_its_gradient_are_those_of_the_formula(temperature: float) -> None:
    """T^2 sum p (log p - log q) over the rows' mean, and its gradient T (q - p) / rows (Hinton et al., section 2.1)."""
    student, teacher = logits()
    losses.divergence(student, teacher, temperature).backward()
    q, p = (plain_softmax(each.detach().numpy(), temperature) for each in (student, teacher))
    value = temperature**2 * (p * (np.log(p) - np.log(q))).sum(1).mean()
    assert losses.divergence(student, teacher, temperature).item() == pytest.approx(value, rel=1e-13)
    assert student.grad is not None
    np.testing.assert_allclose(student.grad.numpy(), temperature * (q - p) / ROWS, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("top", [1, 3])
def test_of_the_likeliest_answers_the_others_count_as_one(top: int) -> None:
    student, teacher = logits()
    value = losses.divergence_of_top(student, teacher, top, 2.0)
    value.backward()
    q, p = (plain_softmax(each.detach().numpy(), 2.0) for each in (student, teacher))
    total, gradient = 0.0, np.zeros_like(q)
    for row in range(ROWS):
        best = np.argsort(-p[row])[:top]
        others = np.setdiff1d(np.arange(ANSWERS), best)
        groups = [[one] for one in best] + [list(others)]
        for group in groups:
            mine, theirs = q[row, group].sum(), p[row, group].sum()
            total += 4.0 * theirs * np.log(theirs / mine) / ROWS
            # d(-theirs log mine) / dz = theirs (q - [in the group] q / mine), times T^2 / T.
            gradient[row] += 2.0 * theirs * q[row] / ROWS
            gradient[row, group] -= 2.0 * theirs * q[row, group] / mine / ROWS
    assert value.item() == pytest.approx(total, rel=1e-12)
    assert student.grad is not None
    np.testing.assert_allclose(student.grad.numpy(), gradient, rtol=1e-9, atol=1e-13)
    assert value.item() < losses.divergence(student, teacher, 2.0).item()


@pytest.mark.parametrize("top", [ANSWERS - 1, ANSWERS, 1000])
def test_all_likeliest_answers_are_all_answers(top: int) -> None:
    student, teacher = logits()
    assert torch.equal(losses.divergence_of_top(student, teacher, top), losses.divergence(student, teacher))


def test_hidden_states_of_equal_direction_are_no_distance_apart() -> None:
    states = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert losses.hidden_distance(states, 2 * states).item() == pytest.approx(0.0, abs=1e-12)
    assert losses.hidden_distance(states, -states).item() == pytest.approx(2.0, rel=1e-12)


# --- networks ---------------------------------------------------------------------------------------

LLAMA = ("llama", "tiny", {"layer3_keep": 0, "layer4_keep": 0, "layer1_ffn": 88})
VIT = ("vit", "cifar", {"embed": 64, "depth": 4, "layer1_heads": 1})
MOBILENET = ("mobilenet", "digits", {"stage3_width": 24, "stage2_depth": 1})


def smaller(space: SearchSpace, values: dict[str, Any]) -> Architecture:
    return space.architecture(**{**space.largest().values, **values})


def batch_of(space: SearchSpace, size: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(1)
    takes: Any = space.takes
    if hasattr(takes, "vocab"):
        tokens = torch.randint(0, takes.vocab, (size, 9), generator=generator)
        return Batch.of(tokens[:, :-1], tokens[:, 1:])
    images = torch.randn(size, takes.channels, takes.size, takes.size, generator=generator)
    return Batch.of(images, torch.arange(size) % takes.classes)


def family(name: str, preset: str, values: dict[str, Any]) -> tuple[Supernet, Architecture]:
    torch.manual_seed(0)
    space = load_family(name, preset)
    supernet = Supernet(space).eval()
    return supernet, smaller(space, values)


def set_up(supernet: Supernet, architecture: Architecture, **options: Any) -> tuple[Healing, Supernet, Passes, Batch]:
    batch = batch_of(supernet.space)
    student = by_itself(supernet.space, architecture, extract(supernet, architecture), CPU)
    parent = Parent("largest network", supernet, supernet.space.largest())
    method = Healing(DistillationOptions(**options), architecture, parent, batch.part(slice(0, 2)))
    method.prepare(student)
    return method, student, Passes(student), batch


@pytest.mark.parametrize("given", [LLAMA, VIT, MOBILENET], ids=["llama", "vit", "mobilenet"])
def test_a_step_adds_the_gradient_of_the_stated_loss(given: tuple[str, str, dict[str, Any]]) -> None:
    """Divergence from the parent, cross-entropy and hidden distance in their shares, as a plain sum of them."""
    supernet, architecture = family(*given)
    options = {"temperature": 2.0, "labels": 0.25, "hidden": 0.5}
    method, student, passes, batch = set_up(supernet, architecture, **options)
    student.train()
    shown = method.step(passes, batch, np.random.default_rng(0))
    found = {name: weight.grad.clone() for name, weight in student.named_parameters() if weight.grad is not None}
    student.zero_grad(set_to_none=True)

    student.train()
    output, states = passes.run_tapped(batch, architecture)
    with torch.no_grad():
        theirs, their_states = Passes(supernet).run_tapped(batch, supernet.space.largest())
    divergence = losses.divergence(output.logits(), theirs.logits(), 2.0)
    labels = losses.task_loss(output.logits(), batch.targets)
    projected = student.get_submodule(PROJECTION)(states)
    distance = 1 - torch.nn.functional.cosine_similarity(projected, their_states, dim=-1).mean()
    answers = 0.75 * divergence + 0.25 * labels
    loss = answers + 0.5 * (answers / distance).detach() * distance
    loss.backward()
    assert shown["loss"].item() == pytest.approx(1.5 * answers.item(), rel=1e-5)
    assert shown["loss_parent"].item() == pytest.approx(divergence.item(), rel=1e-5)
    assert {f"{PROJECTION}.weight"} < set(found)
    for name, weight in student.named_parameters():
        assert weight.grad is not None
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-4, atol=1e-6)
    assert all(weight.grad is None for weight in supernet.parameters())


def test_the_projection_begins_as_the_channels_that_both_have_and_is_not_shipped() -> None:
    supernet, architecture = family(*VIT)
    _, student, _, _ = set_up(supernet, architecture, hidden=1.0)
    weight = student.get_submodule(PROJECTION).weight
    assert isinstance(weight, Tensor)
    assert weight.shape == (128, 64)
    assert torch.equal(weight, torch.eye(128, 64))
    assert not any(PROJECTION in name for name in healed_tensors(student))
    assert set(healed_tensors(student)) == set(healed_tensors(by_itself(*_parts(supernet, architecture))))


def _parts(supernet: Supernet, architecture: Architecture) -> tuple[Any, ...]:
    return supernet.space, architecture, extract(supernet, architecture), CPU


def test_the_network_by_itself_answers_as_the_slice_that_it_was() -> None:
    for given in (LLAMA, VIT, MOBILENET):
        supernet, architecture = family(*given)
        batch = batch_of(supernet.space)
        own = by_itself(*_parts(supernet, architecture)).eval()
        assert torch.equal(own(batch.inputs, architecture), supernet(batch.inputs, architecture))


def test_labels_alone_ask_no_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    supernet, architecture = family(*LLAMA)
    method, student, passes, batch = set_up(supernet, architecture, labels=1.0)
    monkeypatch.setattr(method, "_teacher", None)
    shown = method.step(passes, batch, np.random.default_rng(0))
    assert set(shown) == {"loss", "loss_labels"}
    assert any(weight.grad is not None for weight in student.parameters())


def test_a_teacher_with_another_vocabulary_is_refused() -> None:
    supernet, architecture = family(*LLAMA)
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 300,
        "rms_norm_eps": 1e-5,
    }
    other = Supernet(load_family("llama", None, None, config))
    student = by_itself(*_parts(supernet, architecture))
    parent = Parent("checkpoint", other, other.space.largest())
    method = Healing(DistillationOptions(), architecture, parent, batch_of(supernet.space))
    with pytest.raises(
        ValueError, match=r"answers with 300 numbers, and the network with 256: .* cannot be the teacher"
    ):
        method.prepare(student)


def test_hidden_states_of_other_places_are_refused() -> None:
    """A parent whose images have been halved once less often at its last block."""
    supernet, architecture = family(*MOBILENET)
    method, student, _, batch = set_up(supernet, architecture)
    method.options = DistillationOptions(hidden=1.0)
    method._teacher = _Elsewhere()  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"healing.hidden compares states place by place"):
        method.prepare(student)
    assert len(batch) == 4


class _Elsewhere:
    """A teacher whose hidden states have other places."""

    def run_tapped(self, batch: Batch, _architecture: Architecture) -> Any:
        class Answer:
            def logits(self) -> Tensor:
                return torch.zeros(len(batch), 10)

        return Answer(), torch.zeros(len(batch), 3, 5, 8)


def trainer_of(**options: Any) -> HealingTrainer:
    supernet, architecture = family(*LLAMA)
    batch = batch_of(supernet.space, 32)
    split = Split(batch.x, batch.targets)
    student = by_itself(*_parts(supernet, architecture))
    parent = Parent("largest network", supernet, supernet.space.largest())
    method = Healing(DistillationOptions(hidden=0.5), architecture, parent, batch.part(slice(0, 2)))
    given = {"epochs": 1, "batch_size": 8, "optimizer": "adamw", "learning_rate": 1e-3, "schedule": "cosine"}
    given |= {"lr_decay": 1.0, "lr_decay_epochs": 1.0, "lr_floor": 0.0, "weight_decay": 0.0, "momentum": 0.9}
    made = TrainingOptions(**given, clip_norm=1.0, **options)
    return HealingTrainer(student, method, split, made, 0, num_steps=12)


def test_it_resumes_to_the_bit_and_remembers_its_best_step() -> None:
    whole, first, second = trainer_of(), trainer_of(), trainer_of()
    for _ in range(7):
        whole.step()
        first.step()
    first.best_step, first.best_score, first.num_steps, first.seconds = 6, 1.5, 9, 2.5
    second.restore({name: value.clone() for name, value in first.tensors().items()}, first.steps_done)
    assert (second.best_step, second.best_score, second.num_steps, second.seconds) == (6, 1.5, 9, 2.5)
    for _ in range(2):
        whole.step()
        second.step()
    ours, theirs = healed_tensors(second.supernet), healed_tensors(whole.supernet)
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_the_schedule_is_stretched_over_all_steps_whatever_the_data_are() -> None:
    """Four batches make an epoch of these data, and twelve steps one of the schedule: a cosine to zero."""
    trainer = trainer_of(warmup_epochs=0.25)
    assert trainer.steps_per_epoch == 4
    rates = [trainer.step()["learning_rate"] for _ in range(12)]
    assert rates[:4] == pytest.approx([0.0, 1e-3 / 3, 2e-3 / 3, 1e-3])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] == pytest.approx(0.5e-3 * (1 + np.cos(np.pi * 8 / 9)))


def test_healing_brings_a_slice_nearer_to_its_parent() -> None:
    trainer = trainer_of()
    losses_seen = [trainer.step()["loss_parent"] for _ in range(12)]
    assert losses_seen[-1] < 0.7 * losses_seen[0]
