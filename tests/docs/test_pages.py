"""Every block of the documentation that can run here is run: page by page, in order, in a folder of its own, beside
one service.

A page may need something that its reader has: a job that has finished, a model, images. `SCENES` says what, and which
words of the page stand for it. A job in YAML or JSON is submitted with a budget of seconds and must end with a front.
What is only checked is in `blocks.NOT_RUN`, with the reason.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.client import Client, ClientError
from service.descent import merge_patch
from service.settings import get_settings
from service.stack import Stack
from tests.conftest import TINY_JOB
from tests.docs.blocks import BLOCKS, PAGES, ROOT, Block, base_of, data_of
from tests.e2e.helpers import is_finished

# How long a page takes is the machine's affair.
pytestmark = [pytest.mark.thorough, pytest.mark.e2e, pytest.mark.timeout(0)]

# A shell in which a page's own service is that of the tests, and JOB, NETWORK and NEW_JOB are words for what it has.
# A refusal fails: `curl` itself says of one that all went well.
PREAMBLE = """
set -euo pipefail
shopt -s expand_aliases
curl() { command curl --fail-with-body "$@"; }
newest() { python -m tests.docs.newest "$@"; }
"""
WORDS = {
    "NETWORK NETWORK": "$(newest network) $(newest network 1)",
    "JOB": "$(newest job)",
    "NEW_JOB": "$(newest job)",
    "NETWORK": "$(newest network)",
}
# `winnow up` would start another service, and test_examples.py runs the examples.
RUN_ELSEWHERE = re.compile(r"^((\.venv/bin/)?winnow up\b|python examples/\w+\.py).*$", re.MULTILINE)


@dataclass
class Scene:
    """What a page finds.

    Attributes:
        files: name -> who makes it there.
        instead: words of the page -> what is run instead, because it takes minutes where this takes seconds.
        answer: typed where a command asks.
        names: of Python, made when its first block is run.
        job: what `JOB` is at the beginning, made in the page's folder; None: none is needed.
        unpacked: format of an export of that job whose files lie in the page's folder.
        jobs: words of a job in YAML or JSON -> the merge patch with which it takes seconds; its files are made, too.
    """

    files: dict[str, Callable[[Path], Any]] = field(default_factory=dict)
    instead: dict[str, str] = field(default_factory=dict)
    answer: str = ""
    names: Callable[[Client], dict[str, Any]] = lambda client: {}
    job: Callable[[Path], dict[str, Any]] | None = None
    unpacked: str = ""
    jobs: Mapping[str, Callable[[Path, Path], dict[str, Any]]] = field(default_factory=dict)


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


def timed(_folder: Path) -> dict[str, Any]:
    """The same with latency as an objective."""
    objectives = [{"metric": "accuracy"}, {"metric": "latency_ms"}]
    return {**TINY_JOB, "objectives": objectives, "hardware": MEASURED_IN_MOMENTS}


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


# --- jobs of pages, smaller ---------------------------------------------------------------------------

# Each is asked for a patch with the page's folder and the folder of task files.
MEASURED_IN_MOMENTS = {"seconds": 0.02, "networks": 10, "max_layers": 0, "min_within_10_percent": 0}
ONE_EPOCH = {"epochs": 1, "batch_size": 16}


def on_this_machine(_folder: Path, _tasks: Path) -> dict[str, Any]:
    """Latency as an objective, of networks for digits."""
    return {
        "recipe": "bignas",
        "training": {"epochs": 1},
        "search": {"evaluations": 12},
        "hardware": MEASURED_IN_MOMENTS,
    }


def few_bits(_folder: Path, _tasks: Path) -> dict[str, Any]:
    """Bits of networks for digits."""
    return {
        "training": {"epochs": 1, "batch_size": 256},
        "quantization": {"tie": "block", "baseline_evaluations": 2, "calibration_examples": 16},
        "search": {"evaluations": 8, "calibration_images": 64},
        "hardware": MEASURED_IN_MOMENTS,
    }


def few_paths(_folder: Path, _tasks: Path) -> dict[str, Any]:
    """A search by gradient over networks for digits, for this machine alone and one weight of latency."""
    return {
        "supernet": {"preset": "digits"},
        "data": {"source": "digits", "path": None},
        "training": {"epochs": 2, "batch_size": 256},
        "gradient": {
            "targets": ["cpu-onnxruntime"],
            "latency_weights": [0.1],
            "warmup_epochs": 1,
            "final": {"epochs": 1, "batch_size": 256},
        },
        "search": {"calibration_images": 64},
        "hardware": {"seconds": 0.02},
    }


def few_climb(_folder: Path, _tasks: Path) -> dict[str, Any]:
    """Networks for digits that heal for steps."""
    return {
        "recipe": "bignas",
        "training": {"epochs": 2},
        "search": {"evaluations": 12, "calibration_images": 128, "fidelities": {"steps": [4, 16], "candidates": 6}},
        "healing": {"most": 2, "steps": 24},
        "hardware": {"seconds": 0.02},
    }


def few_images(folder: Path, _tasks: Path) -> dict[str, Any]:
    """The miniature of CIFAR-10."""
    from supernet.data.sources.cifar10.example import write

    (folder / "cifar10").mkdir()
    return {
        "recipe": "bignas",
        "data": write(folder / "cifar10"),
        "training": ONE_EPOCH,
        "search": {"evaluations": 8, "calibration_images": 64},
        "hardware": {"seconds": 0.02},
    }


def small_anchors(folder: Path, _tasks: Path) -> dict[str, Any]:
    """Three small ViTs to stitch."""
    from transformers import ViTConfig, ViTForImageClassification

    from tests.supernet.checkpoints import save

    shape = {"num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 16, "patch_size": 4, "num_labels": 3}
    widths = {"tiny": 16, "small": 24, "base": 32}
    for name, width in widths.items():
        sizes = {"hidden_size": width, "intermediate_size": 2 * width}
        save(ViTForImageClassification, ViTConfig(**shape, **sizes), folder / f"deit-{name}")
    images(folder / "pictures")
    return {
        "supernet": {"pretrained": [str(folder / f"deit-{name}") for name in widths]},
        "data": {"path": str(folder / "pictures"), "size": 16, "validation_share": 0.25},
        "training": {**ONE_EPOCH, "warmup_epochs": 0},
        "search": {"evaluations": 12},
        "hardware": MEASURED_IN_MOMENTS,
    }


def small_cnn(folder: Path, _tasks: Path) -> dict[str, Any]:
    """A small ResNet, with stages as wide as the page's."""
    from transformers import ResNetConfig, ResNetForImageClassification

    from tests.supernet.checkpoints import save

    sizes = {"embedding_size": 64, "hidden_sizes": [256, 256], "depths": [1, 1], "num_labels": 3}
    save(ResNetForImageClassification, ResNetConfig(**sizes), folder / "resnet")
    if not (folder / "pictures").exists():
        images(folder / "pictures")
    return {
        "recipe": "bignas",
        "supernet": {"pretrained": str(folder / "resnet")},
        "data": {"source": "images", "path": str(folder / "pictures"), "size": 224, "validation_share": 0.25},
        "training": {**ONE_EPOCH, "warmup_epochs": 0},
        "search": {"evaluations": 8, "calibration_images": 16},
        "hardware": MEASURED_IN_MOMENTS,
    }


