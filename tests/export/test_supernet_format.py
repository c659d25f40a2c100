"""The format `supernet`: every network of a front as slices of one file, and the one that fits is picked."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export.contents import BundleContents, Member, Shared
from export.formats.supernet import format as supernet_format
from export.proof import checked
from job.formats import Subject, refusal
from pipeline.exporting import _each_once
from search_space.plugins import load_family
from search_space.space import SearchSpace
from supernet.network import Supernet, extract
from tests.export.random_networks import answers, reloaded, samples_of
from tests.tiers import mostly_thorough

SPACES = ("llama/tiny", "bert/tiny", "mobilenet/digits", "proxyless/cifar")


def front_of(space: SearchSpace, count: int = 3) -> BundleContents:
    """A supernet with random weights, and networks of it with statistics of their own, the largest exported."""
    torch.manual_seed(0)
    supernet, rng = Supernet(space).eval(), np.random.default_rng(0)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    members = []
    for number, architecture in enumerate([space.largest(), *(space.sample(rng) for _ in range(count - 1))]):
        network = extract(supernet, architecture).eval()
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.mul_(0.5 + torch.rand_like(buffer))
        metrics = {"accuracy": 0.9 - number / 10, "latency_ms": 9.0 - number, "macs": None}
        made = lambda network=network: network  # noqa: E731
        members.append(Member(architecture.id, space.layers(architecture), metrics, architecture.values, made))
    tensors = {
        f"{slot}.{name}": parameter
        for slot in supernet.slots
        for name, parameter in supernet.slot(slot).block.named_parameters()
    }
    blocks = [supernet.slot(slot).block for slot in supernet.slots]
    goals = {"accuracy": "maximize", "latency_ms": "minimize"}
    shared = Shared(_each_once(tensors), blocks, tuple(members), goals, members[0].id)
    facts = {"space": space.name, "dtype": "float32"}
    return BundleContents(members[0].network(), dict(members[0].layers), facts, "# A card\n", shared=shared)


@pytest.mark.parametrize("name", mostly_thorough(SPACES, "bert/tiny", "mobilenet/digits"))
def test_every_network_of_the_front_comes_back_from_one_file(name: str, tmp_path: Path, monkeypatch) -> None:
    space = load_family(*name.split("/"))
    contents, x = front_of(space), samples_of(space)
    told = supernet_format.write_contents(contents, x, tmp_path)
    assert told["networks"] == 3
    assert told["bytes"] < told["apart_bytes"]
    run = reloaded("supernet", tmp_path, monkeypatch)  # which compares every network
    assert np.abs(run(x.numpy()) - answers(contents.network, x)).max() <= 1e-5
    from load import load

    assert contents.shared is not None
    for member in contents.shared.members:
        model = load(network=member.id)
        with torch.no_grad():
            torch.testing.assert_close(model(x), member.network()(x), rtol=0, atol=1e-5)


def written(tmp_path: Path) -> tuple[BundleContents, dict]:
    contents = front_of(load_family("mobilenet", "digits"))
    supernet_format.write_contents(contents, samples_of(load_family("mobilenet", "digits")), tmp_path)
    return contents, runpy.run_path(str(tmp_path / "load.py"))


def test_the_best_network_within_limits_is_picked_and_shares_storage(tmp_path: Path) -> None:
    contents, module = written(tmp_path)
    assert contents.shared is not None
    first, second, third = (member.id for member in contents.shared.members)
    load = module["load"]
    assert load().facts["id"] == first
    assert load(under={"latency_ms": 8.5}).facts["id"] == second
    assert load(under={"latency_ms": 7}).facts["id"] == third
    assert load(by="latency_ms").facts["id"] == third
    stem = [load(network=name).get_parameter("stem.conv.weight") for name in (first, second, third)]
    assert len({weight.untyped_storage().data_ptr() for weight in stem}) == 1
    assert load(under={"latency_ms": 7}).facts["metrics"] == {"accuracy": 0.7, "latency_ms": 7.0}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"under": {"latency_ms": 1}}, "No network of the front is within .* The least of each: {'latency_ms': 7.0}"),
        ({"under": {"weight_kg": 1}}, "No network of the front has 'weight_kg'. Known: accuracy, latency_ms"),
        ({"by": "macs"}, "The front has no objective 'macs'. Its objectives: accuracy, latency_ms"),
        ({"network": "none"}, "No network 'none' is in front.json"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(given: dict, says: str, tmp_path: Path) -> None:
    _, module = written(tmp_path)
    with pytest.raises(ValueError, match=says):
        module["load"](**given)


def test_a_parameter_that_is_no_slice_is_the_networks_own(tmp_path: Path, monkeypatch) -> None:
    """A network whose weights were changed after it was cut, such as one that was trained on."""
    contents, x = front_of(load_family("mobilenet", "digits")), torch.randn(3, 1, 8, 8)
    assert contents.shared is not None
    changed = contents.shared.members[1].network()
    with torch.no_grad():
        changed.get_parameter("stem.conv.weight").mul_(1.5)
    supernet_format.write_contents(contents, x, tmp_path)
    module = runpy.run_path(str(tmp_path / "load.py"))
    with torch.no_grad():
        torch.testing.assert_close(module["load"](network=contents.shared.members[1].id)(x), changed(x))


def test_a_network_whose_numbers_were_edited_does_not_pass(tmp_path: Path, monkeypatch) -> None:
    from safetensors.torch import load_file, save_file

    written(tmp_path)
    own = load_file(tmp_path / "networks.safetensors")
    key = next(name for name in own if name.endswith("running_mean"))
    save_file(own | {key: own[key] + 1}, tmp_path / "networks.safetensors")
    with pytest.raises(SystemExit, match=r"answers .* from what it should"):
        reloaded("supernet", tmp_path, monkeypatch)


def test_jobs_without_a_supernet_are_refused() -> None:
    space = load_family("llama", "tiny")
    layers = space.layers(space.smallest())
    assert refusal("supernet", Subject(space.name, layers)) is None
    assert (
        refusal("supernet", Subject(space.name, layers, facts={"without_supernet": "it was alone"})) == "it was alone"
    )
    assert "share floating-point weights" in (refusal("supernet", Subject(space.name, layers, quantized=True)) or "")


@pytest.mark.thorough
def test_an_export_of_it_proves_itself(tmp_path: Path) -> None:
    from export.bundle import write_bundle

    space = load_family("bert", "tiny")
    contents = replace(front_of(space), formats=("supernet",))
    bundle = write_bundle(contents, samples_of(space, 4), torch.zeros(4, dtype=torch.int64), tmp_path / "export")
    _, wrong = checked(bundle.folder)
    assert wrong == []
    assert "3 networks in" in (bundle.folder / "README.md").read_text()
