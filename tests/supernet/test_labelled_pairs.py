"""The data source `labelled_pairs`: what it reads, which classes there are, and what is refused."""

import json

import numpy as np
import pytest
import torch

from job.fit import misfit, stated_misfit
from job.spec import DATA_MODELS, JobSpec
from search_space.adjustments import Adjustments
from search_space.inputs import PairInput
from search_space.plugins import load_family
from supernet.data import DataError, load_dataset
from supernet.data.sources.labelled_pairs import example
from tests.supernet.test_pairs_source import table, texts_of


def questions(count=8, **more):
    """Two questions of each image, with three answers."""
    rows = []
    for n in range(count):
        rows.append({"file_name": f"{n}.png", "question": "odd?", "answer": "yes" if n % 2 else "no", **more})
        rows.append({"file_name": f"{n}.png", "question": "what?", "answer": "noise", **more})
    return rows


def test_a_row_is_a_pair_with_its_class(tmp_path):
    data = load_dataset("labelled_pairs", 0, table(tmp_path, questions()))
    assert data.preprocessing["labels"] == ["no", "noise", "yes"]
    assert data.gives == PairInput(3, 8, 256, 12, 12, classes=3)
    assert (data.metric, data.num_classes) == ("accuracy", 3)
    assert sum(len(split) for split in data.splits.values()) == 16
    for split in data.splits.values():
        assert split.y.shape == (len(split),)
        assert not split.is_pairs
        assert len(split) == 2 * len(split.stored)  # an image with all of its questions is in one split
        for text, label in zip(texts_of(split), split.y.tolist(), strict=True):
            assert (text == "what?") == (label == 1)
    batch = data.train.batch(slice(0, 3))
    assert not batch.is_pairs
    assert not batch.is_language
    assert list(batch.inputs) == ["pixel_values", "input_ids"]


def test_some_of_the_pairs_keep_their_images_and_classes(tmp_path):
    train = load_dataset("labelled_pairs", 0, table(tmp_path, questions())).train
    some = train.take(torch.tensor([3, 0]))
    assert torch.equal(some.y, train.y[[3, 0]])
    assert torch.equal(
        some.batch(slice(None)).inputs["pixel_values"], train.batch(torch.tensor([3, 0])).inputs["pixel_values"]
    )


def test_numbers_are_classes_in_their_order(tmp_path):
    rows = [{**row, "answer": float(n % 11)} for n, row in enumerate(questions(16))]
    data = load_dataset("labelled_pairs", 0, table(tmp_path, rows))
    assert data.preprocessing["labels"] == [str(n) for n in range(11)]


