import pytest
import torch

from quantization.affine import Range
from quantization.quantizable import applied_to, fold, layer_paths, on_device
from quantization.sensitivity import sensitivities
from search_space import plugins
from search_space.layers import Precision
from supernet.network import Supernet, build_network, extract
from tests.quantization.networks import batches, inputs_for, quantizable, space_of
from winnow.testing.families import buildable, can_be_built

PRESETS = [(family, preset) for family in plugins.FAMILIES.names() for preset in plugins.presets(family)]
# The first of each family: presets of one family share their blocks.
RUN = list({family: (family, preset) for family, preset in reversed(PRESETS) if can_be_built(family, preset)}.values())


@pytest.mark.parametrize(("family", "preset"), RUN, ids="/".join)
def test_every_part_that_can_be_quantized_is_a_module_of_its_block(family, preset):
    space = buildable(family, preset)
    layers = space.layers(space.largest())
    with torch.device("meta"):
        paths = layer_paths(build_network(layers), layers)
    assert set(paths) == {
        f"{slot}.{part}" for slot, spec in layers.items() for part in spec.quantizable(embeddings=True)
    }
    assert len(set(paths.values())) == len(paths)


@pytest.fixture(scope="module")
def made():
    space = space_of("mobilenet")
    return space, quantizable(space, space.quantized(space.base.largest(), 8))


def test_folding_changes_no_answer_and_leaves_no_batch_norm(made):
    space, _ = made
    torch.manual_seed(0)
    plain = extract(Supernet(space.base), space.base.largest()).eval()
    with torch.no_grad():
        for module in plain.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.normal_(1, 0.2)
                module.bias.normal_()
    inputs = inputs_for(space, 5)
    folded = fold(plain, space.base.layers(space.base.largest()), {"input": inputs})
    with torch.no_grad():
        assert torch.allclose(folded.network(inputs), plain(inputs), rtol=1e-4, atol=1e-4)
    assert not [m for m in folded.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(folded.norms) == sum(isinstance(m, torch.nn.BatchNorm2d) for m in plain.modules())
    assert folded.activations["stem.conv"] == "ReLU"
    assert folded.activations["stage1_block1.project"] == ""


def test_a_network_is_brought_elsewhere_without_those_that_share_its_weights(made):
    space, network = made
    mixed = space.policy(space.quantized(space.base.largest(), {"stem.conv": 32, "head.linear": 8}))
    policy = {name: precision for name, precision in mixed.items() if name in network.paths}
    here, there = network.with_policy(policy), torch.device("meta")
    assert on_device(here, torch.device("cpu")) is here
    moved = on_device(here, there)
    assert {tensor.device for tensor in (*moved.parameters(), *moved.buffers())} == {there}
    assert {tensor.device for tensor in applied_to(moved).folded.parameters()} == {there}
    assert [name for name, _ in moved.named_parameters()] == [name for name, _ in here.named_parameters()]
    again = network.with_policy(policy)
    assert {tensor.device.type for tensor in (*here.parameters(), *again.parameters())} == {"cpu"}
    assert {tensor.device.type for tensor in network.folded.parameters()} == {"cpu"}


def test_policies_share_weights_and_change_nothing_of_one_another(made):
    space, network = made
    inputs = inputs_for(space, 5)
    eight = space.policy(space.quantized(space.base.largest(), 8))
    full = space.policy(space.quantized(space.base.largest(), 32))
    with torch.no_grad():
        first = network.with_policy(eight)(inputs)
        assert torch.equal(network.with_policy(full)(inputs), network.folded(inputs))
        assert torch.equal(network.with_policy(eight)(inputs), first)
    assert not torch.equal(first, network.folded(inputs))
    again = [network.with_policy(eight).stem.conv for _ in range(2)]
    assert again[0] is again[1]
    assert isinstance(again[0].plan.inputs, Range)


def test_a_policy_for_another_network_is_refused(made):
    _, network = made
    with pytest.raises(ValueError, match=r"has no layer .layer1\.query.\. Its layers: stem\.conv"):
        network.with_policy({"layer1.query": Precision("int8_static")})
    with pytest.raises(ValueError, match=r"no kernels for .stem\.conv., a conv layer"):
        network.with_policy({"stem.conv": Precision("int4_weight", group=32)})


def test_sensitivity_is_nothing_where_nothing_is_lost_and_grows_with_what_is(made):
    space, network = made
    inputs = inputs_for(space, 24)
    wide, narrow = Precision("bf16"), Precision("int8_static")
    found = list(sensitivities(network, {"head.conv": [Precision(), wide, narrow]}, batches(inputs)))
    assert [one.precision for one in found] == [wide, narrow]
    assert 0 <= found[0].divergence < found[1].divergence
    assert 0.5 < found[1].agreement <= 1
