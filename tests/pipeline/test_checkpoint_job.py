"""Jobs that start from a checkpoint: what its folder says decides their numbers; what is missing is said or refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification, ViTConfig, ViTForImageClassification

from job.paths import POLICY, PathPolicy
from job.spec import JobSpec
from pipeline.check import check, said_of
from pipeline.materials import fresh_supernet, prepare_data
from pipeline.workshop import JobFailed
from supernet.data.text import class_names
from supernet.evaluate import accuracy
from supernet.network import extract
from tests.pipeline.bench import MemoryReporter
from tests.supernet.checkpoints import save
from tests.tiers import mostly_thorough

CPU = torch.device("cpu")
WORDS = ("good", "bad", "odd")


def bert(folder: Path, names: tuple[str, ...], **more: Any) -> Path:
    """A BERT of bytes whose first class is texts that begin with g, the second with b, the third with o: its pooler
    and classifier are set by hand, so that nothing is trained here."""
    numbered = dict(enumerate(names))
    labels = {"id2label": numbered, "label2id": {name: i for i, name in numbered.items()}} if names else {}
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(**{**sizes, "vocab_size": 256, "max_position_embeddings": 64, **labels, **more})
    torch.manual_seed(0)
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "encoder" in name and ("dense" in name or "self" in name):
                parameter.zero_()  # layers give what they get
        model.bert.embeddings.position_embeddings.weight.zero_()
        model.bert.pooler.dense.weight.copy_(torch.eye(32))
        firsts = torch.tensor([[ord(word[0])] for word in WORDS[: config.num_labels]])
        model.classifier.weight.copy_(model.bert(firsts).pooler_output)
        model.classifier.weight.div_(model.classifier.weight.norm(dim=1, keepdim=True))
    model.save_pretrained(folder)
    return folder


def texts(folder: Path, labels: dict[str, str], count: int = 60) -> Path:
    """Texts that begin with a word, and the label of that word."""
    words = list(labels)
    lines = [f"{words[i % len(words)]} film {i}\t{labels[words[i % len(words)]]}" for i in range(count)]
    path = folder / "lab.tsv"
    path.write_text("\n".join(lines))
    return path


def spec_of(checkpoint: Path, data: dict[str, Any], family: str, epochs: int = 0, **supernet: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "recipe": "sortednet",
            "supernet": {"family": family, "pretrained": str(checkpoint), **supernet},
            "data": data,
            "training": {"epochs": epochs, "batch_size": 8},
            "objectives": [{"metric": "accuracy"}, {"metric": "params"}],
            "search": {"algorithm": "random", "evaluations": 4},
        }
    )


def text_spec(checkpoint: Path, path: Path, epochs: int = 0, **supernet: Any) -> JobSpec:
    return spec_of(checkpoint, {"source": "labelled_text", "path": str(path), "length": 32}, "bert", epochs, **supernet)


def largest(spec: JobSpec):
    """The largest network before any training, and the job's data."""
    space = spec.supernet.space()
    data = prepare_data(spec, space, CPU)
    supernet = fresh_supernet(spec, space, data, CPU)
    return extract(supernet, space.largest()).eval(), data


def checked(spec: JobSpec) -> MemoryReporter:
    reporter = MemoryReporter()
    check(spec, spec.supernet.space(), reporter)
    return reporter


# --- names of classes -------------------------------------------------------------------------------------------

MATCHED = [
    (("pos", "neg"), {"good": "pos", "bad": "neg"}),
    (("neg", "pos"), {"good": "neg", "bad": "pos"}),
    (("POSITIVE", "Negative"), {"good": "positive", "bad": "negative"}),
    (("very_good", "Very bad"), {"good": "very-good", "bad": "very bad"}),
    (("c", "b", "a"), {"good": "c", "bad": "b", "odd": "a"}),
    (("c", "b", "a"), {"good": "c", "odd": "a"}),  # the data lack one
    ((), {"good": "0", "bad": "1"}),
    (("pos", "neg"), {"good": "0", "bad": "1"}),
]


@pytest.mark.parametrize(("names", "labels"), mostly_thorough(MATCHED, *MATCHED[1::4]))
def test_classes_have_the_numbers_of_the_checkpoint(names, labels, tmp_path):
    spec = text_spec(bert(tmp_path / "ck", names), texts(tmp_path, labels))
    network, data = largest(spec)
    assert accuracy(network, data.train) == accuracy(network, data.test) == 1.0
    first = next(iter(labels.values()))
    assert data.preprocessing["labels"][0] == first
    assert any("numbers" in text for text in checked(spec).messages)


