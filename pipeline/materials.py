"""What a training is made of: data, a fresh or pretrained supernet, and the trainer of a job.

Every process of a training makes them for itself, from the same words and seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from export.tools import is_disk_full
from job.fit import misfit
from job.paths import PathRefused, check_paths
from job.spec import JobSpec
from pipeline.artifacts import DiskFull
from pipeline.own_data import job_data
from pipeline.workshop import JobFailed
from plugins.kinds import METHODS
from search.metrics import OF_PAIRS
from search_space.inputs import PairInput, TokenInput
from search_space.space import SearchSpace
from service.settings import Settings
from supernet.data import IN_MEMORY, DataError, Dataset, Decoding
from supernet.data.decoding import unheard
from supernet.distributed import ALONE, Group
from supernet.importance import order_by_importance
from supernet.inputs import Inputs
from supernet.network import Supernet
from supernet.randomness import derived_rng
from supernet.stitching import fit_pair, is_stitched, load_fits, stitches_of, tensors_of
from supernet.trainer import Trainer
from supernet.weights import load_pretrained

# Share of a GPU's free memory that data may take; more of it stays in the machine's memory.
DATA_SHARE = 0.25
# Training examples on which the importance of neurons and heads is scored and stitching layers are solved for, and
# those in one forward pass.
SAMPLES, SAMPLES_AT_ONCE = 256, 16
# A checkpoint's vocabulary may be larger than its tokenizer's by padding, but not by more than this.
LEAST_VOCAB_SHARE = 0.9


def prepare_data(spec: JobSpec, space: SearchSpace, device: torch.device, decoding: Decoding = IN_MEMORY) -> Dataset:
    """The job's data, checked against its space, where the training wants it.

    Args:
        decoding: where images that do not fit in memory may lie.

    Raises:
        JobFailed: it cannot be used, or the job names files that are not open to it.
        DiskFull: decoded images do not fit on the disk; nothing is left of them.
    """
    try:
        check_paths(spec, whole=True)
        data = job_data(spec, decoding)
    except (DataError, PathRefused) as error:
        raise JobFailed(str(error)) from error
    except OSError as error:
        if is_disk_full(error):
            raise DiskFull(error.strerror) from None
        raise
    if (reason := misfit(space, spec.data.source, data.gives)) is not None:
        raise JobFailed(reason)
    if spec.training.batch_size > len(data.train):
        raise JobFailed(
            f"training.batch_size is {spec.training.batch_size}, but {data.name} has only {len(data.train)} "
            "training examples; choose a smaller batch."
        )
    if (reason := strange_tokens(spec, space, data)) is not None:
        raise JobFailed(reason)
    if "label_gradient_alignment" in spec.metrics and data.train.is_language:
        raise JobFailed(f"{data.name} is text to be continued, without classes that gradients could align with.")
    asked = spec.metrics & {"accuracy", "perplexity", *OF_PAIRS}
    known = {data.metric, *(OF_PAIRS if data.train.is_pairs else ())}
    if asked - known:
        wrong = min(asked - known)
        hint = " If a column holds labels, name it in data.label." if data.train.is_language else ""
        raise JobFailed(f"{data.name} is scored by {data.metric}, not by {wrong}; change the objectives.{hint}")
    if device.type == "cuda" and data.num_bytes > DATA_SHARE * torch.cuda.mem_get_info(device)[0]:
        return data
    return data.to(device)


def decoding_of(
    settings: Settings,
    processes: int = 1,
    progress: Callable[[float], object] = unheard,
    tell: Callable[[str], object] = unheard,
) -> Decoding:
    """How this installation decodes images.

    Args:
        processes: processes of the job on this machine.
        progress: hears the share that is decoded, and may end it by raising.
        tell: hears sentences for the user.
    """
    return Decoding(settings.datasets_dir, settings.datasets_bytes, processes, progress, tell)


def strange_tokens(spec: JobSpec, space: SearchSpace, data: Dataset) -> str | None:
    """Why the data's token ids are not those that a checkpoint was trained on, as far as their number shows it."""
    vocab = data.preprocessing.get("vocab")
    return None if vocab is None else strange_vocabulary(spec, space, data.preprocessing["tokenizer"], vocab)


