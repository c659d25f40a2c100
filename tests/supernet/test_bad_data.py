"""Data that cannot be used is refused with what was found and what to do."""

import gzip

import numpy as np
import pytest
import torch

from supernet.data import DataError, Dataset, Split, Standardisation, load_dataset
from supernet.data.splitting import cut, fewer, held_out, without
from tests.tiny_data import cifar10, encoded, images, labelled_text, picture


def refusal(source, options) -> str:
    with pytest.raises(DataError) as raised:
        load_dataset(source, 0, options)
    return str(raised.value)


def dataset(train: Split) -> Dataset:
    good = Split(torch.zeros(4, 1, 2, 2), torch.tensor([0, 1, 0, 1]))
    return Dataset("handmade", "here", {}, train, good, good, num_classes=2)


# --- what no network could learn from ---------------------------------------------------------------


def test_one_class_is_refused():
    with pytest.raises(DataError, match=r"same label \(1\)"):
        dataset(Split(torch.zeros(4, 1, 2, 2), torch.ones(4, dtype=torch.int64))).check()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_counted(value):
    x = torch.zeros(4, 1, 2, 2)
    x[1, 0, 0, 0] = x[3, 0, 1, 1] = value
    with pytest.raises(DataError, match="2 of 4 train examples of handmade hold NaN"):
        dataset(Split(x, torch.tensor([0, 1, 0, 1]))).check()


@pytest.mark.parametrize("labels", [[0, 1, 2, 0], [0, 1, -1, 0]])
def test_labels_out_of_range_are_refused(labels):
    with pytest.raises(DataError, match=r"go from .* with 2 classes they must lie in 0 to 1"):
        dataset(Split(torch.zeros(4, 1, 2, 2), torch.tensor(labels))).check()


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match="train split of handmade is empty"):
        dataset(Split(torch.zeros(0, 1, 2, 2), torch.zeros(0, dtype=torch.int64))).check()


# --- images -----------------------------------------------------------------------------------------


def test_a_folder_with_one_class_is_refused(tmp_path):
    (tmp_path / "cats").mkdir()
    picture(0, 0).save(tmp_path / "cats" / "a.png")
    assert "has one class folder (cats)" in refusal("images", {"path": str(tmp_path)})


