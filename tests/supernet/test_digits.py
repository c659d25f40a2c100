"""Data sources: three disjoint splits, and a test split that no seed moves."""

import importlib.util

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from search_space.plugins import UnknownPluginError
from supernet.data import load_dataset
from supernet.data.sources.digits import source as digits

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module", params=["digits"])
def source(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def dataset(source):
    return load_dataset(source, seed=0)


def raw_rows(dataset, name: str) -> list[tuple[float, ...]]:
    """The inputs before standardisation, which depends on the training split, rounded to whole pixels."""
    split, facts = getattr(dataset, name), dataset.preprocessing
    (mean,), (std,) = facts["mean"], facts["std"]
    pixels = (split.x * std + mean).round().flatten(1)
    return [tuple(row) for row in pixels.tolist()]


def test_the_splits_are_disjoint(dataset):
    train, validation, test = (set(raw_rows(dataset, name)) for name in SPLITS)
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_the_splits_are_60_20_and_20_percent(dataset):
    total = sum(len(getattr(dataset, name)) for name in SPLITS)
    shares = [len(getattr(dataset, name)) / total for name in SPLITS]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.005)


@pytest.mark.parametrize("name", SPLITS)
def test_every_split_has_the_classes_in_the_same_shares(dataset, name):
    everything = torch.cat([getattr(dataset, split).y for split in SPLITS])
    expected = torch.bincount(everything, minlength=dataset.num_classes) / len(everything)
    labels = getattr(dataset, name).y
    shares = torch.bincount(labels, minlength=dataset.num_classes) / len(labels)
    # Stratified: a class is off by at most one example.
    torch.testing.assert_close(shares, expected, atol=1.5 / len(labels), rtol=0)


def test_the_test_split_is_the_same_for_every_seed(source, dataset):
    other = load_dataset(source, seed=1)
    assert raw_rows(other, "test") == raw_rows(dataset, "test")
    assert torch.equal(other.test.y, dataset.test.y)


def test_the_seed_decides_which_examples_are_held_out(source, dataset):
    assert set(raw_rows(load_dataset(source, seed=1), "validation")) != set(raw_rows(dataset, "validation"))


@pytest.mark.parametrize("name", SPLITS)
def test_the_same_seed_gives_the_same_splits(source, dataset, name):
    again = getattr(load_dataset(source, seed=0), name)
    assert torch.equal(again.x, getattr(dataset, name).x)
    assert torch.equal(again.y, getattr(dataset, name).y)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_digits_are_those_of_scikit_learn(monkeypatch, tmp_path, elsewhere):
    if elsewhere:  # a release that keeps the file in another place
        spec = importlib.util.find_spec("sklearn")
        spec.origin = str(tmp_path / "__init__.py")
        monkeypatch.setattr(digits, "find_spec", lambda _name: spec)
    for read, expected in zip(digits.read_digits(), load_digits(return_X_y=True), strict=True):
        np.testing.assert_array_equal(read, expected)


def test_the_test_images_are_those_that_scikit_learn_draws():
    labels = load_digits().target
    _, tested = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    assert [image for image in range(len(labels)) if digits.TEST >> image & 1] == sorted(tested)


def test_training_inputs_are_standardised(dataset):
    assert dataset.train.x.mean().item() == pytest.approx(0, abs=1e-4)
    assert dataset.train.x.std().item() == pytest.approx(1, abs=1e-3)


def test_inputs_are_float32_images_and_labels_are_classes(dataset):
    assert dataset.train.x.dtype == torch.float32
    assert dataset.train.x.dim() == 4
    assert dataset.train.y.dtype == torch.int64
    assert set(dataset.train.y.tolist()) == set(range(dataset.num_classes))


def test_every_class_has_a_label(dataset):
    assert len(dataset.preprocessing["labels"]) == dataset.num_classes


def test_an_unknown_source_is_refused_with_the_known_ones():
    with pytest.raises(UnknownPluginError, match=r"No data source named 'letters'. Known: .*digits"):
        load_dataset("letters", seed=0)
