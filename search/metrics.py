"""The metrics a search can speak of: their direction, unit, and how each number is obtained."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Goal = Literal["minimize", "maximize"]
Adds = Literal["plain", "log", "inverse"]


class Source(StrEnum):
    """How a number was obtained."""

    ANALYTIC = "analytic"
    PREDICTED = "predicted"
    MEASURED = "measured"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        goal: the direction that is better.
        unit: shown beside every number; empty for a share between 0 and 1.
        source: how the number is obtained during a search.
        meaning: one sentence for the catalogue.
        decades: whether values are compared by their ratios, because bad networks are worse by powers of ten: so many
            powers of ten make a network useless, however much worse others are. 0: values are compared as they are.
        negligible: values of decades below this are as good as none.
        adds: the form in which what layers contribute adds up best: the value itself, its logarithm, or its inverse.
    """

    name: str
    goal: Goal
    unit: str
    source: Source
    meaning: str
    decades: float = 0.0
    negligible: float = 0.0
    adds: Adds = "plain"


# Places that count in a list of what was found.
RECALLED = (1, 5, 10)


def _recalls() -> tuple[Metric, ...]:
    meanings = {
        "recall": "Mean of text_recall_at_{k} and image_recall_at_{k}.",
        "text_recall": "Share of images one of whose texts is among the {k} that a network of two towers finds first.",
        "image_recall": "Share of texts whose image is among the {k} that a network of two towers finds first.",
    }
    return tuple(
        Metric(f"{name}_at_{k}", "maximize", "", Source.MEASURED, meaning.format(k=k))
        for name, meaning in meanings.items()
        for k in RECALLED
    )


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy",
            "maximize",
            "",
            Source.MEASURED,
            "Top-1 accuracy, from 0 to 1, of the calibrated sub-network on the validation split.",
            adds="log",
        ),
        Metric(
            "perplexity",
            "minimize",
            "",
            Source.MEASURED,
            "exp of a token's mean cross-entropy, of a language model's sub-network on the validation split.",
            decades=1,
            adds="log",
        ),
        *_recalls(),
        Metric(
            "zero_shot_accuracy",
            "maximize",
            "",
            Source.MEASURED,
            "Share of images that are nearest to the texts of their class, of a network of two towers.",
        ),
        Metric("macs", "minimize", "MACs", Source.ANALYTIC, "Multiply-accumulates of one sample's forward pass."),
        Metric("params", "minimize", "parameters", Source.ANALYTIC, "Number of trainable parameters."),
        Metric("size_bytes", "minimize", "bytes", Source.ANALYTIC, "Bytes of the stored weights."),
        Metric(
            "kv_cache_bytes",
            "minimize",
            "bytes",
            Source.ANALYTIC,
            "Bytes of keys and values of all layers of a language model, for hardware.batch texts of hardware.context "
            "tokens.",
        ),
        Metric(
            "serving_bytes",
            "minimize",
            "bytes",
            Source.ANALYTIC,
            "size_bytes and kv_cache_bytes together: what a language model occupies while it serves.",
        ),
        Metric(
            "peak_activation_bytes",
            "minimize",
            "bytes",
            Source.ANALYTIC,
            "Most bytes of activations in memory at once during one sample's forward pass, in 32 bits.",
        ),
        Metric(
            "latency_ms",
            "minimize",
            "ms",
            Source.MEASURED,
            "Time of one run on the job's target; of a language model, of a whole prompt (time to the first token).",
        ),
        Metric(
            "tokens_per_second",
            "maximize",
            "tokens/s",
            Source.MEASURED,
            "Tokens that a language model generates in a second on the job's target, with a cache of keys and values.",
            adds="inverse",
        ),
        Metric(
            "kl_divergence",
            "minimize",
            "nats",
            Source.MEASURED,
            "Mean Kullback-Leibler divergence, per token or example, of the sub-network from the full network.",
            decades=2,
            negligible=0.01,
        ),
        Metric(
            "label_gradient_alignment",
            "maximize",
            "",
            Source.MEASURED,
            "How well the kernel of per-example gradients matches the classes, from -1 to 1 (Mok et al. 2022): a score "
            "of a network after little training.",
        ),
        Metric(
            "task_accuracy",
            "maximize",
            "",
            Source.MEASURED,
            "Share of multiple-choice questions whose right answer is the likeliest continuation; mean over tasks.",
            adds="log",
        ),
        Metric(
            "task_accuracy_norm",
            "maximize",
            "",
            Source.MEASURED,
            "The same with log-likelihoods divided by the answers' characters (acc_norm of lm-evaluation-harness).",
            adds="log",
        ),
        Metric(
            "task_accuracy_bytes",
            "maximize",
            "",
            Source.MEASURED,
            "The same with log-likelihoods divided by the answers' UTF-8 bytes (acc_bytes).",
            adds="log",
        ),
    )
}

# Metrics that only language models have, whose networks continue texts.
OF_GENERATION = ("tokens_per_second", "kv_cache_bytes", "serving_bytes")
# Metrics of pairs of images and texts.
RECALLS = tuple(metric.name for metric in _recalls())
OF_PAIRS = (*RECALLS, "zero_shot_accuracy")
# Metrics that depend on the device: predicted or measured there.
ON_TARGET = ("latency_ms", "tokens_per_second")
