"""Every block of the documentation that can run here is run: page by page, in order, in a folder of its own, beside
one service.

A page may need something that its reader has: a job that has finished, a model, images. `SCENES` says what, and which
words of the page stand for it. What is only checked is in `blocks.NOT_RUN`, with the reason.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.client import Client, ClientError
from service.settings import get_settings
from service.stack import Stack
from tests.conftest import TINY_JOB
from tests.docs.blocks import BLOCKS, PAGES, ROOT, Block
from tests.e2e.helpers import is_finished

# How long a page takes is the machine's affair.
pytestmark = [pytest.mark.thorough, pytest.mark.e2e, pytest.mark.timeout(0)]

# A shell in which a page's own service is that of the tests, and JOB, NETWORK and NEW_JOB are words for what it has.
PREAMBLE = """
set -euo pipefail
shopt -s expand_aliases
newest() { python -m tests.docs.newest "$@"; }
"""
WORDS = {
    "NETWORK NETWORK": "$(newest network) $(newest network 1)",
    "JOB": "$(newest job)",
    "NEW_JOB": "$(newest job)",
    "NETWORK": "$(newest network)",
}
# `winnow up` would start another service.
STARTS_SERVICE = re.compile(r"^(\.venv/bin/)?winnow up\b.*$", re.MULTILINE)


@dataclass
class Scene:
    """What a page finds.

    Attributes:
        files: name -> who makes it there.
        instead: words of the page -> what is run instead, because it takes minutes where this takes seconds.
        answer: typed where a command asks.
        names: of Python, made when its first block is run.
        job: what `JOB` is at the beginning, made in the page's folder; None: none is needed.
    """

    files: dict[str, Callable[[Path], Any]] = field(default_factory=dict)
    instead: dict[str, str] = field(default_factory=dict)
    answer: str = ""
    names: Callable[[Client], dict[str, Any]] = lambda client: {}
    job: Callable[[Path], dict[str, Any]] | None = None


# --- what readers have --------------------------------------------------------------------------------


def images(folder: Path) -> None:
    """Three classes of pictures."""
    from supernet.data.sources.images.example import write

    folder.mkdir()
    write(folder)


def shorter(job: Path) -> None:
    """The example's job with a budget of seconds; the whole of it is checked by `test_blocks.py`."""
    text = job.read_text()
    for words, instead in (("epochs: 30", "epochs: 2"), ("evaluations: 250", "evaluations: 24")):
        assert words in text
        text = text.replace(words, instead)
    job.write_text(text)


def image_model(folder: Path) -> None:
    """A small ViT of three classes."""
    from transformers import ViTConfig, ViTForImageClassification

    from tests.supernet.checkpoints import ENCODER, save

    sizes = {"image_size": 16, "patch_size": 8, "num_labels": 3}
    save(ViTForImageClassification, ViTConfig(**{**ENCODER, "num_hidden_layers": 2}, **sizes), folder)


def package_of_a_model(folder: Path) -> None:
    """A module of one's own that takes pictures of 224 pixels."""
    folder.mkdir()
    (folder / "model.py").write_text(
        textwrap.dedent("""
        from torch import nn

        def make():
            convolutions = (nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 4, 1), nn.ReLU())
            return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    """)
    )


def archive_of_images(file: Path) -> None:
    """The pictures as one file."""
    images(file.parent / "pets")
    subprocess.run(["tar", "-czf", file.name, "pets"], cwd=file.parent, check=True)


def text(file: Path) -> None:
    """A text of some thousand characters."""
    file.write_text("To be, or not to be: that is the question.\n" * 100)


def tiny(_folder: Path) -> dict[str, Any]:
    """A job that takes seconds."""
    return TINY_JOB


def small_llama(folder: Path) -> dict[str, Any]:
    """A job of a small llama of bytes."""
    text(folder / "play.txt")
    return {
        "recipe": "llama_nas",
        "data": {"source": "text", "path": str(folder / "play.txt"), "length": 16},
        "training": {"epochs": 1},
        "search": {"evaluations": 20, "options": {"population": 10}},
    }


