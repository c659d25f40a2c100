"""Contract of a data source, whatever it is: parametrized over the files of `supernet/data/sources`."""

import pytest
import torch

from job.spec import DATA_MODELS, JobSpec
from plugins import kinds
from supernet.data import DataError, load_dataset

pytestmark = pytest.mark.parametrize("source", kinds.SOURCES.names())


@pytest.fixture
def options(source, tmp_path):
    return kinds.SOURCES.example(source).write(tmp_path)


def test_a_job_that_names_the_source_loads_what_the_source_loads(source, options):
    spec = DATA_MODELS[source].model_validate({"source": source, **options})
    dataset = load_dataset(source, 0, spec)
    assert torch.equal(dataset.train.stored, load_dataset(source, 0, options).train.stored)


def test_what_is_known_before_reading_is_what_is_read(source, options):
    gives = DATA_MODELS[source].model_validate({"source": source, **options}).gives()
    dataset = load_dataset(source, 0, options)
    if gives is not None:
        assert gives == dataset.gives
    kind = DATA_MODELS[source].kind
    if kind is not None:
        assert (dataset.train.stored.dim() == 4) == (kind == "image")
        assert dataset.train.is_language == (kind == "text")


def test_the_splits_are_not_empty_and_hold_finite_inputs_with_labels_in_range(source, options):
    dataset = load_dataset(source, 0, options)
    for split in dataset.splits.values():
        batch = split.batch(slice(0, 4))
        assert len(batch) == min(4, len(split)) > 0
        assert batch.inputs.dtype in (torch.float32, torch.int64)
        assert torch.isfinite(batch.inputs.float()).all()
        assert batch.targets.dtype == torch.int64
        assert 0 <= int(batch.targets.min()) <= int(batch.targets.max()) < dataset.num_classes


def test_the_same_seed_gives_the_same_splits(source, options):
    first, second = (load_dataset(source, 3, options) for _ in range(2))
    for name, split in first.splits.items():
        assert torch.equal(split.stored, second.splits[name].stored), name
        assert torch.equal(split.y, second.splits[name].y), name


def test_no_seed_moves_the_test_split(source, options):
    first, second = (load_dataset(source, seed, options).test for seed in (0, 1))
    assert torch.equal(first.stored, second.stored)


def test_validation_is_carved_from_training_data(source, options):
    """Training and validation together are the same examples for every seed, and none is in both."""

    def rows(split):
        return [tuple(row) for row in split.stored.flatten(1).tolist()]

    unions = []
    for seed in (0, 1):
        dataset = load_dataset(source, seed, options)
        unions.append(sorted(rows(dataset.train) + rows(dataset.validation)))
    assert unions[0] == unions[1]


def test_a_share_that_leaves_nothing_is_refused(source, options):
    with pytest.raises(DataError, match="validation"):
        load_dataset(source, 0, {**options, "validation_share": 1e-9})


def test_a_path_that_is_not_there_is_named(source, options):
    if "path" not in options:
        pytest.skip(f"{source} needs no path")
    with pytest.raises(DataError, match="nowhere"):
        load_dataset(source, 0, {**options, "path": "/nowhere/at-all"})


def test_a_job_names_the_source_in_its_title(source, options):
    metric = load_dataset(source, 0, options).metric
    spec = JobSpec.model_validate({"data": {"source": source, **options}, "objectives": [{"metric": metric}]})
    assert source in spec.title


def test_cards_say_what_a_network_eats(source, options):
    facts = load_dataset(source, 0, options).preprocessing
    assert {"input", "formula"} <= set(facts)
