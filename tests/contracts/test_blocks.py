"""Contract of a block kind: plain torch, built from the fields of its spec."""

import ast
import importlib.util
import inspect
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from torch import nn

from plugins import kinds
from search_space.layers import LayerSpec

KINDS = kinds.BLOCKS.names()


def all_specs(root: type = LayerSpec) -> list[type]:
    return [spec for child in root.__subclasses__() for spec in (child, *all_specs(child))]


def block_class(kind: str) -> type[nn.Module]:
    return kinds.BLOCKS.load(kind).BLOCK


# Layers of language models are transformers' own classes, or have its activations and rotary positions; a bundle with
# them needs it where it is loaded.
NEEDS_TRANSFORMERS = {"convnext_layer", "decoder_layer", "inverted_residual", "padded_conv", "pooled_head"}
NEEDS_TRANSFORMERS |= {"tower_head", "transformer_layer"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_imports_torch_alone(kind):
    """An export copies the file, and must load where Winnow is not installed."""
    spec = importlib.util.find_spec(f"supernet.blocks.{kind}")
    imported = set()
    for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            imported.add(node.module.split(".")[0])
    outside = imported - set(sys.stdlib_module_names)
    assert outside == ({"torch", "transformers"} if kind in NEEDS_TRANSFORMERS else {"torch"})


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_is_an_ordinary_module(kind):
    assert issubclass(block_class(kind), nn.Module)


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_one_spec_describes_a_block(kind):
    assert [spec for spec in all_specs() if spec.kind == kind].__len__() == 1


@pytest.mark.parametrize("spec", all_specs(), ids=lambda spec: spec.__name__)
def test_a_blocks_arguments_are_the_fields_of_its_spec_in_order(spec):
    arguments = list(inspect.signature(block_class(spec.kind)).parameters)
    # The policy of a layer is a fact about its numbers, not about its module.
    assert arguments == [field.name for field in fields(spec) if field.name != "policy"]


@pytest.mark.parametrize("spec", all_specs(), ids=lambda spec: spec.__name__)
def test_the_fixed_fields_of_a_spec_are_fields(spec):
    assert spec.fixed <= {field.name for field in fields(spec)}
