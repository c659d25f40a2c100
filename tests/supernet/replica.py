"""What one of several processes does in tests: train a few steps of each case, print the losses. Started by torchrun.

A case is `FAMILY/MICRO_BATCHES`, or `FAMILY/MICRO_BATCHES/sharded`.
"""

from __future__ import annotations

import json
import sys

import torch
from torch.distributed.tensor import DTensor

from search_space.adjustments import Adjustments
from search_space.plugins import load_family
from supernet.data import Split
from supernet.distributed import join
from supernet.methods.alternating.method import Alternating
from supernet.methods.alternating.options import AlternatingOptions
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions
from supernet.methods.progressive.method import Progressive
from supernet.methods.progressive.options import ProgressiveOptions
from supernet.network import Supernet
from supernet.trainer import Trainer, TrainingMethod, TrainingOptions

BATCH, STEPS = 8, 3


def text() -> Split:
    ids = torch.randint(0, 256, (32, 17), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    return Split(ids[:, :-1], ids[:, 1:])


def images() -> Split:
    generator = torch.Generator().manual_seed(0)
    return Split(torch.randn(32, 1, 8, 8, generator=generator), torch.randint(0, 10, (32,), generator=generator))


# A phase a step, and widths from the third on.
SORTED_AFTER_TWO = ProgressiveOptions(
    full_part=1, kernel_part=0.5, depth_middle_part=0, depth_part=0.5, width_middle_part=0, width_part=14
)

# A llama whose head has weights of its own, which can be sharded.
UNTIED = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 256,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}


def losses(family: str, micro_batches: int, *, sharded: bool = False) -> list[dict[str, float]]:
    """Losses of the first steps, and the norm of the weights after each."""
    options = TrainingOptions(
        epochs=4,
        batch_size=BATCH,
        optimizer="sgd",
        learning_rate=0.1,
        lr_decay=1.0,
        lr_decay_epochs=1.0,
        lr_floor=1.0,
        weight_decay=1e-4,
        momentum=0.9,
        clip_norm=1.0,
        micro_batches=micro_batches,
        sharded=sharded,
    )
    torch.manual_seed(0)
    methods: dict[str, TrainingMethod] = {
        "mobilenet": BigNAS(BigNASOptions(num_random=1)),
        "progressive": Progressive(SORTED_AFTER_TWO),
    }
    method = methods.get(family, Alternating(AlternatingOptions(alpha=0.5)))
    presets = {"llama": "tiny", "untied": None}
    checkpoint = UNTIED if family == "untied" else None
    name = "mobilenet" if family in methods else "llama"
    space = load_family(name, presets.get(family, "digits"), Adjustments(), checkpoint)
    supernet = Supernet(space)
    trainer = Trainer(supernet, method, images() if family in methods else text(), options, seed=0, group=join())
    found = []
    for _ in range(STEPS):
        step = trainer.step()
        norm = sum(float(whole(p.detach().square().sum())) for p in trainer.supernet.parameters()) ** 0.5
        found.append({**step, "norm": norm})
    return found


def whole(value: torch.Tensor) -> torch.Tensor:
    """A number that may be spread over processes."""
    return value.full_tensor() if isinstance(value, DTensor) else value


if __name__ == "__main__":
    join()
    result = {}
    for case in sys.argv[1:]:
        family, micro_batches, *flags = case.split("/")
        result[case] = losses(family, int(micro_batches), sharded="sharded" in flags)
    if join().rank == 0:
        sys.stdout.write(json.dumps(result) + "\n")
    torch.distributed.destroy_process_group()
