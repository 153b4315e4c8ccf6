"""The creatures on the cards: a body, ears, eyes, a mouth and what else a monster wears."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo.drawing.canvas import Canvas, Gradient
from demo.drawing.colour import INK, WHITE, Colour, dark, light
from demo.drawing.shape import Outline, Point, arc, box, ellipse, flower, leaf, moved, star

BODIES = ("round", "tall", "pear", "square", "wide", "furry", "ghost")
EARS = ("none", "cat", "rabbit", "bear", "horns", "antennae", "fins", "crest")
MARKS = ("none", "belly", "spots", "stripes")


@dataclass(frozen=True, slots=True)
class Monster:
    """What one creature looks like."""

    body: str
    ears: str
    eyes: int
    mouth: int
    marks: str
    wings: bool
    tail: bool
    colour: Colour
    second: Colour

    @classmethod
    def design(cls, rng: np.random.Generator, colour: Colour, second: Colour) -> Monster:
        """A random creature in two given colours."""
        body, ears, marks = (str(rng.choice(names)) for names in (BODIES, EARS, MARKS))
        eyes, mouth = int(rng.choice([1, 2, 2, 2, 3])), int(rng.integers(4))
        return cls(body, ears, eyes, mouth, marks, bool(rng.random() < 0.3), bool(rng.random() < 0.4), colour, second)

    def draw(self, c: Canvas) -> None:
        """Draw in a circle of radius 1 around the origin."""
        outline = _body(self.body)
        if self.wings:
            self._wings(c)
        if self.tail:
            c.stroke(arc(0.75, 0.35, 0.4, 90, -100), dark(self.colour, 0.2), 0.17)
            c.polygon(ellipse(0.7, -0.06, 0.15), self.second)
        self._ears(c)
        self._feet(c)
        c.polygon(outline, Gradient(light(self.colour, 0.25), dark(self.colour, 0.15)))
        self._marks(c, outline)
        c.stroke(outline, dark(self.colour, 0.65), 0.05, closed=True)
        self._face(c)

    def _wings(self, c: Canvas) -> None:
        for side in (-1, 1):
            wing: Outline = [(side * 0.4, 0.1), (side * 1.15, -0.6), (side * 1.1, -0.1)]
            wing += [(side * 0.98, 0.0), (side * 0.95, 0.3), (side * 0.75, 0.2), (side * 0.5, 0.45)]
            c.polygon(wing, self.second)
            c.stroke(wing, dark(self.second, 0.6), 0.04, closed=True)

    def _ears(self, c: Canvas) -> None:
        shapes: dict[str, Outline] = {
            "cat": [(0.7, -1.0), (0.1, -0.55), (0.7, -0.25)],
            "rabbit": moved(ellipse(0, 0, 0.17, 0.5), 0.3, -0.75, turn=10),
            "bear": ellipse(0.5, -0.62, 0.25),
            "horns": [(0.25, -0.5), (0.5, -0.7), (0.5, -1.08), (0.75, -0.7), (0.6, -0.4)],
            "fins": moved(leaf(0.5), 0.82, -0.2, turn=60),
        }
        for side in (-1.0, 1.0):
            if self.ears in shapes:
                ear = [(side * x, y) for x, y in shapes[self.ears]]
                c.polygon(ear, WHITE if self.ears == "horns" else self.colour)
                c.stroke(ear, dark(self.colour, 0.65), 0.05, closed=True)
            if self.ears == "antennae":
                c.stroke([(side * 0.2, -0.5), (side * 0.42, -0.95)], dark(self.colour, 0.5), 0.07)
                c.polygon(ellipse(side * 0.42, -0.95, 0.13), self.second)
        if self.ears == "crest":
            for x, turn in ((-0.3, -30), (0, 0), (0.3, 30)):
                c.polygon(moved(leaf(0.42), x, -0.72, turn=turn), self.second)

    def _feet(self, c: Canvas) -> None:
        for side in (-1, 1) if self.body != "ghost" else ():
            c.polygon(ellipse(side * 0.32, 0.85, 0.22, 0.13), dark(self.colour, 0.4))

    def _marks(self, c: Canvas, outline: Outline) -> None:
        layer = c.layer()
        if self.marks == "belly":
            layer.polygon(ellipse(0, 0.6, 0.42, 0.5), light(self.colour, 0.65))
        if self.marks == "spots":
            for x, y, r in (
                (-0.5, 0.45, 0.16),
                (0.55, 0.3, 0.18),
                (0.2, 0.65, 0.13),
                (-0.5, -0.4, 0.14),
                (0.4, -0.5, 0.12),
            ):
                layer.polygon(ellipse(x, y, r), self.second)
        if self.marks == "stripes":
            for y in (-0.62, 0.42, 0.68):
                layer.polygon(box(-1, y, 1, y + 0.13), self.second)
        c.stamp(layer, outline)

    def _face(self, c: Canvas) -> None:
        places: dict[int, list[Point]] = {
            1: [(0, -0.15)],
            2: [(-0.28, -0.15), (0.28, -0.15)],
            3: [(-0.4, -0.08), (0, -0.3), (0.4, -0.08)],
        }
        r = {1: 0.32, 2: 0.2, 3: 0.17}[self.eyes]
        for x, y in places[self.eyes]:
            c.polygon(ellipse(x, y, r), WHITE)
            c.polygon(ellipse(x, y + 0.02, 0.62 * r), INK)
            c.polygon(ellipse(x + 0.25 * r, y - 0.25 * r, 0.25 * r), WHITE)
        if self.mouth == 0:
            c.stroke(arc(0, 0.2, 0.2, 20, 160), INK, 0.06)
        elif self.mouth == 1:
            c.polygon(arc(0, 0.22, 0.26, 0, 180), dark((180, 30, 50), 0.3))
            c.polygon([(-0.14, 0.22), (-0.02, 0.22), (-0.08, 0.34)], WHITE)
            c.polygon([(0.14, 0.22), (0.02, 0.22), (0.08, 0.34)], WHITE)
        elif self.mouth == 2:
            c.polygon(ellipse(0, 0.32, 0.1, 0.13), dark((180, 30, 50), 0.3))
        else:
            c.polygon(moved(star(3, 0.2, 0.14), 0, 0.22, turn=180), (250, 176, 40))


def _body(name: str) -> Outline:
    """The outline of a body in a circle of radius 1, its feet at y = 0.85."""
    bodies: dict[str, Outline] = {
        "round": ellipse(0, 0.1, 0.8),
        "tall": box(-0.55, -0.75, 0.55, 0.87, 0.5),
        "pear": [*arc(0, 0.3, 0.72, -20, 200, 24), *arc(0, -0.3, 0.5, 190, 350, 16)],
        "square": box(-0.72, -0.6, 0.72, 0.87, 0.2),
        "wide": ellipse(0, 0.2, 0.95, 0.65),
        "furry": moved(flower(13, 0.9, 0.1), 0, 0.1),
        "ghost": [
            *arc(0, -0.1, 0.7, 180, 360, 20),
            (0.7, 0.9),
            (0.45, 0.7),
            (0.23, 0.9),
            (0, 0.7),
            (-0.23, 0.9),
            (-0.45, 0.7),
            (-0.7, 0.9),
        ],
    }
    return bodies[name]
