"""Contract of a model family: its specs, its torch modules and its supernet are the same networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from predictors import cost
from search_space import SearchSpace, plugins
from search_space.adjustments import Adjustments
from supernet.network import Supernet, build_network, extract
from tests.contracts import counted
from tests.contracts.inputs import example_input
from tests.contracts.narrow import buildable

PRESETS = [(family, preset) for family in plugins.names("search_space.families") for preset in plugins.presets(family)]


@pytest.fixture(scope="module", params=PRESETS, ids="/".join)
def preset(request) -> tuple[str, str]:
    return request.param


@pytest.fixture(scope="module")
def space(preset) -> SearchSpace:
    return plugins.load_family(*preset)


@pytest.fixture(scope="module")
def small(preset) -> SearchSpace:
    """The preset, or where that is too big to be built, a narrowed version of it."""
    return buildable(*preset)


@pytest.fixture(scope="module")
def wide(preset, space) -> SearchSpace:
    """The preset with one more option, larger than the others, wherever the family allows it."""
    changes = {}
    for choice in space.choices:
        for larger in larger_options(choice.options[-1]):
            wanted = Adjustments({choice.name: (*choice.options, larger)})
            try:
                plugins.load_family(*preset, wanted)
            except ValueError:
                continue
            changes[choice.name] = (*choice.options, larger)
            break
    assert changes, "no choice of this preset can be extended"
    return plugins.load_family(*preset, Adjustments(changes))


def larger_options(option):
    """Options that might be the next larger one, whatever the choice is about."""
    if isinstance(option, int):
        return (option + 1, option + 2, option + 8, 2 * option)
    if isinstance(option, float):
        return (1.5 * option, 2 * option)
    return ("k9e6", "k9e1")


@pytest.fixture(scope="module")
def supernet(small) -> Supernet:
    """With statistics and scales that differ from channel to channel, so that no slice equals another."""
    torch.manual_seed(0)
    made = Supernet(small)
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                    tensor.uniform_(0.5, 1.5)
    return made


def architectures(space: SearchSpace, count: int):
    """The smallest, the largest, and random ones."""
    rng = np.random.default_rng(0)
    return [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(count - 2))]


def num_built(space: SearchSpace) -> int:
    """How many networks of a space a test builds with storage: 200 where they are tiny."""
    return 200 if cost.macs(space, space.largest()) < 1_000_000 else 12


def without_storage(space, architecture) -> nn.Sequential:
    """The plain torch network, all shapes and no numbers."""
    with torch.device("meta"):
        return build_network(space.layers(architecture)).eval()


# --- the space --------------------------------------------------------------------------------------


def test_the_space_is_named_after_its_family_and_preset():
    for family, preset in PRESETS:
        assert plugins.load_family(family, preset).name == f"{family}/{preset}"


def test_a_preset_gives_the_same_space_every_time():
    for family, preset in PRESETS:
        first, second = plugins.load_family(family, preset), plugins.load_family(family, preset)
        assert first.choices == second.choices
        assert first.largest().id == second.largest().id


def test_ids_are_equal_exactly_when_layers_are(space):
    ids, layers = {}, {}
    rng = np.random.default_rng(1)
    drawn = architectures(space, 200)
    # Neighbours that differ in one gene, alive or dead, are the likely collisions.
    drawn += [space.mutate(architecture, rng, 1 / len(space.choices)) for architecture in drawn]
    for architecture in drawn:
        described = tuple(space.layers(architecture).items())
        assert ids.setdefault(architecture.id, described) == described
        assert layers.setdefault(described, architecture.id) == architecture.id


def test_networks_keep_their_ids_and_layers_where_choices_are_widened(space, wide):
    for architecture in architectures(space, 50):
        same = wide.architecture(**architecture.values)
        assert same.id == architecture.id
        assert wide.layers(same) == space.layers(architecture)


def test_ids_are_equal_exactly_when_layers_are_where_choices_are_narrowed(small):
    ids, layers = {}, {}
    for architecture in architectures(small, 200):
        described = tuple(small.layers(architecture).items())
        assert ids.setdefault(architecture.id, described) == described
        assert layers.setdefault(described, architecture.id) == architecture.id


def test_a_preset_can_be_narrowed_to_one_network(preset, space):
    network = space.sample(np.random.default_rng(0))
    active = [item for item, alive in zip(network.items, space.is_active(network), strict=True) if alive]
    one = plugins.load_family(*preset, Adjustments({name: (value,) for name, value in active}))
    assert one.size() == 1
    assert one.smallest() == network
    assert one.layers(one.smallest()) == space.layers(network)


def test_every_dead_gene_leaves_layers_and_id_alone(space):
    for architecture in architectures(space, 50):
        for position, active in enumerate(space.is_active(architecture)):
            if not active:
                genes = list(architecture.genes)
                genes[position] = len(space.choices[position].options) - 1
                assert space.from_genes(genes).id == architecture.id


def test_every_layer_fits_in_capacity(space, small, wide):
    for version in (space, small, wide):
        capacity = version.capacity()
        for architecture in architectures(version, 200):
            for slot, layer in version.layers(architecture).items():
                assert layer.fits_in(capacity[slot]), (slot, layer)


def test_slots_come_in_the_order_of_capacity(space):
    position = {slot: i for i, slot in enumerate(space.capacity())}
    for architecture in architectures(space, 200):
        order = [position[slot] for slot in space.layers(architecture)]
        assert order == sorted(order)


# --- counts -----------------------------------------------------------------------------------------


def test_counted_params_and_bytes_are_those_of_the_torch_modules(space):
    for architecture in architectures(space, 200):
        params, stored = counted.params_and_bytes(space.layers(architecture))
        assert cost.params(space, architecture) == params
        assert cost.weight_bytes(space, architecture) == stored


def test_counted_macs_are_half_of_torchs_flops(space):
    inputs = example_input(space, batch=1).to("meta")
    for architecture in architectures(space, 40):
        assert 2 * cost.macs(space, architecture) == counted.flops(space.layers(architecture), inputs)


def test_counts_are_those_of_torch_where_choices_are_changed(small, wide):
    for version in (small, wide):
        inputs = example_input(version, batch=1).to("meta")
        for architecture in architectures(version, 15):
            layers = version.layers(architecture)
            assert cost.params(version, architecture) == counted.params_and_bytes(layers)[0]
            assert 2 * cost.macs(version, architecture) == counted.flops(layers, inputs)


def test_counts_of_a_whole_network_are_those_of_its_blocks(space):
    x = example_input(space, batch=1).to("meta")
    for architecture in architectures(space, 3):
        network = without_storage(space, architecture)
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            network(x)
        assert 2 * cost.macs(space, architecture) == counter.get_total_flops()
        assert cost.params(space, architecture) == sum(parameter.numel() for parameter in network.parameters())


def test_counted_params_equal_those_of_the_extracted_network(small, supernet):
    for architecture in architectures(small, 10):
        network = extract(supernet, architecture)
        assert cost.params(small, architecture) == sum(parameter.numel() for parameter in network.parameters())


# --- the supernet -----------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_the_supernet_computes_exactly_what_the_extracted_network_does(small, supernet, training):
    x = example_input(small, batch=2)
    supernet.train(training)
    for architecture in architectures(small, num_built(small)):
        with torch.no_grad():
            shared = supernet(x, architecture)
        assert torch.equal(shared, extract(supernet, architecture)(x)), architecture.values


def test_the_supernet_computes_the_same_with_and_without_gradients(small, supernet):
    x = example_input(small, batch=2)
    supernet.eval()
    for architecture in architectures(small, 5):
        with torch.no_grad():
            without = supernet(x, architecture)
        assert torch.equal(supernet(x, architecture), without)


def test_every_choice_can_change_the_layers(space):
    """A choice that no blueprint reads would be a lie in the id."""
    largest = space.largest()
    for position, choice in enumerate(space.choices):
        if len(choice.options) > 1:
            genes = list(largest.genes)
            genes[position] = 0
            assert space.layers(space.from_genes(genes)) != space.layers(largest), choice.name


def test_specs_are_values(space):
    for layer in space.layers(space.largest()).values():
        twin = replace(layer)
        assert twin == layer
        assert hash(twin) == hash(layer)
