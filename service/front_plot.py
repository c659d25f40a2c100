"""A front as a picture for notebooks: plain SVG, which needs nothing that draws."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT, MARGIN = 480, 300, 56
# Marks on an axis.
MARKS = 4


def plotted(points: Sequence[Mapping[str, Any]], objectives: Sequence[Mapping[str, Any]]) -> str:
    """SVG of a front: the first objective upwards, the second to the right; empty where there is no second.

    Each point tells its network and all objectives when it is pointed at.
    """
    if len(objectives) < 2:
        return ""
    up, right = objectives[0]["metric"], objectives[1]["metric"]
    there = [p for p in points if p["metrics"].get(up) is not None and p["metrics"].get(right) is not None]
    if not there:
        return ""
    xs, ys = _Axis([p["metrics"][right] for p in there]), _Axis([p["metrics"][up] for p in there])
    dots = "".join(
        f'<circle cx="{xs.at(p["metrics"][right], MARGIN, WIDTH - 12):.1f}" '
        f'cy="{ys.at(p["metrics"][up], HEIGHT - MARGIN, 12):.1f}" r="4" fill="currentColor" fill-opacity="0.7">'
        f"<title>{html.escape(_said(p, objectives))}</title></circle>"
        for p in there
    )
    marks = "".join(
        _text(value, f'x="{xs.at(value, MARGIN, WIDTH - 12):.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle"')
        for value in xs.marks
    ) + "".join(
        _text(value, f'x="{MARGIN - 6}" y="{ys.at(value, HEIGHT - MARGIN, 12) + 4:.1f}" text-anchor="end"')
        for value in ys.marks
    )
    frame = f'<path d="M{MARGIN} 12V{HEIGHT - MARGIN}H{WIDTH - 12}" fill="none" stroke="currentColor"/>'
    names = (
        f'<text x="{(MARGIN + WIDTH) // 2}" y="{HEIGHT - 12}" text-anchor="middle">{html.escape(right)}</text>'
        f'<text transform="translate(12 {(HEIGHT - MARGIN) // 2}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(up)}</text>"
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{html.escape(f"{up} by {right} of {len(there)} networks")}" '
        f'style="font: 11px sans-serif" fill="currentColor">{frame}{marks}{names}{dots}</svg>'
    )


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


def _said(point: Mapping[str, Any], objectives: Sequence[Mapping[str, Any]]) -> str:
    named = (one["metric"] for one in objectives if point["metrics"].get(one["metric"]) is not None)
    numbers = ", ".join(f"{name} {point['metrics'][name]:.6g}" for name in named)
    return f"{point['architecture_id']}: {numbers}"