def test_a_class_without_images_is_named(tmp_path):
    options = images(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "of class empty" in refusal("images", options)


def test_a_few_corrupt_images_are_skipped_and_named(tmp_path):
    options = images(tmp_path)
    (tmp_path / "colour0" / "3.png").write_bytes(b"not an image")
    found = load_dataset("images", 0, {**options, "corrupt_share": 0.1})
    assert sum(len(split) for split in found.splits.values()) == 29
    (note,) = found.notes
    assert "1 of 30 images" in note
    assert "colour0/3.png" in note


def test_truncated_images_are_corrupt(tmp_path):
    options = images(tmp_path)
    whole = (tmp_path / "colour1" / "2.png").read_bytes()
    (tmp_path / "colour1" / "2.png").write_bytes(whole[: len(whole) // 2])
    assert load_dataset("images", 0, {**options, "corrupt_share": 0.1}).notes


def test_too_many_corrupt_images_fail_with_their_names(tmp_path):
    options = images(tmp_path)
    for i in range(4):
        (tmp_path / "colour2" / f"{i}.png").write_bytes(b"")
    said = refusal("images", {**options, "corrupt_share": 0.1})
    assert "4 of 30 images" in said
    assert "colour2/0.png" in said
    assert "corrupt_share" in said


def test_a_test_class_that_training_lacks_is_named(tmp_path):
    for part, labels in (("train", (0, 1)), ("test", (0, 2))):
        for label in labels:
            (tmp_path / part / f"colour{label}").mkdir(parents=True)
            picture(label, 0).save(tmp_path / part / f"colour{label}" / "0.png")
    assert "colour2" in refusal("images", {"path": str(tmp_path)})


def test_images_are_scaled_to_cover_the_square_and_cut_in_the_middle(tmp_path):
    """A picture of a red left and a green right half, twice as wide as high, keeps the middle of both."""
    from PIL import Image

    from supernet.data.images import Decoder

    wide = np.zeros((10, 20, 3), dtype=np.uint8)
    wide[:, :10, 0] = wide[:, 10:, 1] = 255
    pixels = Decoder(10, 3).decode(encoded(Image.fromarray(wide)))
    assert pixels.shape == (3, 10, 10)
    assert (pixels[0, :, :5] == 255).all()
    assert (pixels[1, :, 5:] == 255).all()


def test_images_that_do_not_fit_in_memory_are_refused_before_they_are_read(tmp_path):
    options = images(tmp_path)
    for i in range(3):
        (tmp_path / f"colour{i}").rename(tmp_path / f"c{i}")
    from supernet.data.decoding import check_memory

    with pytest.raises(DataError, match=r"GB of memory and .* GB are free"):
        check_memory(10**15)
    assert load_dataset("images", 0, options)


# --- CIFAR-10 ---------------------------------------------------------------------------------------


def binary_record(label: int, seed: int) -> bytes:
    planes = np.asarray(picture(label % 3, seed)).transpose(2, 0, 1)
    return bytes([label]) + planes.tobytes()


def write_binary(folder, last: bytes = b"") -> None:
    for i in range(1, 6):
        (folder / f"data_batch_{i}.bin").write_bytes(b"".join(binary_record(j, 10 * i + j) for j in range(10)))
    (folder / "test_batch.bin").write_bytes(b"".join(binary_record(j, j) for j in range(10)) + last)


def test_the_binary_form_holds_the_same_pixels_as_the_images(tmp_path):
    write_binary(tmp_path)
    found = load_dataset("cifar10", 0, {"path": str(tmp_path), "validation_share": 0.2})
    assert len(found.train) + len(found.validation) == 50
    expected = np.asarray(picture(3 % 3, 3)).transpose(2, 0, 1)
    at = int((found.test.y == 3).nonzero())
    assert (found.test.stored[at].numpy() == expected).all()


def test_the_archive_is_read_as_it_is(tmp_path):
    import tarfile

    inner = tmp_path / "cifar-10-batches-bin"
    inner.mkdir()
    write_binary(inner)
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        archive.add(inner, arcname=inner.name)
    options = {"validation_share": 0.2}
    packed = load_dataset("cifar10", 0, {"path": str(tmp_path / "cifar.tar.gz"), **options})
    unpacked = load_dataset("cifar10", 0, {"path": str(tmp_path), **options})
    assert torch.equal(packed.train.stored, unpacked.train.stored)


def test_a_binary_file_that_is_cut_short_is_refused(tmp_path):
    write_binary(tmp_path, last=b"half a record")
    assert "test_batch.bin" in refusal("cifar10", {"path": str(tmp_path)})


def test_a_limit_keeps_every_class(tmp_path):
    found = load_dataset("cifar10", 0, {**cifar10(tmp_path), "limit": 40})
    labels = torch.cat([found.train.y, found.validation.y])
    assert torch.bincount(labels).tolist() == [4] * 10


# --- text -------------------------------------------------------------------------------------------


def test_quotes_are_letters_in_tab_separated_text(tmp_path):
    found = load_dataset("labelled_text", 0, labelled_text(tmp_path))
    assert len(found.train) + len(found.validation) == 40
    assert bytes(found.train.stored[0].tolist()).startswith(b'"film')


def test_padding_is_masked(tmp_path):
    batch = load_dataset("labelled_text", 0, labelled_text(tmp_path)).test.batch(slice(0, 2))
    assert batch.mask.sum(1).tolist() == [4, 3]  # good, bad
    assert (batch.x[~batch.mask] == 0).all()


def test_labels_of_test_texts_that_training_lacks_are_named(tmp_path):
    options = labelled_text(tmp_path)
    (tmp_path / "test.tsv.gz").write_bytes(gzip.compress(b"good\t1\nodd\t7\n"))
    said = refusal("labelled_text", options)
    assert "'7' (row 2)" in said
    assert "training labels are 0, 1" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("good\t1\nbad\t\n", "Row 2"),
        ("good\t1\nbad\tnan\n", "has no label"),
        ("good\t1\nbad\n", "Row 2"),
        ("", "is empty"),
        ("no tabs at all\nnone here\n", "has 1 columns"),
    ],
)
def test_broken_tables_are_refused(tmp_path, content, said):
    (tmp_path / "rows.tsv").write_text(content)
    assert said in refusal("labelled_text", {"path": str(tmp_path / "rows.tsv")})


def test_columns_of_a_comma_separated_file_may_be_named(tmp_path):
    rows = "".join(f'{i % 2},"a, quoted ""text"" {i}"\n' for i in range(20))
    (tmp_path / "rows.csv").write_text("stars,review\n" + rows)
    options = {"path": str(tmp_path / "rows.csv"), "text": "review", "label": "stars", "validation_share": 0.2}
    found = load_dataset("labelled_text", 0, options)
    assert bytes(found.train.stored[0].tolist()).startswith(b'a, quoted "text"')
    assert "no column 'title'" in refusal("labelled_text", {**options, "text": "title"})


def test_a_damaged_gzip_file_is_refused(tmp_path):
    whole = gzip.compress(b"to be or not to be" * 100)
    (tmp_path / "play.txt.gz").write_bytes(whole[:-10])
    assert "not a whole gzip file" in refusal("text", {"path": str(tmp_path / "play.txt.gz")})


def test_a_gzip_file_that_grows_beyond_reason_is_refused_before_it_fills_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("supernet.data.text.SMALL_BYTES", 1_000_000)
    (tmp_path / "play.txt.gz").write_bytes(gzip.compress(b"to be " * 1_000_000))
    assert "times as large when it is unpacked" in refusal("text", {"path": str(tmp_path / "play.txt.gz")})


def test_a_refusal_quotes_nothing_of_the_file(tmp_path):
    (tmp_path / "passwd.tsv").write_text("alice:x:0:0\tsecret\nmore:x\tsecret\n")
    options = {"path": str(tmp_path / "passwd.tsv"), "text": "review", "label": "stars"}
    assert "alice" not in (said := refusal("labelled_text", options))
    assert "among the 2 of its first line" in said


def test_a_text_shorter_than_a_block_is_refused(tmp_path):
    (tmp_path / "play.txt").write_text("to be " * 10)
    assert "less than one block of 128" in refusal("text", {"path": str(tmp_path / "play.txt")})


def test_every_token_but_the_first_is_predicted_once(tmp_path):
    from supernet.data.text import blocks

    split = blocks(np.arange(23, dtype=np.int32), 5)
    assert split.y.flatten().tolist() == list(range(1, 21))
    assert split.stored.flatten().tolist() == list(range(20))
    # Views of one stream: no second copy of the text.
    assert split.stored.untyped_storage().data_ptr() == split.y.untyped_storage().data_ptr()


# --- splitting --------------------------------------------------------------------------------------


def test_every_class_gives_its_share():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    held = held_out(labels, 0.1, 0, "these")
    assert np.bincount(labels[held]).tolist() == [10, 5, 1]
    assert not set(held) & set(without(len(labels), held))
    assert len(held) + len(without(len(labels), held)) == len(labels)


def test_a_small_class_is_held_out_but_never_whole():
    labels = np.repeat([0, 1], [100, 2])
    held = held_out(labels, 0.01, 0, "these")
    assert np.bincount(labels[held]).tolist() == [1, 1]


def test_fewer_examples_keep_the_shares_of_the_classes():
    labels = np.repeat([0, 1], [300, 100])
    assert np.bincount(labels[fewer(labels, 40, "these")]).tolist() == [30, 10]
    with pytest.raises(DataError, match=r"data.limit is 3.*at least 4"):
        fewer(labels, 3, "these")


def test_a_cut_is_never_empty():
    assert cut(100, 0.1, "these", "test") == 10
    with pytest.raises(DataError, match="test split with 0"):
        cut(5, 0.1, "these", "test")


# --- memory -----------------------------------------------------------------------------------------


def test_images_stay_bytes_and_become_floats_batch_by_batch():
    stored = torch.arange(12, dtype=torch.uint8).view(3, 1, 2, 2)
    split = Split(stored, torch.tensor([0, 1, 0]), Standardisation((2.0,), (4.0,), 255.0))
    assert split.num_bytes == 12 + 3 * 8
    batch = split.batch(torch.tensor([2]))
    assert torch.equal(batch.x, (stored[2:].float() - 2) / 4)
