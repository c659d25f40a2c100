"""The beginning of a stitched training: stitching layers by least squares, kept pair by pair so that it resumes."""

from __future__ import annotations

import torch
from torch import Tensor

from job.spec import JobSpec
from pipeline.checkpoints import JobFiles
from pipeline.materials import anchors_alone, stitch_batches
from pipeline.reporter import Reporter
from pipeline.workshop import JobFailed
from search_space.space import SearchSpace
from service.store.models import Stage
from supernet.data import Dataset
from supernet.stitching import Fit, fit_pair, stitches_of, tensors_of

KIND = "stitches"


def fitted_stitches(
    spec: JobSpec, space: SearchSpace, data: Dataset, device: torch.device, files: JobFiles, reporter: Reporter
) -> dict[str, Tensor]:
    """What the stitching layers of a job's checkpoints start with.

    The anchors run alone on a few hundred training examples. A pair of anchors that is solved for is stored, and a job
    that was interrupted goes on with the next one.

    Raises:
        Interrupted: the job is to be paused or cancelled.
        JobFailed: there are too few examples.
    """
    pairs = stitches_of(space)
    stored = files.recorded(KIND)
    done, tensors = (stored[0].step, files.load(stored[0])) if stored else (0, dict[str, Tensor]())
    if done == len(pairs):
        return tensors
    reporter.stage(Stage.TRAIN_SUPERNET)
    supernet = anchors_alone(spec, space, device)
    for number, stitches in enumerate(pairs[done:], done + 1):
        batches = stitch_batches(spec, data, device, reporter.listen)
        try:
            fits = fit_pair(supernet, stitches, batches)
        except ValueError as error:
            raise JobFailed(str(error)) from error
        tensors |= tensors_of(fits)
        before = files.recorded(KIND)
        files.save(KIND, f"checkpoints/{files.job_id}/{KIND}{number}.safetensors", dict(tensors), number)
        files.remove(before)
        reporter.tell("info", _said(number, fits))
    del supernet
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return tensors


def _said(number: int, fits: dict[str, Fit]) -> str:
    if not fits:
        return f"The choices leave no stitch between anchors {number} and {number + 1}."
    left = [100 * fit.left for fit in fits.values()]
    return (
        f"Stitching layers between anchors {number} and {number + 1} start by least squares on training examples: of "
        f"the variance of what they should give they leave {min(left):.3g} to {max(left):.3g} % ({len(fits)} layers)."
    )
