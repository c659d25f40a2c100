"""Which files a job may name: a corpus of hostile paths, and what is right about friendly ones."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from job.data_spec import DATA_MODELS
from job.paths import POLICY, PathPolicy, PathRefused, check_paths, named_paths
from job.spec import JobSpec
from plugins.options import NamesFile, Options, paths_of

SECRET = "root:x:0:0:secret"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A root with data, and beside it what is nobody's business."""
    root, outside, closed = (tmp_path / name for name in ("root", "outside", "root/service"))
    for folder in (root, outside, closed, root / ".ssh", root / "data", root / "data" / ".hidden"):
        folder.mkdir(parents=True, exist_ok=True)
    for file in (
        root / "data" / "a.txt",
        outside / "secret",
        closed / "admin.key",
        root / ".ssh" / "id",
        root / "b.txt",
    ):
        file.write_text(SECRET)
    (root / "out").symlink_to(outside)
    (root / "out-file").symlink_to(outside / "secret")
    (root / "chain").symlink_to(root / "out-file")
    (root / "loop").symlink_to(root / "loop")
    (root / "device").symlink_to("/dev/zero")
    (root / "proc").symlink_to("/proc/self/environ")
    (root / "within").symlink_to(root / "data")
    (root / "disguised").symlink_to(root / ".ssh")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture
def policy(machine: Path) -> PathPolicy:
    return PathPolicy((machine.resolve(),), (machine.resolve() / "service",))


HOSTILE = [
    "../outside/secret",
    "data/../../outside/secret",
    "./data/.././../outside/secret",
    "out/secret",
    "out",
    "out-file",
    "chain",
    "loop",
    "loop/x",
    "device",
    "proc",
    "pipe",
    ".ssh/id",
    ".ssh",
    "disguised/id",
    "data/.hidden",
    "service/admin.key",
    "service",
    "data/../service/admin.key",
    "within/../../outside/secret",
    "data/a.txt\0",
    "a" * 5000,
    "/".join("a" * 200 for _ in range(40)),
    "\udcff/../../outside/secret",
]


@pytest.mark.parametrize("place", HOSTILE, ids=lambda place: ascii(place)[:30])
def test_hostile_paths_are_refused_without_a_word_of_what_is_there(
    machine: Path, policy: PathPolicy, place: str
) -> None:
    if place.startswith(("a" * 200, "a/")):
        policy_or_nothing(policy, f"{machine}/{place}")
        return
    with pytest.raises(PathRefused) as refused:
        policy.check(f"{machine}/{place}", "data.path")
    assert SECRET not in str(refused.value)


def policy_or_nothing(policy: PathPolicy, text: str) -> None:
    """A name that is too long is refused or leads to nothing; it must not be another error."""
    try:
        assert not os.path.exists(policy.check(text, "data.path"))
    except PathRefused:
        return


@pytest.mark.parametrize(
    "text",
    [
        *("/etc/passwd", "/", "/proc/self/environ", "/dev/stdin", "//etc/passwd", "/etc/../etc/shadow", "~root/x", "~"),
        *("~nobody-of-this-name/x", "relative/path", "", ".", "file:///etc/passwd", "http://169.254.169.254/latest"),
        *("\\\\host\\share", "C:\\Windows", "s3://bucket/key", "$HOME/x", "{machine}x/y"),
    ],
)
def test_everything_outside_is_refused(machine: Path, policy: PathPolicy, text: str) -> None:
    with pytest.raises(PathRefused):
        policy.check(text.replace("{machine}", str(machine)), "data.path")


def test_what_is_there_and_what_is_not_are_refused_alike(machine: Path, policy: PathPolicy) -> None:
    outside = machine.parent / "outside"
    said = []
    for name in ("secret", "nothing", "secret/below"):
        with pytest.raises(PathRefused) as refused:
            policy.check(str(outside / name), "supernet.pretrained")
        said.append(str(refused.value).replace(str(outside / name), "X"))
    assert len(set(said)) == 1


def test_what_is_open_is_open(machine: Path, policy: PathPolicy) -> None:
    for place in ("data/a.txt", "data", "within/a.txt", "data/../b.txt", "not/yet", ""):
        assert policy.check(f"{machine}/{place}", "data.path").is_relative_to(machine.resolve())


def test_a_root_that_names_something_hidden_or_closed_opens_it(machine: Path) -> None:
    roots = tuple((machine / name).resolve() for name in ("", ".ssh", "service"))
    policy = PathPolicy(roots, ((machine / "service").resolve(),))
    for place in (".ssh/id", "service/admin.key", "disguised/id"):
        policy.check(f"{machine}/{place}", "data.path")


def test_no_root_says_which_setting_opens_one() -> None:
    with pytest.raises(PathRefused, match="WINNOW_DATA_ROOTS"):
        PathPolicy(()).check("/data/x", "data.path")


