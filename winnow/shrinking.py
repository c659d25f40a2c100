"""`winnow.shrink`: a whole job from one sentence, through a service that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.client import Client, ExportAnswer, FrontAnswer, JobAnswer
from service.settings import get_settings
from service.shrinking import where


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What came of it.

    Attributes:
        plan: what was decided, with reasons, and what it was expected to take.
        export: the recommended network: `export.load()` opens it, `export.archive` is the file.
        chosen: why that network, in a sentence.
    """

    plan: dict[str, Any]
    job: JobAnswer
    front: FrontAnswer
    export: ExportAnswer
    chosen: str


def shrink(
    model: str | Path,
    data: str | Path,
    *,
    under: Mapping[str, float] | None = None,
    device: str = "this",
    changes: Mapping[str, Any] | None = None,
    formats: Sequence[str] = (),
    folder: str | Path = "exports",
    client: Client | None = None,
) -> Shrunk:
    """Decide, submit, wait, choose, export and download. Nobody is asked: look at `Client.shrink_plan` first.

    Args:
        model: a checkpoint's folder, or a family such as `mobilenet/digits`.
        data: a file or folder, or a built-in set such as `digits`.
        under: cost -> the most that the network may have of it, such as `{"latency_ms": 5}`.
        changes: parts of a job that replace what is decided.
        formats: formats of the export, each in a folder of the archive.
        folder: for the archive.
        client: client of the service; None: that of `WINNOW_URL`.

    Raises:
        ClientError: the folders leave a question open, which the message asks; or a step was refused.
        JobFailed: the job did not succeed.
    """
    # One of its own stays open, for what the answer can still ask.
    client = client or Client(get_settings().url)
    asked = {"model": where(model), "data": where(data), "under": dict(under or {}), "device": device}
    plan = client.shrink_plan({**asked, "formats": list(formats), "changes": dict(changes or {})})
    job = client.submit(plan["job"]).wait()
    made = client.request_export(job["id"], None, plan["rule"], list(formats) or None)
    chosen = str(made["chosen"])
    made = client.finished_export(made)
    return Shrunk(plan, job, job.front, ExportAnswer(made, client.download(made, Path(folder))), chosen)
