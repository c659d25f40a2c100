"""Task files of lm-evaluation-harness, read by its own package.

Prompts, few-shot examples, choices and targets are what the harness makes of the file; only the answers are scored here
(`supernet.scores.tasks`), so that many networks share one pass. Few-shot examples are drawn with the seeds that
`lm_eval.simple_evaluate` has by default, the same in every process that reads the file.

A task file is a program: its templates and the functions that it names (`!function`) run in this process. Who reads one
decides whether to trust it. Nothing is downloaded for it.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from supernet.data.dataset import DataError
from supernet.scores.tasks import Question

INSTALL = "pip install 'winnow[lm-eval]'"
# What `lm_eval.simple_evaluate` seeds Python's random, numpy, and the choice of few-shot examples with.
RANDOM_SEED, NUMPY_SEED, FEWSHOT_SEED = 0, 1234, 1234
# Names of `dataset_path` that stand for a kind of file; everything else is a folder, or a data set of the Hub.
FORMATS = ("json", "csv", "parquet", "arrow", "text")


def read_task_file(path: Path, limit: int | None = None) -> list[Question]:
    """Questions of a task of lm-evaluation-harness with `output_type: multiple_choice`.

    Relative paths of its data are looked for beside the file. Runs the code that the file names.

    Args:
        path: its YAML configuration.
        limit: use the first so many documents.

    Raises:
        DataError: there is no such file, the package is missing, the data is not on this machine, or the file asks for
            something that cannot be scored as the harness scores it.
    """
    if not path.is_file():
        raise DataError(f"There is no task file {path}; give a task configuration of lm-evaluation-harness.")
    with _offline(), _seeded(), tempfile.TemporaryDirectory(prefix="winnow-task-") as cache:
        try:
            from lm_eval.tasks import TaskManager
            from lm_eval.tasks._yaml_loader import load_yaml
        except ImportError as error:
            raise DataError(
                f"The task file {path} is read with lm-evaluation-harness, which this worker cannot import ({error}); "
                f"install it: {INSTALL}"
            ) from error
        try:
            _refuse_what_is_not_scored(path, load_yaml(path, resolve_func=False))
            config = load_yaml(path, resolve_func=True)
            # The accuracies are computed here. Metrics that the file names might be downloaded.
            config |= _local_data(path, config, cache) | {"metric_list": None}
            (task,) = TaskManager(include_defaults=False).load(config)["tasks"].values()
            task.set_fewshot_seed(FEWSHOT_SEED)
            return _questions(path, task, limit)
        except DataError:
            raise
        except Exception as error:  # the harness, datasets, Jinja and the file's own code raise all kinds
            raise DataError(
                f"lm-evaluation-harness cannot make requests of the task file {path}: {_in_short(error)}"
            ) from error


def _refuse_what_is_not_scored(path: Path, config: Mapping[str, Any]) -> None:
    """Look at a configuration whose functions are still names, before any of its code runs."""
    if "group" in config or isinstance(config.get("task"), list):
        raise DataError(f"The file {path} is a group of tasks; list the file of each of them in scoring.tasks.")
    if not isinstance(config.get("task"), str):
        raise DataError(f"The file {path} names no task: its key `task` is {config.get('task')!r}; it must be a name.")
    if "class" in config:
        raise DataError(
            f"The task file {path} is a task written in Python (`class`); only those that are a configuration can be "
            "scored. Say in YAML what its prompts and choices are."
        )
    kind = config.get("output_type", "generate_until")  # the harness's default
    if kind != "multiple_choice":
        raise DataError(
            f"The task file {path} has output_type {kind!r}; only 'multiple_choice' can be scored. Many tasks of the "
            "harness have a multiple-choice form; for the likelihood of text use the metric perplexity."
        )
    if config.get("process_results") is not None:
        raise DataError(
            f"The task file {path} scores in a way of its own (process_results); task metrics are acc, acc_norm and "
            "acc_bytes of the harness. Use a task without process_results."
        )
    for key in ("doc_to_image", "doc_to_audio"):
        if config.get(key):
            raise DataError(f"The task file {path} shows more than text ({key}); networks here read text alone.")
    steps = [step.get("function") for each in config.get("filter_list") or () for step in each.get("filter", ())]
    if others := sorted({str(step) for step in steps} - {"take_first"}):
        raise DataError(
            f"The task file {path} filters answers with {', '.join(others)} (filter_list); likelihoods of choices are "
            "compared as they are. Remove filter_list; documents are filtered with process_docs."
        )
    if config.get("doc_to_choice") is None and config.get("use_prompt") is None:
        raise DataError(f"The task file {path} has no doc_to_choice; say which choices a document has.")


def _local_data(path: Path, config: Mapping[str, Any], cache: str) -> dict[str, Any]:
    """What replaces a configuration's `dataset_path` and `dataset_kwargs`: paths of this machine, made whole.

    Raises:
        DataError: a data set or a file that is not here; it is named.
    """
    if callable(config.get("custom_dataset")):
        return {}
    name, arguments = config.get("dataset_path"), dict(config.get("dataset_kwargs") or {})
    right = (
        "nothing is downloaded for a task. Give a folder as dataset_path, or one of "
        f"{', '.join(FORMATS)} with the files in dataset_kwargs: {{data_files: ...}}"
    )
    if not isinstance(name, str):
        raise DataError(f"The task file {path} has dataset_path {name!r}; {right}.")

    def whole(place: str, base: Path) -> str:
        if "://" in place:
            raise DataError(f"The task file {path} reads {place!r}, which is not on this worker; {right}.")
        found = base / Path(place).expanduser()
        if not any(sign in place for sign in "*?[") and not found.exists():
            raise DataError(f"The task file {path} reads {place!r}, but there is no {found}; {right}.")
        return str(found)

    def each(places: Any, base: Path) -> Any:
        if isinstance(places, Mapping):
            return {split: each(part, base) for split, part in places.items()}
        if isinstance(places, list | tuple):
            return [each(place, base) for place in places]
        return whole(str(places), base)

    arguments["cache_dir"] = cache
    if name in FORMATS:
        base = path.parent
        if arguments.get("data_dir"):
            arguments["data_dir"] = whole(str(arguments["data_dir"]), base)
            base = Path(arguments["data_dir"])
        if arguments.get("data_files"):
            arguments["data_files"] = each(arguments["data_files"], base)
        elif base == path.parent:
            raise DataError(f"The task file {path} reads {name!r} without any files; {right}.")
        return {"dataset_kwargs": arguments}
    folder = path.parent / Path(name).expanduser()
    if not folder.is_dir():
        raise DataError(f"The data set {name!r} of the task file {path} is not on this worker; {right}.")
    return {"dataset_path": str(folder), "dataset_kwargs": arguments}


def _questions(path: Path, task: Any, limit: int | None) -> list[Question]:
    questions: list[Question] = []
    for number, document in task.doc_iterator(limit=limit):
        try:
            questions.append(_question(task, number, document))
        except Exception as error:
            raise DataError(f"Document {number} of the task file {path} is no question: {_in_short(error)}") from error
    if not questions:
        raise DataError(f"The task file {path} has no documents; look at its splits and process_docs.")
    if not any(question.right for question in questions):
        raise DataError(
            f"No document of the task file {path} has a right answer among its choices: targets such as -1 stand for "
            "hidden ones. Name a split with labels."
        )
    return questions


def _question(task: Any, number: int, document: Any) -> Question:
    """What the harness would ask about a document, in `build_all_requests`, and accept, in `process_results`."""
    context = task.fewshot_context(
        document, num_fewshot=task.config.num_fewshot or 0, gen_prefix=task.doc_to_prefix(document)
    )
    choices = task.doc_to_choice(document)
    if not choices or not all(isinstance(choice, str) and choice for choice in choices):
        raise ValueError(f"choices must be texts that are not empty, got {choices!r}")
    instances = task.construct_requests(doc=document, ctx=context, metadata=(task.config.task, number, 1))
    requests = tuple((str(before), str(after)) for before, after in (instance.args for instance in instances))
    # With several inputs (winogrande) the choices stand in the contexts, and doc_to_text gives the right one's number.
    target = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    return Question(requests, tuple(choices), _right(target, choices, several=bool(task.multiple_target)))


def _right(target: Any, choices: list[str], several: bool) -> frozenset[int]:
    """Which choices a target makes right: those that the harness compares equal.

    Args:
        several: whether the first document has a list of targets, which is how the harness tells.

    Raises:
        ValueError: some documents have a list and others do not, or it lists something else than numbers.
    """
    if isinstance(target, list) != several:
        raise ValueError(f"targets must be lists for all documents or for none, got {target!r}")
    if several and not all(isinstance(each, int) for each in target):
        raise ValueError(f"a list of targets must hold numbers of choices, got {target!r}")
    if isinstance(target, str):
        return frozenset([choices.index(target)] if target in choices else [])
    return frozenset(i for i in range(len(choices)) if (i in target if several else i == target))


def _in_short(error: Exception) -> str:
    first = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


@contextmanager
def _seeded() -> Iterator[None]:
    """The random state in which the harness begins to load tasks; afterwards the one before."""
    python, of_numpy = random.getstate(), np.random.get_state()
    random.seed(RANDOM_SEED)
    np.random.seed(NUMPY_SEED)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(of_numpy)


@contextmanager
def _offline() -> Iterator[None]:
    """No downloads from the Hub, and the environment afterwards as it was (importing lm_eval changes it)."""
    import datasets
    import huggingface_hub.constants

    switches = [
        (huggingface_hub.constants, "HF_HUB_OFFLINE"),
        (datasets.config, "HF_HUB_OFFLINE"),
        (datasets.config, "HF_DATASETS_OFFLINE"),
    ]
    environment, before = dict(os.environ), [getattr(module, name) for module, name in switches]
    try:
        import evaluate.config  # what some files' functions load metrics with; comes with lm_eval
    except ImportError:
        pass
    else:
        switches.append((evaluate.config, "HF_EVALUATE_OFFLINE"))
        before.append(evaluate.config.HF_EVALUATE_OFFLINE)
    datasets.disable_progress_bars()
    try:
        for module, name in switches:
            setattr(module, name, True)
        os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_EVALUATE_OFFLINE="1")
        yield
    finally:
        for (module, name), value in zip(switches, before, strict=True):
            setattr(module, name, value)
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update({name: value for name, value in environment.items() if os.environ.get(name) != value})