UNMATCHED = [
    ((), {"good": "pos", "bad": "neg"}),
    (("yes", "no"), {"good": "pos", "bad": "neg"}),
    (("pos", "no"), {"good": "pos", "bad": "neg"}),
    (("pos", "neg"), {"good": "1", "bad": "2"}),
    (("pos", "POS"), {"good": "Pos", "bad": "pOS"}),
]


@pytest.mark.parametrize(("names", "labels"), mostly_thorough(UNMATCHED, UNMATCHED[2]))
def test_classes_that_cannot_be_matched_are_refused_untrained_and_said_otherwise(names, labels, tmp_path):
    checkpoint, path = bert(tmp_path / "ck", names), texts(tmp_path, labels)
    for work in (lambda spec: checked(spec), largest):
        with pytest.raises(JobFailed, match=r"cannot be matched.*epochs is 0.*supernet.labels"):
            work(text_spec(checkpoint, path))
    _, data = largest(text_spec(checkpoint, path, epochs=1))
    assert "cannot be matched" in data.notes[-1]


def test_the_user_may_name_the_checkpoints_classes(tmp_path):
    checkpoint, path = bert(tmp_path / "ck", ()), texts(tmp_path, {"good": "pos", "bad": "neg"})
    network, data = largest(text_spec(checkpoint, path, labels=["pos", "neg"]))
    assert accuracy(network, data.test) == 1.0
    with pytest.raises(ValidationError, match=r"supernet.labels has 3 different names; .* has 2 classes"):
        text_spec(checkpoint, path, labels=["pos", "neg", "odd"])


def test_a_new_classifier_has_the_datas_own_order(tmp_path):
    spec = text_spec(bert(tmp_path / "ck", ("c", "b", "a")), texts(tmp_path, {"good": "y", "bad": "x"}), 1, classes=2)
    _, data = largest(spec)
    assert data.preprocessing["labels"] == ["x", "y"]
    assert data.notes == ()


def test_words_of_one_number_have_the_same_order_in_every_process():
    """That of a set of words differs from process to process."""
    words = ["0" * zeros + str(number) for number in (10, 9, 2) for zeros in range(12)]
    assert class_names(words) == tuple(sorted(words, key=lambda word: (int(word), word)))


def test_labels_that_contradict_each_other_are_refused(tmp_path):
    checkpoint = bert(tmp_path / "ck", ("pos", "neg"))
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "label2id": {"pos": 1, "neg": 0}}))
    with pytest.raises(ValidationError, match="says two things: id2label calls class 0 'pos'"):
        text_spec(checkpoint, tmp_path / "lab.tsv")


def test_classes_of_a_table_are_matched_as_those_of_a_folder(tmp_path):
    import datasets

    label = datasets.ClassLabel(names=["zero", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": label})
    rows = {"text": [f"{WORDS[i % 2]} film {i}" for i in range(60)], "label": [(i + 1) % 2 for i in range(60)]}
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features)}).save_to_disk(str(tmp_path / "set"))
    data = {"source": "huggingface", "path": str(tmp_path / "set"), "length": 32}
    network, found = largest(spec_of(bert(tmp_path / "ck", ("pos", "zero")), data, "bert"))
    assert accuracy(network, found.train) == 1.0


# --- images -----------------------------------------------------------------------------------------------------

# A checkpoint that calls dark squares `night` and bright ones `day`, by the sign of standardised pixels.
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 8, "width": 8},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5],
    "image_std": [0.25],
}