def strange_vocabulary(spec: JobSpec, space: SearchSpace, tokenizer: str, vocab: int) -> str | None:
    """Why a tokenizer of so many tokens is not a checkpoint's own; None if it may be.

    Embeddings are often padded by some hundred rows, never by a tenth of them.
    """
    takes = space.takes
    if spec.supernet.pretrained is None or not isinstance(takes, TokenInput | PairInput):
        return None
    if vocab >= LEAST_VOCAB_SHARE * takes.vocab:
        return None
    return (
        f"The tokenizer {tokenizer} has {vocab} tokens, but the checkpoint was trained with "
        f"{takes.vocab}: they do not belong together. Set data.tokenizer to the checkpoint's folder, "
        f"{spec.supernet.folders[0]}."
    )


def fresh_supernet(
    spec: JobSpec,
    space: SearchSpace,
    data: Dataset,
    device: torch.device,
    stitches: Mapping[str, Tensor] | None = None,
) -> Supernet:
    """A supernet with initial weights: of the seed, or of the pretrained checkpoint, ordered by importance if asked.

    The same job gives the same weights every time, so a resumed training finds its neurons where they were.

    Args:
        stitches: what the stitching layers of several checkpoints start with, where it is known; None: solved for now.

    Raises:
        JobFailed: there are too few examples for stitching layers.
    """
    supernet = anchors_alone(spec, space, device)
    if spec.supernet.importance is not None:
        order_by_importance(supernet, _samples(spec, data, device, "importance"), spec.supernet.importance)
    if spec.supernet.pretrained is not None and is_stitched(space):
        load_fits(supernet, stitches if stitches is not None else _fitted(spec, supernet, data, device))
    return supernet


def anchors_alone(spec: JobSpec, space: SearchSpace, device: torch.device) -> Supernet:
    """A supernet with the weights of the seed, and in their place those that its checkpoints have."""
    torch.manual_seed(spec.training.seed)
    supernet = Supernet(space)
    if spec.supernet.pretrained is not None:
        load_pretrained(supernet, spec.supernet.pretrained, spec.supernet.classes)
    return supernet.to(device)


def _fitted(spec: JobSpec, supernet: Supernet, data: Dataset, device: torch.device) -> dict[str, Tensor]:
    batches, found = stitch_batches(spec, data, device), dict[str, Tensor]()
    try:
        for stitches in stitches_of(supernet.space):
            found |= tensors_of(fit_pair(supernet, stitches, batches))
    except ValueError as error:
        raise JobFailed(str(error)) from error
    return found


def stitch_batches(
    spec: JobSpec, data: Dataset, device: torch.device, listen: Callable[[], object] = lambda: None
) -> Callable[[], Iterator[Inputs]]:
    """Makes the training examples for which stitching layers are solved; the same ones for the same seed.

    Args:
        listen: is called with every batch, and may end it by raising.
    """

    def batches() -> Iterator[Inputs]:
        for inputs in _samples(spec, data, device, "stitches"):
            listen()
            yield inputs

    return batches


def _samples(spec: JobSpec, data: Dataset, device: torch.device, purpose: str) -> Iterator[Inputs]:
    """Training examples on which a network is looked at, in small batches; the same for the same seed and purpose."""
    chosen = derived_rng(spec.training.seed, purpose, 0).permutation(len(data.train))[:SAMPLES]
    examples = data.train.take(torch.from_numpy(chosen).to(data.train.y.device))
    for batch in examples.batches(SAMPLES_AT_ONCE, device):
        yield batch.inputs


def make_trainer(spec: JobSpec, supernet: Supernet, data: Dataset, group: Group = ALONE) -> Trainer:
    """The trainer that a resolved job's training part describes.

    Raises:
        JobFailed: its options cannot be honoured by this space or these data.
    """
    training = spec.training
    assert training.lr_decay_epochs is not None, "the job is not resolved"
    try:
        method = METHODS.load(training.method).METHOD(training.method_options)
        return Trainer(supernet, method, data.train, training, training.seed, training.augmentation, group)
    except ValueError as error:
        raise JobFailed(str(error)) from error
