"""Supernet: stateless, and its sub-networks are networks of their own."""

import copy

import numpy as np
import pytest
import torch

from search_space import Choice, SearchSpace
from search_space.plugins import load_family
from supernet.network import Supernet, build_network, extract

SPACE = load_family("mobilenet", "digits")


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(SPACE)


def images(batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def some_architectures(count: int):
    rng = np.random.default_rng(0)
    return [SPACE.sample(rng) for _ in range(count)]


@pytest.mark.parametrize("training", [True, False])
def test_interleaving_two_architectures_changes_nothing(supernet, training):
    supernet.train(training)
    first, second = some_architectures(2)
    x = images()
    alone = supernet(x, first)
    supernet(x, second)
    assert torch.equal(supernet(x, first), alone)


def test_gradients_of_interleaved_passes_equal_those_of_separate_ones(supernet):
    first, second = some_architectures(2)
    twin = copy.deepcopy(supernet)
    x = images()
    outputs = [supernet(x, first), supernet(x, second)]
    for output in outputs:
        output.sum().backward()
    for architecture in (first, second):
        twin(x, architecture).sum().backward()
    for mine, theirs in zip(supernet.parameters(), twin.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None)
        assert mine.grad is None or torch.equal(mine.grad, theirs.grad)


def test_a_pass_changes_no_tensor_of_the_supernet(supernet):
    before = copy.deepcopy(supernet.state_dict())
    supernet.train()(images(), SPACE.smallest())
    supernet.eval()(images(), SPACE.largest())
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_extracting_leaves_the_supernet_as_it_was(supernet):
    before = copy.deepcopy(supernet.state_dict())
    supernet.train()
    extract(supernet, SPACE.smallest())
    assert supernet.training
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_changing_an_extracted_network_does_not_change_the_supernet(supernet):
    before = copy.deepcopy(supernet.state_dict())
    network = extract(supernet, SPACE.largest())
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(1)
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("architecture", [SPACE.largest(), SPACE.smallest()], ids=["largest", "smallest"])
def test_a_network_that_is_only_read_shares_what_it_has_whole(supernet, architecture):
    own, shared = extract(supernet.eval(), architecture), extract(supernet, architecture, shares=True)
    assert torch.equal(shared(images()), own(images()))
    wholes = {tensor.data_ptr() for tensor in supernet.parameters()}
    shares = [tensor.data_ptr() in wholes for tensor in shared.parameters()]
    assert all(shares) if architecture == SPACE.largest() else any(shares) and not all(shares)
    assert not wholes & {tensor.data_ptr() for tensor in own.parameters()}
    assert not wholes & {tensor.data_ptr() for tensor in shared.buffers()}


def test_changing_the_supernet_does_not_change_an_extracted_network(supernet):
    network = extract(supernet, SPACE.largest())
    before = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        for tensor in supernet.state_dict().values():
            tensor.add_(1)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_extracting_twice_gives_two_networks(supernet):
    first, second = (extract(supernet, SPACE.smallest()) for _ in range(2))
    with torch.no_grad():
        first.stem.conv.weight.zero_()
    assert (second.stem.conv.weight != 0).any()


@pytest.mark.parametrize("training", [True, False])
def test_an_extracted_network_is_in_the_supernets_mode(supernet, training):
    network = extract(supernet.train(training), SPACE.smallest())
    assert {module.training for module in network.modules()} == {training}


def test_every_tensor_of_an_extracted_network_is_trainable_like_its_original(supernet):
    assert all(parameter.requires_grad for parameter in extract(supernet, SPACE.smallest()).parameters())


@pytest.mark.parametrize("grad", [True, False])
def test_a_copy_of_a_used_supernet_has_weights_of_its_own(supernet, grad):
    architecture = some_architectures(1)[0]
    x = images()
    supernet.eval()
    with torch.set_grad_enabled(grad):
        before = supernet(x, architecture)
        twin = copy.deepcopy(supernet)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
        assert torch.equal(supernet(x, architecture), before)
        assert not torch.equal(twin(x, architecture), before)


def test_dead_genes_run_the_same_weights(supernet):
    genes = list(SPACE.smallest().genes)
    dead = [i for i, active in enumerate(SPACE.is_active(SPACE.smallest())) if not active]
    for i in dead:
        genes[i] = 1
    assert len(dead) > 0
    twin = extract(supernet, SPACE.from_genes(genes)).state_dict()
    for name, tensor in extract(supernet, SPACE.smallest()).state_dict().items():
        assert torch.equal(twin[name], tensor)


def test_an_architecture_of_another_space_is_refused(supernet):
    elsewhere = SearchSpace("elsewhere", [Choice("c", (1, 2))]).smallest()
    with pytest.raises(ValueError, match="is not of space 'mobilenet/digits'"):
        supernet(images(), elsewhere)


def test_a_plain_network_has_the_shapes_of_an_extracted_one(supernet):
    architecture = some_architectures(1)[0]
    plain = build_network(SPACE.layers(architecture)).state_dict()
    assert {n: t.shape for n, t in plain.items()} == {
        n: t.shape for n, t in extract(supernet, architecture).state_dict().items()
    }


def deeper_and_shallower(stage: int):
    """Two architectures that differ in the depth of a stage alone."""
    values = SPACE.sample(np.random.default_rng(stage)).values
    return tuple(SPACE.architecture(**{**values, f"stage{stage}_depth": depth}) for depth in (2, 1))


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_with_zero_last_scales_depth_does_not_change_the_output(supernet, stage):
    deep, shallow = deeper_and_shallower(stage)
    x = images()
    assert not torch.equal(supernet(x, deep), supernet(x, shallow))
    supernet.zero_last_scales()
    assert torch.equal(supernet(x, deep), supernet(x, shallow))


def test_zeroing_last_scales_touches_the_last_scales_alone(supernet):
    before = copy.deepcopy(supernet.state_dict())
    supernet.zero_last_scales()
    changed = {name for name, tensor in supernet.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"slots.stage{s}_block{b}.block.project_norm.weight" for s in (1, 2, 3) for b in (1, 2)}
