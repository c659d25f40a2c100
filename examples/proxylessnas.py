"""ProxylessNAS on handwritten digits: a search by gradient for the hardware that runs it. A few minutes.

Run it beside `winnow up`:

    python examples/proxylessnas.py
"""

from __future__ import annotations

import winnow

# One network for each weight of latency: none, and much. Each is trained alone at the end.
JOB = {
    "name": "example: ProxylessNAS",
    "recipe": "proxylessnas",
    "supernet": {"family": "proxyless", "preset": "digits"},
    "data": {"source": "digits"},
    "training": {"epochs": 6, "seed": 0},
    "gradient": {
        "targets": ["cpu-onnxruntime"],
        "latency_weights": [0.0, 0.5],
        "warmup_epochs": 4,
        "final": {"epochs": 6},
    },
    "hardware": {"seconds": 0.1, "min_within_10_percent": 0},
}


def main() -> None:
    """Search, and show what each weight of latency has chosen."""
    with winnow.Client() as client:
        job = client.submit(JOB).wait()
        for found in client.gradient(job.id)["networks"]:
            measured = found["measured"]["metrics"]
            print(
                f"weight {found['latency_weight']}: accuracy {measured['accuracy']:.3f}, "
                f"measured {measured['latency_ms']:.3f} ms"
            )


if __name__ == "__main__":
    main()
