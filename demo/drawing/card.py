"""Trading cards: a frame, a creature before a landscape, a title, stars and figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo.drawing.canvas import Canvas, Gradient
from demo.drawing.colour import INK, METALS, NAMED, WHITE, Colour, dark, light, mix, readable_on
from demo.drawing.emblem import EMBLEMS
from demo.drawing.monster import Monster
from demo.drawing.shape import box, ellipse, moved, star

SCENERIES = ("rays", "hills", "night", "dots", "sea", "peaks", "checks", "rings")
SYLLABLES = ("Zor", "Bly", "Kra", "Mu", "Fen", "Tik", "Lum", "Ora", "Vex", "Pip", "Gno", "Ska", "Dru", "Wi", "Nal")
ENDINGS = ("ko", "dor", "mint", "zle", "fang", "puff", "ra", "tail", "lyn", "bo", "wisp", "gon", "ling", "nix")

WIDTH, HEIGHT = 100, 140


@dataclass(frozen=True, slots=True)
class Card:
    """What one card looks like."""

    colour: str
    border: Colour
    scenery: str
    sky: Colour
    monster: Monster
    emblem: str
    title: str
    stars: int
    figure: int
    rows: int

    @classmethod
    def design(cls, rng: np.random.Generator) -> Card:
        """A random card."""
        names = list(NAMED)
        colour, sky, creature, second = (names[i] for i in rng.permutation(len(names))[:4])
        border = [WHITE, INK, METALS["gold"], METALS["silver"], dark(NAMED[colour], 0.5)][rng.integers(5)]
        return cls(
            colour=colour,
            border=border,
            scenery=str(rng.choice(SCENERIES)),
            sky=NAMED[sky],
            monster=Monster.design(rng, NAMED[creature], NAMED[second]),
            emblem=str(rng.choice(list(EMBLEMS))),
            title=str(rng.choice(SYLLABLES)) + str(rng.choice(ENDINGS)),
            stars=int(rng.integers(1, 6)),
            figure=int(rng.integers(10, 100)),
            rows=int(rng.integers(2, 4)),
        )

    @property
    def glance(self) -> tuple[object, ...]:
        """What one sees first; no two cards of a catalogue share it."""
        return self.monster.body, self.monster.ears, self.monster.colour

    def draw(self, pixels: int) -> Canvas:
        """The card, `pixels` high."""
        c = Canvas.blank(WIDTH, HEIGHT, pixels)
        main = NAMED[self.colour]
        c.polygon(box(0, 0, WIDTH, HEIGHT, 7), self.border)
        c.polygon(box(4, 4, 96, 136, 4), Gradient(light(main, 0.2), dark(main, 0.25)))
        self._art(c)
        self._title(c, main)
        self._foot(c, main)
        return c

    def _title(self, c: Canvas, main: Colour) -> None:
        bar = mix(main, WHITE, 0.72)
        c.polygon(box(7, 7, 93, 21, 5), bar)
        c.text(42, 14, self.title, 8.5, INK)
        c.polygon(ellipse(85, 14, 8.2), dark(main, 0.45))
        EMBLEMS[self.emblem](c.local(85, 14, 5.2), WHITE, light(main, 0.3))

    def _art(self, c: Canvas) -> None:
        frame = box(8, 25, 92, 98, 3)
        c.polygon(box(6.5, 23.5, 93.5, 99.5, 4), mix(NAMED[self.colour], WHITE, 0.8))
        layer = c.layer()
        layer.polygon(frame, Gradient(self.sky, light(self.sky, 0.65)))
        _scenery(layer.local(50, 61.5, 1), self.scenery, self.sky)
        layer.polygon(ellipse(50, 92, 26, 4.5), dark(self.sky, 0.6), alpha=0.45)
        self.monster.draw(layer.local(50, 64, 30))
        c.stamp(layer, frame)

    def _foot(self, c: Canvas, main: Colour) -> None:
        c.polygon(box(8, 103, 92, 132, 3), mix(main, WHITE, 0.85))
        for i in range(self.stars):
            c.polygon(
                moved(star(5, 5, 2.2), 16 + 10 * i, 110),
                METALS["gold"] if self.stars < 5 else NAMED["crimson"],
            )
        for i in range(self.rows):
            c.polygon(box(12, 118 + 4.2 * i, (66, 58, 48)[i], 120 + 4.2 * i, 1), mix(main, INK, 0.45))
        c.polygon(box(70, 105, 90, 130, 4), dark(main, 0.3))
        c.text(80, 117.5, str(self.figure), 11, readable_on(dark(main, 0.3)))


def _scenery(c: Canvas, name: str, sky: Colour) -> None:
    """A landscape or pattern behind the creature, 84 × 73 around the origin."""
    pale, deep = light(sky, 0.5), dark(sky, 0.4)
    if name == "rays":
        for i in range(12):
            c.polygon([(0, 5), *(q for q in moved([(0, -80), (14, -80)], 0, 5, turn=30 * i))], pale)
    elif name == "hills":
        c.polygon(ellipse(26, -20, 9), (255, 236, 150))
        c.polygon(ellipse(-26, 45, 48, 32), deep)
        c.polygon(ellipse(28, 50, 50, 30), dark(sky, 0.25))
    elif name == "night":
        c.polygon(box(-43, -38, 43, 38), Gradient(dark(sky, 0.8), dark(sky, 0.3)))
        for x, y in ((-33, -28), (-15, -31), (5, -27), (20, -15), (35, -5), (-37, 0), (-28, -12), (36, 15)):
            c.polygon(moved(star(4, 3, 1), x, y), WHITE)
        c.polygon(ellipse(28, -25, 8), (255, 244, 200))
    elif name == "dots":
        for row in range(7):
            for column in range(8):
                c.polygon(ellipse(-42 + 12 * column + 6 * (row % 2), -36 + 12 * row, 3), pale)
    elif name == "sea":
        for row in range(5):
            c.polygon(
                [
                    (-43, 38),
                    *[(-43 + 3 * i, -2 + 9 * row + 2.5 * np.sin(i * 0.9 + row)) for i in range(30)],
                    (43, 38),
                ],
                dark(sky, 0.1 + 0.12 * row),
            )
    elif name == "peaks":
        c.polygon([(-43, 38), (-25, -22), (-5, 20), (14, -30), (43, 38)], deep)
        for x, y in ((-25, -22), (14, -30)):
            c.polygon([(x, y), (x + 5, y + 13), (x, y + 9), (x - 4.5, y + 13)], WHITE)
    elif name == "checks":
        for i in range(36):
            left, top = -42 + 14 * (i % 6), -37 + 12.5 * (i // 6)
            c.polygon(box(left, top, left + 14, top + 12.5), pale if (i + i // 6) % 2 else sky)
    else:
        for i in range(6):
            c.polygon(ellipse(0, 5, 60 - 10 * i), (pale, sky)[i % 2])
