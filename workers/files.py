"""Which files the jobs of this worker may name."""

from __future__ import annotations

import os

from job.paths import POLICY
from service.settings import Settings

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def open_paths(settings: Settings) -> None:
    """Open to the jobs of this process what its settings open."""
    POLICY.set(settings.path_policy())


def close_hub(settings: Settings) -> None:
    """Keep libraries of the processes that start from here from asking the Hub by themselves, unless it is open."""
    if settings.hub == "off":
        os.environ.update(OFFLINE)
