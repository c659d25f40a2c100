"""Writes `rows.json` and `answers.json` with version 413d269's own code; see README.md. Not for today's tree."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(
    WINNOW_POLL_SECONDS="0.3",
    WINNOW_REAP_SECONDS="1",
    WINNOW_LEASE_SECONDS="8",
    WINNOW_HEARTBEAT_SECONDS="2",
    WINNOW_CHECKPOINT_SECONDS="0.5",
)
sys.path.insert(0, os.getcwd())

import httpx
from sqlalchemy import text
from tests.workers.llama_bench import text_file
from tests.workers.test_proxyless import CHOICES, table

from service.client import Client
from service.settings import Settings
from service.stack import running_stack
from service.store.session import Database
from tests.conftest import open_folder
from tests.e2e.helpers import is_finished, wait_for

TABLES = ("jobs", "job_events", "evaluations", "finalists", "artifacts", "supernets", "exports")
QUICK = {"seconds": 0.1, "max_layers": 0, "networks": 12, "min_within_10_percent": 0.0}
BIGNAS = {
    "name": "digits",
    "recipe": "bignas",
    "training": {"epochs": 2},
    "objectives": [{"metric": "accuracy"}, {"metric": "macs", "limit": 200000}],
    "search": {"algorithm": "nsga2", "evaluations": 12, "options": {"population": 6}, "calibration_images": 128},
    "hardware": {"seconds": 0.1},
}
LATENCY = {
    "recipe": "bignas",
    "objectives": [{"metric": "accuracy"}, {"metric": "latency_ms", "limit": 50}],
    "search": {"algorithm": "random", "evaluations": 6, "calibration_images": 128, "options": {"batch": 3}},
    "hardware": QUICK,
}
SIMQ = {
    "recipe": "simq-nas",
    "hardware": QUICK,
    "training": {"epochs": 1, "batch_size": 256, "options": {"num_random": 1}},
    "quantization": {"bits": [8, 32], "tie": "block", "pinned": {"first": 32}, "baseline_evaluations": 2},
    "search": {"algorithm": "random", "evaluations": 6, "calibration_images": 64, "options": {"batch": 3}},
}


def llama(words: Path) -> dict[str, Any]:
    return {
        "recipe": "llama_nas",
        "supernet": {"preset": "tiny", "choices": {f"layer{i}_keep": (0,) for i in (2, 3, 4, 5)}},
        "data": {"source": "text", "path": str(words), "length": 16, "validation_share": 0.05},
        "training": {"epochs": 1, "batch_size": 8},
        "search": {"evaluations": 8, "options": {"population": 4}},
        "hardware": {"seconds": 0.1},
    }


def gradient(phone: str, epochs: int, final: int) -> dict[str, Any]:
    return {
        "recipe": "proxylessnas",
        "hardware": {"seconds": 0.1},
        "supernet": {"choices": CHOICES},
        "training": {"epochs": epochs, "batch_size": 256},
        "objectives": [{"metric": "accuracy"}, {"metric": "macs"}],
        "search": {"calibration_images": 64},
        "gradient": {
            "targets": [phone],
            "latency_weights": [0.5, 1.0],
            "warmup_epochs": 2,
            "every": 1,
            "learning_rate": 0.1,
            "final": {"epochs": final, "batch_size": 256},
        },
    }


def write(folder: Path, out: Path) -> None:
    phone, words = table(folder, "phone", 40, 0.01), text_file(folder)
    settings = Settings(data_dir=folder, database_url=None, redis_url=None)
    with (
        running_stack(settings, port=0) as stack,
        Client(stack.url) as client,
        httpx.Client(base_url=stack.url) as http,
    ):

        def run(body: dict[str, Any], until: Callable[[dict[str, Any]], bool] = is_finished, key: str = "") -> Any:
            answer = http.post("/v1/jobs", json=body, headers={"Idempotency-Key": key} if key else {})
            return wait_for(
                client, answer.raise_for_status().json()["id"], lambda job: until(job) or is_finished(job), 600
            )

        first = run(BIGNAS, key="once")
        client.export(first["id"], client.front(first["id"])["knee"])
        run({**LATENCY, "supernet": {"reuse": first["id"]}})
        for body in (SIMQ, llama(words), gradient(phone, 2, 2)):
            run(body)
        half_way = {**gradient(phone, 6, 20), "name": "half way"}
        job = run(half_way, lambda job: any(n["measured"] for n in client.gradient(job["id"])["networks"]))
        http.post(f"/v1/jobs/{job['id']}/pause")
        wait_for(client, job["id"], lambda job: job["state"] == "paused", 60)

        answers: dict[str, Any] = {}
        for job in http.get("/v1/jobs").json()["jobs"]:
            got = {route: http.get(f"/v1/jobs/{job['id']}/{route}") for route in ("front", "gradient", "sensitivity")}
            answers[job["id"]] = {r: a.json() if a.status_code == 200 else a.status_code for r, a in got.items()}
        supernets = http.get("/v1/supernets").json()["supernets"]
        answers["supernets"] = [http.get(f"/v1/supernets/{one['id']}").json() for one in supernets]
        database = Database(stack.environment()["WINNOW_DATABASE_URL"])
        with database.transaction() as session:
            rows = {
                name: session.scalar(text(f"SELECT coalesce(json_agg(row_to_json(t)), '[]') FROM {name} t"))
                for name in ("alembic_version", *TABLES)
            }
        database.close()
    for name, written in (("rows", rows), ("answers", answers)):
        entries = [f'"{key}": {_lines(value)}' for key, value in written.items()]
        told = "{\n" + ",\n".join(entries) + "\n}\n"
        (out / f"{name}.json").write_text(told.replace(str(folder), "/data/winnow"))


def _lines(value: Any) -> str:
    """A list with one line for each of its rows."""
    one = [json.dumps(row, separators=(",", ":")) for row in (value if isinstance(value, list) else [value])]
    return "[\n" + ",\n".join(one) + "\n]" if isinstance(value, list) else one[0]


if __name__ == "__main__":
    with open_folder() as data_dir:
        write(data_dir, Path(sys.argv[1]))
