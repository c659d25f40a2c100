"""Losses and scores of pairs: against their definitions, written out."""

import math

import pytest
import torch
import torch.nn.functional as F

from supernet.augment import Augmentation
from supernet.data.dataset import IGNORED, Batch, Prompts, Split
from supernet.losses import distillation_loss
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions
from supernet.options import AugmentationOptions
from supernet.pairs import contrastive_loss, sigmoid_loss, similarities
from supernet.passes import Passes
from supernet.scores.retrieval import Recall, ZeroShot, ZeroShotExam, recalls
from supernet.weights import pretrained_supernet
from tests.supernet.towers import model_of, pairs, saved


def answers(count: int, width: int = 6, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    vectors = F.normalize(torch.randn(count, 2, width, generator=generator), dim=-1)
    return F.pad(vectors, (0, 1)) * torch.tensor([3.0, 1.0])[None, :, None]


def numbered(count: int):
    return torch.arange(count)[:, None].repeat(1, 2)


def test_the_contrastive_loss_is_that_of_transformers(tmp_path):
    made, _ = pretrained_supernet(saved("clip", tmp_path))
    given = pairs()
    expected = model_of("clip")(**given, return_loss=True).loss
    batch = Batch(given, numbered(5))
    passes = Passes(made.eval())
    assert passes.task_loss(passes.run(batch, made.space.largest()), batch).item() == pytest.approx(
        expected.item(), abs=1e-5
    )


def test_the_sigmoid_loss_is_that_of_transformers(tmp_path):
    made, _ = pretrained_supernet(saved("siglip", tmp_path))
    given = pairs()
    expected = model_of("siglip")(**given, return_loss=True).loss
    batch = Batch(given, numbered(5))
    passes = Passes(made.eval())
    output = passes.run(batch, made.space.largest())
    assert passes.task_loss(output, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    with pytest.raises(ValueError, match="no label smoothing"):
        passes.task_loss(output, batch, 0.1)


def test_pairs_of_one_image_or_of_one_text_are_no_negatives():
    some, numbers = answers(4), torch.tensor([[0, 0], [0, 1], [1, 2], [2, 2]])
    logits = similarities(some, numbers)
    for loss in (contrastive_loss, sigmoid_loss):
        assert math.isfinite(loss(logits).item())
    # What is left out changes nothing, however alike it is.
    moved = some.clone()
    moved[1, 1] = moved[0, 1] * 50
    rows = [0, 4]  # image 0 over the texts; text 0 over the images
    left = similarities(moved, numbers)
    assert torch.equal(left[0].softmax(0), logits[0].softmax(0))
    assert left[0, 1].softmax(0) is not None
    assert (logits[rows, 1] == -1e4).all()
    assert (similarities(some, numbered(4)) > -1e3).all()


def test_the_students_learn_the_similarities_both_ways():
    teacher, student = (similarities(answers(5, seed=seed), numbered(5)) for seed in (0, 1))
    loss = distillation_loss(student, teacher.softmax(-1))
    both = [F.cross_entropy(s, t.softmax(-1)) for s, t in zip(student.chunk(2), teacher.chunk(2), strict=True)]
    assert loss.item() == pytest.approx(sum(both).item() / 2, rel=1e-6)
    assert torch.equal(student[:5].T, student[5:])


def test_bignas_trains_both_towers(tmp_path):
    made, _ = pretrained_supernet(saved("clip", tmp_path))
    optimizer = torch.optim.Adam(made.parameters(), lr=3e-3)
    method, batch = BigNAS(BigNASOptions(num_random=1, label_smoothing=0.0)), Batch(pairs(), numbered(5))
    import numpy as np

    seen = []
    for step in range(12):
        optimizer.zero_grad()
        losses = method.step(Passes(made.train()), batch, np.random.default_rng(step))
        optimizer.step()
        seen.append({name: float(value) for name, value in losses.items()})
    assert seen[-1]["loss_largest"] < 0.5 * seen[0]["loss_largest"]
    grads = {name.split(".")[1] for name, parameter in made.named_parameters() if parameter.grad is not None}
    assert {"image_layer1", "text_layer1", "pair", "image_head", "text_head"} <= grads


def test_recall_counts_an_image_found_by_any_of_its_texts():
    # Three images; image 0 has two texts of which the second is nearest to it, image 2's text is nearest to image 1.
    images = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    texts = torch.tensor([[0, 0.9, 0.1], [0.9, 0, 0], [0, 1, 0], [0, 0.8, 0.5]])
    found = recalls(images, texts, torch.tensor([[0, 0], [0, 1], [1, 2], [2, 3]]))
    assert found["text_recall_at_1"] == (pytest.approx(1.0), 3)
    # Text 0 finds image 1, text 3 finds image 1.
    assert found["image_recall_at_1"] == (pytest.approx(0.5), 4)
    assert found["recall_at_1"] == (pytest.approx(0.75), 7)
    assert found["image_recall_at_5"] == (1.0, 4)


def test_a_text_of_several_images_is_right_for_each_of_them():
    images = torch.eye(3)
    texts = torch.tensor([[1.0, 0.9, 0], [1, 0.9, 0], [0, 0, 1]])
    found = recalls(images, texts, torch.tensor([[0, 0], [1, 0], [2, 1]]))
    assert found["text_recall_at_1"][0] == found["image_recall_at_1"][0] == 1.0
    assert recalls(images, texts, numbered(3))["image_recall_at_1"][0] == pytest.approx(2 / 3)


def test_what_is_no_number_is_found_nowhere():
    some = answers(4)
    some[2, 0] = float("nan")
    tally = Recall()
    tally.add(some[:2], Batch({}, numbered(4)[:2]))
    tally.add(some[2:], Batch({}, numbered(4)[2:]))
    assert tally.values()["text_recall_at_10"] == pytest.approx(0.75)
    assert set(tally.intervals()) == set(tally.values())


def test_recall_of_many_pairs_is_that_of_all_ranks(monkeypatch):
    from supernet.scores import retrieval

    some = answers(40, width=3)
    whole = recalls(some[:, 0], some[:, 1], numbered(40))
    logits = some[:, 0] @ some[:, 1].T
    own = logits.diagonal()
    for k in (1, 5, 10):
        assert whole[f"text_recall_at_{k}"][0] == ((logits > own[:, None]).sum(1) < k).double().mean()
        assert whole[f"image_recall_at_{k}"][0] == ((logits > own[None]).sum(0) < k).double().mean()
    monkeypatch.setattr(retrieval, "AT_ONCE", 70)
    assert recalls(some[:, 0], some[:, 1], numbered(40)) == whole


def split_of(count: int = 6):
    generator = torch.Generator().manual_seed(0)
    given = pairs(count)
    rows = torch.tensor([0, 0, 1, 2, 3, 3])[:count]
    labels = torch.tensor([0, 1, 0, 1])
    texts, classes = torch.randint(3, 98, (4, 12), generator=generator).int(), torch.tensor([0, 0, 1, 1])
    return Split(
        given["pixel_values"][:4],
        torch.stack((rows, torch.arange(count)), 1),
        texts=given["input_ids"].int(),
        rows=rows,
        prompts=Prompts(texts, classes, labels[rows]),
    )


def test_zero_shot_accuracy_is_the_nearest_average_of_a_classs_texts(tmp_path):
    made, _ = pretrained_supernet(saved("siglip", tmp_path))
    split, model = split_of(), model_of("siglip")
    exam = ZeroShotExam(split)
    tally = exam.tally()
    shown = 0
    for batch in exam.batches(torch.device("cpu")):
        shown += int((batch.targets[:, 0] != IGNORED).sum())
        with torch.no_grad():
            tally.add(made.eval()(batch.inputs, made.space.largest()), batch, None)
    assert shown == 4  # every image once
    with torch.no_grad():
        images = F.normalize(model.get_image_features(split.stored).pooler_output, dim=1)
        texts = F.normalize(model.get_text_features(split.prompts.texts.long()).pooler_output, dim=1)
    classes = F.normalize(texts.unflatten(0, (2, 2)).mean(1), dim=1)
    expected = ((images @ classes.T).argmax(1) == torch.tensor([0, 1, 0, 1])).double().mean().item()
    assert tally.values() == {"zero_shot_accuracy": pytest.approx(expected)}


def test_a_split_of_pairs_keeps_each_image_once():
    split = split_of()
    some = split.take(torch.tensor([1, 4, 5]))
    assert len(some) == 3
    assert len(some.stored) == 2
    assert torch.equal(some.batch(slice(None)).inputs["pixel_values"], split.stored[[0, 3, 3]])
    assert torch.equal(some.batch(slice(None)).inputs["input_ids"], split.texts[[1, 4, 5]].long())
    assert some.prompts.labels.tolist() == [0, 1, 1]
    assert split.metric == "recall_at_1"
    assert not split.is_language


def test_images_with_texts_are_not_mixed():
    from supernet.data.dataset import Standardisation

    base = split_of()
    split = Split(
        (base.stored * 20 + 100).clamp(0, 255).byte(),
        base.y,
        Standardisation((0.0,) * 3, (1.0,) * 3, 255.0),
        texts=base.texts,
        rows=base.rows,
    )
    with pytest.raises(ValueError, match="cannot be mixed"):
        Augmentation(split, AugmentationOptions(mixup=0.2), 0)
    index = torch.tensor([5, 0])
    batch = Augmentation(split, AugmentationOptions(flip=True, crop_padding=1), 0).batch(index, 0)
    assert torch.equal(batch.inputs["input_ids"], split.texts[index].long())
    assert batch.targets.tolist() == split.y[index].tolist()


def test_classes_are_needed_for_zero_shot_accuracy():
    from supernet.data.dataset import DataError

    base = split_of()
    with pytest.raises(DataError, match=r"name their column in data\.label"):
        ZeroShotExam(Split(base.stored, base.y, texts=base.texts, rows=base.rows))


def test_answers_of_zero_shot_exams_ignore_what_fills_them_up():
    tally = ZeroShot()
    vectors = torch.zeros(2, 2, 3)
    vectors[0, 0, 0] = vectors[0, 1, 0] = vectors[1, 1, 1] = 1
    tally.add(vectors, Batch({}, torch.tensor([[0, 0], [IGNORED, 1]])))
    assert tally.values() == {"zero_shot_accuracy": 1.0}
    low, high = tally.intervals()["zero_shot_accuracy"]
    assert low < 1 == high
