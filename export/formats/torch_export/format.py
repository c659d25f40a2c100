"""`model.pt2`, as `torch.export` writes it: the network's operators and weights, no source."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor, nn

from export.contents import BundleContents
from export.decoder import CachedDecoder
from export.generation import in_float32
from export.programs import program, quiet, save_program, signature
from supernet.inputs import Inputs

TOLERANCE = 1e-5
SCALED = True
GENERATES = True

PACKAGES = ("torch",)

REFERENCE = in_float32

FILE = "model.pt2"

RELOAD = """
def reload(folder):
    import os, numpy, torch
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    files = {"shapes": ""}
    model = torch.export.load(folder + "/model.pt2", extra_files=files).module()
    import json
    caches = json.loads(files["shapes"])
    def step(ids, past, before):
        batch, tokens = ids.shape
        ones = torch.ones(batch, before + tokens, dtype=torch.int64)
        places = torch.arange(before, before + tokens)[None].repeat(batch, 1)
        with torch.no_grad():
            return model(ids, ones, places, *past)
    def empty(batch):
        return [torch.zeros(batch, groups, 0, width) for groups, width in caches for _ in range(2)]
    def run(*given):
        given = [torch.from_numpy(each) for each in given]
        if caches:
            return step(given[0], empty(len(given[0])), 0)[0].numpy()
        with torch.no_grad():
            return model(*given).numpy()
    def generate(prompts, count):
        ids, past, before, found = torch.from_numpy(prompts), empty(len(prompts)), 0, []
        for _ in range(count):
            logits, *past = step(ids, past, before)
            before += ids.shape[1]
            ids = logits[:, -1].argmax(-1)[:, None]
            found.append(ids)
        return torch.cat(found, 1).numpy()
    if caches:
        run.generate = generate
    return run
"""


def write(network: nn.Module, example: Tensor | Inputs, folder: Path) -> None:
    """Write `model.pt2`."""
    called = signature(in_float32(network), example)
    made, called = program(called)
    caches = called.module.caches if isinstance(called.module, CachedDecoder) else []
    with quiet():
        save_program(made, folder / FILE, extra_files={"shapes": json.dumps(caches)})


def write_contents(contents: BundleContents, example: Tensor | Inputs, folder: Path) -> None:
    """Write `model.pt2`."""
    write(contents.network, example, folder)
