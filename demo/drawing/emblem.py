"""Symbols for badges and cards: each draws itself in a circle of radius 1 around the origin."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin

from demo.drawing.canvas import Canvas
from demo.drawing.colour import INK, WHITE, Colour, dark, light
from demo.drawing.shape import arc, box, crescent, drop, ellipse, flower, heart, leaf, moved, shield, star

Emblem = Callable[[Canvas, Colour, Colour], None]
"""Draws on a canvas in a main and a second colour."""


def _star(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon(star(5, 1, 0.45), main)
    c.polygon(star(5, 0.55, 0.25), second)


def _moon(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon(crescent(0.9), main)
    c.polygon(moved(star(5, 0.34, 0.14), 0.45, -0.05), second)


def _sun(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon(star(12, 1, 0.62), main)
    c.polygon(ellipse(0, 0, 0.52), second)


def _bolt(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon([(0.2, -1), (-0.6, 0.12), (-0.05, 0.12), (-0.25, 1), (0.62, -0.25), (0.05, -0.25), (0.5, -1)], main)
    c.polygon([(0.1, -0.8), (-0.3, -0.05), (-0.1, -0.05), (0.2, -0.8)], second)


def _flame(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon(moved(drop(0.85), 0, 0.12), main)
    for x, turn in ((-0.42, -16), (0.42, 16)):
        c.polygon(moved(drop(0.6), x, 0.28, turn=turn), main)
    c.polygon(moved(drop(0.5), 0, 0.42), second)


def _drop(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon(drop(1), main)
    c.stroke(arc(0, 0.3, 0.4, 80, 190), second, 0.13)


def _leaf(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon(moved(leaf(1), 0, 0, 1.05, 28), main)
    c.stroke([(0.42, -0.75), (-0.5, 0.92)], second, 0.09)
    for x, y, side in ((0.2, -0.35, 0.3), (0.0, 0.05, 0.32), (-0.22, 0.42, 0.26)):
        c.stroke([(x, y), (x + side, y + 0.02)], second, 0.07)
        c.stroke([(x, y), (x - 0.6 * side, y - 0.8 * side)], second, 0.07)


def _heart(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon(heart(0.98), main)
    c.stroke(arc(-0.42, -0.28, 0.26, 150, 260), second, 0.13)


def _crown(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon([(-0.95, -0.5), (-0.5, 0.05), (0, -0.8), (0.5, 0.05), (0.95, -0.5), (0.75, 0.7), (-0.75, 0.7)], main)
    c.polygon(box(-0.75, 0.42, 0.75, 0.7), second)
    for x, y in ((-0.95, -0.5), (0, -0.8), (0.95, -0.5)):
        c.polygon(ellipse(x, y, 0.14), second)


def _anchor(c: Canvas, main: Colour, second: Colour) -> None:
    c.stroke([(0, -0.5), (0, 0.8)], main, 0.2)
    c.stroke(arc(0, 0.05, 0.78, 15, 165), main, 0.2)
    c.stroke([(-0.42, -0.3), (0.42, -0.3)], second, 0.18)
    c.stroke(ellipse(0, -0.72, 0.2), main, 0.13, closed=True)


def _rocket(c: Canvas, main: Colour, second: Colour) -> None:
    for side in (-1, 1):
        c.polygon([(side * 0.3, 0.05), (side * 0.75, 0.7), (side * 0.25, 0.55)], second)
    c.polygon(moved(drop(0.35), 0, 0.75, turn=180), (250, 180, 40))
    c.polygon(moved(leaf(0.92), 0, -0.15, 0.95), main)
    c.polygon(ellipse(0, -0.28, 0.19), second)
    c.polygon(ellipse(0, -0.28, 0.11), WHITE)


def _planet(c: Canvas, main: Colour, second: Colour) -> None:
    ring = moved(ellipse(0, 0, 1.0, 0.3), 0, 0, turn=-20)
    c.polygon(ellipse(0, 0, 0.62), main)
    c.stroke(ring, second, 0.14, closed=True)
    c.polygon(arc(0, 0, 0.62, 160, 340, 24), main)
    c.polygon(ellipse(-0.2, -0.3, 0.14, 0.1), light(main))


def _flower(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon(flower(6, 1, 0.22), main)
    c.polygon(flower(6, 0.6, 0.22), light(main))
    c.polygon(ellipse(0, 0, 0.26), second)


def _castle(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon(box(-0.8, -0.2, 0.8, 0.85), main)
    for x in (-0.8, -0.2, 0.4):
        c.polygon(box(x, -0.5, x + 0.4, 0.0), main)
    c.polygon(box(-0.28, -0.75, 0.28, 0.2), main)
    c.polygon([(-0.36, -0.72), (0, -1.05), (0.36, -0.72)], second)
    c.polygon([*arc(0, 0.4, 0.24, 180, 360), (0.24, 0.85), (-0.24, 0.85)], second)


def _sword(c: Canvas, main: Colour, second: Colour) -> None:
    for turn in (-35, 35):
        blade = [(-0.12, 0.35), (-0.12, -0.8), (0, -1.05), (0.12, -0.8), (0.12, 0.35)]
        c.polygon(moved(blade, 0, 0, turn=turn), main)
        c.polygon(moved(box(-0.32, 0.33, 0.32, 0.47), 0, 0, turn=turn), second)
        c.polygon(moved(box(-0.08, 0.45, 0.08, 0.9), 0, 0, turn=turn), dark(second))


def _key(c: Canvas, main: Colour, second: Colour) -> None:
    c.stroke(ellipse(0, -0.55, 0.32), main, 0.2, closed=True)
    c.stroke([(0, -0.2), (0, 0.95)], main, 0.2)
    for y in (0.5, 0.82):
        c.stroke([(0, y), (0.42, y)], second, 0.17)


def _gem(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon([(-0.6, -0.7), (0.6, -0.7), (1, -0.2), (0, 0.9), (-1, -0.2)], main)
    c.polygon([(-0.6, -0.7), (-0.38, -0.2), (0, 0.9), (-1, -0.2)], light(main))
    c.polygon([(-0.38, -0.2), (0.38, -0.2), (0, 0.9)], second)


def _mushroom(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon(box(-0.3, -0.05, 0.3, 0.9, 0.2), light(second, 0.6))
    c.polygon(arc(0, 0.1, 0.95, 180, 360, 28), main)
    for x, y, r in ((-0.5, -0.2, 0.15), (0.05, -0.5, 0.2), (0.52, -0.15, 0.13)):
        c.polygon(ellipse(x, y, r), second)


def _tree(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon(box(-0.13, 0.5, 0.13, 1), second)
    for y, r in ((0.65, 0.85), (0.2, 0.7), (-0.22, 0.5)):
        c.polygon([(0, y - 1.15 * r), (r, y), (-r, y)], main)


def _mountain(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon([(0.0, 0.7), (0.5, -0.35), (1.05, 0.7)], dark(main))
    c.polygon([(-1.05, 0.7), (-0.25, -0.85), (0.6, 0.7)], main)
    c.polygon([(-0.25, -0.85), (0.02, -0.36), (-0.2, -0.5), (-0.32, -0.3), (-0.53, -0.34)], second)


def _fish(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon([(0.4, 0), (1, -0.55), (0.85, 0), (1, 0.55)], second)
    c.polygon(ellipse(-0.2, 0, 0.78, 0.5), main)
    c.polygon([(-0.2, -0.45), (0.25, -0.85), (0.3, -0.3)], second)
    c.stroke(arc(-0.75, 0, 0.45, -45, 45), second, 0.09)
    c.polygon(ellipse(-0.62, -0.12, 0.12), WHITE)
    c.polygon(ellipse(-0.64, -0.12, 0.06), INK)


def _bird(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon([(0.3, 0.1), (1.05, -0.15), (0.85, 0.45)], main)
    c.polygon(ellipse(0, 0.15, 0.65, 0.5), main)
    c.polygon(ellipse(-0.5, -0.35, 0.38), main)
    c.polygon([(-0.82, -0.45), (-1.15, -0.25), (-0.8, -0.2)], (250, 176, 40))
    c.polygon(moved(leaf(0.5), 0.15, 0.1, 1, 65), second)
    c.polygon(ellipse(-0.58, -0.42, 0.08), INK)


def _cat(c: Canvas, main: Colour, second: Colour) -> None:
    for side in (-1, 1):
        c.polygon([(side * 0.85, -0.95), (side * 0.15, -0.55), (side * 0.8, 0)], main)
        c.polygon([(side * 0.75, -0.75), (side * 0.35, -0.5), (side * 0.72, -0.2)], second)
    c.polygon(ellipse(0, 0.1, 0.88, 0.74), main)
    for side in (-1, 1):
        c.polygon(ellipse(side * 0.36, 0.0, 0.15, 0.2), INK)
        c.stroke([(side * 0.4, 0.42), (side * 1.0, 0.32)], second, 0.06)
    c.polygon([(-0.12, 0.28), (0.12, 0.28), (0, 0.42)], second)


def _owl(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon([(-0.75, -0.95), (0, -0.6), (0.75, -0.95), (0.72, 0.3), (0, 1), (-0.72, 0.3)], main)
    for side in (-1, 1):
        c.polygon(ellipse(side * 0.34, -0.25, 0.33), second)
        c.polygon(ellipse(side * 0.34, -0.25, 0.18), INK)
    c.polygon([(-0.14, 0.0), (0.14, 0.0), (0, 0.3)], (250, 176, 40))
    c.polygon([(-0.3, 0.45), (0.3, 0.45), (0, 0.85)], second)


def _robot(c: Canvas, main: Colour, second: Colour) -> None:
    c.stroke([(0, -0.6), (0, -0.95)], second, 0.1)
    c.polygon(ellipse(0, -0.95, 0.14), second)
    c.polygon(box(-0.8, -0.6, 0.8, 0.7, 0.22), main)
    for side in (-1, 1):
        c.polygon(box(side * 0.92 - 0.1, -0.25, side * 0.92 + 0.1, 0.3, 0.05), second)
        c.polygon(ellipse(side * 0.36, -0.1, 0.22), WHITE)
        c.polygon(ellipse(side * 0.36, -0.1, 0.1), INK)
    c.polygon(box(-0.45, 0.3, 0.45, 0.48, 0.06), second)


def _wave(c: Canvas, main: Colour, second: Colour) -> None:
    for row, colour in enumerate((main, second, main)):
        points = [(-1 + 2 * i / 30, -0.5 + 0.5 * row + 0.16 * sin(i * 2 * pi / 10)) for i in range(31)]
        c.stroke(points, colour, 0.24)


def _paw(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon(ellipse(0, 0.4, 0.55, 0.46), main)
    for x, y in ((-0.72, -0.1), (-0.27, -0.52), (0.27, -0.52), (0.72, -0.1)):
        c.polygon(ellipse(x, y, 0.21, 0.29), main)
    c.polygon(ellipse(0, 0.45, 0.28, 0.22), second)


def _gear(c: Canvas, main: Colour, second: Colour) -> None:
    for turn in range(0, 360, 45):
        c.polygon(moved(box(-0.18, -1, 0.18, -0.5, 0.05), 0, 0, turn=turn), main)
    c.polygon(ellipse(0, 0, 0.74), main)
    c.polygon(ellipse(0, 0, 0.36), second)


def _knight(c: Canvas, main: Colour, second: Colour) -> None:
    c.polygon(shield(0.95), main)
    c.polygon([(-0.82, -0.2), (0.82, -0.2), (0.8, 0.12), (-0.8, 0.12)], second)
    c.polygon([(-0.16, -0.8), (0.16, -0.8), (0.16, 0.85), (0, 0.98), (-0.16, 0.85)], second)


def _clover(c: Canvas, main: Colour, second: Colour) -> None:
    c.stroke([(0, 0), (0.2, 0.95)], second, 0.13)
    for turn in (0, 90, 180, 270):
        x, y = 0.5 * cos(pi * (turn - 45) / 180), 0.5 * sin(pi * (turn - 45) / 180)
        c.polygon(moved(heart(0.45), x, y, turn=turn + 225), main)


EMBLEMS: dict[str, Emblem] = {
    "star": _star, "moon": _moon, "sun": _sun, "bolt": _bolt, "flame": _flame, "drop": _drop, "leaf": _leaf,
    "heart": _heart, "crown": _crown, "anchor": _anchor, "rocket": _rocket, "planet": _planet,
    "flower": _flower, "castle": _castle, "sword": _sword, "key": _key, "gem": _gem, "mushroom": _mushroom,
    "tree": _tree, "mountain": _mountain, "fish": _fish, "bird": _bird, "cat": _cat, "owl": _owl,
    "robot": _robot, "wave": _wave, "paw": _paw, "gear": _gear, "knight": _knight, "clover": _clover,
}  # fmt: skip
