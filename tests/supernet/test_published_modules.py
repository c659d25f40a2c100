"""Published architectures for which nobody wrote a family: each becomes one, which keeps the whole contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from search_space import plugins
from supernet import contract
from supernet.contract import CHECKS, Subject
from supernet.from_module.making import Made
from supernet.network import extract
from tests.supernet.made_families import families_in, loaded_supernet, made_from, without, zero_unused
from tests.supernet.published_modules import MODULES, SIDES
from tests.tiers import mostly_thorough

# These go through in every run; the others are their kin, or take longer.
FAST = ("mobilenet_v1",)
NAMES = mostly_thorough(MODULES, *FAST)


@pytest.fixture(scope="module", params=NAMES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, nn.Module, Made]:
    """A module with its family."""
    name = request.param
    torch.manual_seed(0)
    module = MODULES[name]().eval()
    return name, module, made_from(module, tmp_path_factory.mktemp(name), SIDES.get(name, 32))


def test_it_is_elastic_and_keeps_the_contract(
    built: tuple[str, nn.Module, Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in {"DESCRIBED": 20, "MOST_RUN": 5, "MACS_BUDGET": 200_000_000}.items():
        monkeypatch.setattr(contract, name, number)
    _, module, made = built
    assert made.difference <= 1e-5
    with families_in(made.file.parent):
        subject = Subject(plugins.load_family("mine", "module"))
        for check in CHECKS:
            check(subject)
        space = subject.space
        largest = extract(subject.supernet, space.largest())
        counted = sum(layer.params() for layer in space.layers(space.largest()).values())
        assert counted == sum(parameter.numel() for parameter in largest.parameters())
        used = sum(p.numel() for n, p in module.named_parameters() if not _is_left_out(n, made))
        assert counted == used


def _is_left_out(name: str, made: Made) -> bool:
    return f'"{name}"' in made.file.read_text().partition("UNUSED = [")[2]


def test_a_slice_is_the_largest_network_without_what_it_leaves_out(built: tuple[str, nn.Module, Made]) -> None:
    """But for widths that a norm spans: a narrower one normalises what it has."""
    _, module, made = built
    with families_in(made.file.parent):
        family = plugins.FAMILIES.load("mine")
        spanned = {f"{name}.weight[0]" for name, part in module.named_modules() if _spans(part)}
        wide = {name for name, group in family.GROUPS.items() if spanned & set(group.axes)}
        for seed in range(3):
            supernet = loaded_supernet(made.file.parent)
            space = supernet.space
            small = without(space, space.sample(np.random.default_rng(seed)), wide | set(family.REPEATS))
            side = SIDES.get(built[0], 32)
            x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(seed))
            with torch.no_grad():
                zero_unused(supernet, small)
                torch.testing.assert_close(supernet(x, space.largest()), supernet(x, small), rtol=1e-4, atol=1e-4)


def _spans(part: nn.Module) -> bool:
    return isinstance(part, nn.LayerNorm) or (isinstance(part, nn.GroupNorm) and part.num_groups == 1)
