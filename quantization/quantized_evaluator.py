"""QuantizedEvaluator: scores architectures with their quantization policy, each network calibrated once."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import torch

from predictors.cost import costs
from quantization.calibration import CalibrationError, SharedStatistics, calibrate_activations, see_moments
from quantization.quantizable import QuantizableNetwork
from quantization.quantized_space import QuantizedArchitecture, QuantizedSpace
from search.evaluation import Evaluation
from search.metrics import METRICS, RECALLS
from search_space.architecture import Architecture
from supernet.data import Dataset, Split
from supernet.evaluate import examine
from supernet.evaluator import Evaluator
from supernet.inputs import Inputs, part
from supernet.network import Network, Supernet
from supernet.options import AugmentationOptions
from supernet.prefixes import in_order
from supernet.randomness import derived_rng
from supernet.scores.labels import SplitExam

# The score of a network whose activations are no numbers; of a perplexity the largest that is given.
WORST = {"accuracy": 0.0, "perplexity": math.exp(700.0)} | dict.fromkeys(RECALLS, 0.0)
# Calibrated networks that are kept: their policies come one after another (`in_order`).
KEPT_NETWORKS = 8
# Training examples in one forward pass of a calibration of activations, which keeps all of them in memory.
CALIBRATION_BATCH = 32


class QuantizedEvaluator(Evaluator):
    """Scores architectures as fake-quantized networks: what integer kernels compute, in floating point.

    A network is extracted, its batch norms re-estimated and folded, its activations calibrated and its weights
    quantized once; every policy of it shares that.

    Args:
        space: space of the architectures: the supernet's networks with policies.
        observer: observer of activations, a name of `quantization.observers`.
        calibration_examples: training examples that activations are calibrated on.
        calibration: the images of batch norms, where they were chosen before.
        augment: augmentation of the training, for batch norms; activations are observed on images as they come in use.
        activations: the examples of activations, where they were chosen before (`activation_examples`).
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Dataset,
        calibration_images: int,
        seed: int,
        space: QuantizedSpace,
        *,
        observer: str,
        calibration_examples: int,
        calibration: Split | None = None,
        augment: AugmentationOptions | None = None,
        activations: Split | None = None,
    ) -> None:
        super().__init__(supernet, data, calibration_images, seed, calibration=calibration, augment=augment)
        self.policies, self._observer = space, observer
        self._examples: Split = activations or activation_examples(data, calibration_examples, seed)
        self._exam = SplitExam(data.validation)
        self._statistics = SharedStatistics()
        self._networks: OrderedDict[str, QuantizableNetwork] = OrderedDict()

    @property
    def space(self) -> QuantizedSpace:
        """Space of the architectures that are scored: networks with policies."""
        return self.policies

    def quantizable(self, network: Architecture) -> QuantizableNetwork:
        """A network of the supernet, calibrated and ready for any policy.

        Raises:
            CalibrationError: its activations cannot be quantized.
        """
        if network.id not in self._networks:
            layers = self.supernet.space.layers(network)
            # Folding copies it, and one example shows what follows what.
            plain, one = super().network(network, shares=True), part(next(self.examples()), slice(1))
            made = QuantizableNetwork(plain, layers, one)
            calibrate_activations(made, layers, self.examples, self._observer, self._statistics)
            see_moments(made, self.examples, self.policies.precisions)
            self._networks[network.id] = made
            if len(self._networks) > KEPT_NETWORKS:
                self._networks.popitem(last=False)
        self._networks.move_to_end(network.id)
        return self._networks[network.id]

    def examples(self) -> Iterator[Inputs]:
        """The training examples that activations are calibrated on, in batches; the same every time."""
        for batch in self._examples.batches(CALIBRATION_BATCH, self.supernet.device):
            yield batch.inputs

    def network(self, architecture: Architecture, *, shares: bool = False) -> Network:
        """The architecture as a network that computes what its kernels would, ready for use and for export.

        Args:
            shares: as of other evaluators; a network with a policy has weights of its own.

        Raises:
            CalibrationError: its activations cannot be quantized.
        """
        if not isinstance(architecture, QuantizedArchitecture):
            return super().network(architecture, shares=shares)
        made = self.quantizable(self.policies.network(architecture))
        network = made.with_policy(self.policies.policy(architecture))
        assert isinstance(network, Network)
        return network

    def in_order(self, architectures: Sequence[Architecture]) -> list[Architecture]:
        """The same architectures, policies of one network together, networks that begin alike side by side."""
        if architectures and not isinstance(architectures[0], QuantizedArchitecture):
            return super().in_order(architectures)
        policies: dict[Architecture, list[Architecture]] = {}
        for architecture in architectures:
            policies.setdefault(self.policies.network(architecture), []).append(architecture)
        networks = list(policies)
        return [one for index in in_order(self.supernet, networks) for one in policies[networks[index]]]

    def evaluate(self, architectures: Sequence[Architecture]) -> list[Evaluation]:
        """Validation scores of the networks under their policies, and every exact cost.

        A network whose activations are infinite has the worst score: it is no error of the job.
        """
        if architectures and not isinstance(architectures[0], QuantizedArchitecture):
            return super().evaluate(architectures)
        return [self._scored(architecture) for architecture in architectures]

    def _scored(self, architecture: Architecture) -> Evaluation:
        try:
            values = examine(self.network(architecture), self._exam)
        except CalibrationError:
            values = {name: WORST[name] for name in (RECALLS if self.data.train.is_pairs else [self.data.metric])}
        metrics = {**values, **costs(self.policies, architecture)}
        return Evaluation(architecture, metrics, {name: METRICS[name].source for name in metrics})


def activation_examples(data: Dataset, count: int, seed: int) -> Split:
    """The training examples that activations are calibrated on, in their order: drawn by the seed."""
    chosen = derived_rng(seed, "quantization", 0).permutation(len(data.train))[:count]
    return data.train.take(torch.from_numpy(chosen).to(data.train.y.device))
