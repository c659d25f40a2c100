"""Weight-only quantization of a front's networks, after the search, as LLaMA-NAS does it.

Nothing is searched: every finalist is scored once more with all its linear layers in each of some schemes.
"""

from __future__ import annotations

from collections.abc import Sequence

from predictors.cost import costs
from quantization.policies import Quantization
from quantization.quantized_evaluator import QuantizedEvaluator
from quantization.quantized_space import QuantizedSpace
from search.metrics import Source
from search_space.architecture import Architecture
from search_space.layers.precision import SCHEMES
from supernet.evaluate import score
from supernet.evaluator import Evaluator
from supernet.options import AugmentationOptions

# How activations are observed, which weight-only schemes do not ask for.
OBSERVER, CALIBRATION_EXAMPLES = "kl", 16


class InSchemes:
    """Scores of networks in other numbers.

    Args:
        evaluator: evaluator of the search, whose supernet and data are used.
        names: names of the schemes.
        calibration_images: that re-estimate the statistics of batch normalisation.
        seed: decides which.
        augment: augmentation of the training.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        names: Sequence[str],
        calibration_images: int,
        seed: int,
        augment: AugmentationOptions | None = None,
    ) -> None:
        self._evaluators = {name: _with_scheme(evaluator, name, calibration_images, seed, augment) for name in names}

    def scores(self, architecture: Architecture) -> tuple[dict[str, float], dict[str, Source]]:
        """Test score and bytes of a network of the supernet in every scheme, and how each was obtained."""
        metrics: dict[str, float] = {}
        sources: dict[str, Source] = {}
        for name, evaluator in self._evaluators.items():
            quantized = evaluator.policies.quantized(architecture, SCHEMES[name].bits)
            tested, size = f"test_{evaluator.data.metric}_{name}", f"size_bytes_{name}"
            metrics[tested] = score(evaluator.network(quantized), evaluator.data.test)
            metrics[size] = costs(evaluator.policies, quantized)["size_bytes"]
            sources |= {tested: Source.MEASURED, size: Source.ANALYTIC}
        return metrics, sources


def _with_scheme(
    evaluator: Evaluator, name: str, calibration_images: int, seed: int, augment: AugmentationOptions | None
) -> QuantizedEvaluator:
    bits = SCHEMES[name].bits
    return QuantizedEvaluator(
        evaluator.supernet,
        evaluator.data,
        calibration_images,
        seed,
        QuantizedSpace(evaluator.supernet.space, Quantization((bits,), {bits: name})),
        observer=OBSERVER,
        calibration_examples=CALIBRATION_EXAMPLES,
        augment=augment,
    )
