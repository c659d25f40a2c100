"""Folders of images are read as their owner means them, or refused: every file is used or named."""

from __future__ import annotations

import os
import shutil
from collections import Counter

import pytest

from supernet.data import DataError, load_dataset
from tests.tiny_data import picture


def fill(folder, classes=("cat", "dog"), count=8):
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture(label, i, (8, 8)).save(folder / name / f"{i}.png")
    return folder


def read(root, **words):
    return load_dataset("images", 0, {"path": str(root), "size": 8, "validation_share": 0.25, **words})


def refusal(root, **words) -> str:
    with pytest.raises(DataError) as raised:
        read(root, **words)
    return str(raised.value)


def lengths(data):
    return [len(split) for split in data.splits.values()]


def reasons(data):
    return {one.why: (one.count, one.some) for one in data.inventory.left_out}


# --- parts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "valid", "test"),
        ("Train", "Val", "TEST"),
        ("training_set", "validation_set", "test_set"),
        ("training", "dev", "testing"),
    ],
)
def test_parts_of_the_owner_are_used_whatever_they_are_called(tmp_path, train, validation, test):
    for name, count in ((train, 8), (validation, 3), (test, 5)):
        fill(tmp_path / name, count=count)
    data = read(tmp_path)
    assert lengths(data) == [16, 6, 10]
    assert data.preprocessing["labels"] == ["cat", "dog"]
    assert dict(data.inventory.splits) == {"train": train, "validation": validation, "test": test}


def test_what_the_owner_did_not_split_is_carved(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "valid", count=3)
    data = read(tmp_path)
    assert lengths(data) == [12, 6, 4]
    assert data.inventory.splits["validation"] == "valid"
    assert "carved from training data (a share of 0.2" in data.inventory.splits["test"]


def test_any_part_may_be_named_and_two_that_could_be_meant_are_refused(tmp_path):
    for name, count in (("train", 8), ("val", 2), ("valid", 3), ("holdout", 4)):
        fill(tmp_path / name, count=count)
    assert "val, valid, which could all be for validation" in refusal(tmp_path).replace(" and ", ", ")
    data = read(tmp_path, validation_split="val", test_split="holdout")
    assert lengths(data) == [16, 4, 8]
    assert reasons(data) == {"a folder beside the parts": (1, ("valid",))}
    assert "no such part; there are: holdout, train, val, valid" in refusal(tmp_path, validation_split="vall")
    assert "cannot be both" in refusal(tmp_path, validation_split="val", test_split="val")


def test_a_part_may_not_be_a_path():
    for name in ("../secret", "a/b", ".hidden", ""):
        with pytest.raises(ValueError, match="test_split"):
            load_dataset("images", 0, {"path": "/nowhere", "test_split": name})


def test_classes_in_the_folder_itself_may_have_parts_beside_them(tmp_path):
    fill(tmp_path)
    fill(tmp_path / "test", count=3)
    fill(tmp_path / "val", count=2)
    data = read(tmp_path)
    assert lengths(data) == [16, 4, 6]
    assert data.preprocessing["labels"] == ["cat", "dog"]


def test_a_folder_that_may_be_a_class_or_a_part_is_refused(tmp_path):
    fill(tmp_path, ("cat", "dog", "test"))
    assert "may be a class or the test part" in refusal(tmp_path)
    assert "has no folders of classes" in read(tmp_path, test_split="test").notes[0]


def test_a_class_that_is_called_train_is_not_taken_for_a_part(tmp_path):
    fill(tmp_path, ("car", "plane", "train"))
    assert "train may be a class or the train part" in refusal(tmp_path)
    fill(tmp_path / "train", ("car", "plane", "train"))
    shutil.rmtree(tmp_path / "car")
    shutil.rmtree(tmp_path / "plane")
    assert read(tmp_path).preprocessing["labels"] == ["car", "plane", "train"]


def test_folders_that_may_be_classes_or_places_are_refused(tmp_path):
    fill(tmp_path / "berlin")
    fill(tmp_path / "paris")
    said = refusal(tmp_path)
    assert "the classes may be berlin, paris, or in each of them cat, dog" in said


def test_a_part_without_labels_is_no_part_and_that_is_said(tmp_path):
    fill(tmp_path / "train")
    (tmp_path / "test").mkdir()
    for i in range(5):
        picture(0, i, (8, 8)).save(tmp_path / "test" / f"{i}.png")
    data = read(tmp_path)
    assert len(data.test) == 4
    assert "test has no folders of classes, so its images have no labels" in data.notes[0]
    assert "carved" in data.inventory.splits["test"]
    assert reasons(data)["not in the folder of a class"][0] == 5


