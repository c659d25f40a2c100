"""SimQ-NAS (arXiv 2312.13301): architecture and quantization policy searched together on one supernet.

As in the authors' code (IntelLabs/DyNAS-T), every convolution and linear layer has a gene for its width, 8 or 32 bits,
and one for the mode of its weights; static post-training quantization, activations calibrated by KL divergence on 100
training examples after batch-norm statistics are re-estimated; accuracy, latency and size. Latency is that of the
exported integer networks in ONNX Runtime, where the paper has Intel's framework. The search is `winnow`, which needs
fewer evaluations here than the paper's LINAS (`"algorithm": "linas", "options": {"population": 50}`). The supernet is
trained as BigNAS trains it, on the space and data that need no download.
"""

from __future__ import annotations

from typing import Any

from job.recipes.bignas import DEFAULTS as BIGNAS

DEFAULTS: dict[str, Any] = {
    **BIGNAS,
    "quantization": {
        "bits": [8, 32],
        "weights": ["symmetric", "asymmetric"],
        # Of a small encoder of text the table of words is most of its bytes.
        "embeddings": [8, 32],
        "observer": "kl",
        "calibration_examples": 100,
    },
    "objectives": [{"metric": "accuracy"}, {"metric": "latency_ms"}, {"metric": "size_bytes"}],
    "search": {"algorithm": "winnow", "evaluations": 250, "calibration_images": 512},
}
