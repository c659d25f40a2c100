"""What one of two processes does in tests of the training stage. Started by torchrun; process 0 prints what it saw.

A checkpoint's row lies beside its file, where process 1 finds it without a database.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from pipeline.artifacts import ArtifactStore
from pipeline.materials import fresh_supernet, make_trainer, prepare_data
from pipeline.replica import obey
from service.store.models import Artifact
from supernet.distributed import Group, Orders, join
from supernet.flat import own_tensors
from supernet.methods.bignas.method import BigNAS
from supernet.trainer import Trainer
from tests.pipeline.bench import MemoryReporter, train_supernet, workshop

TEXT = "To be, or not to be, that is the question.\n" * 40
DIGITS: dict[str, Any] = {"training": {"epochs": 2, "batch_size": 256, "processes": 2, "options": {"num_random": 1}}}
LLAMA: dict[str, Any] = {
    "supernet": {"family": "llama", "preset": "tiny"},
    "data": {"source": "text", "length": 32},
    "objectives": [{"metric": "perplexity"}, {"metric": "params"}],
    "training": {"method": "alternating", "epochs": 1, "batch_size": 16, "processes": 2},
}


class FileReporter(MemoryReporter):
    """Writes where every checkpoint lies."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def artifact(self, artifact: Callable[[], Artifact]) -> None:
        super().artifact(artifact)
        row = self.rows[-1]
        (self.folder / f"row-{row.id}.json").write_text(json.dumps([row.path, row.sha256, row.step]))


def trouble(group: Group) -> None:
    """Process 1 has no memory for more than 64 examples at once, and its sixth step is not finite, once."""
    original, seen = BigNAS.step, set[str]()

    def step(self: BigNAS, passes: Any, batch: Any, rng: Any) -> dict[str, torch.Tensor]:
        if group.rank == 1 and len(batch) > 64:
            raise torch.OutOfMemoryError("out of memory")
        losses = original(self, passes, batch, rng)
        if group.rank == 1 and passes.step == 5 and "nan" not in seen:
            seen.add("nan")
            losses["loss_largest"] = torch.tensor(float("nan"))
        return losses

    BigNAS.step = step  # type: ignore[method-assign]


def run(folder: Path, group: Group, parts: dict[str, Any]) -> dict[str, Any]:
    """Train a job's supernet together; what process 0 told, and whether both ended with the same weights."""
    reporter = FileReporter(folder)
    shop = replace(workshop(folder, reporter, **parts), group=group)
    data = prepare_data(shop.spec, shop.space, shop.device)

    def fresh() -> Trainer:
        return make_trainer(shop.spec, fresh_supernet(shop.spec, shop.space, data, shop.device), data, group)

    def load(number: int) -> tuple[dict[str, torch.Tensor], int]:
        path, sha256, step = json.loads((folder / f"row-{number}.json").read_text())
        return ArtifactStore(folder / "artifacts").load(path, sha256), step

    supernet = obey(Orders(group, shop.device), fresh, load).supernet if group.rank else train_supernet(shop, data)
    mine = torch.stack([abs_sum(tensor) for tensor in own_tensors(supernet).values()]).sum()
    return {"messages": reporter.messages, "sum": float(mine), "sum_of_both": float(group.add(mine))}


def abs_sum(tensor: torch.Tensor) -> torch.Tensor:
    """Of the part that this process holds."""
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).double().abs().sum()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    for kind in ("llama", "trouble"):
        (place / kind).mkdir(parents=True, exist_ok=True)
    together = join()
    (place / "text.txt").write_text(TEXT)
    llama = run(place / "llama", together, {**LLAMA, "data": {**LLAMA["data"], "path": str(place / "text.txt")}})
    trouble(together)
    found = {"llama": llama, "trouble": run(place / "trouble", together, DIGITS)}
    if together.rank == 0:
        sys.stdout.write(json.dumps(found) + "\n")
    torch.distributed.destroy_process_group()
