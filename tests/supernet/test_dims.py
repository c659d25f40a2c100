"""Widths that must agree: dimensions as products and sums."""

from __future__ import annotations

import pytest

from supernet.from_module import dims
from supernet.from_module.dims import BATCH, constant, cut, factors, free, is_fixed, reshaped, size_of, unify
from supernet.from_module.sizes import pieces_of, settle


def sizes(*shape: dims.Dim) -> list[list[int]]:
    return [[atom.size for atom in factors(dim)] for dim in shape]


def test_a_view_splits_a_width_and_what_agrees_with_it() -> None:
    rows, bias = free(12), free(12)
    unify(rows, bias, "linear")
    shape = reshaped([(BATCH,), constant(5, "tokens"), rows], [(True, 1), (False, 5), (False, 3), (False, 4)], "view")
    assert sizes(*shape) == [[0], [5], [3], [4]]
    assert sizes(bias) == [[3, 4]]


def test_a_view_back_joins_the_factors() -> None:
    heads, width = free(3), free(4)
    shape = reshaped([(BATCH,), constant(5, ""), heads, width], [(True, 5), (False, 12)], "view")
    assert sizes(*shape) == [[0, 5], [3, 4]]


def test_shapes_that_do_not_come_out_even_are_fixed() -> None:
    odd = free(6)
    shape = reshaped([(BATCH,), odd, constant(2, "")], [(True, 1), (False, 4), (False, 3)], "view")
    assert is_fixed(odd)
    assert "do not fit" in factors(odd)[0].fixed
    assert [size_of(dim) for dim in shape] == [(True, 1), (False, 4), (False, 3)]


def test_a_fixed_factor_fixes_what_agrees_with_it() -> None:
    rows, fixed = free(12), constant(12, "the answer has it")
    unify(rows, fixed, "add")
    assert is_fixed(rows)


def test_concatenated_and_taken_apart_are_the_same_parts() -> None:
    left, right = free(8), free(12)
    whole = dims.concatenated([left, right], "cat")
    columns = free(20)
    unify(whole, columns, "linear")
    first, second = cut(columns, (0, 8, 20), "split")
    assert factors(first) == factors(left)
    assert factors(second) == factors(right)
    assert [piece.size for piece in pieces_of(columns) or []] == [8, 12]


def test_parts_at_other_places_are_refined() -> None:
    whole = dims.concatenated([free(8), free(12)], "cat")
    parts = cut(whole, (0, 4, 20), "split")
    assert [size_of(part)[1] for part in parts] == [4, 16]
    assert [piece.size for piece in pieces_of(whole) or []] == [4, 4, 12]


def test_queries_keys_and_values_are_three_pieces_of_one_width() -> None:
    rows = free(3 * 4 * 8)
    _, three, heads, width = reshaped([(BATCH,), rows], [(True, 1), (False, 3), (False, 4), (False, 8)], "view")
    dims.fix((*three, *width), "attention")
    pieces = pieces_of(rows)
    assert pieces is not None
    assert [(piece.count, piece.width) for piece in pieces] == [(8, heads[0].root)] * 3


@pytest.mark.parametrize(("outer", "inner", "kept"), [(8, 4, 8), (2, 6, 6), (3, 2, 3)])
def test_of_two_free_factors_one_stays(outer: int, inner: int, kept: int) -> None:
    dim = (*free(outer), *free(inner))
    while settle([dim]):
        pass
    assert [atom.size for atom in factors(dim) if not atom.fixed] == [kept]


def test_a_width_in_too_many_places_is_fixed() -> None:
    dim = (*constant(9, "nine"), *free(4))
    while settle([dim]):
        pass
    assert is_fixed(dim)
