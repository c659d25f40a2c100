"""Sizes as sums of products of elastic widths: what a dimension has in every network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from supernet.from_module.dims import BATCH, Atom, Dim, factors, fix, is_fixed

# A dimension of more parts than this would make as many layers.
MOST_PIECES = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbours of a dimension that grow together: `count` times an elastic width, or that many.

    Attributes:
        count: how many of the width's units, or how many there are at all.
        width: the elastic factor; None: there is none.
    """

    count: int
    width: Atom | None = None

    @property
    def size(self) -> int:
        """The size in the given module."""
        return self.count * (1 if self.width is None else self.width.size)


# Product of widths -> how often; the empty product is a plain number.
Poly: TypeAlias = dict[tuple[Atom, ...], int]


def pieces_of(dim: Dim) -> list[Piece] | None:
    """A dimension as its pieces in their order, without the batch; None if it is not that simple."""
    return _pieces([atom for atom in factors(dim) if atom is not BATCH])


def _pieces(atoms: list[Atom]) -> list[Piece] | None:
    if not atoms:
        return [Piece(1)]
    rest = _pieces(atoms[1:])
    if rest is None:
        return None
    first = atoms[0]
    single = rest[0].count if len(rest) == 1 and rest[0].width is None else None
    if is_fixed((first,)):
        if single is not None:
            return [Piece(first.size * single)]
        return None if first.size * len(rest) > MOST_PIECES else rest * first.size
    if single is None:
        return None
    if not first.terms:
        return [Piece(single, first)]
    found: list[Piece] = []
    for term in first.terms:
        inner = pieces_of(term)
        if inner is None:
            return None
        found += [Piece(piece.count * single, piece.width) for piece in inner]
    return None if len(found) > MOST_PIECES else _merged(found)


def _merged(pieces: Iterable[Piece]) -> list[Piece]:
    """Neighbours of fixed size as one."""
    made: list[Piece] = []
    for piece in pieces:
        if made and made[-1].width is None and piece.width is None:
            made[-1] = Piece(made[-1].count + piece.count)
        else:
            made.append(piece)
    return made


def poly_of(dim: Dim) -> Poly:
    """A dimension's size, without the batch."""
    pieces = pieces_of(dim)
    assert pieces is not None, "a dimension that settling left unsettled"
    return total(pieces)


def total(pieces: Iterable[Piece]) -> Poly:
    """The sum of pieces."""
    made: Poly = {}
    for piece in pieces:
        key = () if piece.width is None else (piece.width,)
        made[key] = made.get(key, 0) + piece.count
    return made


def times(one: Poly, other: Poly) -> Poly:
    """The product of two sizes."""
    made: Poly = {}
    for a, m in one.items():
        for b, n in other.items():
            key = tuple(sorted((*a, *b), key=id))
            made[key] = made.get(key, 0) + m * n
    return made


def plus(one: Poly, other: Poly) -> Poly:
    """The sum of two sizes."""
    made = dict(one)
    for key, count in other.items():
        made[key] = made.get(key, 0) + count
    return made


def elements(dims: Iterable[Dim]) -> Poly:
    """Elements of a tensor for one sample."""
    made: Poly = {(): 1}
    for dim in dims:
        made = times(made, poly_of(dim))
    return made


def settle(dims: Iterable[Dim]) -> bool:
    """Fix what no list of pieces could say; whether anything was news.

    The inner one of two free factors of one dimension is fixed, because a narrower network keeps leading rows; the
    outer one if it has only a few options.
    """
    news = False
    for dim in dims:
        news = _settle(dim) or news
    return news


def _settle(dim: Dim) -> bool:
    news, known = False, factors(dim)
    for atom in known:
        for term in atom.terms:
            news = _settle(term) or news
    loose = [atom for atom in known if not is_fixed((atom,))]
    if len(loose) > 1:
        kept = next((atom for atom in loose if atom.size > 4), loose[0])
        for atom in loose:
            if atom is not kept:
                news = fix((atom,), f"it is a factor of a dimension beside {kept.size}, which is elastic") or news
    if pieces_of(dim) is None:
        news = fix(dim, "its parts lie in the tensor in too many places for a slice") or news
    return news
