"""A network as a `torch.export` program, with those dimensions free that a user varies; several formats begin here."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from torch import Tensor, nn

from export.decoder import CachedDecoder, is_decoder
from supernet.inputs import Inputs, compares, named, part
from supernet.network import Network, complete

# Tokens of the example: no two sizes alike, and none 0 or 1, which torch.export would take for constants.
BATCH, TOKENS, BEFORE = 2, 5, 3
# What a network of two towers answers.
EMBEDDINGS = "embeddings"


@dataclass(frozen=True, slots=True)
class Signature:
    """How a network is called from outside.

    Attributes:
        module: what is called; of a language model it keeps keys and values.
        example: its arguments.
        dynamic: for each argument, its free dimensions by name.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dynamic: tuple[dict[int, str], ...]

    @property
    def length(self) -> int | None:
        """The one length that texts must have; None: any, or no texts."""
        texts = self.example[0].dim() == 2 and not self.example[0].is_floating_point()
        return int(self.example[0].shape[1]) if texts and 1 not in self.dynamic[0] else None

    @property
    def cached(self) -> bool:
        """Whether it is a language model with a cache."""
        return isinstance(self.module, CachedDecoder)


def signature(network: nn.Module, example: Tensor | Inputs) -> Signature:
    """How a float32 network is called.

    Images and classified texts have inputs `input` and, padded, `mask`. Language models are called as optimum calls
    theirs: `input_ids`, `attention_mask`, `position_ids`, `past_key_values.0.key`, ..., and answer `logits`,
    `present.0.key`, ...
    """
    network = network.eval()
    if is_decoder(network):
        return _of_decoder(network)
    given = complete(network, part(named(example), slice(1)))
    given = {name: one.repeat(BATCH, *[1] * (one.dim() - 1)).contiguous() for name, one in given.items()}
    with torch.no_grad():
        network(*given.values())  # what blocks remember of a length is a number, not a symbol of the exporter
    dynamic = tuple({0: "batch", **({1: "tokens"} if one.dim() == 2 else {})} for one in given.values())
    return Signature(
        network, tuple(given.values()), tuple(given), (EMBEDDINGS if compares(network) else "logits",), dynamic
    )


def _of_decoder(network: nn.Module) -> Signature:
    decoder = CachedDecoder(network).eval()
    past = [torch.zeros(BATCH, groups, BEFORE, width) for groups, width in decoder.caches for _ in range(2)]
    places = torch.arange(BEFORE, BEFORE + TOKENS)[None].repeat(BATCH, 1)
    ones = torch.ones(BATCH, BEFORE + TOKENS, dtype=torch.int64)
    example = (torch.arange(BATCH * TOKENS).reshape(BATCH, TOKENS) % 2, ones, places, *past)
    kinds = [f"{number}.{kind}" for number in range(len(decoder.caches)) for kind in ("key", "value")]
    dynamic = (
        {0: "batch_size", 1: "sequence_length"},
        {0: "batch_size", 1: "past_sequence_length + sequence_length"},
        {0: "batch_size", 1: "sequence_length"},
        *({0: "batch_size", 2: "past_sequence_length"} for _ in past),
    )
    inputs = ("input_ids", "attention_mask", "position_ids", *(f"past_key_values.{kind}" for kind in kinds))
    return Signature(decoder, example, inputs, ("logits", *(f"present.{kind}" for kind in kinds)), dynamic)


def program(called: Signature) -> tuple[torch.export.ExportedProgram, Signature]:
    """The program of a network, its named dimensions free, and how it is called then: a network of texts whose layers
    need a length that is known keeps the example's.

    The checks that the exporter puts in front (that sizes add up) are left out: other tools do not read them.
    """
    try:
        return _program(called), called
    except Exception:  # whatever a block does with a size that is a symbol
        if called.cached or not any(1 in free for free in called.dynamic):
            raise
        fixed = replace(called, dynamic=tuple({0: free[0]} for free in called.dynamic))
        return _program(fixed), fixed


def _program(called: Signature) -> torch.export.ExportedProgram:
    auto: Any = torch.export.Dim.AUTO
    shapes: list[Any] = [dict.fromkeys(free, auto) for free in called.dynamic]
    if called.cached:  # the cache is one variadic argument
        shapes = [*shapes[:3], tuple(shapes[3:])]
    elif isinstance(called.module, Network):  # so are its inputs
        shapes = [tuple(shapes)]
    with quiet(), torch.no_grad():
        made = torch.export.export(called.module, called.example, dynamic_shapes=tuple(shapes), strict=False)
    made._guards_code = []
    _forget_sources(made.graph_module)
    return made


def _forget_sources(module: torch.fx.GraphModule) -> None:
    """Where each operator stood in which file of this machine: nobody's business, and another file on every machine."""
    for graph in (each.graph for each in module.modules() if isinstance(each, torch.fx.GraphModule)):
        for node in graph.nodes:
            node.meta.pop("stack_trace", None)


class _Patient(io.RawIOBase):
    """A file for a writer that ends the process where a write fails: it takes all and remembers what went wrong."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.file = file
        self.failed: OSError | None = None

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = io.SEEK_SET, /) -> int:
        return self.file.seek(place, whence)

    def tell(self) -> int:
        return self.file.tell()

    def write(self, data: Any, /) -> int:
        if self.failed is None:
            try:
                self.file.write(data)
            except OSError as error:
                self.failed = error
        return memoryview(data).nbytes


def save_program(made: torch.export.ExportedProgram, path: Path, extra_files: dict[str, Any] | None = None) -> None:
    """Write a `.pt2` file. On a full disk torch's own writer would end the process.

    Raises:
        OSError: the disk is full, say.
    """
    with path.open("wb") as file:
        patient = _Patient(file)
        torch.export.save(made, cast(IO[bytes], patient), extra_files=extra_files)
        if patient.failed is not None:
            raise patient.failed


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what exporters say besides errors; it is a great deal."""
    said = io.StringIO()
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
