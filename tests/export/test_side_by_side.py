"""Several bundles in one process, each with its own code and weights; masks and threads of what is reloaded."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from export.bundle import write_architecture
from export.formats.safetensors import format as safetensors
from export.formats.safetensors.format import load_script
from export.tested import oldest, range_table, version_range
from export.verify import verify
from search_space.plugins import load_family
from supernet.network import arguments, build_network
from tests.tiers import mostly_thorough

LOADERS = {
    "runpy": "import runpy\nload = lambda f: runpy.run_path(f + '/load.py')['model']",
    "importlib": """
import importlib.util, itertools
count = itertools.count()
def load(f):
    spec = importlib.util.spec_from_file_location(f"bundle{next(count)}", f + "/load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.model
""",
    "path": """
import sys
def load(f):
    sys.path.insert(0, f)
    from load import model
    sys.path.remove(f)
    del sys.modules["load"]
    return model
""",
}

RUN = """
import sys, numpy, torch
taken = [name for name in ("network", "quantized") if name in sys.modules]
models = [load(folder) for folder in sys.argv[1:]]
assert not taken and not {"network", "quantized"} & set(sys.modules)
with torch.no_grad():
    for folder, model in zip(sys.argv[1:], models):
        numpy.save(folder + "/got.npy", model(torch.from_numpy(numpy.load(folder + "/x.npy"))).numpy())
"""


def written(folder, family: str, preset: str, pick: str, inputs: torch.Tensor):
    """A bundle's safetensors part, and what its network answers."""
    space = load_family(family, preset)
    torch.manual_seed(len(pick))
    layers = space.layers(getattr(space, pick)())
    network = build_network(layers).eval()
    folder.mkdir()
    write_architecture(layers, inputs, folder)
    safetensors.write(network, inputs, folder)
    np.save(folder / "x.npy", inputs.numpy())
    with torch.no_grad():
        return network(inputs).numpy()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Two of one family, and one of another."""
    root = tmp_path_factory.mktemp("side")
    images, ids = torch.randn(5, 1, 8, 8), torch.randint(1, 8000, (3, 12))
    return {
        root / "small": written(root / "small", "mobilenet", "digits", "smallest", images),
        root / "large": written(root / "large", "mobilenet", "digits", "largest", images),
        root / "text": written(root / "text", "bert", "tiny", "smallest", ids),
    }


def run_clean(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


IN_ORDER = [("runpy", 1), ("runpy", -1), ("importlib", 1), ("path", -1)]


@pytest.mark.parametrize(("loader", "order"), mostly_thorough(IN_ORDER, ("importlib", 1)))
def test_bundles_of_one_and_of_different_families_live_in_one_process(bundles, loader: str, order: int):
    folders = [str(folder) for folder in bundles][::order]
    run_clean(LOADERS[loader] + RUN, *folders)
    for folder, right in bundles.items():
        np.testing.assert_allclose(np.load(folder / "got.npy"), right, atol=1e-5)


@pytest.mark.thorough
def test_helpers_of_the_same_name_are_each_bundles_own(tmp_path):
    """Modules of the user's own, which blocks import by their plain names."""
    for name, number in (("a", 1), ("b", 2)):
        folder = tmp_path / name
        (folder / "tools").mkdir(parents=True)
        (folder / "tools" / "__init__.py").write_text(f"NUMBER = {number}\n")
        (folder / "helper.py").write_text(f"from tools import NUMBER\nVALUE = 10 * {number} + NUMBER\n")
        (folder / "network.py").write_text(
            "import torch, helper\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.w = torch.nn.Parameter(torch.zeros(1))\n    def forward(self, x):\n"
            "        return x + helper.VALUE\ndef build(layers, dtype):\n    return Net()\n"
        )
        (folder / "architecture.json").write_text('{"layers": []}')
        from safetensors.torch import save_file

        save_file({"w": torch.zeros(1)}, folder / "model.safetensors")
        script = load_script("torch and safetensors", ["helper.py", "tools/__init__.py"], quantized=False)
        (folder / "load.py").write_text(script)
    show = "\nimport sys\nmodels = [load(f) for f in sys.argv[1:]]\nprint([int(m(0)) for m in models])"
    for order in (1, -1):
        folders = [str(tmp_path / name) for name in ("a", "b")][::order]
        assert run_clean(LOADERS["runpy"] + show, *folders).strip() == str([11, 22][::order])


@pytest.mark.thorough
def test_a_mask_that_a_network_cannot_use_is_refused(bundles):
    small, _, text = bundles
    script = """
import sys, torch
def said(model, *given):
    try:
        model(*given)
    except ValueError as error:
        return str(error)
image, text = (load(f) for f in sys.argv[1:])
ids, mask = torch.ones(2, 12, dtype=torch.int64), torch.ones(2, 12, dtype=torch.bool)
print(said(image, torch.zeros(2, 1, 8, 8), mask))
print(said(text, ids, mask.long()))
print(said(text, ids, mask.float()))
print(said(text, ids, mask[:, :5]))
print(said(text, ids, mask))
"""
    told = run_clean(LOADERS["runpy"] + script, str(small), str(text)).splitlines()
    expected = ["takes no mask", "got torch.int64", "got torch.float32", "inputs' shape (2, 12); got (2, 5)", "None"]
    for line, part in zip(told, expected, strict=True):
        assert part in line


def test_arguments_refuse_a_mask_that_says_nothing():
    space = load_family("bert", "tiny")
    network = build_network(space.layers(space.smallest()))
    ids, mask = torch.ones(3, 6, dtype=torch.int64), torch.ones(3, 6, dtype=torch.bool)
    mask[1] = False
    with pytest.raises(ValueError, match="no token in 1 of 3 texts"):
        arguments(network, ids, mask)
    image = load_family("mobilenet", "digits")
    with pytest.raises(ValueError, match="takes none"):
        arguments(build_network(image.layers(image.smallest())), torch.zeros(3, 1, 8, 8), mask)


@pytest.mark.thorough
@pytest.mark.parametrize("threads", mostly_thorough([1, 2], 2))
def test_the_clean_process_computes_with_the_exporters_threads(tmp_path, monkeypatch, threads: int):
    """torch's convolutions of few samples differ in the last bits between 1 and 2 threads."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    space = load_family("mobilenet", "digits")
    layers = space.layers(space.smallest())
    torch.manual_seed(0)
    network = build_network(layers).eval()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        write_architecture(layers, torch.zeros(1, 1, 8, 8), tmp_path)
        safetensors.write(network, torch.zeros(1, 1, 8, 8), tmp_path)
        for count in (4, 8, 11):
            images = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
            report = verify(tmp_path, network, images, torch.zeros(count, dtype=torch.int64), ["safetensors"])
            assert report["formats"]["safetensors"]["max_abs_difference"] == 0.0
    finally:
        torch.set_num_threads(before)
    assert "OMP_NUM_THREADS" not in os.environ


def test_tested_versions_come_from_what_winnow_asks_for_and_what_ran():
    assert oldest("torch") is not None
    assert oldest("no-such-package") is None
    assert version_range("torch", "9.9") == f"{oldest('torch')} to 9.9"
    assert version_range("no-such-package", "1.0") == "1.0"
    table = range_table(["torch", "safetensors"], {"torch": "2.13.0", "safetensors": "0.7"})
    assert f"| torch | {oldest('torch')} to 2.13.0 | 2.13.0 |" in table
    assert oldest("torch") != oldest("safetensors")
