"""Whether networks of a family can be exported: its smallest one is written, reloaded in clean processes and compared.

    python -m export.family_check NAME [--preset PRESET] [--families-dir FOLDER]

prints one JSON object a line, as `supernet.contract` does.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from export.bundle import write_bundle
from export.contents import BundleContents
from search_space.inputs import ImageInput
from supernet.contract import Skipped, Subject, main
from supernet.network import extract

# Samples that the files answer.
SAMPLES = 4


def exports(subject: Subject) -> str:
    """The smallest network as files, each loaded by its own tool, answers as the network does."""
    space = subject.space
    if not isinstance(space.takes, ImageInput) or space.takes.classes is None:
        raise Skipped("it takes no images; a job's export is verified all the same")
    network = extract(subject.supernet.eval(), space.smallest())
    samples = subject.example_inputs(SAMPLES)
    with torch.no_grad():
        labels = network(*samples.values()).argmax(1)
    contents = BundleContents(network, space.layers(space.smallest()), {"name": space.name}, "# A network\n")
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(contents, samples, labels, Path(folder) / "checked")
    return ", ".join(
        f"{name} (apart by {found['max_abs_difference']:.2g})" for name, found in bundle.report["formats"].items()
    )


if __name__ == "__main__":
    sys.exit(main((exports,), __doc__))
