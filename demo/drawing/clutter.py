"""Things that lie about in scenes and are no products: RGBA sprites."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from demo.drawing.canvas import Canvas, Gradient
from demo.drawing.colour import INK, METALS, NAMED, WHITE, Colour, dark, light
from demo.drawing.shape import arc, box, ellipse, leaf, moved, regular

Thing = Callable[[Canvas, np.random.Generator, Colour], None]
"""Draws on a canvas of 100 × 100 units with its origin in the middle."""


def _coin(c: Canvas, rng: np.random.Generator, colour: Colour) -> None:
    metal = METALS[str(rng.choice(["gold", "silver", "copper"]))]
    c.polygon(ellipse(0, 0, 30), Gradient(light(metal), dark(metal)))
    c.polygon(ellipse(0, 0, 26), Gradient(dark(metal, 0.2), light(metal, 0.2)))
    c.text(0, 0, str(rng.choice(["1", "2", "5", "10", "20"])), 22, dark(metal, 0.4))


def _pen(c: Canvas, rng: np.random.Generator, colour: Colour) -> None:
    body = Gradient(light(colour), dark(colour), across=True)
    c.polygon(box(-4, -38, 4, 34, 2), body)
    c.polygon([(-4, 34), (4, 34), (0, 47)], (226, 190, 140))
    c.polygon(box(-4, -44, 4, -34, 2), METALS["silver"])


def _leaf(c: Canvas, rng: np.random.Generator, colour: Colour) -> None:
    green = (int(rng.integers(60, 190)), int(rng.integers(90, 170)), 48)
    c.polygon(leaf(44), Gradient(light(green, 0.2), dark(green, 0.2), across=True))
    c.stroke([(0, -36), (0, 48)], dark(green), 2)


def _cup(c: Canvas, rng: np.random.Generator, colour: Colour) -> None:
    c.stroke(arc(34, 0, 10, -90, 90), colour, 6)
    c.polygon(ellipse(0, 0, 36), Gradient(light(colour), dark(colour)))
    c.polygon(ellipse(0, 0, 31), Gradient(dark(colour), light(colour)))
    c.polygon(ellipse(0, 2, 28), [(92, 58, 34), (196, 150, 96), (236, 240, 244)][rng.integers(3)])


def _block(c: Canvas, rng: np.random.Generator, colour: Colour) -> None:
    sides = int(rng.integers(3, 7))
    c.polygon(regular(sides, 44), colour)
    if rng.random() < 0.5:
        c.polygon(regular(sides, 36), Gradient(light(colour), colour))


def _note(c: Canvas, rng: np.random.Generator, colour: Colour) -> None:
    c.polygon(box(-36, -36, 36, 36), light(colour, 0.6))
    for i in range(int(rng.integers(0, 6))):
        c.stroke([(-28, -24 + 11 * i), (rng.uniform(0, 28), -24 + 11 * i)], dark(colour, 0.5), 2.2)


def _slip(c: Canvas, rng: np.random.Generator, colour: Colour) -> None:
    """A blank or printed slip in the proportions of a card, so that not every such rectangle is one."""
    c.polygon(box(-30, -42, 30, 42, 3), light(colour, float(rng.uniform(0, 0.9))))
    for i in range(int(rng.integers(0, 9))):
        c.stroke([(-24, -34 + 8 * i), (rng.uniform(-5, 24), -34 + 8 * i)], INK, 1.5)


def _cable(c: Canvas, rng: np.random.Generator, colour: Colour) -> None:
    steps = np.cumsum(rng.normal(0, 9, (14, 2)), axis=0)
    path = np.clip(steps - steps.mean(axis=0), -45, 45)
    c.stroke([(float(x), float(y)) for x, y in path], dark(colour), 3)


def _ring(c: Canvas, rng: np.random.Generator, colour: Colour) -> None:
    c.stroke(ellipse(0, 0, 36), colour, float(rng.uniform(4, 14)), closed=True)


def _bottle(c: Canvas, rng: np.random.Generator, colour: Colour) -> None:
    glass = Gradient(light(colour), dark(colour), across=True)
    c.polygon(box(-7, -46, 7, -20, 2), glass)
    c.polygon(box(-17, -24, 17, 46, 8), glass)
    c.polygon(box(-17, -4, 17, 24), WHITE)


def _brick(c: Canvas, rng: np.random.Generator, colour: Colour) -> None:
    c.polygon(box(-44, -22, 44, 22, 3), Gradient(colour, dark(colour)))
    for x in (-33, -11, 11, 33):
        for y in (-11, 11):
            c.polygon(ellipse(x, y, 7), Gradient(light(colour), dark(colour, 0.2)))


def _splinters(c: Canvas, rng: np.random.Generator, colour: Colour) -> None:
    for _ in range(int(rng.integers(4, 12))):
        x, y = (float(v) for v in rng.uniform(-38, 38, 2))
        tint = list(NAMED.values())[rng.integers(len(NAMED))]
        c.polygon(moved(regular(int(rng.integers(3, 7)), rng.uniform(3, 8)), x, y, turn=rng.uniform(0, 90)), tint)


THINGS: tuple[Thing, ...] = (
    _coin, _pen, _leaf, _cup, _block, _note, _slip, _cable, _ring, _bottle, _brick, _splinters,
)  # fmt: skip


def thing(rng: np.random.Generator, pixels: int) -> NDArray[np.uint8]:
    """A random thing, `pixels` high: uint8 [H,W,4], RGBA."""
    canvas = Canvas.blank(100, 100, pixels)
    colours = [*NAMED.values(), WHITE, INK, METALS["silver"]]
    THINGS[rng.integers(len(THINGS))](canvas.local(50, 50, 1), rng, colours[rng.integers(len(colours))])
    return canvas.pixels()