def own_module(folder: Path, _tasks: Path) -> dict[str, Any]:
    """The family that the page has made of a module: jobs read no weights from the service's own folder."""
    weights = shutil.copytree(folder / "families" / "model", folder / "weights")
    images(folder / "pictures")
    return {
        "recipe": "bignas",
        "supernet": {"pretrained": str(weights), "classes": 3},
        "data": {"path": str(folder / "pictures"), "validation_share": 0.25},
        "training": {**ONE_EPOCH, "warmup_epochs": 0},
        "search": {"evaluations": 8, "calibration_images": 16},
        "hardware": MEASURED_IN_MOMENTS,
    }


def small_decoder(kind: str, **shape: int) -> Callable[[Path, Path], dict[str, Any]]:
    """A small decoder with a tokenizer, and a text of its words."""

    def patch(folder: Path, _tasks: Path) -> dict[str, Any]:
        import transformers

        from tests.pipeline.test_harness_tasks import word_pieces
        from tests.supernet.checkpoints import TEXT, save
        from tests.supernet.task_files import WORDS

        config = getattr(transformers, f"{kind}Config")
        model = getattr(transformers, f"{kind}ForCausalLM")
        checkpoint = folder / "checkpoint"
        if not checkpoint.exists():
            sizes = {"vocab_size": 340, "num_attention_heads": 8, "num_key_value_heads": 4}
            save(model, config(**{**TEXT, **sizes, "max_position_embeddings": 120, **shape}), checkpoint)
            word_pieces(checkpoint)
            (folder / "words.txt").write_text(" ".join(WORDS * 200))
        return {
            "recipe": "llama_nas",
            "supernet": {"pretrained": str(checkpoint)},
            "data": {"source": "text", "path": str(folder / "words.txt"), "length": 16, "size": None},
            "training": ONE_EPOCH,
            "search": {"evaluations": 12, "options": {"population": 6}},
            "hardware": MEASURED_IN_MOMENTS,
        }

    return patch


