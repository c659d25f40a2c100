"""Static calibration: one pass over training data that says which values each layer takes and gives.

What a layer takes depends only on the layers before it, so its statistics serve every network that begins with the
same layers; `SharedStatistics` keeps them by that beginning.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby

import torch
from torch import Tensor, nn

from quantization.layer import Statistics
from quantization.observers import OBSERVERS, Histogram, kl_ranges
from quantization.quantizable import QuantizableNetwork, wants_moments
from search_space.layers import LayerSpec, Precision
from supernet.inputs import Inputs, count, named
from supernet.network import Network

# Fewer examples than this say nothing about a distribution; SimQ-NAS takes 16 (BERT) and 100 (ResNet50).
LEAST_EXAMPLES = 16
# Statistics of layers that are remembered: a few hundred networks.
REMEMBERED_LAYERS = 1 << 15
# Sums of x x^T of a whole network that are kept, so that a policy rounds only the weights that it wants rounded.
MOMENTS_BYTES = 1 << 30


class CalibrationError(ValueError):
    """Calibration data, or what a network makes of them, cannot be used."""


class SharedStatistics:
    """Statistics of layers by all layers up to their own, whatever comes after."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, str], Statistics] = OrderedDict()
        self._beginnings: dict[tuple[int, str, LayerSpec], int] = {}

    def keys(self, layers: Mapping[str, LayerSpec]) -> dict[str, tuple[int, str]]:
        """Layer name -> what its statistics are stored under."""
        found, beginning = {}, 0
        for slot, spec in layers.items():
            beginning = self._beginnings.setdefault((beginning, slot, spec), len(self._beginnings) + 1)
            for part in spec.quantizable():
                found[f"{slot}.{part}"] = beginning, part
        return found

    def get(self, key: tuple[int, str]) -> Statistics | None:
        """What is known of a layer."""
        return self._known.get(key)

    def put(self, key: tuple[int, str], statistics: Statistics) -> None:
        """Remember a layer."""
        self._known[key] = statistics
        if len(self._known) > REMEMBERED_LAYERS:
            self._known.popitem(last=False)


def calibrate_activations(
    quantizable: QuantizableNetwork,
    layers: Mapping[str, LayerSpec],
    batches: Callable[[], Iterable[Inputs]],
    observer: str,
    shared: SharedStatistics | None = None,
) -> int:
    """Fill in the statistics of every layer; those that `shared` knows are taken from there.

    Args:
        layers: the network's specs without a policy.
        batches: gives the same training examples each time it is called.
        observer: one of `OBSERVERS`.

    Returns:
        How many layers were looked at.

    Raises:
        CalibrationError: too few examples, no such observer, or activations that are infinite or no numbers.
    """
    if observer not in OBSERVERS:
        raise CalibrationError(f"No observer named {observer!r}. Known: {', '.join(OBSERVERS)}.")
    shared = shared or SharedStatistics()
    keys = shared.keys(layers)
    for name, key in keys.items():
        if (known := shared.get(key)) is not None:
            quantizable.statistics[name] = known
    missing = [name for name in keys if name not in quantizable.statistics]
    if not missing:
        return 0
    ends = _extremes(quantizable, missing, batches)
    ranges = ends if observer == "minmax" else _cut(quantizable, ends, batches, observer)
    for name in missing:
        statistics = Statistics(ranges[name, "in"], ranges[name, "out"], quantizable.activations[name])
        quantizable.statistics[name] = statistics
        shared.put(keys[name], statistics)
    return len(missing)


def see_moments(
    quantizable: QuantizableNetwork,
    batches: Callable[[], Iterable[Inputs]],
    precisions: Iterable[Precision],
) -> int:
    """Sum x x^T over what linear layers take, where one of these precisions rounds weights by it.

    That is a square matrix of each layer's inputs, in float32: 0.5 GB for 11,008 inputs. Where those of all layers take
    more than `MOMENTS_BYTES`, each block's weights are rounded as soon as its own are known, in all these precisions,
    and its matrices are dropped: beside the network there are then one block's matrices and the hidden states.

    Returns:
        How many layers were looked at.
    """
    wanted = [precision for precision in dict.fromkeys(precisions) if wants_moments(precision)]
    if not wanted:
        return 0
    sizes = {
        name: layer.in_features
        for name in quantizable.paths
        if isinstance(layer := quantizable.layer(name), nn.Linear)
        and name not in quantizable.moments
        and not all(quantizable.is_rounded(name, precision) for precision in wanted)
    }
    kept = 4 * sum(size**2 for size in sizes.values()) <= MOMENTS_BYTES
    for slot, passes in groupby(_seen(quantizable, list(sizes), batches), key=lambda seen: _slot(seen[0][0])):
        found = {name: torch.zeros(size, size) for name, size in sizes.items() if _slot(name) == slot}
        for (name, side), tensors in passes:
            for given in tensors if side == "in" else ():
                rows = given.flatten(0, -2).float()
                found[name] += (rows.T @ rows).cpu()
        if kept:
            quantizable.moments |= found
            continue
        for name in list(found):
            moments_II = found.pop(name)
            for precision in wanted:
                quantizable.round(name, precision, moments_II)
    return len(sizes)


Ends = dict[tuple[str, str], tuple[float, float]]