def test_a_part_that_lacks_a_class_says_so(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "test", ("cat",))
    data = read(tmp_path)
    assert len(data.test) == 8
    assert data.inventory.remarks == ("test has no images of 1 classes: dog.",)


# --- files ------------------------------------------------------------------------------------------


def test_hidden_files_and_folders_are_skipped_at_every_depth(tmp_path):
    fill(tmp_path)
    deep = tmp_path / "cat" / "more" / "deeper"
    deep.mkdir(parents=True)
    picture(0, 99, (8, 8)).save(deep / "one.png")
    for place in (tmp_path, tmp_path / "dog", deep):
        (place / "._0.png").write_bytes(b"\0\5\x16\7")
        (place / ".ipynb_checkpoints").mkdir()
        shutil.copy(tmp_path / "cat" / "0.png", place / ".ipynb_checkpoints" / "0.png")
        (place / "__MACOSX").mkdir()
        shutil.copy(tmp_path / "cat" / "0.png", place / "__MACOSX" / "0.png")
    data = read(tmp_path)
    assert sum(lengths(data)) == 17
    assert data.inventory.used == 17
    assert reasons(data)["hidden"][0] == 9
    assert data.notes == ()


def test_every_file_that_is_not_used_is_named_with_the_reason(tmp_path):
    fill(tmp_path)
    for name in ("1.png", "2.png"):
        (tmp_path / "cat" / name).rename(tmp_path / "cat" / name.replace("png", "heic"))
    (tmp_path / "dog" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("0.png,cat\n")
    elsewhere = fill(tmp_path.parent / f"{tmp_path.name}-elsewhere", ("more",))
    os.symlink(elsewhere / "more", tmp_path / "cat" / "more")
    os.symlink(tmp_path / "cat", tmp_path / "cat" / "loop")
    os.symlink("/nowhere.png", tmp_path / "dog" / "gone.png")
    os.symlink(tmp_path / "dog" / "0.png", tmp_path / "dog" / "again.png")
    data = read(tmp_path)
    assert reasons(data) == {
        "no picture by its suffix .heic": (2, ("cat/1.heic", "cat/2.heic")),
        "a link to a folder, which is not followed": (2, ("cat/loop", "cat/more")),
        "a link to nothing": (1, ("dog/gone.png",)),
        "no picture by its suffix .db": (1, ("dog/Thumbs.db",)),
        "not in the folder of a class": (1, ("labels.csv",)),
    }
    assert data.inventory.used == sum(lengths(data)) == 15
    assert data.inventory.seen == 22


def test_a_link_back_is_no_class(tmp_path):
    fill(tmp_path)
    os.symlink(tmp_path, tmp_path / "again")
    data = read(tmp_path)
    assert data.preprocessing["labels"] == ["cat", "dog"]
    assert reasons(data) == {"a link to a folder, which is not followed": (1, ("again",))}


def test_suffixes_count_in_any_case_and_folders_may_have_them(tmp_path):
    fill(tmp_path)
    for name, other in (("0.png", "0.PNG"), ("1.png", "1.Jfif"), ("2.png", "2.jpe")):
        (tmp_path / "cat" / name).rename(tmp_path / "cat" / other)
    (tmp_path / "cat" / "album.jpg").mkdir()
    picture(0, 50, (8, 8)).save(tmp_path / "cat" / "album.jpg" / "one.png")
    assert sum(lengths(read(tmp_path))) == 17


def test_names_that_are_no_text_are_written_as_what_they_are(tmp_path):
    fill(tmp_path)
    os.rename(tmp_path / "cat" / "0.png", os.fsencode(tmp_path / "cat") + b"/\xff.png")
    os.rename(tmp_path / "cat", os.fsencode(tmp_path) + b"/c\xe9t")
    data = read(tmp_path)
    assert data.preprocessing["labels"] == ["c\\xe9t", "dog"]


def test_a_limit_and_broken_files_are_counted(tmp_path):
    fill(tmp_path / "train", count=20)
    fill(tmp_path / "test", count=4)
    (tmp_path / "train" / "cat" / "3.png").write_bytes(b"no picture")
    data = read(tmp_path, limit=20, corrupt_share=0.5)
    assert reasons(data) == {"not a whole image": (1, ("train/cat/3.png",)), "beyond data.limit": (19, ())}
    assert data.inventory.seen == 48


def test_classes_are_counted_in_every_split(tmp_path):
    fill(tmp_path / "train", ("b", "a", "c"))
    data = read(tmp_path)
    counts = {name: Counter(split.y.tolist()) for name, split in data.splits.items()}
    assert sum(counts.values(), Counter()) == {0: 8, 1: 8, 2: 8}