def by_blocks(folder: Path) -> dict[str, Any]:
    """A job that solves for any limits."""
    return {
        **small_llama(folder),
        "objectives": [
            {"metric": "perplexity"},
            {"metric": "params"},
            {"metric": "latency_ms", "target": "cpu-torch"},
        ],
        "constraints": [{"metric": "tokens_per_second", "target": "cpu-torch", "limit": 0.001}],
        "search": {"algorithm": "blocks", "evaluations": 129},
        "hardware": {"networks": 10, "max_layers": 0, "seconds": 0.02, "min_within_10_percent": 0},
    }


# --- names of Python ----------------------------------------------------------------------------------


def of_search(client: Client) -> dict[str, Any]:
    """What docs/search.md takes for granted."""
    from predictors.cost import params
    from search_space.families import mobilenet

    space = mobilenet.space("digits", _no_adjustments())

    def cost(architecture: Any) -> float:
        return float(params(space, architecture))

    return {
        "space": space,
        "count_params": cost,
        "stored": [],
        "job_id": client.jobs(limit=1)["jobs"][0]["id"],
        "mine": dict(space.smallest().values),
        "evaluate": lambda **values: (4.0 + 0.01 * len(values), 0.9, 3.0),
        "score": lambda a: {"accuracy": 0.5, "latency_ms": cost(a) / 1e4, "params": cost(a)},
    }


def of_predictors(client: Client) -> dict[str, Any]:
    """What docs/predictors.md takes for granted."""
    import numpy as np

    from predictors.cost import params
    from search_space.families import mobilenet

    space = mobilenet.space("digits", _no_adjustments())
    rng = np.random.default_rng(0)
    drawn = list({a.id: a for a in (space.sample(rng) for _ in range(140))}.values())
    latencies = [params(space, a) / 1e4 for a in drawn[:100]]
    return {
        "space": space,
        "architectures": drawn[:100],
        "latencies_ms": latencies,
        "others": drawn[100:],
        "limit_ms": 1.0,
    }


def of_formats(client: Client) -> dict[str, Any]:
    """A job whose networks transformers loads."""
    folder = Path.cwd()
    image_model(folder / "vit")
    images(folder / "pictures")
    return {
        "job": {
            "recipe": "bignas",
            "supernet": {"family": "vit", "pretrained": str(folder / "vit")},
            "data": {"source": "images", "path": str(folder / "pictures"), "size": 16, "validation_share": 0.25},
            "training": {"epochs": 1, "batch_size": 8},
            "objectives": [{"metric": "accuracy"}, {"metric": "params"}],
            "search": {"algorithm": "random", "evaluations": 6},
            "hardware": {"seconds": 0.02},
        }
    }


def _no_adjustments() -> Any:
    from search_space.adjustments import Adjustments

    return Adjustments()


# A search that takes seconds. A limit of milliseconds says nothing on a machine that is busy.
SMALLER = {"search.evaluations": 12, "training.epochs": 1, "hardware.predict": "never", "hardware.seconds": 0.02}
SMALLER_WORDS = " ".join(f"--set {name}={value}" for name, value in SMALLER.items())
SMALLER_CHANGES = {
    "search": {"evaluations": 12},
    "training": {"epochs": 1, "batch_size": 8},
    "hardware": {"predict": "never", "seconds": 0.02},
}
SCENES: dict[str, Scene] = {
    # Where a command asks, it has shown its plan; what it then does is that of docs/shrink.md.
    "README.md": Scene(
        files={"my-images": images, "my-checkpoint": image_model, "examples/digits.yaml": shorter}, answer="n\n"
    ),
    "docs/index.md": Scene(files={"my-images": images}, answer="n\n"),
    "docs/shrink.md": Scene(
        files={"my-images": images, "my-model": image_model},
        answer="n\n",
        instead={
            "--under latency_ms=0.1 --yes": f"--under latency_ms=1000 --yes {SMALLER_WORDS}",
            'under={"latency_ms": 5}': f'under={{"latency_ms": 5000}}, changes={SMALLER_CHANGES}',
        },
    ),
    "docs/add-a-family.md": Scene(files={"mypackage": package_of_a_model, "families": Path.mkdir}),
    "docs/api.md": Scene(files={"pets.tar.gz": archive_of_images}, job=tiny),
    "docs/formats.md": Scene(names=of_formats),
    "docs/search.md": Scene(names=of_search, job=by_blocks),
    "docs/python.md": Scene(),
    "docs/questions.md": Scene(),
    "docs/predictors.md": Scene(names=of_predictors),
    "docs/healing.md": Scene(
        job=small_llama, instead={"--minutes 20": "--minutes 0.05", "--tokens 2000000": "--tokens 2000"}
    ),
}


