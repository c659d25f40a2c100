"""Weight-only quantization of a front's networks, after the search, as LLaMA-NAS does it.

Nothing is searched: every finalist is scored once more with all its linear layers in each scheme that the job names.
"""

from __future__ import annotations

from job.quantization_spec import QuantizationSpec
from pipeline.workshop import Workshop
from predictors.cost import costs
from quantization.evaluation import QuantizedEvaluator
from quantization.space import QuantizedSpace
from search.metrics import Source
from search_space.architecture import Architecture
from search_space.layers.precision import SCHEMES
from supernet.evaluate import score
from supernet.evaluator import Evaluator


class FrontQuantization:
    """Scores of finalists in other numbers.

    Args:
        evaluator: of the search, whose supernet and data are used.
    """

    def __init__(self, shop: Workshop, evaluator: Evaluator) -> None:
        self._evaluators = {name: _with_scheme(shop, evaluator, name) for name in shop.spec.scoring.quantize_front}

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


def _with_scheme(shop: Workshop, evaluator: Evaluator, name: str) -> QuantizedEvaluator:
    bits = SCHEMES[name].bits
    asked = QuantizationSpec(bits=(bits,), schemes={bits: name}, calibration_examples=16, sensitivity=False)
    space = QuantizedSpace(shop.space, asked.quantization())
    chosen = shop.spec.search.calibration_images, shop.spec.training.seed
    return QuantizedEvaluator(
        evaluator.supernet,
        evaluator.data,
        *chosen,
        space,
        observer=asked.observer,
        calibration_examples=asked.calibration_examples,
    )
