"""The data source `pairs`: tables and parquet, several texts an image, and what is refused."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from job.fit import misfit, stated_misfit
from job.spec import DATA_MODELS, JobSpec
from search_space.inputs import PairInput
from search_space.plugins import load_family
from supernet.data import DataError, load_dataset
from supernet.data.sources.pairs import example
from supernet.data.sources.pairs.options import PairsOptions
from supernet.methods.single.method import Single
from supernet.network import Supernet
from supernet.trainer import Trainer


def table(folder, rows, name="metadata.jsonl"):
    for row in rows:
        if "file_name" in row and not (folder / row["file_name"]).exists():
            number = int("".join(filter(str.isdigit, row["file_name"])) or 0)
            pixels = np.random.default_rng(number).integers(0, 255, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / row["file_name"])
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows))
    return {"path": str(folder), "size": 8, "length": 12, "validation_share": 0.25, "test_share": 0.25}


def numbered(count=8, **more):
    return [{"file_name": f"{n}.png", "text": f"number {n}", **more} for n in range(count)]


def texts_of(split):
    return ["".join(map(chr, row[row > 0])) for row in split.texts.numpy()]


def test_rows_of_one_image_are_one_image_with_all_their_texts(tmp_path):
    rows = [*numbered(), {"file_name": "3.png", "text": "again three"}]
    options = table(tmp_path, rows)
    data = load_dataset("pairs", 0, options)
    images = sum(len(split.stored) for split in data.splits.values())
    texts = [text for split in data.splits.values() for text in texts_of(split)]
    assert images == 8
    assert sorted(texts) == sorted(row["text"][:12] for row in rows)
    split = next(split for split in data.splits.values() if "again three" in texts_of(split))
    same = [texts_of(split).index(text) for text in ("number 3", "again three")]
    assert len(set(split.rows[same].tolist())) == 1
    assert len(set(split.y[same, 0].tolist())) == 1
    assert data.inventory.used == 8


def test_a_list_of_texts_and_a_row_for_each_are_the_same_data(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    lists = [{"file_name": f"{n}.png", "text": [f"one {n}", f"two {n}"]} for n in range(8)]
    each = [{"file_name": row["file_name"], "text": text} for row in lists for text in row["text"]]
    first, second = (
        load_dataset("pairs", 0, table(tmp_path / name, rows)) for name, rows in (("a", lists), ("b", each))
    )
    for name, split in first.splits.items():
        assert torch.equal(split.texts, second.splits[name].texts)
        assert torch.equal(split.stored, second.splits[name].stored)


def test_texts_of_the_same_tokens_are_one_text(tmp_path):
    data = load_dataset(
        "pairs", 0, table(tmp_path, [{**row, "text": f"kind {n % 2}"} for n, row in enumerate(numbered())])
    )
    assert len(data.train.y[:, 1].unique()) == 2 < len(data.train)
    assert any("2 of them different" in remark for remark in data.inventory.remarks)


def test_images_may_lie_in_a_parquet_file(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    def png(n):
        out = io.BytesIO()
        Image.fromarray(np.random.default_rng(n).integers(0, 255, (10, 10, 3), dtype=np.uint8)).save(out, "PNG")
        return {"bytes": out.getvalue(), "path": None}

    for part, count in (("train", 8), ("test", 4)):
        images = [png(n) for n in range(count)]
        pq.write_table(
            pa.table({"image": images, "caption": [[f"{part} {n}"] for n in range(count)]}),
            tmp_path / f"{part}.parquet",
        )
    data = load_dataset("pairs", 0, {"path": str(tmp_path), "size": 8, "length": 12, "validation_share": 0.25})
    assert sorted(texts_of(data.test)) == [f"test {n}" for n in range(4)]
    assert (len(data.train), len(data.validation)) == (6, 2)


def test_texts_are_written_in_small_letters_where_that_is_asked(tmp_path):
    options = table(tmp_path, [{**row, "text": row["text"].upper()} for row in numbered()])
    assert all(text.isupper() or "NUMBER" in text for text in texts_of(load_dataset("pairs", 0, options).train))
    assert all("number" in text for text in texts_of(load_dataset("pairs", 0, {**options, "lower_case": True}).train))


def test_classes_have_every_template(tmp_path):
    options = table(tmp_path, [{**row, "kind": "cat" if n % 2 else "dog"} for n, row in enumerate(numbered())])
    data = load_dataset("pairs", 0, {**options, "label": "kind", "templates": "a {}\n\nthe {}, seen"})
    prompts = data.test.prompts
    assert ["".join(map(chr, row[row > 0])) for row in prompts.texts.numpy()] == [
        "a cat",
        "the cat, see",
        "a dog",
        "the dog, see",
    ]
    assert prompts.classes.tolist() == [0, 0, 1, 1]
    assert len(prompts.labels) == len(data.test)


def test_the_end_of_texts_is_known_where_all_have_it(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {"[PAD]": 0, "[END]": 1, "number": 2, "[UNK]": 3, **{str(n): n + 4 for n in range(8)}}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A [END]", special_tokens=[("[END]", 1)])
    folder = tmp_path / "tokenizer"
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", eos_token="[END]").save_pretrained(folder)
    (tmp_path / "data").mkdir()
    options = table(tmp_path / "data", numbered())
    with_end = load_dataset("pairs", 0, {**options, "tokenizer": str(folder)}).gives
    assert with_end == PairInput(3, 8, 12, 12, 12, end=1)
    assert load_dataset("pairs", 0, options).gives.end is None
    reads = {"image_size": 8, "patch_size": 4, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    text = {"vocab_size": 12, "hidden_size": 16, "num_attention_heads": 2, "max_position_embeddings": 12}
    for end, said in ((1, None), (2, "end with token 1, and the networks read up to token 2")):
        config = {
            "model_type": "clip",
            "vision_config": reads,
            "text_config": {**text, "eos_token_id": end + (end == 2)},
        }
        reason = misfit(load_family("two_tower", None, None, config), "pairs", with_end)
        assert (reason is None) == (said is None)
        if said is not None:
            assert "end with token 1, and the networks read up to token 3" in reason


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": ""}, r"1 of 8 rows of the train part of .* have no text, more than the allowed share of 0\.01"),
        ({"text": None}, "have no text"),
        ({"file_name": "/etc/hostname"}, "lies outside its folder"),
        ({"file_name": "../x.png"}, "lies outside its folder"),
        ({"file_name": ""}, "names no image in train row 1"),
    ],
)
def test_a_row_that_is_no_pair_is_refused(tmp_path, change, said):
    (tmp_path / "data").mkdir()
    options = table(tmp_path / "data", numbered())
    rows = numbered()
    rows[0] |= change
    (tmp_path / "data" / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(DataError, match=said):
        load_dataset("pairs", 0, options)


def test_few_rows_without_text_are_left_out_and_told(tmp_path):
    options = table(tmp_path, [*numbered(), {"file_name": "0.png", "text": " "}])
    data = load_dataset("pairs", 0, {**options, "corrupt_share": 0.2})
    assert [(one.why, one.count) for one in data.inventory.left_out] == [("without text", 1)]


def test_an_image_of_two_classes_is_refused(tmp_path):
    rows = [*numbered(kind="cat"), {"file_name": "0.png", "text": "once more", "kind": "dog"}]
    with pytest.raises(DataError, match=r"gives image 0\.png two classes, cat and dog"):
        load_dataset("pairs", 0, {**table(tmp_path, rows), "label": "kind"})


def test_a_file_that_is_not_there_counts_as_a_broken_image(tmp_path):
    options = table(tmp_path, numbered())
    (tmp_path / "3.png").unlink()
    with pytest.raises(DataError, match="1 of 8 images"):
        load_dataset("pairs", 0, options)


@pytest.mark.parametrize(
    ("columns", "said"),
    [({"image": "nothing"}, "no column 'nothing'"), ({"text": "kind of"}, "no column 'kind of'")],
)
def test_a_column_that_is_not_there_is_named(tmp_path, columns, said):
    with pytest.raises(DataError, match=said):
        load_dataset("pairs", 0, {**table(tmp_path, numbered()), **columns})


def test_two_columns_of_text_want_a_name(tmp_path):
    with pytest.raises(DataError, match=r"columns text, caption that may be its text.*Name one in data\.text"):
        load_dataset("pairs", 0, table(tmp_path, numbered(caption="another")))


@pytest.mark.parametrize("templates", ["no name", "{} and {}", "a {}\nb"])
def test_a_template_without_a_place_for_the_name_is_refused(templates):
    with pytest.raises(ValueError, match=r"must have one \{\} in place"):
        PairsOptions(path="x", templates=templates)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"size": 64, "length": 64}, "data.size is 64"),
        ({"size": 32, "length": 65}, "data.length is 65; choose at most 64"),
        ({"size": 32, "length": 40}, "read the last of 64 places"),
        ({"size": 32, "length": 64, "channels": 1}, "data.channels is 1; choose 3"),
    ],
)
def test_sizes_that_networks_do_not_take_are_refused_before_anything_is_read(words, said):
    data = DATA_MODELS["pairs"].model_validate({"source": "pairs", "path": "/nowhere", **words})
    assert said in stated_misfit(load_family("two_tower", "cifar"), data)


def test_texts_that_no_token_ends_are_refused_before_anything_is_read():
    space = load_family("two_tower", "beit3_base_patch16_384")
    words = {"source": "pairs", "path": "/nowhere", "size": 384, "length": 64}
    bare = DATA_MODELS["pairs"].model_validate(words)
    assert "are bytes, which no token ends, and the networks read up to token 2" in stated_misfit(space, bare)
    named = DATA_MODELS["pairs"].model_validate({**words, "tokenizer": "/some/folder"})
    assert stated_misfit(space, named) is None


def test_data_of_another_kind_are_refused(tmp_path):
    space = load_family("two_tower", "cifar")
    data = DATA_MODELS["labelled_text"].model_validate({"source": "labelled_text", "path": "/nowhere"})
    assert "gives labelled text; choose another source" in stated_misfit(space, data)
    pairs = DATA_MODELS["pairs"].model_validate({"source": "pairs", "path": "/nowhere"})
    assert "gives pairs" in stated_misfit(load_family("bert", "tiny"), pairs)


@pytest.mark.parametrize("cut", [{"micro_batches": 2}, {"micro_batches": 4}])
def test_a_batch_of_pairs_is_not_cut(tmp_path, cut):
    data = load_dataset("pairs", 0, example.write(tmp_path))
    config = {"model_type": "siglip", "vision_config": {"image_size": 16, "patch_size": 8, **SMALL}}
    config["text_config"] = {"vocab_size": 256, "max_position_embeddings": 32, **SMALL}
    training = JobSpec.model_validate(
        {"training": {"epochs": 1, "batch_size": 8, "lr_decay_epochs": 1, **cut}}
    ).training
    with pytest.raises(ValueError, match="a batch that is cut is another loss"):
        Trainer(Supernet(load_family("two_tower", None, None, config)), Single(), data.train, training, 0)


SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"objectives": [{"metric": "accuracy"}]}, "no accuracy; ask for recall_at_1"),
        ({"objectives": [{"metric": "kl_divergence"}]}, "no kl_divergence"),
        ({"objectives": [{"metric": "zero_shot_accuracy"}]}, "needs classes of images"),
        ({"training": {"augmentation": {"mixup": 0.2}, "options": {"label_smoothing": 0.0}}}, "cannot be mixed"),
        ({}, r"label_smoothing is 0\.1, but the sigmoid loss of pairs has no label smoothing: set"),
    ],
)
def test_a_job_that_pairs_cannot_honour_is_refused(parts, said):
    job = {"supernet": {"family": "two_tower", "preset": "cifar"}, "objectives": [{"metric": "recall_at_1"}]}
    job["data"] = {"source": "pairs", "path": "/nowhere", "size": 32, "length": 64}
    with pytest.raises(ValueError, match=said):
        JobSpec.model_validate({**job, **parts})


def test_recall_of_data_without_texts_is_refused():
    with pytest.raises(ValueError, match="no recall_at_1; ask for accuracy"):
        JobSpec.model_validate({"objectives": [{"metric": "recall_at_1"}]})
