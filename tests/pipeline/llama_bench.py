"""A small llama of bytes with random weights and the data of a job, for searches that take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from job.spec import JobSpec
from pipeline.exams import exams_of
from pipeline.materials import prepare_data
from pipeline.workshop import make_evaluator
from supernet.evaluator import Evaluator
from supernet.network import Supernet

CPU = torch.device("cpu")


def text_file(folder: Path, size: int = 4000) -> Path:
    """Letters in an order that can be learned a little."""
    letters = np.random.default_rng(0).choice(list(b"the quick brown fox "), size)
    path = folder / "text.txt"
    path.write_bytes(bytes(letters.tolist()))
    return path


def llama_spec(path: Path, **parts: Any) -> JobSpec:
    """A job of the recipe `llama_nas` on that text; `search` goes over what makes it small."""
    search = {"evaluations": 24, "options": {"population": 8}, **parts.pop("search", {})}
    given = {
        "recipe": "llama_nas",
        "supernet": {"preset": "tiny", "choices": {f"layer{i}_keep": (0,) for i in (3, 4, 5)}},
        "data": {"source": "text", "path": str(path), "length": 16, "validation_share": 0.05},
        "training": {"epochs": 1, "batch_size": 8},
    }
    return JobSpec.model_validate({**given, "search": search, **parts})


def evaluator_of(spec: JobSpec, scale: float = 8.0, tasks_dir: Path | None = None) -> Evaluator:
    """An evaluator of random weights, large enough for architectures to differ."""
    torch.manual_seed(0)
    space = spec.supernet.space()
    supernet = Supernet(space)
    with torch.no_grad():
        for parameter in supernet.parameters():
            if parameter.dim() > 1:
                parameter.mul_(scale)
    data = prepare_data(spec, space, CPU)
    return make_evaluator(spec, supernet, data, exams_of(spec, space, data, tasks_dir))
