"""One supernet, two targets: which network is best depends on what runs it. A few minutes.

Run it beside `winnow up`:

    python examples/two_targets.py

Both targets are runtimes of this machine, so that the example needs no second one. A target may as well be a machine
that runs `winnow measure --name NAME`, or an uploaded table.
"""

from __future__ import annotations

import winnow

TARGETS = ("cpu-onnxruntime", "cpu-torch")


def objectives(target: str) -> list[dict]:
    """Accuracy, and latency on a target."""
    return [{"metric": "accuracy"}, {"metric": "latency_ms", "target": target}]


JOB = {
    "name": f"example: {TARGETS[0]}",
    "recipe": "bignas",
    "training": {"epochs": 4, "seed": 0},
    "objectives": objectives(TARGETS[0]),
    "search": {"evaluations": 30, "seed": 0},
    "hardware": {"seconds": 0.05, "networks": 12, "max_layers": 0, "min_within_10_percent": 0},
}


def main() -> None:
    """Train once, search twice, and compare."""
    with winnow.Client() as client:
        first = client.submit(JOB).wait()
        # The second search takes the trained supernet, and what was scored of it, from the first.
        told = client.descend(first.id, "extend", {"evaluations": 10, "target": TARGETS[1]})
        second = client.job(told["id"]).wait()
        fronts = {TARGETS[0]: first.front, TARGETS[1]: second.front}

    for target, front in fronts.items():
        fastest, best = front.best(by="latency_ms"), front.best()
        print(f"{target}: {len(front.networks)} networks")
        for name, one in (("fastest", fastest), ("most accurate", best)):
            print(f"  {name} {one.id}: {one.metrics['latency_ms']:.3f} ms, accuracy {one.metrics['accuracy']:.3f}")
    both = {one.id for one in fronts[TARGETS[0]].networks} & {one.id for one in fronts[TARGETS[1]].networks}
    print(f"on both fronts: {len(both)}")
    winnow.plot(fronts, x="latency_ms").save("two-targets.svg")


if __name__ == "__main__":
    main()
