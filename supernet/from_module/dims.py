"""Widths that must agree: every dimension of every tensor, as an equation that a graph's operations add to.

A dimension is a product of factors, outer ones first, as `view` sees it. A factor stays one number (an `Atom`), or is
found to be a product itself (the heads of attention), or a sum (what is concatenated, or taken apart). Two dimensions
that meet in an operation are made equal, which is the dependency of structural pruning (DepGraph, arXiv 2301.12900,
section 3.2) between parts of a dimension instead of whole ones. What does not come out even is fixed: it keeps its
size, with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias


class Atom:
    """A factor of a dimension.

    Attributes:
        size: the given module's; 0 for the batch, which is any number.
        fixed: why it keeps its size; empty as long as nothing forbids another.
        product: the factors that it turned out to be, outer ones first.
        terms: the dimensions that it is the sum of, in their order.
        same: the atom that it was found equal to.
    """

    __slots__ = ("fixed", "product", "same", "size", "terms")

    def __init__(self, size: int, fixed: str = "") -> None:
        self.size, self.fixed = size, fixed
        self.product: tuple[Atom, ...] = ()
        self.terms: tuple[Dim, ...] = ()
        self.same: Atom | None = None

    @property
    def root(self) -> Atom:
        """The atom that stands for all that are equal."""
        atom = self
        while atom.same is not None:
            atom = atom.same
        return atom

    def __repr__(self) -> str:
        return f"{'=' if self.fixed else '~'}{self.size or 'batch'}"


Dim: TypeAlias = tuple[Atom, ...]

BATCH = Atom(0, "the batch")
ONE: Dim = ()


def free(size: int) -> Dim:
    """A dimension of which nothing is known yet."""
    return (Atom(size),) if size != 1 else ONE


def constant(size: int, why: str) -> Dim:
    """A dimension that keeps its size."""
    return (Atom(size, why),) if size != 1 else ONE


def factors(dim: Dim) -> list[Atom]:
    """What a dimension is the product of, by what is known by now."""
    found: list[Atom] = []
    for atom in dim:
        root = atom.root
        found += factors(root.product) if root.product else [root]
    return [atom for atom in found if atom.size != 1]


def size_of(dim: Dim) -> tuple[bool, int]:
    """Whether it holds the batch, and the product of its other factors."""
    known = factors(dim)
    return BATCH in known, math.prod(atom.size for atom in known if atom is not BATCH)


def fix(dim: Sequence[Atom], why: str) -> bool:
    """Let it keep its size; whether that is news."""
    news = False
    for atom in dim:
        root = atom.root
        if not root.fixed:
            root.fixed, news = why, True
        for inner in (root.product, *root.terms):
            news = fix(inner, root.fixed) or news
    return news


def is_fixed(dim: Dim) -> bool:
    """Whether no factor may change."""
    return all(atom.fixed or (atom.terms and all(is_fixed(term) for term in atom.terms)) for atom in factors(dim))


def unify(one: Dim, other: Dim, why: str) -> None:
    """Make two dimensions equal.

    Args:
        why: what wants it, for the reason where they do not come out even.
    """
    left, right = factors(one), factors(other)
    while left and right:
        a, b = left.pop(0), right.pop(0)
        if a is b:
            continue
        if BATCH in (a, b) or math.gcd(a.size, b.size) not in (a.size, b.size):
            fix((a, b, *left, *right), why)
            return
        if a.size > b.size:
            a, rest = split(a, b.size, why)
            left.insert(0, rest)
        elif b.size > a.size:
            b, rest = split(b, a.size, why)
            right.insert(0, rest)
        _join(a.root, b.root, why)


def split(atom: Atom, outer: int, why: str) -> tuple[Atom, Atom]:
    """A factor as a product of two, of which the outer one has this size."""
    atom = atom.root
    if atom.terms:
        return _split_sum(atom, outer, why)
    made = Atom(outer, atom.fixed), Atom(atom.size // outer, atom.fixed)
    atom.product = made
    return made


def _split_sum(atom: Atom, outer: int, why: str) -> tuple[Atom, Atom]:
    """Equal terms are a product; others are fixed."""
    terms = atom.terms
    if len(terms) == outer and all(size_of(term) == size_of(terms[0]) for term in terms):
        for term in terms[1:]:
            unify(terms[0], term, why)
        inner = Atom(size_of(terms[0])[1])
        inner.product = terms[0]
        if len(terms[0]) == 1:
            inner = terms[0][0].root
        made = Atom(outer, f"{outer} equal parts"), inner
    else:
        fix((atom,), why)
        made = Atom(outer, why), Atom(atom.size // outer, why)
    atom.terms, atom.product = (), made
    return made


def _join(one: Atom, other: Atom, why: str) -> None:
    if one is other:
        return
    if one.fixed or other.fixed:
        fix((one, other), one.fixed or other.fixed)
    if one.terms and other.terms:
        _join_sums(one, other, why)
    elif one.terms:
        other.same = one
        return
    one.same = other


def _join_sums(one: Atom, other: Atom, why: str) -> None:
    left, right = _flat_terms(one), _flat_terms(other)
    made: list[Dim] = []
    while left and right:
        a, b = left.pop(0), right.pop(0)
        small = min(size_of(a)[1], size_of(b)[1])
        if size_of(a)[1] > small:
            a, rest = _halve(a, small, why)
            left.insert(0, rest)
        elif size_of(b)[1] > small:
            b, rest = _halve(b, small, why)
            right.insert(0, rest)
        unify(a, b, why)
        made.append(a)
    other.terms = tuple(made)


def _flat_terms(atom: Atom) -> list[Dim]:
    found: list[Dim] = []
    for term in atom.root.terms:
        known = factors(term)
        found += _flat_terms(known[0]) if len(known) == 1 and known[0].terms else [term]
    return found


def _halve(dim: Dim, first: int, why: str) -> tuple[Dim, Dim]:
    """A dimension as a sum of two, of which the first has this size."""
    known = factors(dim)
    second = size_of(dim)[1] - first
    if len(known) == 1 and not known[0].terms and not known[0].fixed:
        parts = free(first), free(second)
        known[0].terms = parts
        return parts
    fix(dim, why)
    return constant(first, why), constant(second, why)


def concatenated(dims: Sequence[Dim], why: str) -> Dim:
    """The sum of dimensions."""
    if len(dims) == 1:
        return dims[0]
    if all(is_fixed(dim) for dim in dims):
        return constant(sum(size_of(dim)[1] for dim in dims), why)
    atom = Atom(sum(size_of(dim)[1] for dim in dims))
    atom.terms = tuple(dims)
    return (atom,)


def cut(dim: Dim, bounds: Sequence[int], why: str) -> list[Dim]:
    """A dimension taken apart at these places, from 0 to its size."""
    sizes = [stop - start for start, stop in pairwise(bounds)]
    known = factors(dim)
    if len(known) > 1:
        inner = math.prod(atom.size for atom in known[1:])
        if BATCH not in known and all(bound % inner == 0 for bound in bounds):
            fix(known[:1], f"{why} takes its parts by their places")
            return [(*constant(size // inner, why), *known[1:]) for size in sizes]
    if len(known) == 1 and not known[0].fixed:
        parts = _cut_atom(known[0], sizes, why)
        if parts:
            return parts
    fix(dim, why)
    return [constant(size, why) for size in sizes]


def _cut_atom(atom: Atom, sizes: Sequence[int], why: str) -> list[Dim]:
    """The parts of one factor; none if its own parts lie across."""
    if not atom.terms:
        parts = [free(size) for size in sizes]
        if len(parts) > 1:
            atom.terms = tuple(parts)
            return parts
        return [(atom,)]
    terms, made, refined = _flat_terms(atom), [], []
    for size in sizes:
        taken: list[Dim] = []
        missing = size
        while missing:
            term = terms.pop(0)
            if size_of(term)[1] > missing:
                one = factors(term)
                if len(one) > 1 or one[0].fixed or one[0].terms:
                    return []
                term, rest = _halve(term, missing, why)
                terms.insert(0, rest)
            taken.append(term)
            missing -= size_of(term)[1]
        refined += taken
        made.append(taken[0] if len(taken) == 1 else concatenated(taken, why))
    atom.terms = tuple(refined)
    return made


def reshaped(dims: Sequence[Dim], sizes: Sequence[tuple[bool, int]], why: str) -> list[Dim]:
    """The dimensions of a tensor that is read in another shape.

    Args:
        sizes: whether the batch is in a dimension of the new shape, and the product of the rest, for each.
    """
    left = [atom for dim in dims for atom in factors(dim)]
    everything, made = tuple(left), []
    for batch, size in sizes:
        taken: list[Atom] = []
        missing, wants_batch = size, batch
        while missing > 1 or wants_batch:
            atom = left.pop(0)
            if atom is BATCH:
                if not wants_batch:
                    return _unreadable(everything, sizes, why)
                wants_batch = False
            elif missing % atom.size == 0:
                missing //= atom.size
            elif atom.size % missing == 0 and missing > 1:
                atom, rest = split(atom, missing, why)
                left[:0] = factors((rest,))
                missing = 1
            else:
                return _unreadable(everything, sizes, why)
            taken.append(atom)
        made.append(tuple(taken))
    return made


def _unreadable(everything: tuple[Atom, ...], sizes: Sequence[tuple[bool, int]], why: str) -> list[Dim]:
    fix(everything, f"{why} reads it in a shape that its parts do not fit")
    return [((BATCH,) if batch else ()) + constant(size, why) for batch, size in sizes]
