"""Outlines as lists of points, around the origin unless said otherwise; y grows downwards."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin

Point = tuple[float, float]
Outline = list[Point]


def ellipse(x: float, y: float, rx: float, ry: float | None = None, points: int = 40) -> Outline:
    """An ellipse around (x, y); a circle where `ry` is left out."""
    ry = rx if ry is None else ry
    return [(x + rx * cos(2 * pi * i / points), y + ry * sin(2 * pi * i / points)) for i in range(points)]


def arc(x: float, y: float, r: float, start: float, stop: float, points: int = 16) -> Outline:
    """The open arc around (x, y) from `start` to `stop` degrees, clockwise as seen, 0 to the right."""
    angles = [pi / 180 * (start + (stop - start) * i / (points - 1)) for i in range(points)]
    return [(x + r * cos(a), y + r * sin(a)) for a in angles]


def regular(sides: int, r: float, turn: float = 0.0) -> Outline:
    """A regular polygon with a corner on top, turned clockwise by `turn` degrees."""
    return star(sides, r, r * cos(pi / sides), turn)


def star(tips: int, outer: float, inner: float, turn: float = 0.0) -> Outline:
    """A star with a tip on top, turned clockwise by `turn` degrees."""
    angles = [pi * i / tips - pi / 2 + pi * turn / 180 for i in range(2 * tips)]
    return [((inner if i % 2 else outer) * cos(a), (inner if i % 2 else outer) * sin(a)) for i, a in enumerate(angles)]


def box(x1: float, y1: float, x2: float, y2: float, radius: float = 0.0) -> Outline:
    """A rectangle with rounded corners."""
    if radius <= 0:
        return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    corners = [(x2 - radius, y1 + radius, -90), (x2 - radius, y2 - radius, 0)]
    corners += [(x1 + radius, y2 - radius, 90), (x1 + radius, y1 + radius, 180)]
    return [p for x, y, start in corners for p in arc(x, y, radius, start, start + 90, 8)]


def flower(petals: int, r: float, depth: float, points: int = 96) -> Outline:
    """A circle whose radius swings by `depth` (a share of it) once a petal."""
    swing = [1 - depth + depth * cos(petals * 2 * pi * i / points) for i in range(points)]
    angles = [2 * pi * i / points - pi / 2 for i in range(points)]
    return [(r * s * cos(a), r * s * sin(a)) for s, a in zip(swing, angles, strict=True)]


def shield(r: float) -> Outline:
    """A heater shield: flat top, curved sides, a point below."""
    side = [(0.86 * r * cos(t), -0.1 * r + 1.1 * r * sin(t) ** 1.25) for t in [pi / 2 * i / 14 for i in range(15)]]
    right = [(0.86 * r, -0.85 * r), *side]
    return [*right, *[(-x, y) for x, y in reversed(right)]]


def heart(r: float) -> Outline:
    """The classic heart curve."""
    turns = [2 * pi * i / 48 for i in range(48)]
    ys = [13 * cos(t) - 5 * cos(2 * t) - 2 * cos(3 * t) - cos(4 * t) for t in turns]
    return [(r * sin(t) ** 3, -r * (y + 2.5) / 16) for t, y in zip(turns, ys, strict=True)]


def drop(r: float) -> Outline:
    """A water drop, tip up."""
    turns = [2 * pi * i / 40 for i in range(40)]
    return [(0.75 * r * sin(t) * sin(t / 2) ** 1.3, -r * cos(t)) for t in turns]


def leaf(r: float) -> Outline:
    """A pointed leaf, standing."""
    side = [(0.5 * r * sin(pi * i / 16) ** 1.2, -r + 2 * r * i / 16) for i in range(17)]
    return [*side, *[(-x, y) for x, y in reversed(side[1:-1])]]


def crescent(r: float) -> Outline:
    """A moon, open to the right."""
    return [*arc(0, 0, r, 50, 310, 32), *reversed(arc(0.42 * r, 0, 0.79 * r, 76, 284, 28))]


def moved(outline: Sequence[Point], x: float, y: float, scale: float = 1.0, turn: float = 0.0) -> Outline:
    """The outline turned clockwise by `turn` degrees, scaled, and put at (x, y)."""
    c, s = cos(pi * turn / 180) * scale, sin(pi * turn / 180) * scale
    return [(x + c * px - s * py, y + s * px + c * py) for px, py in outline]
