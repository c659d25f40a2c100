"""Does Label-Gradient Alignment after a little training tell how good a network will be?

Networks of mobilenet `digits`, drawn at random, are each trained alone on scikit-learn's handwritten digits. Before
training and after a few epochs their LGA on 32 training images and their accuracy on the validation images are noted;
the question is how well either ranks the networks by their test accuracy at the end. Then an accuracy predictor learns
from half of the networks, with and without LGA as a known number, and ranks the others.

    python -m benchmarks.label_gradient_alignment [--json] [--small]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import time
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr
from sklearn.datasets import load_digits
from torch import Tensor, nn

from predictors import make_predictor
from search_space.architecture import Architecture
from search_space.plugins import load_family
from supernet.label_gradient_alignment import label_gradient_alignment
from supernet.network import build_network

CHECKED_AFTER = (0, 1, 2, 4)
SAMPLES, BATCH, RATE = 32, 64, 0.05
SPLITS = 20


def data() -> tuple[list[Tensor], list[Tensor]]:
    """Images and labels of training, validation and test: 897, 300 and 600."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = torch.tensor(digits.images[order] / 8 - 1, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target[order])
    return list(images.split([897, 300, 600])), list(labels.split([897, 300, 600]))


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of correct answers."""
    network.eval()
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).float().mean())


def life(network: nn.Module, epochs: int, seed: int) -> dict[str, Any]:
    """LGA and validation accuracy on the way, and the test accuracy at the end."""
    images, labels = data()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9, weight_decay=1e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    notes: dict[str, Any] = {}
    for epoch in range(epochs + 1):
        if epoch in CHECKED_AFTER:
            notes[f"lga after {epoch}"] = label_gradient_alignment(
                network, images[0][:SAMPLES], labels[0][:SAMPLES], coupled=True
            )
            notes[f"accuracy after {epoch}"] = accuracy(network, images[1], labels[1])
        if epoch == epochs:
            break
        network.train()
        for chosen in torch.randperm(len(images[0]), generator=generator).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[0][chosen]), labels[0][chosen]).backward()
            optimizer.step()
        schedule.step()
    return {**notes, "test": accuracy(network, images[2], labels[2])}


def with_predictor(networks: list[Architecture], lives: list[dict[str, Any]], score: str | None) -> float:
    """Mean tau of predicted and true test accuracy of networks that were not seen."""
    space = load_family("mobilenet", preset="digits")
    by_id = {a.id: life[score] for a, life in zip(networks, lives, strict=True)} if score else {}
    test = np.array([life["test"] for life in lives])
    taus = []
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(networks)).tolist()
        predictor = make_predictor("accuracy", space, known={"score": lambda a: by_id[a.id]} if score else None)
        seen, unseen = order[: len(order) // 2], order[len(order) // 2 :]
        predictor.fit([networks[i] for i in seen], test[seen])
        mean, _ = predictor.predict([networks[i] for i in unseen])
        taus.append(kendalltau(mean, test[unseen]).statistic)
    return round(float(np.nanmean(taus)), 3)


def main() -> None:
    """Train, note, correlate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--small", action="store_true", help="12 networks instead of 24")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    space = load_family("mobilenet", preset="digits")
    rng, epochs = np.random.default_rng(0), 10
    networks = [space.sample(rng) for _ in range(12 if arguments.small else 24)]
    lives = []
    for i, architecture in enumerate(networks):
        torch.manual_seed(i)
        lives.append(life(build_network(space.layers(architecture)), epochs, seed=i))
    test = np.array([life["test"] for life in lives])
    report = {
        "question": "rank correlation of a score after a little training with the test accuracy after all of it",
        "networks": len(networks),
        "epochs": epochs,
        "test_accuracy": {"least": round(float(test.min()), 4), "most": round(float(test.max()), 4)},
        "correlation": {
            score: {
                "tau": round(float(kendalltau([life[score] for life in lives], test).statistic), 3),
                "spearman": round(float(spearmanr([life[score] for life in lives], test).statistic), 3),
            }
            for score in lives[0]
            if score != "test"
        },
        "predictor_tau_from_half": {
            str(score): with_predictor(networks, lives, score) for score in (None, "lga after 2", "accuracy after 2")
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform()}",
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy", "scikit-learn")},
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(report, indent=2) if arguments.json else report)


if __name__ == "__main__":
    main()