@pytest.mark.parametrize("kind", ["link out", "device", "pipe", "socket", "deep link"])
def test_a_folder_is_refused_for_what_lies_in_it(
    machine: Path, policy: PathPolicy, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = machine / "images" / "cats"
    folder.mkdir(parents=True)
    (folder / "fine.png").write_bytes(b"x")
    (folder / "also-fine.png").symlink_to(folder / "fine.png")
    policy.check_all(str(machine / "images"), "data.path")
    if kind == "link out":
        (folder / "x.png").symlink_to(machine.parent / "outside" / "secret")
    elif kind == "device":
        (folder / "x.png").symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(folder / "x.png")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            monkeypatch.chdir(folder)  # a socket's path is short
            bound.bind("x.png")
    else:
        (folder / "deep").mkdir()
        (folder / "deep" / "dogs").symlink_to("/etc")
    with pytest.raises(PathRefused, match=r"data.path: '(cats/)?(x.png|cats/x.png|cats/deep/dogs)'"):
        policy.check_all(str(machine / "images"), "data.path")


# --- jobs -------------------------------------------------------------------------------------------


@pytest.fixture
def under(policy: PathPolicy) -> Iterator[PathPolicy]:
    """The policy of whoever reads jobs."""
    token = POLICY.set(policy)
    yield policy
    POLICY.reset(token)


def spec(**parts: Any) -> JobSpec:
    return JobSpec.model_validate({"recipe": "llama-nas", **parts})


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"data": {"source": "text", "path": "/etc/passwd"}}, "data.path"),
        ({"data": {"source": "text", "path": "OPEN", "tokenizer": "/etc"}}, "data.tokenizer"),
        ({"data": {"source": "text", "path": "OPEN", "tokenizer": "gpt2"}}, "data.tokenizer"),
        ({"data": {"source": "huggingface", "path": "wikitext"}}, "data.path"),
        ({"data": {"source": "huggingface", "path": "../x"}}, "data.path"),
        (
            {"data": {"source": "text", "path": "OPEN"}, "scoring": {"tasks": [{"name": "q", "path": "/etc/passwd"}]}},
            "scoring.tasks q",
        ),
        (
            {
                "data": {"source": "text", "path": "OPEN"},
                "healing": {"data": {"source": "text", "path": "/etc/passwd"}},
            },
            "healing.data.path",
        ),
        (
            {"recipe": "proxylessnas", "gradient": {"targets": ["/etc/passwd"], "latency_weights": [0.1]}},
            "gradient.targets",
        ),
        (
            {
                "data": {"source": "text", "path": "OPEN"},
                # A client may write the configuration down itself, so that it is not read when the job is submitted.
                "supernet": {"family": "llama", "preset": "tiny", "pretrained": "/etc"},
            },
            "supernet.pretrained",
        ),
    ],
)
def test_every_path_of_a_job_is_checked(machine: Path, under: PathPolicy, parts: dict[str, Any], field: str) -> None:
    def opened(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: opened(one) for name, one in value.items()}
        return str(machine / "data" / "a.txt") if value == "OPEN" else value

    with pytest.raises(ValueError, match=field) as refused:
        check_paths(spec(**opened(parts)))
    assert SECRET not in str(refused.value)


def test_names_of_the_hub_are_for_installations_that_open_it(machine: Path, under: PathPolicy) -> None:
    job = spec(data={"source": "text", "path": str(machine / "b.txt"), "tokenizer": "gpt2"})
    with pytest.raises(PathRefused, match="WINNOW_HUB=on"):
        check_paths(job)
    token = POLICY.set(PathPolicy(under.roots, hub=True))
    check_paths(job)
    POLICY.reset(token)


def test_without_a_policy_files_are_the_users_own() -> None:
    check_paths(spec(data={"source": "text", "path": "/etc/passwd"}))


def test_no_field_that_names_a_file_is_forgotten() -> None:
    """Every field of a data source that may hold a path is one that is checked."""

    def texts(model: type[BaseModel]) -> set[str]:
        return {name for name, field in model.model_fields.items() if "str" in str(field.annotation)}

    known = {"path", "tokenizer"}
    # Names of columns, configurations and parts (which hold no separator): no files.
    words = {"source", "text", "label", "image", "config", "storage", "rows", "separator"}
    words |= {"messages", "prompt", "answer", "template", "templates"}
    words |= {"train_split", "validation_split", "test_split"}
    for source, model in DATA_MODELS.items():
        assert texts(model) <= known | words, f"{source} has a text that may be a path: check it in job/paths.py"
    job = spec(data={"source": "labelled_text", "path": "/a", "tokenizer": "/b"}, objectives=[{"metric": "accuracy"}])
    assert [field for field, _, _ in named_paths(job)] == ["data.path", "data.tokenizer"]


class Inner(Options):
    """A record within a record."""

    masks: Annotated[str, NamesFile()] = "/masks"


class Declared(Options):
    """Options of somebody else's plug-in, with paths in every way that one may say so."""

    folder: Annotated[str, Field(min_length=1), NamesFile()]
    also: Annotated[str, NamesFile()] | None = None
    many: tuple[Annotated[str, NamesFile()], ...] = ()
    words: Annotated[str, NamesFile(or_hub=True)] = "gpt2"
    typed: Path = Path("/typed")
    inner: Inner = Inner()
    path: str = "/path"
    label: str = "/label"
    count: int = 3


def test_an_option_of_any_plug_in_that_says_it_is_a_path_is_one() -> None:
    found = list(paths_of(Declared(folder="/a", also="/b", many=("/c", "/d"))))
    assert sorted(found) == [
        ("also", "/b", False),
        ("folder", "/a", False),
        ("inner.masks", "/masks", False),
        ("many", "/c", False),
        ("many", "/d", False),
        ("path", "/path", False),
        ("typed", "/typed", False),
        ("words", "gpt2", True),
    ]
