"""What a GPU alone can show. Skipped, with the reason, where there is none."""

import pytest
import torch

from export.measurable import write_measurable
from export.measure import Effort, Setting, measure
from search_space.plugins import load_family
from supernet.network import Supernet, build_network, extract

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")

LITTLE = Effort(processes=1, blocks=4, max_seconds=0.3)
CUDA = torch.device("cuda")


def written(folder, name, example, runtime):
    torch.manual_seed(0)
    space = load_family(*name)
    layers = space.layers(space.smallest())
    return write_measurable(build_network(layers).eval(), layers, example, folder, Setting(runtime))


@pytest.mark.parametrize("runtime", ["cuda-torch", "cuda-torch-compiled"])
def test_a_network_is_measured_with_its_energy(tmp_path, runtime):
    folder = written(tmp_path, ("mobilenet", "digits"), torch.randn(2, 1, 8, 8), runtime)
    (result,) = measure(folder, runtime=runtime, batch=4, effort=LITTLE)
    low, high = result["interval_ms"]
    assert 0 < low < result["median_ms"] < high < 10
    assert result["gpu"] == torch.cuda.get_device_name()
    assert result["versions"]["cuda"] == torch.version.cuda
    assert result["gpu_memory_bytes"] > 0
    assert result["driver"]
    # At least 20 W for as long as a run takes; more, as launching it and other programs take their share.
    assert 20 * result["median_ms"] < result["energy_mj"] < 20_000


def test_a_language_model_has_prefill_and_decode(tmp_path):
    folder = written(tmp_path, ("llama", "tiny"), torch.zeros(2, 16, dtype=torch.int64), "cuda-torch")
    prefill, decode = measure(folder, runtime="cuda-torch", effort=LITTLE)
    assert (prefill["phase"], decode["phase"]) == ("prefill", "decode")
    assert decode["tokens_per_second"] == pytest.approx(1000 / decode["median_ms"])


@pytest.mark.parametrize("family", ["mobilenet", "vit", "llama", "bert"])
def test_a_sub_network_on_the_gpu_computes_what_it_computes_on_the_cpu(family):
    space = load_family(family, {"mobilenet": "cifar", "vit": "cifar"}.get(family, "tiny"))
    torch.manual_seed(0)
    supernet = Supernet(space).eval()
    one = space.smallest()
    inputs = torch.randn(4, 3, 32, 32) if family in ("mobilenet", "vit") else torch.randint(0, 250, (4, 64))
    with torch.no_grad():
        expected = supernet(inputs, one)
        supernet.to(CUDA)
        found = supernet(inputs.to(CUDA), one).cpu()
        alone = extract(supernet, one)(inputs.to(CUDA)).cpu()
    assert torch.equal(found, alone)
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-3)
