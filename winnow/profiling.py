"""`winnow.profile`: what a space costs, before anything is trained, without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.profile import ProfileOut, asked_for, make_profile


def profile(
    job: Mapping[str, Any] | None = None,
    *,
    family: str | None = None,
    preset: str | None = None,
    pretrained: str | Sequence[str] | None = None,
    limits: Mapping[str, float] | None = None,
    samples: int | None = None,
    seed: int | None = None,
) -> ProfileOut:
    """The cost of a space's networks, and whether limits can be met: `POST /v1/profile` in this process.

    Args:
        job: a job, or its supernet and objectives, as it would be submitted.
        family, preset, pretrained: a space, instead of a job's; several checkpoints are stitched.
        limits: metric -> worst value that is allowed, such as `{"macs": 3e8}`, beside or instead of the job's.
        samples: random networks to count; a smaller space is counted whole.
        seed: seed of the random networks.

    Raises:
        ValueError: nothing names a space, or something is wrong in what does; the message says what.
    """
    folders = pretrained if isinstance(pretrained, str | None) else list(pretrained)
    supernet = {"family": family, "preset": preset, "pretrained": folders}
    return make_profile(asked_for(job, supernet, limits or {}, samples, seed))
