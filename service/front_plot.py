"""Fronts as a picture for notebooks: plain SVG, which needs nothing that draws."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, MARGIN = 480, 300, 56
# Marks on an axis.
MARKS = 4
# Of several fronts: the colours of Okabe and Ito (2008), which people with any kind of colour vision tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture that a notebook shows.

    Attributes:
        svg: the whole picture.
    """

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> Path:
        """Write it as an SVG file, and return its path."""
        file = Path(path)
        file.write_text(self.svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1), encoding="utf-8")
        return file


def plot(fronts: Mapping[str, Mapping[str, Any]], x: str | None = None, y: str | None = None) -> Plot:
    """Fronts in one picture, each in a colour; a point tells its network and numbers when it is pointed at.

    Args:
        fronts: name -> a front, as the API tells it. One front needs no name: give it the empty one.
        x, y: metrics; None: the second objective of the first front, and its first.

    Raises:
        ValueError: too many fronts to tell apart, none, a metric that nothing has, or one objective and no `x`.
    """
    if not fronts or len(fronts) > len(COLOURS):
        raise ValueError(f"A plot shows 1 to {len(COLOURS)} fronts; got {len(fronts)}.")
    objectives = [one["metric"] for one in next(iter(fronts.values()))["objectives"]]
    if x is None and len(objectives) < 2:
        raise ValueError(f"The front has one objective, {objectives[0]}; name a metric as x.")
    up, right = y or objectives[0], x or objectives[1]
    shown = {name: _having(front["points"], up, right) for name, front in fronts.items()}
    every = [point for points in shown.values() for point in points]
    if not every:
        known = sorted({metric for front in fronts.values() for p in front["points"] for metric in p["metrics"]})
        raise ValueError(f"No network has both {up} and {right}. Known: {', '.join(known) or 'nothing yet'}.")
    xs, ys = _Axis([p["metrics"][right] for p in every]), _Axis([p["metrics"][up] for p in every])
    colours = dict(zip(shown, COLOURS if len(shown) > 1 else ("currentColor",), strict=False))
    parts = [_frame(), _marks(xs, ys), _names(right, up)]
    for place, (name, points) in enumerate(shown.items()):
        parts += [_dot(point, xs, ys, (right, up), objectives, colours[name]) for point in points]
        if len(shown) > 1:
            parts.append(_legend(place, name, colours[name]))
    said = html.escape(f"{up} by {right} of {len(every)} networks")
    return Plot(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{said}" '
        f'style="font: 11px sans-serif" fill="currentColor">{"".join(parts)}</svg>'
    )


def _having(points: Sequence[Mapping[str, Any]], up: str, right: str) -> list[Mapping[str, Any]]:
    return [p for p in points if p["metrics"].get(up) is not None and p["metrics"].get(right) is not None]


def _frame() -> str:
    return f'<path d="M{MARGIN} 12V{HEIGHT - MARGIN}H{WIDTH - 12}" fill="none" stroke="currentColor"/>'


def _marks(xs: _Axis, ys: _Axis) -> str:
    below = (
        _text(value, f'x="{xs.at(value, MARGIN, WIDTH - 12):.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle"')
        for value in xs.marks
    )
    beside = (
        _text(value, f'x="{MARGIN - 6}" y="{ys.at(value, HEIGHT - MARGIN, 12) + 4:.1f}" text-anchor="end"')
        for value in ys.marks
    )
    return "".join([*below, *beside])


def _names(right: str, up: str) -> str:
    return (
        f'<text x="{(MARGIN + WIDTH) // 2}" y="{HEIGHT - 12}" text-anchor="middle">{html.escape(right)}</text>'
        f'<text transform="translate(12 {(HEIGHT - MARGIN) // 2}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(up)}</text>"
    )


def _dot(
    point: Mapping[str, Any], xs: _Axis, ys: _Axis, axes: tuple[str, str], objectives: Sequence[str], colour: str
) -> str:
    right, up = axes
    return (
        f'<circle cx="{xs.at(point["metrics"][right], MARGIN, WIDTH - 12):.1f}" '
        f'cy="{ys.at(point["metrics"][up], HEIGHT - MARGIN, 12):.1f}" r="4" fill="{colour}" fill-opacity="0.7">'
        f"<title>{html.escape(_said(point, dict.fromkeys([*objectives, up, right])))}</title></circle>"
    )


def _legend(place: int, name: str, colour: str) -> str:
    y = HEIGHT - MARGIN - 14 - 16 * place
    x = WIDTH - 130
    return f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/><text x="{x + 10}" y="{y + 4}">{html.escape(name)}</text>'


def _text(value: float, where: str) -> str:
    return f"<text {where}>{value:.4g}</text>"


class _Axis:
    """A range of values on a line, with a little room at its ends."""

    def __init__(self, values: Sequence[float]) -> None:
        low, high = min(values), max(values)
        room = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
        self.low, self.high = low - room, high + room
        self.marks = [self.low + (self.high - self.low) * n / MARKS for n in range(MARKS + 1)]

    def at(self, value: float, start: float, stop: float) -> float:
        """Where a value stands between two ends."""
        return start + (stop - start) * (value - self.low) / (self.high - self.low)


def _said(point: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    named = (metric for metric in metrics if point["metrics"].get(metric) is not None)
    numbers = ", ".join(f"{name} {point['metrics'][name]:.6g}" for name in named)
    return f"{point['architecture_id']}: {numbers}"