def test_a_data_set_that_was_saved_is_read_whole(tmp_path):
    import datasets

    def rows(count):
        pixels = [np.random.default_rng(n // 2).integers(0, 255, (10, 10, 3), dtype=np.uint8) for n in range(count)]
        answers = datasets.ClassLabel(names=["no", "yes"])
        features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string"), "label": answers})
        held = {"image": pixels, "text": [f"{n} ?" for n in range(count)], "label": [n % 2 for n in range(count)]}
        return datasets.Dataset.from_dict(held, features=features)

    datasets.DatasetDict({"train": rows(12), "test": rows(6)}).save_to_disk(tmp_path / "saved")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for part, count in (("train", 12), ("test", 6)):
        rows(count).to_parquet(tmp_path / "hub" / "data" / f"{part}-00000-of-00001.parquet")
    for folder in ("saved", "hub"):
        options = {"path": str(tmp_path / folder), "size": 8, "length": 12, "validation_share": 0.25}
        data = load_dataset("labelled_pairs", 0, options)
        assert data.preprocessing["labels"] == ["no", "yes"]
        assert (len(data.test), len(data.test.stored)) == (6, 3)  # rows that hold the same image are one image
        assert len(data.train) + len(data.validation) == 12


def test_networks_of_pairs_and_of_labelled_pairs_are_told_apart(tmp_path):
    gives = load_dataset("labelled_pairs", 0, {**table(tmp_path, questions()), "size": 32, "length": 64}).gives
    small = load_family("multiway", "tiny")
    assert "set supernet.classes to 3" in str(misfit(small, "labelled_pairs", gives))
    assert misfit(load_family("multiway", "tiny", Adjustments(classes=3)), "labelled_pairs", gives) is None
    assert "choose data source 'pairs'" in str(misfit(load_family("two_tower", "cifar"), "labelled_pairs", gives))
    words = {"path": "x", "size": 32, "length": 64}
    pairs, labelled, digits = (
        DATA_MODELS[name].model_validate({"source": name, **more})
        for name, more in (("pairs", words), ("labelled_pairs", words), ("digits", {}))
    )
    assert "choose data source 'labelled_pairs', whose pairs have one" in str(stated_misfit(small, pairs))
    assert stated_misfit(small, labelled) is None
    assert "other kind" in str(stated_misfit(small, digits))
    assert "gives labelled pairs; choose another" in str(stated_misfit(load_family("vit", "cifar"), labelled))
    released = load_family("multiway", "beit3_base_patch16_480")
    assert "read up to token 2; put the checkpoint's tokenizer" in str(stated_misfit(released, labelled))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"size": 64}, "data.size is 64, and its networks do not resize; choose 32"),
        ({"length": 65}, "data.length is 65; choose at most 64"),
        ({"channels": 1}, "data.channels is 1; choose 3"),
    ],
)
def test_sizes_that_do_not_fit_are_named(words, said):
    given = {"source": "labelled_pairs", "path": "x", "size": 32, "length": 64, **words}
    data = DATA_MODELS["labelled_pairs"].model_validate(given)
    assert said in str(stated_misfit(load_family("multiway", "tiny"), data))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"objectives": [{"metric": "recall_at_1"}]}, "gives labelled pairs, on which networks have no recall_at_1"),
        ({"objectives": [{"metric": "perplexity"}]}, "have no perplexity; ask for accuracy"),
        ({"training": {"augmentation": {"mixup": 0.2}}}, "Images with texts cannot be mixed"),
    ],
)
def test_jobs_that_labelled_pairs_cannot_have_are_refused(parts, said, tmp_path):
    data = {"source": "labelled_pairs", **example.write(tmp_path), "size": 32, "length": 64}
    job = {"supernet": {"family": "multiway", "preset": "tiny", "classes": 5}, "data": data}
    with pytest.raises(ValueError, match=said):
        JobSpec.model_validate({"objectives": [{"metric": "accuracy"}], **job, **parts})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question": ""}, r"1 of 16 rows of the train part of .* have no text or no label, more than .*train row 1 is "
                           "without text. Give each row a text and a label"),
        ({"answer": None}, "train row 1 is without a label.*name the right columns in data.text and data.label"),
        ({"answer": ["yes", "no"]}, "multi-label|cannot be loaded"),
        ({"file_name": "../x.png"}, "lies outside its folder"),
        ({"answer": "yes|no"}, "several labels in one"),
    ],
)  # fmt: skip
def test_a_row_that_is_no_pair_with_a_class_is_refused(tmp_path, change, said):
    options = table(tmp_path, questions())
    rows = questions()
    rows[0] |= change
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=said):
        load_dataset("labelled_pairs", 0, options)


def test_lists_of_answers_are_refused(tmp_path):
    rows = [{**row, "answer": ["yes", "no"]} for row in questions()]
    with pytest.raises(DataError, match="multi-label classification, and only one label"):
        load_dataset("labelled_pairs", 0, table(tmp_path, rows))


def test_a_table_without_labels_names_its_columns(tmp_path):
    rows = [{"file_name": f"{n}.png", "text": "a"} for n in range(8)]
    with pytest.raises(DataError, match=r"no column that may be its label; its columns are .* Name one in data\.label"):
        load_dataset("labelled_pairs", 0, table(tmp_path, rows))


def test_a_label_that_no_training_pair_has_is_refused(tmp_path):
    table(tmp_path, questions(), "train.jsonl")
    options = table(tmp_path, [*questions(4), {"file_name": "0.png", "question": "?", "answer": "blue"}], "test.jsonl")
    with pytest.raises(DataError, match=r"has labels that no training pair has: blue\. The classes are no, noise"):
        load_dataset("labelled_pairs", 0, options)


def test_one_answer_alone_is_nothing_to_learn(tmp_path):
    with pytest.raises(DataError, match="the same label"):
        load_dataset("labelled_pairs", 0, table(tmp_path, [{**row, "answer": "yes"} for row in questions()]))
