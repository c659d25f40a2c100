"""Contract of a runtime: what it reads is what is written for it, and its phases give times."""

import pytest
import torch

from export.measurable import write_measurable
from export.measure import Setting
from export.runtimes import Prepared, Refused
from plugins import kinds
from predictors.targets import RUNTIMES, TargetName
from search_space import plugins
from supernet.network import build_network

ENGINES = kinds.RUNTIMES.names()
SPACE = plugins.load_family("mobilenet", "digits")


def test_every_engine_has_a_runtime_on_the_cpu_and_every_runtime_an_engine():
    assert {runtime.engine for runtime in RUNTIMES.values()} == set(ENGINES)
    for engine in ENGINES:
        assert f"cpu-{engine}" in RUNTIMES


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_is_a_target_by_its_name(name):
    assert TargetName.parse(name) == TargetName(None, name)
    assert TargetName.parse(f"kitchen/{name}") == TargetName("kitchen", name)


@pytest.fixture
def one_thread():
    before, grad = torch.get_num_threads(), torch.is_grad_enabled()
    yield
    torch.set_num_threads(before)
    torch.set_grad_enabled(grad)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_runs_what_is_written_for_it(engine, tmp_path, one_thread):
    setting = Setting(f"cpu-{engine}", batch=2)
    torch.manual_seed(0)
    layers = SPACE.layers(SPACE.smallest())
    path = write_measurable(build_network(layers).eval(), layers, torch.zeros(1, 1, 8, 8), tmp_path, setting)
    module = kinds.RUNTIMES.load(engine)
    assert path.name.endswith(module.SUFFIX)
    prepared: Prepared = module.prepare(path, setting)
    assert set(prepared.phases) == {"forward"}
    assert prepared.phases["forward"]() > 0
    assert prepared.facts["input_shape"] == [2, 1, 8, 8]
    assert prepared.facts["dtype"] == "float32"
    assert engine in prepared.facts["versions"]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_refuses_what_it_cannot_read(engine, tmp_path, one_thread):
    module = kinds.RUNTIMES.load(engine)
    with pytest.raises(Refused):
        module.prepare(tmp_path / "nothing", Setting(f"cpu-{engine}"))
