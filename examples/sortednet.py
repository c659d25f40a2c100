"""SortedNet on handwritten digits: nested sub-networks by random draws, no teacher. About two minutes.

Run it beside `winnow up`:

    python examples/sortednet.py
"""

from __future__ import annotations

import winnow

JOB = {
    "name": "example: SortedNet",
    "recipe": "sortednet",
    "training": {"epochs": 8, "seed": 0},
    "objectives": [{"metric": "accuracy"}, {"metric": "params"}],
    "search": {"evaluations": 60, "seed": 0},
    "hardware": {"seconds": 0.2},  # of measuring each finalist
}


def main() -> None:
    """Train nested networks and look at all sizes at once."""
    with winnow.Client() as client:
        job = client.submit(JOB).wait()
        evaluated = job.evaluated()
        print(f"{len(evaluated)} sub-networks of one training, {evaluated['params'].min():,.0f} to", end=" ")
        print(f"{evaluated['params'].max():,.0f} parameters")
        for network in job.front.networks:
            print(
                f"{network.id}  accuracy {network.metrics['accuracy']:.3f}  {network.metrics['params']:,.0f} parameters"
            )


if __name__ == "__main__":
    main()
