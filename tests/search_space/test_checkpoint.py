"""A checkpoint folder is read without torch; a bad one is refused with what is wrong and what to do."""

import json
import struct

import pytest

from search_space.checkpoint import CheckpointError, ConfigReader, Layout, Place, read_checkpoint, shares


def safetensors(path, tensors: dict[str, tuple[int, ...]], cut: int = 0) -> None:
    """A safetensors file of float32 zeros, written by hand, without its last `cut` bytes."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors.items():
        size = 4
        for n in shape:
            size *= n
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + bytes(offset)
    path.write_bytes(content[: len(content) - cut])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    safetensors(tmp_path / "model.safetensors", {"a": (2, 3), "b": (4,)})
    return tmp_path


def shard(folder, **files: dict[str, tuple[int, ...]]) -> None:
    (folder / "model.safetensors").unlink()
    names = {}
    for file, tensors in files.items():
        safetensors(folder / f"{file}.safetensors", tensors)
        names |= dict.fromkeys(tensors, f"{file}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def refused(folder, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(folder)


def test_configuration_and_tensors_are_read(folder):
    checkpoint = read_checkpoint(folder)
    assert checkpoint.config == {"model_type": "llama"}
    assert {name: stored.shape for name, stored in checkpoint.tensors.items()} == {"a": (2, 3), "b": (4,)}


def test_shards_are_read_together(folder):
    shard(folder, one={"a": (2, 3)}, two={"b": (4,)})
    checkpoint = read_checkpoint(folder)
    assert {name: stored.file for name, stored in checkpoint.tensors.items()} == {
        "a": "one.safetensors",
        "b": "two.safetensors",
    }


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    refused(tmp_path / "nowhere", "There is no checkpoint folder")


def test_a_file_is_not_a_folder(folder):
    refused(folder / "config.json", "There is no checkpoint folder")


def test_a_missing_configuration_is_refused(folder):
    (folder / "config.json").unlink()
    refused(folder, r"config.json is missing")


@pytest.mark.parametrize("text", ["{", "[1]", "\x00"])
def test_a_broken_configuration_is_refused(folder, text):
    (folder / "config.json").write_text(text)
    refused(folder, "not readable JSON|must hold a mapping")


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, "has no weights: expected model.safetensors")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt"])
def test_a_pickle_is_refused_with_the_command_that_converts_it(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"cos\nsystem\n")
    refused(folder, r"pickle.*can run any code.*from_pretrained\(.*save_pretrained\(.*-safetensors'\)")


@pytest.mark.parametrize("cut", [1, 39, 40, 60, 400])
def test_a_truncated_file_is_refused(folder, cut):
    safetensors(folder / "model.safetensors", {"a": (2, 3), "b": (4,)}, cut=cut)
    refused(folder, "truncated or damaged.*Copy it again")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        struct.pack("<Q", 10**15),
        struct.pack("<Q", 4) + b"nope",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 7) + b'{"a":1}',
    ],
)
def test_a_damaged_file_is_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    refused(folder, "truncated or damaged")


def test_a_missing_shard_is_named(folder):
    shard(folder, one={"a": (2, 3)}, two={"b": (4,)})
    (folder / "two.safetensors").unlink()
    refused(folder, r"names 'two.safetensors', which is missing \(1 of 2 files are\)")


def test_an_index_that_points_outside_of_its_folder_is_refused(folder):
    (folder / "model.safetensors").unlink()
    index = json.dumps({"weight_map": {"a": "../other/model.safetensors"}})
    (folder / "model.safetensors.index.json").write_text(index)
    refused(folder, "is not a file of its folder")


def test_an_index_without_files_is_refused(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("{}")
    refused(folder, "has no weight_map")


def test_a_tensor_in_two_shards_is_refused(folder):
    shard(folder, one={"a": (2, 3)}, two={"a": (2, 3), "b": (4,)})
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, "'a' of .* is in both one.safetensors and two.safetensors")


# --- layouts --------------------------------------------------------------------------------------------

LAYOUT = Layout(
    {"a": Place("s", "w", (2, 3)), "b": Place("s", "v", (1, 4, 1)), "c": Place("h", "w", (5,), optional=True)},
    droppable=("old.*",),
)


def test_a_layout_says_what_is_loaded_and_what_stays_fresh(folder):
    matched = LAYOUT.match(read_checkpoint(folder))
    assert set(matched.loads) == {"a", "b"}
    assert matched.fresh == ("c",)
    assert matched.dropped == ()


def test_droppable_tensors_are_dropped_and_reported(folder):
    safetensors(folder / "model.safetensors", {"a": (2, 3), "b": (4,), "old.x": (1,), "c": (6,)})
    matched = LAYOUT.match(read_checkpoint(folder))
    assert matched.dropped == ("c", "old.x")
    assert matched.fresh == ("c",)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a": (2, 3)}, "lacks the tensor 'b'"),
        ({"a": (3, 2), "b": (4,)}, r"'a' of .* has shape \(3, 2\); its config.json asks for \(2, 3\)"),
        ({"a": (2, 3), "b": (4,), "z": (1,)}, "holds the tensor 'z'"),
        (
            {"b": (4,), **{f"z{i}": (1,) for i in range(5)}, "a": (2, 3)},
            r"holds 5 tensors \('z0', 'z1', 'z2', \.\.\.\)",
        ),
    ],
)
def test_tensors_that_do_not_match_are_named(folder, tensors, message):
    safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(CheckpointError, match=message):
        LAYOUT.match(read_checkpoint(folder))


# --- configurations -------------------------------------------------------------------------------------


def test_labels_are_counted_from_their_names():
    assert ConfigReader({"model_type": "m", "id2label": {"0": "a", "1": "b", "2": "c"}}, ("m",)).num_labels() == 3
    assert ConfigReader({"model_type": "m"}, ("m",)).num_labels() == 2


@pytest.mark.parametrize("value", [True, 1.5, "2", [2], -1, 0])
def test_what_is_not_a_whole_number_is_refused(value):
    with pytest.raises(CheckpointError, match="must give 'n' as a whole number of at least 1"):
        ConfigReader({"model_type": "m", "n": value}, ("m",)).whole("n")


@pytest.mark.parametrize(
    ("total", "quarters", "multiple", "expected"),
    [
        (11008, (1, 2, 3), 8, (2752, 5504, 8256, 11008)),
        (88, (1, 2, 3), 8, (24, 48, 64, 88)),
        (90, (2,), 8, (45, 90)),
        (12, (2, 3), 1, (6, 9, 12)),
        (1, (2, 3), 1, (1,)),
        (2, (2, 3), 1, (1, 2)),
    ],
)
def test_shares_are_quarters_in_round_numbers(total, quarters, multiple, expected):
    assert shares(total, quarters, multiple) == expected
