"""The contract finds families whose description is not true: each lie below is caught by its own check."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search_space import plugins
from supernet import contract
from supernet.contract import CHECKS, ContractBroken, Subject
from tests.docs.families import documented_files

GOOD = documented_files()["residual.py"]
Read = Callable[[str], Subject]

# check -> (what the true family says, the lie, what is said about it)
LIES = {
    "equal_ids": (
        "ResidualSpec(width, values",
        "ResidualSpec(width, 0 * values['depth'] + 32 + 0 * values",
        "are one network",
    ),
    "dead_genes": ('("depth", deep_enough)', '("depth", depths[-1:])', "is inactive in"),
    "every_choice_matters": (
        "    options.finish()",
        '    choices.append(Choice("colour", ("blue", "red")))\n    options.finish()',
        "choice colour changes nothing",
    ),
    "fits_capacity": ("FlattenSpec(table", "FlattenSpec(values['depth'] + table", "does not fit in"),
    # Arguments in another order are given by name, so nothing else would notice.
    "specs_are_values": ("def __init__(self, pixels, width):", "def __init__(self, width, pixels):", "takes ['width'"),
    "branches_are_there": ('return ("down",)', 'return ("up.weight",)', "branches() names 'up.weight'"),
    "counted_params": ('"norm": norm_part(self.width, held=0),', "", "counted 1072, torch has 1104"),
    "counted_macs": (
        "self.down(self.activation(self.up(self.norm(x_NC))))",
        "self.down(self.up(x_NC) @ self.up.weight @ self.up.weight.T)",
        "MACs, torch has",
    ),
    "supernet_equals_extract": (
        "nn.init.zeros_(self.down.weight)",
        "pass\n\n        calls = 0\n\n        def __call__(self, x):\n            type(self).calls += 1"
        "\n            return super().__call__(x) + type(self).calls",
        "apart by",
    ),
    "answers_are_what_it_says": (
        "self.linear(self.norm(x_NC))\n\n    return",
        "self.linear(x_NC)\n\n    return",
        "take no part",
    ),
    "no_gradient_changes_nothing": (
        "return self.linear(self.norm(x_NC))",
        "import torch\n            return self.linear(self.norm(x_NC)) * (1 + torch.is_grad_enabled())",
        "differs without gradients",
    ),
    "largest_equals_module": (
        "def blocks():",
        'CHECKPOINT = "nowhere"\n\n\ndef blocks():',
        "samples.safetensors is missing",
    ),
    "a_step_trains": (
        "return self.linear(self.norm(x_NC))",
        "return self.linear(self.norm(x_NC)) * float('nan')",
        "are not finite",
    ),
}


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Read]:
    """A subject from the source of a family file."""
    plugins.use_families_dir(tmp_path)

    def subject(source: str) -> Subject:
        (tmp_path / "residual.py").write_text(source)
        return Subject(plugins.load_family("residual", "digits"))

    yield subject
    plugins.use_families_dir(None)
    if str(tmp_path.resolve()) in sys.path:
        sys.path.remove(str(tmp_path.resolve()))


def test_every_check_has_a_lie() -> None:
    assert set(LIES) == {check.__name__ for check in CHECKS}


@pytest.mark.parametrize("name", sorted(LIES))
def test_a_lie_is_caught(read: Read, name: str) -> None:
    truth, lie, said = LIES[name]
    assert truth in GOOD
    subject = read(GOOD.replace(truth, lie))
    check = next(check for check in CHECKS if check.__name__ == name)
    with pytest.raises(ContractBroken) as caught:
        check(subject)
    assert said in str(caught.value)


def test_dead_genes_are_those_of_the_space(read: Read) -> None:
    assert contract.dead_genes(read(GOOD)) != "0 dead genes changed"


def test_a_supernet_that_is_too_large_is_not_allocated(read: Read) -> None:
    source = GOOD.replace('"widths": (16, 32, 64)', '"widths": (16, 100_000)').replace("(32, 64, 128)", "(32, 100_000)")
    subject = read(source)
    assert contract.counted_params(subject)
    assert contract.counted_macs(subject)
    with pytest.raises(contract.Skipped, match=r"60,008,900,010 parameters, too many to allocate"):
        contract.supernet_equals_extract(subject)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "supernet.contract", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.thorough
def test_the_process_says_each_result_and_ends_with_one_if_any_failed(tmp_path: Path) -> None:
    truth, lie, said = LIES["counted_params"]
    (tmp_path / "residual.py").write_text(GOOD.replace(truth, lie))
    done = run("residual", "--families-dir", str(tmp_path))
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1, done.stderr
    assert [result["check"] for result in results] == [check.__name__ for check in CHECKS]
    assert [result["check"] for result in results if result["passed"] is False] == ["counted_params"]
    assert said in next(result["detail"] for result in results if not result["passed"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsuch"], "No family named 'nonsuch'"),
        (["mobilenet", "--preset", "nonsuch"], "No preset of family 'mobilenet' named 'nonsuch'"),
    ],
)
def test_what_cannot_be_loaded_ends_with_two(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["contract", *arguments])
    monkeypatch.setattr("torch.set_num_threads", lambda _number: None)
    assert contract.main() == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.thorough
def test_a_mistake_in_blocks_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "residual.py").write_text(GOOD.replace("    from torch import nn\n", "    from torch import mm\n"))
    done = run("residual", "--families-dir", str(tmp_path))
    first = next(json.loads(line) for line in done.stdout.splitlines() if not json.loads(line)["passed"])
    assert done.returncode == 1
    assert f"{tmp_path}/residual.py, line " in first["detail"]
