"""Whether networks of a family can be exported: its smallest one is written, reloaded in clean processes and compared.

    python -m export.family_check NAME [--preset PRESET] [--families-dir FOLDER]

prints one JSON object a line, as `supernet.contract` does.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

from export.bundle import write_bundle
from export.contents import BundleContents
from export.verify import VerificationError
from search_space import plugins
from search_space.inputs import ImageInput
from supernet.contract import Skipped, Subject
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


def main() -> int:
    """0: passed or skipped; 1: not; 2: the family cannot be loaded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family")
    parser.add_argument("--preset")
    parser.add_argument("--families-dir", type=Path)
    arguments = parser.parse_args()
    plugins.use_families_dir(arguments.families_dir)
    torch.set_num_threads(1)
    broken = False
    try:
        for preset in [arguments.preset] if arguments.preset else plugins.presets(arguments.family):
            subject = Subject(plugins.load_family(arguments.family, preset))
            passed: bool | None = True
            try:
                detail = exports(subject)
            except Skipped as skipped:
                passed, detail = None, str(skipped)
            except (VerificationError, RuntimeError, ValueError) as error:
                passed, detail = False, f"{type(error).__name__}: {error}"
            broken = broken or passed is False
            asks = (exports.__doc__ or "").rstrip(".")
            told = {"preset": preset, "check": "exports", "asks": asks, "passed": passed, "detail": detail}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
