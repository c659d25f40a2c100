"""A corpus of hostile archives, and types that are seen through."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from service import unpacking
from service.unpacking import Unacceptable, sniff, unpack

PLAIN = {"train/cats/a.png": b"\x89PNG cat", "train/dogs/b.png": b"\x89PNG dog", "readme.txt": b"pets"}


def tarred(path: Path, members: list[tarfile.TarInfo | tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zipped(path: Path, members: list[tuple[zipfile.ZipInfo | str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def link_in_zip(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info, target.encode()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_plain_archive_comes_out_as_it_is(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "sent"
    if kind == "zip":
        zipped(file, list(PLAIN.items()))
    else:
        tarred(file, [special("train", tarfile.DIRTYPE), *PLAIN.items()], "w:gz" if kind == "tar.gz" else "w")
    assert sniff(file) == kind
    unpack(file, kind, tmp_path / "out")  # type: ignore[arg-type]
    found = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == PLAIN


HOSTILE_TAR: dict[str, Callable[[], list[tarfile.TarInfo | tuple[str, bytes]]]] = {
    "above": lambda: [("../../evil", b"x")],
    "above, later": lambda: [("a/../../evil", b"x")],
    "absolute": lambda: [("/tmp/evil", b"x")],
    "backslash": lambda: [("..\\evil", b"x")],
    "newline": lambda: [("a\nb", b"x")],
    "link": lambda: [special("passwd", tarfile.SYMTYPE, "/etc/passwd")],
    "link, then through it": lambda: [special("d", tarfile.SYMTYPE, "/tmp"), ("d/evil", b"x")],
    "link within": lambda: [("a", b"x"), special("b", tarfile.SYMTYPE, "a")],
    "hard link": lambda: [special("passwd", tarfile.LNKTYPE, "/etc/passwd")],
    "pipe": lambda: [special("pipe", tarfile.FIFOTYPE)],
    "device": lambda: [special("zero", tarfile.CHRTYPE)],
    "twice": lambda: [("a", b"x"), ("a", b"y")],
    "a file as a folder": lambda: [("a", b"x"), ("a/b", b"y")],
    "deep": lambda: [("/".join("d" * 40), b"x")],
    "long": lambda: [("x" * 300, b"x")],
}


@pytest.mark.parametrize("name", HOSTILE_TAR)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_hostile_tars_are_refused_and_leave_nothing(tmp_path: Path, name: str, mode: str) -> None:
    file = tarred(tmp_path / "sent", [("fine.txt", b"fine"), *HOSTILE_TAR[name]()], mode)
    with pytest.raises(Unacceptable):
        unpack(file, "tar.gz" if mode == "w:gz" else "tar", tmp_path / "deep" / "out")
    assert [p.name for p in tmp_path.rglob("*")] in (["deep", "sent"], ["sent", "deep"])


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", b"x")],
        [("/tmp/evil", b"x")],
        [link_in_zip("passwd", "/etc/passwd")],
        [("a", b"x"), ("a", b"y")],
        [("a", b"x"), ("a/b", b"y")],
        [("a\\..\\b", b"x")],
    ],
    ids=["above", "absolute", "link", "twice", "file as folder", "backslash"],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_zips_are_refused(tmp_path: Path, members: list[tuple[zipfile.ZipInfo | str, bytes]]) -> None:
    file = zipped(tmp_path / "sent", members)
    with pytest.raises(Unacceptable):
        unpack(file, "zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bombs_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "SMALL_BYTES", 1_000_000)
    zeros = b"\0" * 20_000_000
    for file, kind in (
        (zipped(tmp_path / "a", [("zeros", zeros)]), "zip"),
        (tarred(tmp_path / "b", [("zeros", zeros)], "w:gz"), "tar.gz"),
    ):
        with pytest.raises(Unacceptable, match="times as large"):
            unpack(file, kind, tmp_path / "out")  # type: ignore[arg-type]
        assert not (tmp_path / "out").exists()
    # A header that says of itself that it is huge is not read into memory.
    huge = tarfile.TarInfo("pax")
    huge.type, huge.size = tarfile.XHDTYPE, 1 << 34
    (tmp_path / "c").write_bytes(huge.tobuf(tarfile.GNU_FORMAT) + zeros)
    with pytest.raises(Unacceptable):
        unpack(tmp_path / "c", "tar", tmp_path / "out")
    monkeypatch.setattr(unpacking, "MAX_ENTRIES", 2)
    many = unpacking._Budget(1000, 2)
    for name in "ab":
        many.entry(name)
    with pytest.raises(Unacceptable, match="more than"):
        many.entry("c")


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b[:600] + bytes(64) + b[664:], lambda b: b[:30]]
)
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_damaged_archives_are_refused(tmp_path: Path, kind: str, damage: Callable[[bytes], bytes]) -> None:
    import random

    noise = random.Random(0).randbytes(5000)
    file = tmp_path / "sent"
    if kind == "zip":
        zipped(file, [("noise", noise)])
    else:
        tarred(file, [("noise", noise)], "w:gz")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(Unacceptable):
        unpack(file, sniff(file), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"PAR1....PAR1", "parquet"),
        ("na\u00efve text\n".encode() * 10_000, "text"),
        (gzip.compress(b"a\tb\n", mtime=0), "gz"),
        (b"\x80\x04\x95pickle", None),
        (b"\x7fELF\x02", None),
        (b"MZ\x90\x00", None),
        (b"", None),
        ("text".encode("utf-16"), None),
        (b"\x1f\x8bno gzip", None),
    ],
)
def test_types_are_seen_by_what_a_file_holds(tmp_path: Path, content: bytes, kind: str | None) -> None:
    (tmp_path / "data.png").write_bytes(content)
    if kind is None:
        with pytest.raises(Unacceptable):
            sniff(tmp_path / "data.png")
    else:
        assert sniff(tmp_path / "data.png") == kind
