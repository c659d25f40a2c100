"""Which cases `make test` takes of a test that goes through many; `make test-all` goes through all (decision 0134)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def mostly_thorough(values: Iterable[Any], *chosen: Any) -> list[ParameterSet]:
    """Values of a parametrisation, as parameters: all but the chosen ones are marked `thorough`.

    Args:
        values: of one parameter, or tuples of several.
        chosen: those that every run goes through.

    Raises:
        ValueError: one of the chosen is not among the values, or none is chosen.
    """
    every = list(values)
    if not chosen or (strange := [one for one in chosen if one not in every]):
        raise ValueError(f"Choose at least one of {every} for every run; got {strange if chosen else 'none'}.")
    return [
        pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=() if one in chosen else pytest.mark.thorough)
        for one in every
    ]
