"""Settings: every one is an environment variable that starts with `WINNOW_`."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import DirectoryPath, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from job.paths import PathPolicy
from service.wrong import told


class Settings(BaseSettings):
    """How this installation runs. `docs/settings.md` lists the same facts for operators."""

    model_config = SettingsConfigDict(env_prefix="WINNOW_", extra="ignore")

    data_dir: Path = Field(
        default_factory=lambda: Path.home() / ".winnow",
        description="Folder of checkpoints, exports, logs and, by default, the database.",
    )
    artifacts_url: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9+]+://\S+$",
        description="Store of objects for checkpoints, supernets, exports and uploads, such as s3://bucket/winnow; the "
        "folders of these on each machine are then caches of it.",
    )
    database_url: str | None = Field(
        default=None, description="PostgreSQL to use; without it `winnow up` starts its own."
    )
    redis_url: str | None = Field(default=None, description="Redis to use; without it `winnow up` starts its own.")
    host: str = Field(default="127.0.0.1", description="Address that the API listens on.")
    port: int = Field(default=8420, ge=0, le=65535, description="Port that the API listens on.")
    url: str = Field(default="http://127.0.0.1:8420", description="API that the command line talks to.")
    auth: Literal["on", "off"] = Field(
        default="on", description="`off`: no keys, for one person on this machine; refused off loopback."
    )
    api_key: SecretStr | None = Field(default=None, description="Key that the command line and targets send.")
    allowed_hosts: str | None = Field(
        default=None, description="Names, separated by commas, under which the API may be asked besides loopback ones."
    )
    session_hours: float = Field(default=12.0, gt=0, description="How long a browser stays signed in.")
    rate_limit: str = Field(
        default="6000/minute",
        pattern=r"^(off|\d+/(second|minute|hour|day))$",
        description="Requests that a key, or an address without one, may send; `off`: any number.",
    )
    rate_limit_shared: Literal["on", "off"] = Field(
        default="off", description="`on`: several API processes count together, in Redis."
    )
    data_roots: str | None = Field(
        default=None, description="Folders, separated by colons, below which paths of a job must lie."
    )
    upload_bytes: int = Field(default=50_000_000_000, ge=1, description="Largest file that may be uploaded.")
    hub: Literal["on", "off"] = Field(
        default="off", description="`on`: jobs may name data sets and tokenizers of the Hugging Face Hub."
    )
    lease_seconds: float = Field(default=60, gt=0, description="A worker that is silent for this long loses its job.")
    heartbeat_seconds: float = Field(default=15, gt=0, description="How often a lease is renewed.")
    poll_seconds: float = Field(
        default=1, gt=0, description="How often a worker looks for pause, stop and cancel, and a stream for news."
    )
    reap_seconds: float = Field(
        default=5, gt=0, description="How often lost leases and unheard wake-ups are looked for."
    )
    checkpoint_seconds: float = Field(default=60, ge=0, description="Least time between two checkpoints of a training.")
    warm_runners: bool = Field(
        default=True, description="Whether a worker keeps a process with everything imported to fork jobs off."
    )
    max_attempts: int = Field(
        default=3, ge=1, description="Runs of a job in a row that may end badly without any progress."
    )
    delete_grace_seconds: float = Field(
        default=604800, ge=0, description="How long a deleted job can be restored before it and its files are removed."
    )
    log_days: float = Field(default=30, gt=0, description="How long lines and files of logs are kept.")
    stall_seconds: float = Field(
        default=1800,
        gt=0,
        description="A runner that makes no progress for this long is stopped and started again; while data are "
        "prepared, four times as long.",
    )
    worker_labels: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._=/:,\s-]*$",
        description="Labels of a worker, separated by commas, which jobs may ask for in `needs.labels`.",
    )
    webhook_allow: str = Field(
        default="",
        description="Names, addresses and networks, separated by commas, that webhooks may lead to besides public "
        "ones.",
    )
    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://\S+$",
        description="Collector of OpenTelemetry (OTLP over HTTP) that gets spans, such as http://collector:4318.",
    )
    litert_python: str | None = Field(
        default=None, description="Python with litert-torch, which converts and runs exports of the format litert."
    )
    mirror: Literal["mlflow", "trackio", "wandb"] | None = Field(
        default=None, description="Tracker of experiments that jobs are mirrored to."
    )
    mirror_project: str = Field(
        default="winnow",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="Project of the tracker that mirrored jobs appear in; in MLflow an experiment.",
    )
    max_body_bytes: int = Field(default=1_000_000, ge=1, description="Largest body of a request.")
    families_dir: DirectoryPath | None = Field(
        default=None, description="Folder of families of your own, one Python file each. Their code is run."
    )
    tasks_dir: DirectoryPath | None = Field(
        default=None, description="Folder of task files of lm-evaluation-harness. Their code is run."
    )
    rendezvous: str = Field(
        default="127.0.0.1:29400",
        pattern=r"^[^:\s]+:\d+$",
        description="Host and port of the first machine of a training on several, as the others reach it.",
    )
    keep_checkpoints: int = Field(default=2, ge=1, description="Checkpoints kept of a running training.")
    datasets_bytes: int | None = Field(
        default=None, ge=1, description="Most bytes of decoded images on the disk; those used least recently go first."
    )

    def path_policy(self) -> PathPolicy:
        """Which files jobs may name on this machine."""
        roots = [Path(part).expanduser().resolve() for part in (self.data_roots or "").split(":") if part.strip()]
        uploads = self.uploads_dir.resolve()
        return PathPolicy((*roots, uploads), (self.data_dir.resolve(),), self.hub == "on", uploads)

    @property
    def own_labels(self) -> tuple[str, ...]:
        """The labels of this worker."""
        return tuple(dict.fromkeys(word for part in self.worker_labels.split(",") if (word := part.strip())))

    @property
    def uploads_dir(self) -> Path:
        """Folder of what was uploaded; open to jobs."""
        return self.data_dir / "uploads"

    @property
    def artifacts_dir(self) -> Path:
        """Folder of checkpoints, supernets and exports."""
        return self.data_dir / "artifacts"

    @property
    def answers_dir(self) -> Path:
        """Folder of what parents answered to networks that heal; it may be deleted at any time."""
        return self.data_dir / "answers"

    @property
    def datasets_dir(self) -> Path:
        """Folder of decoded images that do not fit in memory."""
        return self.data_dir / "datasets"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read from its environment once.

    Raises:
        ValueError: a variable has a value that cannot be right; one line names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = [f"WINNOW_{'_'.join(map(str, e['loc'])).upper()}: {told(e)}" for e in error.errors()]
        raise ValueError("; ".join(wrong)) from None


def without_password(text: str) -> str:
    """A text whose URLs may be printed."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]+@", r"\1:***@", text)
