"""Networks examined together score to the bit what each scores by itself, and share what they have in common."""

import numpy as np
import pytest
import torch

from search_space.adjustments import Adjustments
from search_space.plugins import load_family
from supernet import examiner as examiner_module
from supernet.augment import Augmentation
from supernet.calibrate import calibrate, norms_of
from supernet.data import Split, load_dataset
from supernet.data.text import blocks
from supernet.evaluate import examine, score
from supernet.evaluator import Evaluator, calibration_examples
from supernet.examiner import CALIBRATION_BATCH, Examiner
from supernet.network import Supernet, extract
from supernet.options import AugmentationOptions
from supernet.prefixes import Prefixes, in_order
from supernet.scores.labels import SplitExam
from tests.tiers import mostly_thorough

LLAMA = load_family("llama", "tiny", Adjustments({"layer*_ffn": (88, 176), "layer*_kv_heads": (2, 4)}))
DIGITS = load_family("mobilenet", "digits")
BERT = load_family("bert", "tiny")


def made(space, training=False) -> Supernet:
    torch.manual_seed(0)
    return Supernet(space).train(training)


def text(count: int = 6, length: int = 24) -> Split:
    return blocks(np.random.default_rng(0).integers(0, 256, count * length + 1).astype(np.int32), length)


def population(space, count: int):
    """Random networks, mutants of one of them that differ late and early, and one twice."""
    rng = np.random.default_rng(1)
    first = space.sample(rng)
    some = [first, *(space.mutate(first, rng, 0.1) for _ in range(count // 2)), space.largest()]
    return [*some, *(space.sample(rng) for _ in range(count - len(some) - 1)), first]


def images() -> tuple[Split, Split]:
    data = load_dataset("digits", 0, {})
    return data.train.take(torch.arange(300)), data.validation.take(torch.arange(100))


@pytest.mark.parametrize("kept_bytes", mostly_thorough([2**30, 6 * 24 * 128 * 4, 0], 6 * 24 * 128 * 4))
def test_language_models_together_answer_what_they_answer_alone(kept_bytes):
    supernet, architectures = made(LLAMA, training=True), population(LLAMA, 12)
    exam = SplitExam(text())
    prefixes = Prefixes(supernet, architectures, kept_bytes)
    seen = set()
    for batch in exam.batches(torch.device("cpu")):
        for index, logits in prefixes.answers(batch):
            seen.add(index)
            with torch.no_grad():
                alone = extract(supernet, architectures[index]).eval()(batch.x)
            assert torch.equal(logits, alone)
    assert seen == set(range(12))


def test_shared_layers_are_computed_once(monkeypatch):
    supernet, architectures = made(LLAMA), population(LLAMA, 12)
    prefixes = Prefixes(supernet, architectures)
    beginnings = {
        tuple(list(LLAMA.layers(a).items())[: depth + 1])
        for a in architectures
        for depth in range(len(LLAMA.layers(a)))
    }
    assert prefixes.num_computed == len(beginnings) < prefixes.num_layers
    calls = []
    for name in supernet.slots:
        supernet.slot(name).register_forward_hook(lambda *_: calls.append(1))
    list(prefixes.answers(next(SplitExam(text()).batches(torch.device("cpu")))))
    assert len(calls) == prefixes.num_computed


def test_what_is_kept_is_bounded():
    """With no room at all only the branch that comes next is kept, and beginnings are computed again."""
    supernet, architectures = made(LLAMA), population(LLAMA, 12)
    batch = next(SplitExam(text()).batches(torch.device("cpu")))
    calls = []
    for name in supernet.slots:
        supernet.slot(name).register_forward_hook(lambda *_: calls.append(1))
    tight = Prefixes(supernet, architectures, kept_bytes=0)
    list(tight.answers(batch))
    assert tight.num_computed < len(calls) <= tight.num_layers


@pytest.mark.parametrize("kept_bytes", mostly_thorough([2**30, 0], 2**30))
def test_batch_norms_get_the_statistics_of_a_network_of_its_own(kept_bytes):
    train, validation = images()
    supernet, architectures = made(DIGITS, training=True), population(DIGITS, 8)
    parts = [train.inputs(slice(0, 200)), train.inputs(slice(200, 300))]
    prefixes = Prefixes(supernet, architectures, kept_bytes)
    prefixes.calibrate(parts)
    assert prefixes.num_computed < prefixes.num_layers
    for batch in SplitExam(validation).batches(torch.device("cpu")):
        for index, logits in prefixes.answers(batch):
            network = extract(supernet, architectures[index])
            calibrate(network, parts)
            with torch.no_grad():
                assert torch.equal(logits, network(batch.x))


def test_calibration_without_images_is_refused():
    with pytest.raises(ValueError, match="at least one batch"):
        Prefixes(made(DIGITS), [DIGITS.smallest()]).calibrate([])


@pytest.mark.parametrize("group_bytes", [2**30, 1])
def test_an_examiner_gives_what_one_by_one_gives(monkeypatch, group_bytes):
    monkeypatch.setattr(examiner_module, "BLOCK_BYTES", group_bytes)
    train, validation = images()
    supernet, architectures = made(DIGITS), population(DIGITS, 6)
    examiner = Examiner(supernet, [SplitExam(validation)], train)
    scores = examiner.examine(architectures)
    assert scores == [{"accuracy": score(examiner.network(a), validation)} for a in architectures]
    assert scores == examiner.examine(architectures)  # with what was kept from the first time


def test_networks_are_calibrated_on_images_as_the_training_saw_them():
    """Statistics are the plain average over the augmented images, and others than those of plain ones."""
    data = load_dataset("digits", 0)
    augment = AugmentationOptions(crop_padding=2, flip=True)
    supernet, (architecture, *_) = made(DIGITS), population(DIGITS, 2)
    evaluators = [Evaluator(supernet, data, 300, 7, augment=options) for options in (augment, None)]
    augmented, plain = (evaluator.network(architecture) for evaluator in evaluators)
    images = Augmentation(calibration_examples(data, 300, 7), augment, 7, "calibration")
    expected = extract(supernet, architecture)
    calibrate(expected, [batch.x for batch in images.batches(CALIBRATION_BATCH)])
    for norm, right, wrong in zip(*map(all_norms, (augmented, expected, plain)), strict=True):
        assert torch.equal(norm.running_var, right.running_var)
        assert not torch.allclose(norm.running_var, wrong.running_var, rtol=1e-3)
    (evaluation,) = evaluators[0].evaluate([architecture])
    assert evaluation.metrics["accuracy"] == score(augmented, data.validation)


def all_norms(network):
    return [norm for block in network.children() for norm in norms_of(block)]


def test_padded_text_keeps_its_mask():
    ids = torch.randint(1, 200, (5, 12), generator=torch.Generator().manual_seed(0))
    split = Split(ids.int(), torch.tensor([0, 1, 0, 1, 1]), None, torch.tensor([12, 3, 7, 1, 5]))
    supernet, architectures = made(BERT), population(BERT, 5)
    examiner = Examiner(supernet, [SplitExam(split)], split)
    assert examiner.examine(architectures) == [
        {"accuracy": score(extract(supernet, a).eval(), split)} for a in architectures
    ]


def test_divergence_from_the_full_network():
    supernet, split = made(LLAMA), text()
    exam = SplitExam(split, against_full=True)
    examiner = Examiner(supernet, [exam], split)
    full, small = examiner.examine([LLAMA.largest(), LLAMA.smallest()])
    assert full["kl_divergence"] == pytest.approx(0, abs=1e-6)
    assert small["kl_divergence"] > 1e-4
    alone = examine(extract(supernet, LLAMA.smallest()), exam, extract(supernet, LLAMA.largest()))
    assert alone == small
    log_p, log_q = (
        extract(supernet, a).eval()(split.x).detach().log_softmax(-1) for a in (LLAMA.largest(), LLAMA.smallest())
    )
    assert small["kl_divergence"] == pytest.approx(float((log_p.exp() * (log_p - log_q)).sum(-1).mean()), rel=1e-4)


def test_groups_are_neighbours_and_cover_everything():
    supernet, architectures = made(LLAMA), population(LLAMA, 12)
    examiner = Examiner(supernet, [SplitExam(text())], text())
    groups = list(examiner.groups(architectures, most=5))
    assert [len(group) for group in groups] == [5, 5, 2]
    assert [i for group in groups for i in group] == Prefixes(supernet, architectures).order


@pytest.mark.parametrize("space", [LLAMA, DIGITS], ids=lambda space: space.name)
def test_what_is_left_of_a_batch_keeps_its_order(space):
    """A search that was killed in the middle of a batch stores the rest as it would have."""
    supernet = made(space)
    batch = list(dict.fromkeys(population(space, 24)))
    whole = [batch[index] for index in in_order(supernet, batch)]
    for left in (whole[5:], whole[::2][::-1], batch[3:]):
        ordered = [left[index] for index in in_order(supernet, left)]
        assert ordered == [architecture for architecture in whole if architecture in left]