def vit(folder: Path, processor: dict[str, Any] | None) -> Path:
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4,
        num_channels=1, id2label={0: "night", 1: "day"}, label2id={"night": 0, "day": 1},
    )  # fmt: skip
    save(ViTForImageClassification, config, folder)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def pictures(folder: Path, size: tuple[int, int] = (8, 8)) -> Path:
    noise = np.random.default_rng(0)
    for name, low in (("day", 150), ("night", 100)):
        (folder / name).mkdir(parents=True)
        for i in range(12):
            pixels = noise.integers(low, low + 40, (size[1], size[0]), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def vit_spec(checkpoint: Path, path: Path, epochs: int = 0) -> JobSpec:
    return spec_of(checkpoint, {"source": "images", "path": str(path), "size": 8, "channels": 1}, "vit", epochs)


PICTURES = [
    ({}, (8, 8)),
    ({}, (13, 21)),
    ({"resample": 3, "image_mean": [0.1], "image_std": [2.0]}, (30, 9)),
    ({"size": {"shortest_edge": 10}, "do_center_crop": True, "crop_size": {"height": 8, "width": 8}}, (21, 13)),
    ({"size": {"shortest_edge": 10}, "do_center_crop": True, "crop_size": {"height": 8, "width": 8}}, (13, 22)),
    ({"do_normalize": False}, (11, 11)),
    ({"do_rescale": False, "image_mean": [120.0], "image_std": [60.0]}, (11, 11)),
    ({"rescale_factor": 1 / 127.5}, (9, 9)),
    ({"do_resize": False}, (8, 8)),
]


@pytest.mark.parametrize(("change", "size"), mostly_thorough(PICTURES, *PICTURES[2:4]))
def test_pictures_are_prepared_as_transformers_prepares_them(change, size, tmp_path):
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    processor = {**PROCESSOR, **change}
    spec = vit_spec(vit(tmp_path / "ck", processor), pictures(tmp_path / "set", size))
    space = spec.supernet.space()
    data = prepare_data(spec, space, CPU)
    theirs = ViTImageProcessorPil(**{k: v for k, v in processor.items() if k != "image_processor_type"})
    files = [*sorted((tmp_path / "set" / "day").iterdir()), *sorted((tmp_path / "set" / "night").iterdir())]
    expected = []
    for file in files:
        pixels_CHW = np.asarray(Image.open(file))[None]
        made = theirs(pixels_CHW, input_data_format="channels_first")["pixel_values"][0]
        expected.append(torch.as_tensor(np.asarray(made)))
    stack = torch.stack(expected).float()
    for split in data.splits.values():
        for image in split.x:
            assert (stack - image).abs().amax((1, 2, 3)).min() < 1e-4
    assert data.preprocessing["labels"] == ["night", "day"]


def test_the_checkpoints_own_numbers_are_in_the_facts_that_exports_take(tmp_path):
    _, data = largest(vit_spec(vit(tmp_path / "ck", PROCESSOR), pictures(tmp_path / "set", (20, 10))))
    assert data.preprocessing["mean"] == pytest.approx([127.5])
    assert data.preprocessing["std"] == pytest.approx([63.75])
    assert data.preprocessing["resize"] == "both sides resized to 8 pixels (bilinear)"


def test_a_checkpoints_preprocessing_excludes_a_size_of_ones_own(tmp_path):
    job = vit_spec(vit(tmp_path / "ck", PROCESSOR), pictures(tmp_path / "set")).model_dump(mode="json")
    with pytest.raises(ValueError, match=r"Got data\.resize, but images are prepared as the checkpoint's own"):
        JobSpec.model_validate({**job, "data": {**job["data"], "resize": 16}})


def test_a_checkpoint_without_its_preprocessing_says_so(tmp_path):
    spec = vit_spec(vit(tmp_path / "ck", None), pictures(tmp_path / "set"))
    assert "has no preprocessor_config.json" in checked(spec).messages[0]
    _, data = largest(spec)
    assert data.preprocessing["mean"] != pytest.approx([127.5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": {"height": 16, "width": 16}}, "gives images of 16 pixels, and config.json has an image_size of 8"),
        ({"size": {"height": 8, "width": 9}}, "'size' as the side of a square"),
        ({"size": {"shortest_edge": 8}}, "cuts no square out"),
        ({"image_mean": [0.5, 0.5, 0.5]}, "'image_mean' as 1 numbers, one for each channel"),
        ({"image_std": [0]}, "'image_std' as 1 numbers"),
        ({"rescale_factor": "1/255"}, "'rescale_factor' as a number above 0"),
        ({"do_pad": True}, "asks for do_pad, which is not supported"),
        ({"resample": 9}, "has resample 9"),
        ({"do_normalize": "no"}, "'do_normalize' as true or false"),
        ({"image_processor_type": "OtherProcessor", "image_mean": None}, "has no 'image_mean'"),
    ],
)
def test_preprocessing_that_cannot_be_honoured_is_refused_at_submission(change, message, tmp_path):
    checkpoint = vit(tmp_path / "ck", {**PROCESSOR, **change})
    with pytest.raises(ValidationError, match=message):
        vit_spec(checkpoint, tmp_path)


# --- the first stage ---------------------------------------------------------------------------------------------


def test_what_is_fresh_and_what_is_dropped_is_said(tmp_path):
    checkpoint, path = bert(tmp_path / "ck", ("c", "b", "a")), texts(tmp_path, {"good": "y", "bad": "x"})
    spec = text_spec(checkpoint, path, 1, classes=2)
    said = checked(spec).messages
    assert any("lacks classifier.bias, classifier.weight: " in text for text in said)
    assert any(text == "Not used of the checkpoint: classifier.bias, classifier.weight." for text in said)
    own = text_spec(bert(tmp_path / "own", ("y", "x")), path)
    assert ("info", "Every tensor of the checkpoint is used, and none starts fresh.") in said_of(own)


def test_a_fresh_classifier_is_not_scored_untrained(tmp_path):
    checkpoint = bert(tmp_path / "ck", ("c", "b", "a"))
    with pytest.raises(ValidationError, match=r"epochs is 0, but the checkpoint gives no values for classifier.bias"):
        text_spec(checkpoint, tmp_path / "lab.tsv", classes=2)


def failed(spec: JobSpec, message: str) -> None:
    reporter = MemoryReporter()
    with pytest.raises(JobFailed, match=message):
        check(spec, spec.supernet.space(), reporter)
    assert reporter.events("stage") == [{"stage": "check", "done": 0.0}]


def test_what_is_known_at_the_start_fails_in_the_first_stage(tmp_path, monkeypatch):
    monkeypatch.setattr("supernet.data.text.Split", None)  # whoever tokenizes would need it
    checkpoint, path = bert(tmp_path / "ck", ("pos", "neg")), texts(tmp_path, {"good": "pos", "bad": "neg"})
    data = {"source": "labelled_text", "path": str(path)}
    failed(spec_of(checkpoint, {**data, "length": 65}, "bert", 1), "65 tokens at a time, but .* 64 positions")
    gone = {**data, "length": 16, "tokenizer": str(tmp_path / "none")}
    failed(spec_of(checkpoint, gone, "bert", 1), "no tokenizer can be loaded")
    three = texts(tmp_path, {"good": "pos", "bad": "neg", "odd": "other"})
    failed(text_spec(checkpoint, three, 1), r"has 2 classes, but .* gives 3 \(neg, other, pos\)")
    small = bert(tmp_path / "small", (), vocab_size=200)
    failed(text_spec(small, path, 1), "its token ids go up to 255")
    large = bert(tmp_path / "large", (), vocab_size=2000)
    failed(text_spec(large, path, 1), "has 256 tokens, but the checkpoint was trained with 2000")
    bare = bert(tmp_path / "bare", ("pos", "neg"))
    config = json.loads((bare / "config.json").read_text())
    (bare / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    tensors = load_file(bare / "model.safetensors")
    save_file({name: value for name, value in tensors.items() if "classifier" not in name}, bare / "model.safetensors")
    failed(text_spec(bare, path, 1), "no classes: set supernet.classes to 3")


def test_a_damaged_weight_fails_in_the_first_stage(tmp_path):
    checkpoint, path = bert(tmp_path / "ck", ("pos", "neg")), texts(tmp_path, {"good": "pos", "bad": "neg"})
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["bert.pooler.dense.weight"][0, 0] = float("inf")
    save_file(tensors, checkpoint / "model.safetensors")
    failed(text_spec(checkpoint, path), "Tensor 'bert.pooler.dense.weight' of .* holds infinity")


def test_a_folder_that_changed_since_is_refused(tmp_path):
    checkpoint, path = bert(tmp_path / "ck", ("pos", "neg")), texts(tmp_path, {"good": "pos", "bad": "neg"})
    spec = text_spec(checkpoint, path)
    bert(tmp_path / "ck", ("neg", "pos"))
    failed(spec, "has another config.json than when the job was submitted")


def test_a_source_that_does_not_tell_its_classes_is_not_read_twice(tmp_path, monkeypatch):
    checkpoint, path = bert(tmp_path / "ck", ("pos", "neg")), texts(tmp_path, {"good": "a", "bad": "b", "odd": "c"})
    spec = text_spec(checkpoint, path, 1)
    with pytest.raises(JobFailed, match="gives 3"):
        checked(spec)
    monkeypatch.setattr(type(spec.data), "tells_classes", False)
    monkeypatch.setattr("pipeline.check.load_dataset", lambda *_: pytest.fail("it was read"))
    checked(spec)


def test_files_that_are_not_open_are_refused_before_any_is_read(tmp_path, monkeypatch):
    """A folder that has got a link since the job was submitted is refused by the first stage, which reads first."""
    checkpoint, table = bert(tmp_path / "bert", ("no", "yes")), texts(tmp_path, {"bad": "no", "good": "yes"})
    spec = text_spec(checkpoint, table)
    (checkpoint / "secret.json").symlink_to("/etc/passwd")
    monkeypatch.setattr("pipeline.check.read_checkpoints", lambda _: pytest.fail("it was read"))
    token = POLICY.set(PathPolicy((tmp_path.resolve(),)))
    try:
        failed(spec, "leads out of what is open")
    finally:
        POLICY.reset(token)
