"""Enamel badges: an outline, a metal rim, an enamel field with a pattern, an emblem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo.drawing.canvas import Canvas, Gradient
from demo.drawing.colour import INK, METALS, NAMED, WHITE, Colour, dark, light, mix
from demo.drawing.emblem import EMBLEMS
from demo.drawing.shape import Outline, box, ellipse, flower, heart, moved, regular, shield, star

OUTLINES: dict[str, Outline] = {
    "circle": ellipse(0, 0, 50),
    "shield": shield(50),
    "hexagon": regular(6, 50),
    "octagon": regular(8, 50, 22.5),
    "star": star(8, 52, 41),
    "cog": star(16, 51, 45),
    "flower": flower(8, 51, 0.06),
    "diamond": regular(4, 53),
    "square": box(-44, -44, 44, 44, 9),
    "pentagon": moved(regular(5, 52), 0, 3),
    "heart": heart(53),
    "oval": ellipse(0, 0, 40, 52),
}
FIELDS = ("plain", "halves", "bands", "quarters", "rays", "ring", "chevron", "sash", "dots")

SIDE = 112


@dataclass(frozen=True, slots=True)
class Badge:
    """What one badge looks like."""

    colour: str
    second: str
    outline: str
    metal: str
    field: str
    emblem: str
    emblem_colour: Colour
    accent: Colour
    ribbon: str

    @classmethod
    def design(cls, rng: np.random.Generator) -> Badge:
        """A random badge."""
        names = list(NAMED)
        colour, second, emblem_colour, accent = (names[i] for i in rng.permutation(len(names))[:4])
        ribbon = str(rng.choice(["", "", "2019", "CLUB", "HERO", "No. 7", "STAFF", "CREW", "1ST", "VIP"]))
        return cls(
            colour=colour,
            second=second,
            outline=str(rng.choice(list(OUTLINES))),
            metal=str(rng.choice(list(METALS))),
            field=str(rng.choice(FIELDS)),
            emblem=str(rng.choice(list(EMBLEMS))),
            emblem_colour=WHITE if rng.random() < 0.3 else light(NAMED[emblem_colour], 0.25),
            accent=NAMED[accent],
            ribbon=ribbon,
        )

    @property
    def glance(self) -> tuple[object, ...]:
        """What one sees first; no two badges of a catalogue share it."""
        return self.outline, self.emblem

    def draw(self, pixels: int) -> Canvas:
        """The badge, `pixels` high."""
        canvas = Canvas.blank(SIDE, SIDE, pixels)
        c = canvas.local(SIDE / 2, SIDE / 2, 1)
        outline, metal, main = OUTLINES[self.outline], METALS[self.metal], NAMED[self.colour]
        c.polygon(moved(outline, 0, 0, 1.04), Gradient(light(metal, 0.5), dark(metal, 0.4)))
        c.polygon(moved(outline, 0, 0, 0.98), Gradient(dark(metal, 0.25), light(metal, 0.3)))
        field = moved(outline, 0, 0, 0.9)
        layer = c.layer()
        layer.polygon(field, main)
        _field(layer, self.field, main, NAMED[self.second])
        c.stamp(layer, field)
        self._emblem(c, main)
        if self.ribbon:
            self._ribbon(c, metal)
        self._gloss(c, field)
        return canvas

    def _emblem(self, c: Canvas, main: Colour) -> None:
        plate = mix(main, INK, 0.72)
        y, r = (-6, 25) if self.ribbon else (0, 28)
        y -= 4 if self.outline == "heart" else 0
        c.polygon(ellipse(0, y, r + 3), METALS[self.metal])
        c.polygon(ellipse(0, y, r + 1), plate)
        EMBLEMS[self.emblem](c.local(0, y, 0.8 * r), self.emblem_colour, mix(self.accent, self.emblem_colour, 0.15))

    def _ribbon(self, c: Canvas, metal: Colour) -> None:
        for side in (-1, 1):
            c.polygon(
                [(side * 30, 22), (side * 47, 22), (side * 42, 29), (side * 47, 36), (side * 30, 36)],
                dark(self.accent),
            )
        c.polygon(box(-37, 18, 37, 34, 2), metal)
        c.polygon(box(-36, 19, 36, 33, 2), light(self.accent, 0.15))
        c.text(0, 26, self.ribbon, 8.5, WHITE if sum(self.accent) < 420 else INK)

    def _gloss(self, c: Canvas, field: Outline) -> None:
        layer = c.layer()
        layer.polygon(ellipse(-12, -46, 62, 40), WHITE, alpha=0.2)
        c.stamp(layer, field)


def _field(c: Canvas, name: str, main: Colour, second: Colour) -> None:
    """The pattern of the enamel, 100 × 100 around the origin."""
    if name == "halves":
        c.polygon(box(0, -55, 55, 55), second)
    elif name == "bands":
        for y in (-40, -8, 24):
            c.polygon(box(-55, y, 55, y + 16), second)
    elif name == "quarters":
        c.polygon(box(0, -55, 55, 0), second)
        c.polygon(box(-55, 0, 0, 55), second)
    elif name == "rays":
        for turn in range(0, 360, 30):
            c.polygon(moved([(0, 0), (0, -70), (17, -70)], 0, 0, turn=turn), second)
    elif name == "ring":
        c.polygon(ellipse(0, 0, 41), second)
        c.polygon(ellipse(0, 0, 34), light(second, 0.6))
    elif name == "chevron":
        for y in (-30, 8, 46):
            c.polygon([(-55, y + 22), (0, y - 22), (55, y + 22), (55, y + 38), (0, y - 6), (-55, y + 38)], second)
    elif name == "sash":
        c.polygon([(-55, -40), (-40, -55), (55, 40), (40, 55)], second)
        c.polygon([(-55, -24), (-55, -40), (40, 55), (24, 55)], light(second, 0.5))
    elif name == "dots":
        for i in range(64):
            c.polygon(ellipse(-49 + 14 * (i % 8), -49 + 14 * (i // 8), 4), second)
