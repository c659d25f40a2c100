"""Contract of a runtime: what it reads is what is written for it, and its phases give times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from export.measurable import write_measurable
from export.measure import Setting
from export.runtimes import Prepared, Refused
from plugins import kinds
from predictors.targets import RUNTIMES, TargetName
from search_space.plugins import load_family
from supernet.network import build_network
from winnow.testing.contract import Contract


class RuntimeContract(Contract):
    """What holds of every engine that measures."""

    @pytest.fixture
    def one_thread(self) -> Iterator[None]:
        """An engine sets threads for its whole process, which here is that of the tests."""
        before, grad = torch.get_num_threads(), torch.is_grad_enabled()
        yield
        torch.set_num_threads(before)
        torch.set_grad_enabled(grad)

    def test_it_has_a_runtime_on_the_cpu(self, plugin: str) -> None:
        """Every runtime is also a target by its name."""
        declared = kinds.RUNTIMES.options(plugin).RUNTIMES
        assert f"cpu-{plugin}" in [runtime.name for runtime in declared]
        for runtime in declared:
            assert runtime.engine == plugin
            assert RUNTIMES[runtime.name] == runtime, "another engine has a runtime of this name"
            assert TargetName.parse(runtime.name) == TargetName(None, runtime.name)
            assert TargetName.parse(f"kitchen/{runtime.name}") == TargetName("kitchen", runtime.name)

    def test_it_says_what_it_runs_on_here(self, plugin: str) -> None:
        """A machine that registers itself asks what the runtime runs on."""
        assert set(kinds.RUNTIMES.load(plugin).devices()) <= {"cpu", "cuda"}

    def test_it_runs_what_is_written_for_it(self, plugin: str, tmp_path: Path, one_thread: None) -> None:
        """A network of images has one phase."""
        setting = Setting(f"cpu-{plugin}", batch=2)
        torch.manual_seed(0)
        space = load_family("mobilenet", "digits")
        layers = space.layers(space.smallest())
        path = write_measurable(build_network(layers).eval(), layers, torch.zeros(1, 1, 8, 8), tmp_path, setting)
        module = kinds.RUNTIMES.load(plugin)
        assert path.name.endswith(module.SUFFIX)
        prepared: Prepared = module.prepare(path, setting)
        assert set(prepared.phases) == {"forward"}
        assert prepared.phases["forward"]() > 0
        assert prepared.facts["input_shape"] == [2, 1, 8, 8]
        assert prepared.facts["dtype"] == "float32"
        assert plugin in prepared.facts["versions"]

    def test_it_refuses_what_it_cannot_read(self, plugin: str, tmp_path: Path, one_thread: None) -> None:
        """The refusal is a sentence for the user."""
        with pytest.raises(Refused):
            kinds.RUNTIMES.load(plugin).prepare(tmp_path / "nothing", Setting(f"cpu-{plugin}"))