@pytest.fixture(autouse=True)
def nothing_is_left_running(client: Client) -> Iterator[None]:
    """What a page has submitted and not waited for does not hold up the next one."""
    yield
    for job in client.jobs()["jobs"]:
        if not is_finished(job):
            with suppress(ClientError):  # it has just ended
                client.verb(job["id"], "cancel")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".winnow").mkdir()
    with chdir(tmp_path):
        yield tmp_path


def pages_that_run() -> list[Path]:
    runs = {block.page for block in BLOCKS if block.language in ("bash", "python") and block.elsewhere is None}
    return [page for page in PAGES if str(page) in runs and page.parent.name != "tutorials"]


@pytest.mark.parametrize("page", pages_that_run(), ids=str)
def test_a_page_does_what_it_says(page: Path, stack: Stack, client: Client, folder: Path) -> None:
    scene = SCENES.get(str(page), Scene())
    for name, make in scene.files.items():
        make(folder / name)
    variables: dict[str, str] = {}
    if scene.job is not None:
        job = client.submit(scene.job(folder)).wait()
        network = job.front.networks[0].id
        export = client.export(job.id, network)
        variables = {"JOB": job.id, "ARCHITECTURE": network, "EXPORT": export["id"]}
    (folder / ".winnow" / "admin.key").write_text(stack.api_key)
    carried: list[str] = []
    names: dict[str, Any] | None = None
    for block in (block for block in BLOCKS if block.page == str(page) and block.elsewhere is None):
        if block.language == "bash":
            run_shell(block, scene, stack, carried, variables)
        elif block.language == "python":
            names = {"client": client, **scene.names(client)} if names is None else names
            run_python(block, scene, names, stack)


def run_shell(block: Block, scene: Scene, stack: Stack, carried: list[str], variables: dict[str, str]) -> None:
    """Run a block; what it exports and its aliases are there for those that follow."""
    script = STARTS_SERVICE.sub(":", block.text)
    for words, instead in scene.instead.items():
        script = script.replace(words, instead)
    for word, meaning in WORDS.items():
        script = re.sub(rf"(?<![\w$/-]){word}(?![\w-])", meaning, script)
    environment = {
        **os.environ,
        **variables,
        "HOME": str(Path.cwd()),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "WINNOW_URL": stack.url,
        "WINNOW_API_KEY": stack.api_key,
    }
    address = script.replace("http://127.0.0.1:8420", stack.url)
    whole = "\n".join([textwrap.dedent(PREAMBLE), *carried, address])
    with typed(scene.answer * 5) as keyboard:
        done = subprocess.run(
            ["bash", "-c", whole],
            stdin=keyboard,
            env=environment,
            cwd=Path.cwd(),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, f"{block}\n{whole}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    carried += [line for line in address.splitlines() if line.startswith(("export ", "alias "))]


@contextmanager
def typed(answer: str) -> Iterator[int]:
    """A terminal to read from, at which somebody has typed this."""
    keyboard, terminal = pty.openpty()
    try:
        os.write(keyboard, answer.encode())
        yield terminal
    finally:
        os.close(keyboard)
        os.close(terminal)


def run_python(block: Block, scene: Scene, names: dict[str, Any], stack: Stack) -> None:
    """Run a block in the names of its page."""
    source = block.text
    for words, instead in scene.instead.items():
        source = source.replace(words, instead)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WINNOW_URL", stack.url)
        patch.setenv("WINNOW_API_KEY", stack.api_key)
        get_settings.cache_clear()
        exec(compile(source, str(block), "exec"), names)
    get_settings.cache_clear()
