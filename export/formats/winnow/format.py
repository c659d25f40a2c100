"""The format `safetensors` under the name that an export which names its formats uses."""

from __future__ import annotations

from export.formats.safetensors.format import PACKAGES, RELOAD, SOMETIMES, TOLERANCE, write, write_contents

__all__ = ["PACKAGES", "RELOAD", "SOMETIMES", "TOLERANCE", "write", "write_contents"]
