"""A network that Winnow does not know: MLP-Mixer as a family of one's own. About two minutes.

Copy `examples/families/mixer.py` into the folder that `WINNOW_FAMILIES_DIR` names, check it, and run this beside
`winnow up`:

    winnow family check mixer
    python examples/own_family.py
"""

from __future__ import annotations

import torch

import winnow

JOB = {
    "name": "example: a family of one's own",
    "recipe": "bignas",
    "supernet": {"family": "mixer", "preset": "digits"},
    "data": {"source": "digits"},
    "training": {"epochs": 15, "optimizer": "adamw", "learning_rate": 3e-3, "seed": 0},
    "objectives": [{"metric": "accuracy"}, {"metric": "macs"}],
    "search": {"evaluations": 60, "seed": 0},
}


def main() -> None:
    """Train, search, export, and load where neither Winnow nor the family's file is needed."""
    with winnow.Client() as client:
        front = client.submit(JOB).wait().front
        for network in front.networks:
            print(f"{network.id}: accuracy {network.metrics['accuracy']:.3f}, {network.metrics['macs']:,.0f} MACs")
        knee = front.knee
        print(f"knee: {knee.id}, depth {knee['values']['depth']}")
        export = knee.export()

    model = export.load()
    print(f"loaded: {type(model).__name__} answers {tuple(model(torch.zeros(1, 1, 8, 8)).shape)}")


if __name__ == "__main__":
    main()
