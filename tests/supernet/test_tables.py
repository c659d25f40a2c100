"""Tables are read as their owner means them: columns, parts, labels and gaps are taken or refused, never guessed."""

from __future__ import annotations

import csv
import json

import pytest

from supernet.data import DataError, load_dataset
from tests.tiny_data import encoded, picture


def rows(count=40, labels=("neg", "pos")):
    return [(f"hello text {i}", labels[i % len(labels)]) for i in range(count)]


def write_csv(path, lines, header=None):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([*([header] if header else []), *lines])
    return path


def read(source, path, **words):
    shares = {"validation_share": 0.2, "test_share": 0.2}
    return load_dataset(source, 0, {"path": str(path), "length": 32, **shares, **words})


def refusal(source, path, **words) -> str:
    with pytest.raises(DataError) as raised:
        read(source, path, **words)
    return str(raised.value)


def total(data):
    return sum(len(split) for split in data.splits.values())


def left(data):
    return {one.why: (one.count, one.some) for one in data.inventory.left_out}


def parquet(path, table, features=None):
    import datasets

    datasets.Dataset.from_dict(table, features=features).to_parquet(str(path))
    return path


def saved(path, **parts):
    """A data set on the disk with parts of its own; labels are of a column of classes."""
    import datasets

    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    )
    made = {
        name: datasets.Dataset.from_dict(
            {"sentence": [f"t{i}" for i in range(len(labels))], "label": labels}, features=features
        )
        for name, labels in parts.items()
    }
    datasets.DatasetDict(made).save_to_disk(str(path))
    return path


# --- headers and columns ----------------------------------------------------------------------------


@pytest.mark.parametrize("header", [("sentence", "label"), ("foo", "bar")])
def test_a_header_is_no_example(tmp_path, header):
    file = write_csv(tmp_path / "rows.csv", rows(), header)
    said = refusal("labelled_text", file)
    assert "looks like a header: its label occurs once" in said
    assert "data.text and data.label" in said
    named = read("labelled_text", file, text=header[0], label=header[1])
    assert named.preprocessing["labels"] == ["neg", "pos"]
    assert total(named) == total(read("labelled_text", file, header=True)) == 40
    assert total(read("labelled_text", file, header=False)) == 41
    assert named.inventory.columns == {"text": repr(header[0]), "label": repr(header[1])}


def test_a_header_above_numbers_is_seen_though_labels_occur_once(tmp_path):
    file = write_csv(tmp_path / "rows.csv", [(f"text {i}", i) for i in range(10)], ("words", "stars"))
    assert "looks like a header" in refusal("labelled_text", file)


def test_a_rare_class_is_no_header(tmp_path):
    file = write_csv(tmp_path / "rows.csv", [*rows(), ("odd", "rare")])
    assert read("labelled_text", file).preprocessing["labels"] == ["neg", "pos", "rare"]


def test_more_than_two_columns_are_not_guessed_at(tmp_path):
    file = write_csv(tmp_path / "rows.csv", [(i, text, label) for i, (text, label) in enumerate(rows())])
    assert "has 3 columns, so which are meant would be a guess: name data.text and data.label" in refusal(
        "labelled_text", file
    )
    assert "name data.label" in refusal("labelled_text", file, text=1)
    assert total(read("labelled_text", file, text=1, label=2)) == 40


def test_a_label_before_its_text_is_found_by_its_header_or_refused(tmp_path):
    turned = [(label, text) for text, label in rows()]
    file = write_csv(tmp_path / "rows.csv", turned)
    assert "40 different values in 40 rows, which are no classes" in refusal("labelled_text", file)
    file = write_csv(tmp_path / "named.csv", turned, ("label", "sentence"))
    assert read("labelled_text", file, header=True).preprocessing["labels"] == ["neg", "pos"]


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_row_with_more_columns_is_no_text_and_label(tmp_path, suffix):
    """A comma without quotes would make half of the text a class."""
    between = "," if suffix == "csv" else "\t"
    path = tmp_path / f"rows.{suffix}"
    lines = [between.join(row) for row in rows()]
    lines[7] = between.join(("hello", " world", "pos"))
    path.write_text("\n".join(lines))
    assert "Row 8 of" in (said := refusal("labelled_text", path))
    assert "has 3 columns, and the first line has 2" in said
    lines[7] = between.join(("hello", "pos", ""))
    path.write_text("\n".join(lines))
    assert total(read("labelled_text", path)) == 40


def test_labels_that_are_words_must_be_named(tmp_path):
    file = write_csv(tmp_path / "rows.csv", rows(), ("review", "sentiment"))
    assert "If one holds labels, name it in data.label" in refusal("huggingface", file)
    assert read("huggingface", file, label="sentiment").preprocessing["labels"] == ["neg", "pos"]