def with_stated_policy(network: nn.Module, layers: Mapping[str, LayerSpec], inputs: Tensor | Inputs) -> nn.Module:
    """A network under the policy that its specs state, calibrated on noise: what it costs, not what it answers.

    Ranges fit together as real ones do. Where a layer takes other steps than the layer before it gives, ONNX Runtime
    finds no integer kernel for it, and a network looks several times slower than it will be.

    Args:
        inputs: one sample, for its shape.
    """
    policy = {f"{slot}.{part}": precision for slot, spec in layers.items() for part, precision in spec.policy}
    if all(precision.is_full for precision in policy.values()):
        return network
    inputs = named(inputs)
    made = QuantizableNetwork(network, layers, inputs)
    generator = torch.Generator().manual_seed(0)
    noise = {
        name: torch.randn(x.shape, generator=generator).to(x) if x.is_floating_point() else x
        for name, x in inputs.items()
    }
    with made.all_experts():
        ends = {key: _ends(tensors) for key, tensors in _seen(made, made.paths, lambda: [noise])}
    see_moments(made, lambda: [noise], policy.values())
    for name, activation in made.activations.items():
        made.statistics[name] = Statistics(ends[name, "in"], ends[name, "out"], activation)
    return made.with_policy(policy)


def _ends(tensors: list[Tensor]) -> tuple[float, float]:
    least, most = zip(*(torch.aminmax(tensor) for tensor in tensors), strict=True)
    return float(min(least)), float(max(most))


def _extremes(quantizable: QuantizableNetwork, names: list[str], batches: Callable[[], Iterable[Inputs]]) -> Ends:
    found = _looked(quantizable, names, batches)
    idle = [name for name in names if (name, "in") not in found]
    if idle:
        with quantizable.all_experts():
            found |= _looked(quantizable, idle, batches)
    return found


def _looked(quantizable: QuantizableNetwork, names: list[str], batches: Callable[[], Iterable[Inputs]]) -> Ends:
    """Extremes of those layers that the examples reach."""
    found: Ends = {}
    for key, tensors in _seen(quantizable, names, lambda: _enough(batches())):
        least, most = _ends(tensors)
        if not torch.isfinite(torch.tensor([least, most])).all():
            raise CalibrationError(
                f"Layer {key[0]!r} {'takes' if key[1] == 'in' else 'gives'} values from {least} to {most} on the "
                "calibration data; infinite activations cannot be quantized. Keep this layer, or its block, in "
                "32 bits, or train with a smaller learning rate."
            )
        before = found.get(key, (least, most))
        found[key] = min(before[0], least), max(before[1], most)
    return found


def _enough(batches: Iterable[Inputs]) -> Iterator[Inputs]:
    """The same batches.

    Raises:
        CalibrationError: at their end, if they hold too few examples.
    """
    examples = 0
    for batch in batches:
        examples += count(batch)
        yield batch
    if examples < LEAST_EXAMPLES:
        raise CalibrationError(
            f"Calibration got {examples} examples; it needs at least {LEAST_EXAMPLES}. Raise calibration_examples, or "
            "bring more training data."
        )


def _cut(quantizable: QuantizableNetwork, ends: Ends, batches: Callable[[], Iterable[Inputs]], observer: str) -> Ends:
    histograms: dict[tuple[str, str], Histogram] = {}
    names = list(dict.fromkeys(name for name, _ in ends))
    for key, tensors in _seen(quantizable, names, batches):
        histogram = Histogram.of(tensors, *ends[key])
        histograms[key] = histograms[key] + histogram if key in histograms else histogram
    # A value that never changes, or is hardly ever other than zero, leaves nothing to cut; of an expert that no example
    # chooses only the ends are known.
    ranges = dict(ends)
    varied = {key: histogram for key, histogram in histograms.items() if histogram.counts.any()}
    if observer == "kl" and varied:
        ranges |= dict(zip(varied, kl_ranges(list(varied.values())), strict=True))
    elif varied:
        ranges |= {key: histogram.percentile() for key, histogram in varied.items()}
    return ranges


def _seen(
    quantizable: QuantizableNetwork, names: Iterable[str], batches: Callable[[], Iterable[Inputs]]
) -> Iterator[tuple[tuple[str, str], list[Tensor]]]:
    """((layer name, `in` or `out`), tensors) of every batch, block by block.

    Hidden states of all batches wait before a block, in ordinary memory; what its layers take and give is there for one
    batch at a time.
    """
    network = quantizable.folded
    assert isinstance(network, Network)
    by_slot: dict[str, list[str]] = {}
    for name in names:
        by_slot.setdefault(_slot(name), []).append(name)
    flows = [network.begin(*batch.values()) for batch in batches()] if by_slot else []
    device, home = next(network.parameters()).device, torch.device("cpu")
    for slot, block in network.named_children():
        if not by_slot:
            return
        here = by_slot.pop(slot, [])
        for place, flow in enumerate(flows):
            with torch.no_grad(), quantizable.watching(here) as seen:
                flows[place] = network.step(flow.to(device), block).to(home)
            for name, (given, made) in seen.items():
                if given:
                    yield (name, "in"), given
                    yield (name, "out"), made


def _slot(name: str) -> str:
    return name.partition(".")[0]
