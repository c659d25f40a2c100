"""Every load of a job's data leaves one record, and people hear what may not be meant."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from pipeline.inventory import few, read_of, said_of_data
from pipeline.materials import decoding_of, prepare_data
from pipeline.stages import run
from service.store.records import CLASSES_TOLD, DataRead
from service.terminal import data_line
from supernet.data import load_dataset
from tests.pipeline.bench import MemoryReporter, workshop
from tests.tiny_data import grey_images, labelled_text, picture


class Reached(Exception):
    """The data are read."""


def stop(_shop, _data):
    raise Reached


def shop_of(folder, reporter, **data):
    return workshop(folder, reporter, data={"source": "images", **data}, training={"batch_size": 32})


def data_of(shop):
    return prepare_data(shop.spec, shop.space, shop.device, decoding_of(shop.settings))


def test_a_job_tells_what_its_data_are_and_keeps_it(tmp_path):
    source, reporter = tmp_path / "source", MemoryReporter()
    options = grey_images(source)
    (source / "class3" / "notes.heic").write_bytes(b"x")
    (source / ".DS_Store").write_bytes(b"x")
    with pytest.raises(Reached):
        run(shop_of(tmp_path, reporter, **options), stop)
    (told,) = [data for kind, data in reporter.told if kind == "data"]
    (stored,) = reporter.records(DataRead)
    assert told == stored.told()
    assert (stored.unit, stored.seen, stored.used) == ("files", 122, 120)
    assert {one.why: one.some for one in stored.left_out} == {
        "no picture by its suffix .heic": ("class3/notes.heic",),
        "hidden": (".DS_Store",),
    }
    assert stored.classes == tuple(f"class{i}" for i in range(10))
    assert stored.splits["test"].classes == (2,) * 10
    assert [split.samples for split in stored.splits.values()] == [80, 20, 20]
    assert "carved from training data" in stored.splits["validation"].source
    assert len(stored.mean) == len(stored.std) == 1
    assert "shorter side resized to 8 pixels" in stored.preprocessing
    assert any("1 of 122 files are left out: 1 (no picture by its suffix .heic)" in text for text in reporter.messages)
    assert not any("DS_Store" in text for text in reporter.messages)


@pytest.mark.parametrize(("of_a_class", "warnings"), [(6, 1), (15, 0)])
def test_few_validation_samples_are_said_and_kept_and_enough_are_not(tmp_path, of_a_class, warnings):
    reporter = MemoryReporter()
    options = grey_images(tmp_path / "source", {"train": 12, "val": of_a_class, "test": 2})
    with pytest.raises(Reached):
        run(shop_of(tmp_path, reporter, **options), stop)
    (stored,) = reporter.records(DataRead)
    said = [remark for remark in stored.remarks if "validation samples choose" in remark]
    assert len(said) == warnings
    for text in said:
        assert text.startswith("Only 60 validation samples")
        assert {"level": "warning", "text": text} in reporter.events("message")


def test_samples_that_decide_nothing_are_not_counted(tmp_path):
    options = grey_images(tmp_path / "source")
    shop = workshop(
        tmp_path,
        MemoryReporter(),
        data={"source": "images", **options},
        training={"batch_size": 32},
        objectives=[{"metric": "macs"}, {"metric": "params"}],
    )
    assert few(shop.spec, data_of(shop)) == ()


def test_a_second_load_is_told_where_it_finds_other_data(tmp_path):
    reporter = MemoryReporter()
    options = grey_images(tmp_path / "source")
    for _ in range(2):
        shop = shop_of(tmp_path, reporter, **options)
        reporter.record(read_of(shop.spec, data_of(shop)))
    assert len(reporter.records(DataRead)) == 1
    picture(0, 999, (8, 8)).save(tmp_path / "source" / "class3" / "4.png")
    reporter.record(read_of(shop.spec, data_of(shop)))
    first, second = reporter.records(DataRead)
    assert first.fingerprint != second.fingerprint


def test_data_on_the_disk_are_the_same_data(tmp_path):
    found = []
    for storage in ("memory", "disk"):
        shop = shop_of(tmp_path, MemoryReporter(), **grey_images(tmp_path / storage), storage=storage)
        found.append(read_of(shop.spec, data_of(shop)))
    assert found[0].fingerprint == found[1].fingerprint
    assert found[0].mean == found[1].mean


def test_columns_of_texts_are_in_the_record(tmp_path):
    spec = workshop(tmp_path, MemoryReporter()).spec
    record = read_of(spec, load_dataset("labelled_text", 0, labelled_text(tmp_path)))
    assert record.columns == {"text": "0 (from 0)", "label": "1 (from 0)"}
    assert record.splits["test"].source == "test.tsv.gz"
    assert (record.mean, record.unit, record.seen) == ((), "rows", 42)


def test_of_many_classes_people_hear_the_first(tmp_path):
    spec = workshop(tmp_path, MemoryReporter()).spec
    data = load_dataset("labelled_text", 0, labelled_text(tmp_path))
    many = replace(data, preprocessing={**data.preprocessing, "labels": [str(i) for i in range(300)]}, num_classes=300)
    record = read_of(spec, many)
    assert len(record.classes) == len(record.splits["train"].classes) == 300
    told = record.told()
    assert (len(told["classes"]), len(told["splits"]["train"]["classes"]), told["num_classes"]) == (
        CLASSES_TOLD,
        CLASSES_TOLD,
        300,
    )


@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_samples_on_both_sides_of_a_split_are_said(tmp_path, storage):
    source, reporter = tmp_path / "source", MemoryReporter()
    options = grey_images(source, {"train": 10, "test": 4})
    for label in range(3):
        shutil.copy(source / "train" / f"class{label}" / "0.png", source / "test" / f"class{label}" / "9.png")
    for label in range(10):  # those of `grey_images` are the same in every part
        for i in range(4):
            picture(label % 3, 5000 + 100 * label + i, (8, 8)).save(source / "test" / f"class{label}" / f"{i}.png")
    shop = shop_of(tmp_path, reporter, **options, storage=storage)
    data = data_of(shop)
    said = said_of_data(data, read_of(shop.spec, data))
    assert [text for _, text in said if "same as training samples" in text][-1].startswith("3 of 43 test samples")


def test_a_terminal_shows_what_was_read_in_a_line(tmp_path):
    shop = shop_of(tmp_path, MemoryReporter(), **grey_images(tmp_path / "source"))
    line = data_line(read_of(shop.spec, data_of(shop)).told())
    assert line == "Data images: 120 of 120 files; train 80, validation 20, test 20, 10 classes"


def test_a_source_that_does_not_say_what_it_read_has_a_record_too(tmp_path):
    shop = workshop(tmp_path, MemoryReporter())
    silent = replace(load_dataset("digits", 0), inventory=None)
    record = read_of(shop.spec, silent)
    assert (record.seen, record.splits["train"].source) == (None, None)
    own = read_of(shop.spec, load_dataset("digits", 0))
    assert (own.seen, own.used, own.splits["test"].source) == (1797, 1797, "the source's own")
    assert sum(sum(split.classes) for split in record.splits.values()) == 1797
    assert said_of_data(silent, record) == []
