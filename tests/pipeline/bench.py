"""A workbench for stages without servers: a reporter that remembers instead of writing rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from job.resolve import resolve
from job.spec import JobSpec
from pipeline import samples, stages, training
from pipeline.artifacts import ArtifactStore
from pipeline.hardware import Hardware
from pipeline.reporter import Interrupted, Reporter
from pipeline.shared_search import evaluate_of
from pipeline.workshop import Workshop
from search.evaluation import Evaluation
from service.settings import Settings
from service.store import queries
from service.store.models import Artifact, EvaluationRow, Finalist, TrainedSupernet
from service.store.records import FrontRecord, R, Record, parsed
from supernet.data import Dataset
from supernet.distributed import Orders
from supernet.evaluator import Evaluator
from supernet.network import Supernet


class MemoryReporter:
    """What a stage tells, in lists.

    Args:
        interrupt_at: this call of `progress` asks for a pause.
        stop_at: from this call on the job is being stopped.
    """

    def __init__(self, interrupt_at: int | None = None, stop_at: int | None = None) -> None:
        self.job_id = "job"
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.stored: dict[tuple[str, str], dict[str, Any]] = {}
        self.rows: list[Artifact] = []
        self.supernets: dict[str, TrainedSupernet] = {}
        self.evaluated: list[EvaluationRow] = []
        self.measured: list[Finalist] = []
        self.progressed, self.interrupt_at, self.stop_at = 0, interrupt_at, stop_at
        self.may_stop, self.ended_early = False, None
        self.parent_verb: str | None = None

    def stage(self, name: str, done: float = 0.0) -> None:
        self.told.append(("stage", {"stage": name, "done": done}))

    def progress(self, done: float, *, force: bool = False) -> None:
        self.progressed += 1
        if self.progressed == self.interrupt_at:
            raise Interrupted("pausing")
        if self.may_stop and self.is_stopping:
            raise Interrupted("stopping")

    def items(self, done: int, total: int, *, within: float = 0.0, force: bool = False) -> None:
        self.progress((done + within) / max(1, total), force=force)

    @property
    def is_stopping(self) -> bool:
        return self.stop_at is not None and self.progressed >= self.stop_at

    def until_stopped(self, work: Callable[[], Any]) -> Any:
        if self.is_stopping:
            return None
        self.may_stop = True
        try:
            return work()
        except Interrupted as interrupted:
            if interrupted.state != "stopping":
                raise
            return None
        finally:
            self.may_stop = False

    def doing(self, told: str) -> None:
        self.told.append(("doing", {"text": told}))

    def listen(self, done: float | None = None) -> None:
        self.progress(0.0)

    def transact(self, _write: Callable[[Any], Any]) -> Any:
        """There are no rows, and so no earlier jobs that say how long this one takes."""
        raise ValueError("No job is stored here.")

    def take_down(self) -> None:
        """Nothing was put up for other workers."""

    def event(self, kind: str, data: dict[str, Any]) -> None:
        self.told.append((kind, dict(data)))

    def tell(self, level: str, text: str) -> None:
        self.event("message", {"level": level, "text": text})

    def record(self, record: Record) -> None:
        """As `records.write`: through JSON, and nothing that is stored is stored or told again."""
        data, name = json.loads(json.dumps(record.data())), (record.kind, record.key)
        known = self.stored.get(name)
        if known is None or (record.last_counts and known != data):
            self.stored[name] = data
            self.event(record.event, json.loads(json.dumps(record.told())))

    def records(self, model: type[R]) -> list[R]:
        return [parsed(model, data) for (kind, _), data in self.stored.items() if kind == model.kind]

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [data for name, data in self.told if name == kind]

    @property
    def messages(self) -> list[str]:
        return [data["text"] for data in self.events("message")]

    def artifact(self, artifact: Callable[[], Artifact]) -> None:
        row = artifact()
        row.id = 1 + max((row.id for row in self.rows), default=0)
        self.rows.append(row)

    def artifacts(self, kind: str) -> list[Artifact]:
        return sorted((row for row in self.rows if row.kind == kind), key=lambda row: -row.id)

    def forget(self, artifact_ids: list[int]) -> set[str]:
        gone = {row.sha256 for row in self.rows if row.id in artifact_ids}
        self.rows = [row for row in self.rows if row.id not in artifact_ids]
        return gone - {row.sha256 for row in self.rows}

    def evaluation(self, row: EvaluationRow) -> None:
        self.evaluated.append(row)

    def every_evaluation(self) -> list[EvaluationRow]:
        return list(self.evaluated)

    def job(self) -> Any:
        return SimpleNamespace(parent_verb=self.parent_verb)

    def evaluations(self) -> list[EvaluationRow]:
        return [row for row in self.evaluated if row.number != 0]

    def finalist(self, finalist: Finalist) -> None:
        self.measured.append(finalist)

    def finalists(self) -> list[Finalist]:
        return list(self.measured)

    def reference(self, row: EvaluationRow) -> None:
        if row.architecture_id not in {one.architecture_id for one in self.evaluated}:
            row.number = 0
            self.evaluated.append(row)

    def front(self, record: FrontRecord, positions: dict[str, int], metrics: dict[str, dict[str, Any]]) -> None:
        """As `queries.place_finalists`."""
        for finalist in self.measured:
            finalist.position = positions.get(finalist.architecture_id)
            finalist.metrics = {**finalist.metrics, **metrics.get(finalist.architecture_id, {})}
        self.record(record)

    def trained(self, row: TrainedSupernet) -> None:
        self.supernets[row.id] = row

    def supernet(self, supernet_id: str) -> TrainedSupernet | None:
        return self.supernets.get(supernet_id)


def workshop(folder: Path, reporter: MemoryReporter, job_id: str = "job", **parts: Any) -> Workshop:
    """A workshop for a job on digits."""
    spec = resolve(JobSpec.model_validate(parts))
    settings = Settings(data_dir=folder, database_url=None, redis_url=None, checkpoint_seconds=0)
    artifacts = ArtifactStore(folder / "artifacts")
    reporter.job_id = job_id
    return Workshop(job_id, spec, spec.supernet.space(), reporter, artifacts, settings, torch.device("cpu"))  # type: ignore[arg-type]


def train_supernet(shop: Workshop, data: Dataset) -> Supernet:
    """The stage that trains, of a workshop."""
    orders = Orders(shop.group, shop.device)
    return training.train_supernet(shop.spec, shop.space, data, orders, shop.files, shop.reporter)


def search(shop: Workshop, evaluator: Evaluator, hardware: Hardware) -> list[Evaluation]:
    """The stage that searches, of a workshop."""
    evaluate = evaluate_of(evaluator, shop.spec.search.helpers, shop.reporter, shop.settings)
    return stages.search(shop.spec, evaluator, hardware, evaluate, shop.reporter)


def keep(shop: Workshop, data: Dataset) -> None:
    """Keep what exports need of a workshop's data."""
    samples.keep(shop.spec, shop.space, data, samples.described(data), shop.files, shop.reporter)


def heard(reporter: Reporter, kind: str) -> list[dict[str, Any]]:
    """What the events of one kind say, oldest first, as a listener of the stream hears them."""
    with reporter.database.transaction() as session:
        events = queries.events_after(session, reporter.job_id, 0, 10_000)
    return [event.data for event in events if event.kind == kind]
