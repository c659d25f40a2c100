"""Images that do not fit in memory: decoded once, whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from supernet.data import DataError, Decoding, load_dataset
from supernet.data import decoding as decoding_module
from supernet.data.image_sets import Draft, ImageSets
from supernet.data.images import Decoder
from tests.supernet.on_disk import same, sets_in
from tests.tiny_data import grey_images, picture

# --- decoded once -----------------------------------------------------------------------------------


def test_another_seed_share_or_limit_decodes_nothing(tmp_path, decoding, short, decoded):
    options = grey_images(tmp_path / "source")
    first = load_dataset("images", 0, options, decoding)
    assert len(decoded) == 120
    others = [
        load_dataset("images", 1, options, decoding),
        load_dataset("images", 0, {**options, "validation_share": 0.5, "limit": 60}, decoding),
    ]
    assert len(decoded) == 120
    assert all(torch.equal(other.test.stored[:], first.test.stored[:]) for other in others)
    assert len(sets_in(decoding)) == 1


def test_a_file_that_changed_and_another_size_are_decoded_anew(tmp_path, decoding, short, decoded):
    options = grey_images(tmp_path / "source")
    before = load_dataset("images", 0, options, decoding)
    changed = tmp_path / "source" / "class3" / "4.png"
    picture(0, 999, (8, 8)).save(changed)
    os.utime(changed, ns=(1, 1))
    after = load_dataset("images", 0, options, decoding)
    assert len(decoded) == 240
    differing = sum(
        not torch.equal(one, other)
        for name in before.splits
        for one, other in zip(before.splits[name].stored[:], after.splits[name].stored[:], strict=True)
    )
    assert differing == 1
    load_dataset("images", 0, {**options, "size": 10}, decoding)
    assert len(decoded) == 360


def test_files_that_a_table_only_names_belong_to_what_it_is(tmp_path, decoding, short, decoded):
    import datasets
    from pyarrow import Table, parquet, struct, table  # noqa: F401

    paths = []
    for i in range(30):
        path = tmp_path / f"{i}.png"
        picture(i % 3, i).save(path)
        paths.append(str(path))
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    rows = {"image": [{"bytes": None, "path": path} for path in paths], "label": [i % 3 for i in range(30)]}
    parquet.write_table(datasets.Dataset.from_dict(rows, features=features).data.table, tmp_path / "rows.parquet")
    options = {"path": str(tmp_path / "rows.parquet"), "image": "image", "size": 16, "validation_share": 0.2}
    for count in (30, 30):
        load_dataset("huggingface", 0, options, decoding)
        assert len(decoded) == count
    os.utime(paths[7], ns=(1, 1))
    load_dataset("huggingface", 0, options, decoding)
    assert len(decoded) == 60


def test_of_two_that_want_the_same_images_one_decodes_and_the_other_waits(tmp_path, decoding, short, monkeypatch):
    options, original, decoded, told = grey_images(tmp_path / "source"), Decoder.decode, [], []

    def slowly(self, content):
        time.sleep(0.01)
        decoded.append(content)
        return original(self, content)

    monkeypatch.setattr(Decoder, "decode", slowly)
    monkeypatch.setattr(decoding_module, "LOOK_SECONDS", 0.02)
    shares: list[float] = []
    first = replace(decoding, tell=told.append)
    second = replace(first, progress=shares.append)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda how: load_dataset("images", 0, options, how), (first, second))
    same(one, other)
    assert len(decoded) == 120
    assert sorted(said[:3] for said in told) == ["120", "Ano"]  # decoded once; another process decodes
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1


def test_who_waits_hears_how_far_the_other_is_and_may_leave(tmp_path, decoding, short, monkeypatch):
    options, go_on, begun, original = (
        grey_images(tmp_path / "source"),
        threading.Event(),
        threading.Event(),
        Decoder.decode,
    )

    def held(self, content):
        begun.set()
        assert go_on.wait(60)
        return original(self, content)

    def leave(share):
        raise KeyboardInterrupt

    monkeypatch.setattr(Decoder, "decode", held)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(load_dataset, "images", 0, options, decoding)
        assert begun.wait(60)
        with pytest.raises(KeyboardInterrupt):
            load_dataset("images", 0, options, replace(decoding, progress=leave))
        go_on.set()
        assert len(other.result().train) == 80


# --- whole or not at all ----------------------------------------------------------------------------

KILLED = """
import os, sys, time
from supernet.data import Decoding, load_dataset
from supernet.data import decoding
from supernet.data.images import Decoder
decoding.MEMORY_SHARE, original, count = 0.0, Decoder.decode, 0
def decode(self, content):
    global count
    count += 1
    if count > 60:
        os.write(1, b".")
        time.sleep(60)
    return original(self, content)
