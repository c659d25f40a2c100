"""What every contract has in common: the plug-ins that it is for, and the rules of a declaration."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

from plugins.options import Options
from plugins.registry import Kind

# What the API must not load, nor therefore any `options.py`.
HEAVY = ("torch", "pymoo", "onnx", "onnxruntime", "transformers", "sklearn", "datasets")

READ_EVERY_DECLARATION = """
import json, sys
from plugins.kinds import OPEN
for kind in OPEN:
    kind.every_options()
print(json.dumps(sorted(set(sys.argv[1:]) & {name.split(".")[0] for name in sys.modules})))
"""


@cache
def loaded_by_declarations() -> tuple[str, ...]:
    """Heavy packages that reading every `options.py` of this installation loads, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", READ_EVERY_DECLARATION, *HEAVY], capture_output=True, text=True, check=True
    )
    return tuple(json.loads(done.stdout))


class Contract:
    """Tests of one plug-in, by its name; or of several.

    Attributes:
        name: name of the plug-in under test.
        names: several, in place of one.
    """

    name: str = ""
    names: tuple[str, ...] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run every test once for each plug-in."""
        if "plugin" in metafunc.fixturenames:
            metafunc.parametrize("plugin", self.names or (self.name,), scope="class")


class Declared(Contract):
    """Contract of what `options.py` declares."""

    kind: Kind

    def declared(self, plugin: str) -> type[Options]:
        """The plug-in's declaration."""
        options: type[Options] = self.kind.options(plugin).OPTIONS
        return options

    def test_the_declaration_is_a_class_of_options(self, plugin: str) -> None:
        """The declaration is immutable and refuses words that it does not declare."""
        declared = self.declared(plugin)
        assert issubclass(declared, Options)
        assert declared.model_config["extra"] == "forbid"
        assert declared.model_config["frozen"]
        assert declared.__doc__

    def test_every_option_has_help(self, plugin: str) -> None:
        """The catalogue shows the help of every option."""
        schema = self.declared(plugin).model_json_schema()
        lacking = [name for name, one in schema.get("properties", {}).items() if not one.get("description")]
        assert lacking == []
        assert "$defs" not in schema, "options are numbers, text and switches; nested records are not offered to jobs"

    def test_declarations_load_nothing_heavy(self, plugin: str) -> None:
        """The API reads declarations in a process that has no torch."""
        assert loaded_by_declarations() == ()


def example(kind: Kind, plugin: str, word: str, default: Any) -> Any:
    """What a plug-in's `example.py` says; the default if it does not say it or is not there."""
    return getattr(kind.example(plugin), word, default)
