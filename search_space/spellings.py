"""Spellings: the names under which transformers knows one tensor.

transformers renames what it reads from a file before it looks for it in the network, and adds or takes away the prefix
of the base model (`core_model_loading.rename_source_key`, rules in `conversion_mapping`, transformers 5.24). The same
rules, applied to the names of a layout and to those of a file, tell which tensor is which.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass

# transformers' rules `legacy`, for all models: TensorFlow's names of a normalisation's scale and shift, which the
# checkpoints of BERT on the Hub still have. Its two rules for weight norm concern no layer of our families.
LEGACY = ((r"LayerNorm\.gamma", "LayerNorm.weight"), (r"LayerNorm\.beta", "LayerNorm.bias"))
# transformers' rules for `ViTModel`: from the names of version 4, which files have, to those of version 5.
VIT = (
    (r"encoder\.layer\.", "layers."),
    (r"attention\.query", "q_proj"),
    (r"attention\.key", "k_proj"),
    (r"attention\.value", "v_proj"),
    (r"attention\.output\.dense", "attention.o_proj"),
    (r"intermediate\.dense", "mlp.fc1"),
    (r"output\.dense", "mlp.fc2"),
)


@dataclass(frozen=True, slots=True)
class Spelling:
    """How names of tensors are read.

    Attributes:
        base: prefix of the base model, which a file may have or lack.
        renames: patterns and what stands for them, in order; each replaces its first match.
    """

    base: str = ""
    renames: tuple[tuple[str, str], ...] = LEGACY

    def renamed(self, name: str) -> str:
        """The name after all rules."""
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name, count=1)
        return name

    def read(self, name: str, known: Container[str]) -> str:
        """The name after all rules, with the base's prefix added or taken away where that makes it a known one."""
        renamed = self.renamed(name)
        if not self.base:
            return renamed
        prefix = f"{self.base}."
        if renamed.startswith(prefix) and renamed.removeprefix(prefix) in known:
            return renamed.removeprefix(prefix)
        return prefix + renamed if prefix + renamed in known else renamed