def with_questions(folder: Path, tasks: Path) -> dict[str, Any]:
    """The page's own question, asked a few times."""
    question = block_with("docs/llama-nas.md", "What do plants breathe in").text
    (folder / "arc_easy.jsonl").write_text(question * 12)
    patch = small_decoder("Llama")(folder, tasks)
    return {**patch, "scoring": {"tasks": [{"name": "arc_easy", "path": str(folder / "arc_easy.jsonl")}]}}


def with_task_file(folder: Path, tasks: Path) -> dict[str, Any]:
    """The page's own task file beside lm-evaluation-harness's, and questions in the form of ARC."""
    import numpy as np

    from tests.supernet.task_files import bundled, sentence, write_lines

    rng = np.random.default_rng(0)

    def question() -> dict[str, Any]:
        choices = {"text": [sentence(rng) for _ in range(4)], "label": list("ABCD")}
        return {"question": sentence(rng), "choices": choices, "answerKey": "ABCD"[rng.integers(4)]}

    bundled(tasks, "arc/arc_easy.yaml", [question() for _ in range(8)], "test")  # brings the folder
    for part in ("test", "train", "validation"):
        write_lines(tasks / "arc" / f"arc-{part}.jsonl", [question() for _ in range(30)])
    text = block_with("docs/llama-nas.md", "include: arc_easy.yaml").text
    (tasks / "arc" / "local_arc_easy.yaml").write_text(text)
    return {**small_decoder("Llama")(folder, tasks), "objectives": [{"metric": "task_accuracy"}, {"metric": "params"}]}