def test_what_is_wrong_with_a_file_is_said(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": 1\n')
    assert "JSON parse error" in refusal("huggingface", tmp_path / "rows.jsonl")


def test_two_columns_of_one_name_or_one_column_twice_are_refused(tmp_path):
    file = write_csv(tmp_path / "rows.csv", rows(), ("text", "text"))
    assert "has 2 columns 'text'" in refusal("labelled_text", file, text="text", label=1)
    file = write_csv(tmp_path / "more.csv", rows(), ("text", "label"))
    assert "both name column 1" in refusal("labelled_text", file, text="label", label="label")


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_two_columns_that_could_be_meant_are_refused(tmp_path, suffix):
    table = {
        "premise": [f"a {i}" for i in range(40)],
        "hypothesis": [f"b {i}" for i in range(40)],
        "label": [i % 2 for i in range(40)],
    }
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        parquet(path, table)
    elif suffix == "jsonl":
        path.write_text(
            "\n".join(json.dumps(dict(zip(table, row, strict=True))) for row in zip(*table.values(), strict=True))
        )
    else:
        write_csv(path, list(zip(*table.values(), strict=True)), [*table])
    assert "hold text: premise, hypothesis. Name one in data.text" in refusal("huggingface", path)
    data = read("huggingface", path, text="hypothesis")
    assert data.inventory.columns == {"text": "hypothesis", "label": "label"}
    assert data.inventory.remarks == ("Columns that are not used: premise.",)


def test_two_columns_that_could_be_labels_are_refused(tmp_path):
    import datasets

    table = {"img": [{"bytes": encoded(picture(i % 3, i)), "path": None} for i in range(30)]}
    table |= {"fine_label": [i % 3 for i in range(30)], "coarse_label": [i % 2 for i in range(30)]}
    names = {"fine_label": datasets.ClassLabel(num_classes=3), "coarse_label": datasets.ClassLabel(num_classes=2)}
    path = parquet(tmp_path / "rows.parquet", table, datasets.Features({"img": datasets.Image(), **names}))
    assert "may be labels: fine_label, coarse_label. Name one in data.label" in refusal("huggingface", path, size=8)
    assert read("huggingface", path, size=8, label="coarse_label").num_classes == 2


def test_a_column_of_text_that_is_asked_for_is_read_beside_images(tmp_path):
    import datasets

    table = {
        "image": [{"bytes": encoded(picture(0, 0)), "path": None}] * 30,
        "caption": [f"word {i}" for i in range(30)],
    }
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    path = parquet(tmp_path / "rows.parquet", table, features)
    assert read("huggingface", path, text="caption").train.is_language


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_an_example_is_no_header(tmp_path, suffix):
    """`datasets` takes the first line for names, whatever it says."""
    between = "," if suffix == "csv" else "\t"
    path = tmp_path / f"rows.{suffix}"
    path.write_text("\n".join(between.join(row) for row in rows()))
    assert "looks like an example, and not like names of columns" in refusal("huggingface", path)
    path.write_text("\n".join(f"text {i}{between}{i % 3 / 2}" for i in range(40)))
    assert "looks like an example" in refusal("huggingface", path)


def test_columns_beside_text_alone_are_said(tmp_path):
    table = {"text": [f"document {i}" for i in range(40)], "mood": [i % 2 for i in range(40)]}
    data = read("huggingface", parquet(tmp_path / "rows.parquet", table), length=8)
    assert data.train.is_language
    assert data.inventory.remarks == ("Columns that are not used: mood.",)


# --- words that other readers take for nothing -------------------------------------------------------


@pytest.mark.parametrize("source", ["labelled_text", "huggingface"])
def test_na_and_null_are_words_and_empty_cells_are_nothing(tmp_path, source):
    lines = [(f"text {i}", ("EU", "NA")[i % 2]) for i in range(40)]
    lines[0], lines[1], lines[2] = ("null", "EU"), ("NaN", "NA"), ("", "EU")
    data = read(source, write_csv(tmp_path / "rows.csv", lines, ("text", "label")), text="text", label="label")
    assert data.preprocessing["labels"] == ["EU", "NA"]
    assert total(data) == 39
    assert left(data)["without text"][0] == 1
    texts = {bytes(row[row > 0].tolist()) for split in data.splits.values() for row in split.stored}
    assert {b"null", b"NaN"} <= texts
    assert b"None" not in texts


def test_nulls_of_json_are_left_out_by_count(tmp_path):
    lines = [{"text": text, "label": label} for text, label in rows()]
    lines[3]["text"] = lines[7]["label"] = None
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    data = read("huggingface", path)
    assert left(data) == {"without text": (1, ("row 4",)), "without a label": (1, ("row 8",))}
    assert data.inventory.seen == 40
    assert data.preprocessing["labels"] == ["neg", "pos"]


def test_a_table_that_mostly_lacks_labels_is_refused(tmp_path):
    lines = [{"text": text, "label": label if i % 2 else None} for i, (text, label) in enumerate(rows())]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    assert "have no label in column 'label' (20 of 40 rows)" in refusal("huggingface", path)


def test_a_folder_of_tables_is_read_as_a_table_is(tmp_path):
    lines = [(f"text {i}", ("EU", "NA")[i % 2]) for i in range(40)]
    for name in ("train", "test"):
        write_csv(tmp_path / f"{name}.csv", lines, ("text", "label"))
    data = read("huggingface", tmp_path)
    assert data.preprocessing["labels"] == ["EU", "NA"]
    assert [len(split) for split in data.splits.values()] == [32, 8, 40]


# --- what is no class ---------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["labelled_text", "huggingface"])
def test_numbers_to_be_predicted_are_refused_as_regression(tmp_path, source):
    lines = [(f"text {i}", (0.5, 1.25, 3.0, 4.75)[i % 4]) for i in range(40)]
    said = refusal(source, write_csv(tmp_path / "rows.csv", lines, ("text", "label")), text="text", label="label")
    assert "regression, and only classification is supported" in said
    assert "0.5" in said


def test_a_different_number_for_every_row_is_no_class(tmp_path):
    lines = [(f"text {i}", 100 + i) for i in range(40)]
    assert "regression, which is not supported" in refusal("labelled_text", write_csv(tmp_path / "rows.csv", lines))


@pytest.mark.parametrize("source", ["labelled_text", "huggingface"])
def test_whole_numbers_written_as_floats_are_classes(tmp_path, source):
    lines = [(f"text {i}", float(i % 3) + 9) for i in range(60)]
    file = write_csv(tmp_path / "rows.csv", lines, ("text", "label"))
    assert read(source, file, text="text", label="label").preprocessing["labels"] == ["9", "10", "11"]


@pytest.mark.parametrize("label", ["[0, 2]", "a|b", "b;a", "a, b"])
def test_several_labels_in_one_are_refused_as_multi_label(tmp_path, label):
    lines = [*rows(labels=("a", "b")), ("both", label)]
    assert "multi-label" in refusal("labelled_text", write_csv(tmp_path / "rows.csv", lines))


def test_lists_of_labels_are_refused_as_multi_label(tmp_path):
    path = parquet(tmp_path / "rows.parquet", {"text": ["a"] * 30, "labels": [[i % 2, 2] for i in range(30)]})
    assert "lists of labels: that is multi-label classification" in refusal("huggingface", path)


def test_a_label_with_a_comma_is_one_label(tmp_path):
    lines = rows(labels=("New York, NY", "Paris"))
    assert read("labelled_text", write_csv(tmp_path / "rows.csv", lines)).num_classes == 2


def test_labels_that_differ_in_case_alone_are_said(tmp_path):
    data = read("labelled_text", write_csv(tmp_path / "rows.csv", rows(labels=("Good", "good", "bad"))))
    assert data.notes == ("Classes whose names differ in case or blanks alone: Good, good.",)


@pytest.mark.parametrize(
    ("source", "suffix", "other"),
    [("text", "csv", "labelled_text"), ("text", "jsonl", "instructions"), ("labelled_text", "parquet", "huggingface")],
)
def test_a_file_of_another_source_is_not_read_as_ones_own(tmp_path, source, suffix, other):
    path = tmp_path / f"rows.{suffix}"
    path.write_text("some,text\n" * 200)
    assert other in refusal(source, path)


# --- parts ----------------------------------------------------------------------------------------------


def test_parts_of_files_are_used(tmp_path):
    for name, count in (("train", 40), ("dev", 6), ("test", 8)):
        write_csv(tmp_path / f"{name}.tsv", [], None).write_text("\n".join("\t".join(row) for row in rows(count)))
    data = read("labelled_text", tmp_path)
    assert [len(split) for split in data.splits.values()] == [40, 6, 8]
    assert data.inventory.splits == {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
    (tmp_path / "valid.tsv").write_text("a\tneg\n")
    assert "dev and valid, which could all be for validation" in refusal("labelled_text", tmp_path)
    assert len(read("labelled_text", tmp_path, validation_split="dev").validation) == 6


def test_a_part_in_two_files_is_refused(tmp_path):
    for name in ("train.tsv", "train.csv"):
        (tmp_path / name).write_text("a\tneg\nb\tpos\n")
    assert "which are one part twice" in refusal("labelled_text", tmp_path)


@pytest.mark.parametrize("labels", [None, "-1", ""])
def test_test_files_without_labels_are_no_part(tmp_path, labels):
    write_csv(tmp_path / "train.csv", rows(), ("text", "label"))
    write_csv(tmp_path / "validation.csv", rows(10), ("text", "label"))
    if labels is None:
        write_csv(tmp_path / "test.csv", [(text,) for text, _ in rows(9)], ("text",))
    else:
        write_csv(tmp_path / "test.csv", [(text, labels) for text, _ in rows(9)], ("text", "label"))
    data = read("labelled_text", tmp_path, text="text", label="label")
    assert [len(split) for split in data.splits.values()] == [32, 10, 8]
    assert data.notes[0].startswith("Test: ")
    assert "carved from training data" in data.inventory.splits["test"]


def test_a_test_part_whose_labels_are_minus_one_is_none(tmp_path):
    data = read("huggingface", saved(tmp_path / "set", train=[0, 1] * 20, validation=[0, 1] * 5, test=[-1] * 8))
    assert [len(split) for split in data.splits.values()] == [32, 10, 8]
    assert data.notes == ("Test: none of its rows has a label (-1 or nothing).",)
    assert data.inventory.splits["validation"] == "validation"


def test_parts_of_a_data_set_are_used_and_two_that_could_be_meant_are_refused(tmp_path):
    parts = {
        "train": [0, 1] * 20,
        "validation_matched": [0, 1] * 5,
        "validation_mismatched": [1, 0] * 4,
        "test": [0, 1] * 3,
    }
    path = saved(tmp_path / "set", **parts)
    assert "validation_matched and validation_mismatched" in refusal("huggingface", path)
    data = read("huggingface", path, validation_split="validation_mismatched")
    assert [len(split) for split in data.splits.values()] == [40, 8, 6]


def test_rows_of_a_column_of_classes_without_one_are_left_out(tmp_path):
    data = read("huggingface", saved(tmp_path / "set", train=[0, 1] * 20 + [-1] * 3, test=[0, 1]))
    assert data.preprocessing["labels"] == ["neg", "pos"]
    assert left(data) == {"without a label": (3, ("row 41", "row 42", "row 43"))}


# --- documents ------------------------------------------------------------------------------------------


def test_documents_are_told_apart(tmp_path):
    path = parquet(tmp_path / "rows.parquet", {"text": [f"document {i}" for i in range(40)]})
    data = read("huggingface", path, length=8)
    assert bytes(data.train.stored.flatten().tolist()).startswith(b"document 0\0document 1\0")
    assert "byte 0" in data.preprocessing["documents"]
    assert (data.inventory.unit, data.inventory.seen) == ("documents", 40)


def test_lines_are_not_taken_for_documents(tmp_path):
    path = parquet(tmp_path / "rows.parquet", {"text": ["", " = Title = \n", " Words of it . \n"] * 20})
    assert "Set data.rows to 'documents' or to 'lines'" in refusal("huggingface", path)
    data = read("huggingface", path, rows="lines", length=8)
    assert bytes(data.train.stored.flatten().tolist()).startswith(b"\n = Title = \n Words of it . \n\n")


def test_null_documents_are_left_out(tmp_path):
    path = parquet(tmp_path / "rows.parquet", {"text": [None if i == 3 else f"document {i}" for i in range(40)]})
    data = read("huggingface", path, length=8)
    assert left(data) == {"without text": (1, ("train row 3",))}
    assert b"None" not in bytes(data.train.stored.flatten().tolist())


def test_a_file_of_documents_has_a_separator(tmp_path):
    (tmp_path / "all.txt").write_text("<|end|>".join(f"document {i}" for i in range(40)))
    data = read("text", tmp_path / "all.txt", separator="<|end|>", length=8)
    assert bytes(data.train.stored.flatten().tolist()).startswith(b"document 0\0document 1\0")
    assert "does not stand in all.txt" in refusal("text", tmp_path / "all.txt", separator="###", length=8)


def test_parts_of_text_are_used_by_any_name_of_theirs(tmp_path):
    for name, count in (("Train", 200), ("val", 20), ("TEST", 30)):
        (tmp_path / f"{name}.txt").write_text("to be or not " * count)
    data = read("text", tmp_path)
    assert data.inventory.splits == {"train": "Train.txt", "validation": "val.txt", "test": "TEST.txt"}
