"""What `winnow family from-module` runs: `python -m supernet.from_module ORIGIN --input SHAPE --name NAME --folder F`.

One JSON object on the standard output says what was written; a refusal is one line on the standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from supernet.from_module.graph import RefusedModule
from supernet.from_module.making import check_shape, load_module, make_family


def main() -> int:
    """0: a family was written; 2: none can be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("origin")
    parser.add_argument("--input", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--replace", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    try:
        shape = check_shape(given.input)
        module = load_module(given.origin)
        made = make_family(module, given.origin, shape, given.name, given.folder, replace=given.replace)
    except (RefusedModule, ValueError) as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 2
    sys.stdout.write(json.dumps(asdict(made), default=str) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