def block_with(page: str, words: str) -> Block:
    """The block of a page that has these words."""
    return next(block for block in BLOCKS if block.page == page and words in block.text)


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
# The same as parts of a job, in JSON and so in YAML.
SMALLER_JOB = json.dumps(SMALLER_CHANGES)[1:-1]
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
    "docs/add-a-family.md": Scene(
        files={"mypackage": package_of_a_model},
        instead={"preset: digits}}": f"preset: digits}}, {SMALLER_JOB}}}"},
        jobs={'"preset": "module"': own_module},
    ),
    "docs/api.md": Scene(
        files={"pets.tar.gz": archive_of_images},
        job=tiny,
        instead={'"search": {"evaluations": 250, "seed": 1}': SMALLER_JOB},
    ),
    "docs/formats.md": Scene(names=of_formats, job=timed, unpacked="supernet"),
    "docs/families.md": Scene(
        jobs={
            "family: stitched": small_anchors,
            "Qwen3-0.6B": small_decoder("Qwen3", intermediate_size=3072),
            "models/resnet50": small_cnn,
        }
    ),
    "docs/hardware.md": Scene(jobs={"latency_ms": on_this_machine}),
    "docs/llama-nas.md": Scene(
        jobs={
            "TinyLlama": small_decoder("Llama"),
            "arc_easy.jsonl": with_questions,
            "local_arc_easy.yaml": with_task_file,
        }
    ),
    "docs/proxylessnas.md": Scene(jobs={"recipe: proxylessnas": few_paths}),
    "docs/quantization.md": Scene(jobs={"recipe: simq_nas": few_bits}),
    "docs/search.md": Scene(names=of_search, job=by_blocks, jobs={"fidelities": few_climb, "mobilenet_v2": few_images}),
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
def folder(tmp_path: Path, stack: Stack) -> Iterator[Path]:
    """The home of a reader, with Winnow's examples. `~/families` is where the service looks for families."""
    assert stack.families_dir is not None
    (tmp_path / "families").symlink_to(stack.families_dir)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".winnow").mkdir()
    with chdir(tmp_path):
        yield tmp_path


def pages_that_run() -> list[Path]:
    """Those with a block that is run here; test_examples.py runs the Python of tutorials."""
    return [page for page in PAGES if any(str(page) == block.page and is_run(block) for block in BLOCKS)]


def is_run(block: Block) -> bool:
    """Whether a block is run here."""
    quotes = block.info.startswith("python title=")
    return block.elsewhere is None and block.language in ("bash", "python", "yaml", "json") and not quotes


@pytest.mark.parametrize("page", pages_that_run(), ids=str)
def test_a_page_does_what_it_says(page: Path, stack: Stack, client: Client, folder: Path) -> None:
    scene = SCENES.get(str(page), Scene())
    for name, make in scene.files.items():
        make(folder / name)
    variables: dict[str, str] = {}
    if scene.job is not None:
        job = client.submit(scene.job(folder)).wait()
        variables = {"JOB": job.id}
        if scene.unpacked:
            files = job.front.networks[0].export(scene.unpacked).unpack() / scene.unpacked
            shutil.copytree(files, folder, dirs_exist_ok=True)
    (folder / ".winnow" / "admin.key").write_text(stack.api_key)
    carried: list[str] = []
    names: dict[str, Any] | None = None
    for block in (block for block in BLOCKS if block.page == str(page) and is_run(block)):
        if block.language == "bash":
            run_shell(block, scene, stack, carried, variables)
        elif block.language == "python":
            names = {"client": client, **scene.names(client)} if names is None else names
            run_python(block, scene, names, stack)
        else:
            run_job(block, scene, client, stack, folder)


def run_job(block: Block, scene: Scene, client: Client, stack: Stack, folder: Path) -> None:
    """Submit a job, smaller, and wait for its front."""
    assert stack.tasks_dir is not None
    patch = next((make for words, make in scene.jobs.items() if words in block.text), None)
    assert patch is not None, f"say in SCENES how the job of {block} takes seconds"
    job = {**base_of(block), **data_of(block)}
    front = client.submit(merge_patch(job, patch(folder, stack.tasks_dir))).wait(progress=False).front
    assert front.networks, block


def run_shell(block: Block, scene: Scene, stack: Stack, carried: list[str], variables: dict[str, str]) -> None:
    """Run a block; what it exports and its aliases are there for those that follow."""
    script = RUN_ELSEWHERE.sub(":", block.text)
    for words, instead in scene.instead.items():
        script = script.replace(words, instead)
    for word, meaning in WORDS.items():
        script = re.sub(rf"(?<![\w$/-]){word}(?![\w=-])", meaning, script)
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
