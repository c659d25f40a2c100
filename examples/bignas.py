"""BigNAS on handwritten digits: profile a space, search it, choose under a limit, export, load. About two minutes.

Run it beside `winnow up`:

    python examples/bignas.py
"""

from __future__ import annotations

import numpy as np

import winnow

JOB = {
    "name": "example: BigNAS",
    "recipe": "bignas",
    "supernet": {"family": "mobilenet", "preset": "digits"},
    "data": {"source": "digits"},
    "training": {"epochs": 8, "seed": 0},
    "objectives": [{"metric": "accuracy"}, {"metric": "macs"}],
    "search": {"evaluations": 60, "seed": 0},
}


def main() -> None:
    """The whole way, from a space to a loaded file."""
    # What the space costs, before anything is trained. This needs no service.
    space = winnow.profile(JOB, limits={"macs": 100_000})
    print(f"{space.space}: {int(space.architectures):,} networks")
    print(f"within 100,000 MACs: {100 * space.limits[0].share:.1f} %")

    with winnow.Client() as client:
        front = client.submit(JOB).wait().front
        print(front.to_pandas()[["architecture_id", "accuracy", "macs", "latency_ms"]].to_string(index=False))
        front.plot(x="macs").save("bignas.svg")
        chosen = front.best(under={"macs": 100_000})
        export = chosen.export("onnx")

    session = export.load()
    images = np.zeros((1, 1, 8, 8), np.float32)
    (logits,) = session.run(None, {session.get_inputs()[0].name: images})
    print(f"{chosen.id}: {chosen.metrics['macs']:,.0f} MACs, answers {logits.shape[1]} classes")


if __name__ == "__main__":
    main()