Decoder.decode = decode
load_dataset("images", 0, eval(sys.argv[1]), Decoding(__import__("pathlib").Path(sys.argv[2])))
"""


@pytest.mark.thorough
def test_what_a_killed_process_leaves_is_not_used_and_goes(tmp_path, decoding, short, decoded):
    options = grey_images(tmp_path / "source")
    command = [sys.executable, "-c", KILLED, repr(options), str(decoding.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.read(1) == b"."
        child.send_signal(signal.SIGKILL)
    (left,) = sets_in(decoding)
    assert left.name.endswith(".draft")
    found = load_dataset("images", 0, options, decoding)
    assert len(decoded) == 120
    assert left not in sets_in(decoding)
    assert len(found.train) + len(found.validation) + len(found.test) == 120


@pytest.mark.thorough
def test_what_a_killed_process_leaves_of_other_images_goes_too(tmp_path, decoding, short):
    draft = tmp_path / "datasets" / f".{'0' * 32}.abcd.draft"
    draft.mkdir(parents=True)
    (draft / "images.bin").write_bytes(b"much")
    load_dataset("images", 0, grey_images(tmp_path / "source"), decoding)
    assert [path.name.startswith(".") for path in sets_in(decoding)] == [False]


@pytest.mark.parametrize("damage", ["images.bin", "labels.npy", "moments.npy", "facts.json", "no facts"])
def test_a_damaged_set_is_decoded_anew(tmp_path, decoding, short, decoded, damage):
    options = grey_images(tmp_path / "source")
    expected = load_dataset("images", 0, options, decoding).test.stored[:]
    (there,) = sets_in(decoding)
    if damage == "no facts":
        (there / "facts.json").unlink()
    else:
        content = (there / damage).read_bytes()
        (there / damage).write_bytes(content[:-10])
    again = load_dataset("images", 0, options, decoding)
    assert len(decoded) == 240
    assert torch.equal(again.test.stored[:], expected)
    assert sets_in(decoding) == [there]


def test_a_file_that_is_cut_short_while_it_is_used_is_an_error(tmp_path, decoding, short):
    data = load_dataset("images", 0, grey_images(tmp_path / "source"), decoding)
    (there,) = sets_in(decoding)
    os.truncate(there / "images.bin", 100)
    with pytest.raises(OSError, match=r"images.bin ends before image \d+: it was cut short"):
        data.train.batch(slice(0, 64))


@pytest.mark.parametrize("kind", ["disk", "auto"])
def test_an_interruption_leaves_nothing_behind(tmp_path, decoding, monkeypatch, kind):
    """In memory as well as on the disk, and long before the end."""
    options, shares = grey_images(tmp_path / "source"), []

    def interrupt(share):
        shares.append(share)
        if share > 0.2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_dataset("images", 0, {**options, "storage": kind}, replace(decoding, progress=interrupt))
    assert shares == sorted(shares)
    assert shares[-1] < 0.5
    assert not sets_in(decoding)


# --- the disk ---------------------------------------------------------------------------------------


def test_a_disk_that_is_too_small_is_known_before_anything_is_decoded(tmp_path, decoding, short, decoded, monkeypatch):
    options = grey_images(tmp_path / "source")
    usage = type("usage", (), {"free": 100})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(
        OSError, match=r"No room on the disk of .* images of source: they take 10,560 bytes and 100"
    ) as (raised):
        load_dataset("images", 0, options, decoding)
    assert raised.value.errno == errno.ENOSPC
    assert not decoded
    assert not sets_in(decoding)


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path, decoding, short, monkeypatch):
    options, original, count = grey_images(tmp_path / "source"), Draft.add, []

    def full(self, *image):
        count.append(image)
        if len(count) == 50:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, *image)

    monkeypatch.setattr(Draft, "add", full)
    with pytest.raises(OSError, match="No room on the disk of"):
        load_dataset("images", 0, options, decoding)
    assert not sets_in(decoding)
    monkeypatch.undo()
    assert load_dataset("images", 0, {**options, "storage": "disk"}, decoding)


def test_sets_used_least_recently_make_room_and_those_in_use_stay(tmp_path, short):
    """Of 120 images of 8 pixels a set takes 11 kB, of 9 pixels 13 kB, of 7 pixels 9 kB: two fit into 27 kB."""
    options = grey_images(tmp_path / "source")
    decoding = Decoding(tmp_path / "datasets", most_bytes=27_000)
    used = load_dataset("images", 0, options, decoding)
    (first,) = sets_in(decoding)
    with pytest.raises(OSError, match=r"jobs that run use [\d,]+ of the 27,000 that WINNOW_DATASETS_BYTES allows"):
        load_dataset("images", 0, {**options, "size": 13}, decoding)
    load_dataset("images", 0, {**options, "size": 9}, decoding)
    second = next(path for path in sets_in(decoding) if path != first)
    os.utime(first / "facts.json", (1, 1))
    load_dataset("images", 0, {**options, "size": 7}, decoding)  # the older one is in use: the other one goes
    assert first in sets_in(decoding)
    assert second not in sets_in(decoding)
    assert len(used.train.batch(slice(0, 4))) == 4
    del used
    load_dataset("images", 0, {**options, "size": 9}, decoding)
    assert first not in sets_in(decoding)
    with pytest.raises(DataError, match=r"WINNOW_DATASETS_BYTES allows 0\.0 GB. Choose a smaller data.size"):
        load_dataset("images", 0, {**options, "size": 64}, decoding)


def test_a_full_disk_takes_sets_that_nobody_uses_before_it_stops_a_job(tmp_path, decoding, short, monkeypatch):
    options = grey_images(tmp_path / "source")
    load_dataset("images", 0, options, decoding)
    (first,) = sets_in(decoding)

    def usage(path):
        return type("usage", (), {"free": 100 if first.is_dir() else 10**9})

    monkeypatch.setattr("shutil.disk_usage", usage)
    load_dataset("images", 0, {**options, "size": 9}, decoding)
    assert first not in sets_in(decoding)


def test_sets_that_nobody_has_are_none(tmp_path):
    assert ImageSets(tmp_path / "nowhere").open("0" * 32) is None
