"""Answers of a parent that are kept: read or asked, they are the same, and nothing but time depends on the disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from supernet import answers
from supernet.answers import Answers, digest
from supernet.data.dataset import IGNORED, Batch
from supernet.healing import Healing, Parent
from supernet.network import Supernet
from supernet.options import DistillationOptions
from supernet.passes import Passes
from tests.supernet.test_healing import LLAMA, MOBILENET, VIT, batch_of, family, set_up
from tests.tiers import mostly_thorough


@pytest.fixture(autouse=True)
def always_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a clock says of such small networks is chance."""
    monkeypatch.setattr(answers, "FASTER", 0.0)


def images(seed: int, size: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch.of(torch.randn(size, 1, 8, 8, generator=generator), torch.arange(size))


class Asked:
    """A parent that counts how often it is asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> dict[str, Tensor]:
        self.count += 1
        return {"answer": torch.arange(6.0).view(2, 3).T, "states": torch.ones(2, 2, dtype=torch.bfloat16)}


def test_a_batch_is_asked_for_once(tmp_path: Path) -> None:
    kept, ask = Answers(tmp_path / "a", "parent"), Asked()
    first, again, other = kept.of(images(0), ask), kept.of(images(0), ask), kept.of(images(1), ask)
    assert (ask.count, kept.asked, kept.read) == (2, 2, 1)
    for name, value in first.items():
        assert torch.equal(value, again[name])
        assert value.dtype == again[name].dtype == other[name].dtype
    kept.remove()
    assert not (tmp_path / "a").exists()


def test_another_process_reads_them_and_another_parent_does_not(tmp_path: Path) -> None:
    ask = Asked()
    Answers(tmp_path, "parent").of(images(0), ask)
    Answers(tmp_path, "parent").of(images(0), ask)
    assert ask.count == 1
    Answers(tmp_path, "another").of(images(0), ask)
    assert ask.count == 2


def changed(batch: Batch, what: str) -> Batch:
    inputs, targets = {name: value.clone() for name, value in batch.inputs.items()}, batch.targets.clone()
    if what == "targets":
        targets[0, 0] = IGNORED
    else:
        inputs["input"][1, 2] += 1
    return Batch(inputs, targets, None, batch.partial)


@pytest.mark.parametrize("what", ["targets", "inputs"])
def test_a_batch_that_differs_in_one_number_is_another(what: str, tmp_path: Path) -> None:
    supernet, _ = family(*LLAMA)
    batch, kept, ask = batch_of(supernet.space), Answers(tmp_path, "parent"), Asked()
    kept.of(batch, ask)
    kept.of(changed(batch, what), ask)
    assert ask.count == 2


@pytest.mark.parametrize("damage", ["cut short", "emptied", "removed", "folder removed"])
def test_a_file_that_cannot_be_read_is_asked_for_again(damage: str, tmp_path: Path) -> None:
    kept, ask = Answers(tmp_path / "a", "parent"), Asked()
    before = kept.of(images(0), ask)
    (file,) = (tmp_path / "a").iterdir()
    if damage == "folder removed":
        shutil.rmtree(tmp_path / "a")
    elif damage == "removed":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-7] if damage == "cut short" else b"")
    after = kept.of(images(0), ask)
    assert ask.count == 2
    assert torch.equal(before["answer"], after["answer"])


def test_what_has_no_room_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_BYTES", 40)  # one answer of 24 + 8 bytes
    kept, ask = Answers(tmp_path, "parent"), Asked()
    for seed in (0, 1, 0, 1):
        kept.of(images(seed), ask)
    assert (kept.asked, kept.read, len(list(tmp_path.iterdir()))) == (3, 1, 1)


def test_a_full_disk_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_tensors: Any, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(answers, "save_file", full)
    kept, ask = Answers(tmp_path, "parent"), Asked()
    assert kept.of(images(0), ask)["answer"].shape == (3, 2)
    kept.of(images(0), ask)
    assert (ask.count, list(tmp_path.iterdir())) == (2, [])


def test_it_gives_up_where_asking_is_as_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "FASTER", float("inf"))
    kept, ask = Answers(tmp_path / "a", "parent"), Asked()
    for seed in range(answers.TRIED):
        kept.of(images(seed), ask)
    assert not kept.worthwhile
    assert not (tmp_path / "a").exists()
    kept.of(images(0), ask)
    assert ask.count == answers.TRIED + 1


def test_digests_tell_shapes_types_and_words_apart() -> None:
    x = torch.arange(6, dtype=torch.int32)
    given = [([x], ()), ([x.view(2, 3)], ()), ([x.view(torch.float32)], ()), ([x], ("a",)), ([x], ("a", "b"))]
    given += [([x], ("ab",)), ([x, x], ()), ([torch.empty(0)], ()), ([torch.tensor(True)], ()), ([x.flip(0)], ())]
    assert len({digest(tensors, *words) for tensors, words in given}) == len(given)
    assert digest([x.view(2, 3).T]) == digest([x.view(2, 3).T.contiguous()])


OPTIONS = [{}, {"hidden": 0.5, "labels": 0.25, "temperature": 2.0}, {"top": 3}]


@pytest.mark.parametrize("options", mostly_thorough(OPTIONS, OPTIONS[1]))
@pytest.mark.parametrize("given", [LLAMA, VIT, MOBILENET], ids=["llama", "vit", "mobilenet"])
def test_a_step_learns_the_same_from_answers_that_are_read(
    given: tuple[str, str, dict[str, Any]], options: dict[str, Any], tmp_path: Path
) -> None:
    supernet, architecture = family(*given)
    kept, gradients = Answers(tmp_path, "parent"), []
    for where in (None, kept, kept):
        student, passes, batch, method = _one(supernet, architecture, options, where)
        student.train()
        method.step(passes, batch, np.random.default_rng(0))
        gradients.append({name: weight.grad for name, weight in student.named_parameters()})
    assert (kept.asked, kept.read) == (1, 1)
    for name, value in gradients[0].items():
        assert value is not None
        for other in gradients[1:]:
            assert torch.equal(value, other[name]), name  # type: ignore[arg-type]


def _one(
    supernet: Supernet, architecture: Any, options: dict[str, Any], kept: Answers | None
) -> tuple[Supernet, Passes, Batch, Healing]:
    _, student, passes, batch = set_up(supernet, architecture, **options)
    parent = Parent("largest network", supernet, supernet.space.largest())
    given = DistillationOptions(**options)
    return student, passes, batch, Healing(given, architecture, parent, batch.part(slice(0, 2)), answers=kept)


def test_answers_to_questions_are_read_at_the_places_that_count(tmp_path: Path) -> None:
    supernet, architecture = family(*LLAMA)
    _, student, passes, batch = set_up(supernet, architecture)
    targets = batch.targets.clone()
    targets[:, :5] = IGNORED
    batch = Batch(batch.inputs, targets, None, partial=True)
    kept, losses = Answers(tmp_path, "parent"), []
    parent = Parent("largest network", supernet, supernet.space.largest())
    for where in (None, kept, kept):
        method = Healing(DistillationOptions(), architecture, parent, batch, answers=where)
        losses.append(method.step(passes, batch, np.random.default_rng(0))["loss"])
        student.zero_grad()
    assert (kept.asked, kept.read) == (1, 1)
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2])
