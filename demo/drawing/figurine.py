"""Figurines: little standing characters on a base plate, with a hat, a costume and a tool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo.drawing.canvas import Canvas, Gradient
from demo.drawing.colour import INK, METALS, NAMED, WHITE, Colour, dark, light
from demo.drawing.emblem import EMBLEMS
from demo.drawing.shape import Outline, arc, box, ellipse, moved, star

HATS = ("none", "wizard", "top", "crown", "helmet", "beanie", "chef", "cowboy", "bow", "horns", "halo", "cap")
COSTUMES = ("stripes", "buttons", "belt", "emblem", "robe", "overalls", "armour")
TOOLS = ("sword", "staff", "balloon", "flag", "umbrella", "shield", "wrench", "lantern", "broom", "wand")
HEADS: dict[str, Colour] = {
    "pale": (250, 214, 186),
    "tan": (214, 160, 116),
    "deep": (130, 84, 60),
    "robot": (176, 188, 202),
    "frog": (116, 190, 84),
    "cat": (238, 156, 74),
    "alien": (150, 130, 226),
    "snow": (240, 246, 252),
}
WOOD: Colour = (134, 88, 52)

WIDTH, HEIGHT = 104, 144


@dataclass(frozen=True, slots=True)
class Figurine:
    """What one figurine looks like."""

    colour: str
    trousers: Colour
    hat: str
    hat_colour: Colour
    costume: str
    emblem: str
    head: str
    hair: Colour
    tool: str
    accent: Colour
    cape: bool
    stout: float
    base: Colour

    @classmethod
    def design(cls, rng: np.random.Generator) -> Figurine:
        """A random figurine."""
        names = list(NAMED)
        colour, trousers, hat, accent, hair = (names[i] for i in rng.permutation(len(names))[:5])
        return cls(
            colour=colour,
            trousers=dark(NAMED[trousers], 0.3),
            hat=str(rng.choice(HATS)),
            hat_colour=NAMED[hat],
            costume=str(rng.choice(COSTUMES)),
            emblem=str(rng.choice(list(EMBLEMS))),
            head=str(rng.choice(list(HEADS))),
            hair=dark(NAMED[hair], 0.3),
            tool=str(rng.choice(TOOLS)),
            accent=NAMED[accent],
            cape=bool(rng.random() < 0.35),
            stout=float(rng.uniform(0.85, 1.25)),
            base=[INK, WOOD, NAMED["green"], METALS["silver"], NAMED["blue"]][rng.integers(5)],
        )

    @property
    def glance(self) -> tuple[object, ...]:
        """What one sees first; no two figurines of a catalogue share it."""
        return self.colour, self.hat, self.head

    def draw(self, pixels: int) -> Canvas:
        """The figurine, `pixels` high."""
        canvas = Canvas.blank(WIDTH, HEIGHT, pixels)
        c = canvas.local(WIDTH / 2, 0, 1)
        self._base(c)
        if self.cape:
            half = 22 * self.stout
            cape: Outline = [(-0.6 * half, 66), (0.6 * half, 66), (1.35 * half, 122), (-1.35 * half, 122)]
            c.polygon(cape, _round(self.accent))
        self._legs(c)
        self._tool(c.local(33 + 3 * self.stout, 92, 1))
        self._body(c)
        self._arms(c)
        self._head(c)
        self._hat(c)
        return canvas

    def _base(self, c: Canvas) -> None:
        c.polygon(ellipse(0, 134, 38, 9), dark(self.base, 0.5))
        c.polygon(box(-38, 129, 38, 134), _round(dark(self.base, 0.2)))
        c.polygon(ellipse(0, 129, 38, 8), light(self.base, 0.2))

    def _legs(self, c: Canvas) -> None:
        for side in (-1, 1):
            x = side * 8.5 * self.stout
            c.polygon(box(x - 6, 98, x + 6, 128, 3), _round(self.trousers))
            c.polygon(box(x - 7 + side * 2, 122, x + 7 + side * 2, 130, 4), _round(dark(self.trousers, 0.5)))

    def _body(self, c: Canvas) -> None:
        half, main = 18 * self.stout, NAMED[self.colour]
        if self.costume == "robe":
            outline: Outline = [(-0.8 * half, 62), (0.8 * half, 62), (1.3 * half, 126), (-1.3 * half, 126)]
        else:
            outline = box(-half, 60, half, 106, 11)
        c.polygon(outline, _round(main))
        layer = c.layer()
        self._costume(layer, half, main)
        c.stamp(layer, outline)

    def _costume(self, c: Canvas, half: float, main: Colour) -> None:
        if self.costume == "stripes":
            for y in (66, 78, 90, 102):
                c.polygon(box(-half, y, half, y + 6), _round(self.accent))
        elif self.costume == "buttons":
            c.polygon(box(-1, 60, 1, 106), dark(main))
            for y in (70, 82, 94):
                c.polygon(ellipse(0, y, 3), METALS["gold"])
        elif self.costume == "belt":
            c.polygon([(-half, 62), (-half + 8, 60), (half, 96), (half, 104)], self.accent)
            c.polygon(box(-half, 92, half, 100), dark(WOOD, 0.4))
            c.polygon(box(-5, 91, 5, 101, 1), METALS["gold"])
        elif self.costume == "emblem":
            c.polygon(ellipse(0, 82, 13), WHITE)
            EMBLEMS[self.emblem](c.local(0, 82, 10), self.accent, dark(self.accent))
        elif self.costume == "robe":
            c.polygon([(-5, 60), (5, 60), (9, 126), (-9, 126)], _round(self.accent))
            c.polygon(box(-40, 90, 40, 95), METALS["gold"])
        elif self.costume == "overalls":
            c.polygon(box(-half, 86, half, 110), _round(self.trousers))
            c.polygon(box(-0.6 * half, 74, 0.6 * half, 90, 2), _round(self.trousers))
            for side in (-1, 1):
                c.stroke([(side * 0.5 * half, 58), (side * 0.5 * half, 78)], self.trousers, 5)
                c.polygon(ellipse(side * 0.5 * half, 78, 2.2), METALS["gold"])
        else:
            c.polygon(box(-half, 60, half, 110), _round(METALS["silver"]))
            c.polygon([(-half, 60), (half, 60), (0, 100)], _round(main))
            c.polygon(ellipse(0, 76, 5), METALS["gold"])

    def _arms(self, c: Canvas) -> None:
        main, half = NAMED[self.colour], 18 * self.stout
        sleeve = METALS["silver"] if self.costume == "armour" else main
        c.stroke([(-half + 1, 69), (-half - 9, 92)], dark(sleeve, 0.15), 11)
        c.stroke([(half - 1, 69), (30 + 3 * self.stout, 90)], dark(sleeve, 0.28), 11)
        for x in (-half - 10, 33 + 3 * self.stout):
            c.polygon(ellipse(x, 94, 6), HEADS[self.head])

    def _tool(self, c: Canvas) -> None:
        """The tool in the hand, which is at the origin."""
        metal, accent = METALS["silver"], self.accent
        if self.tool in ("staff", "flag", "umbrella", "broom"):
            c.stroke([(0, 36), (0, -66)], WOOD, 3.5)
        if self.tool == "sword":
            c.polygon([(-3.5, -8), (-3.5, -56), (0, -64), (3.5, -56), (3.5, -8)], _round(metal))
            c.polygon(box(-9, -10, 9, -6, 1), METALS["gold"])
        elif self.tool == "staff":
            c.polygon(ellipse(0, -68, 9), Gradient(light(accent), dark(accent)))
        elif self.tool == "balloon":
            c.stroke([(0, 4), (0, -50)], INK, 1.2)
            c.polygon(ellipse(0, -68, 14, 17), Gradient(light(accent), dark(accent)))
        elif self.tool == "flag":
            c.polygon([(-1, -66), (15, -62), (15, -40), (-1, -44)], Gradient(light(accent, 0.2), dark(accent)))
        elif self.tool == "umbrella":
            c.polygon(arc(0, -54, 16, 180, 360), accent)
            c.polygon([(-6, -54), (0, -70), (6, -54)], light(accent))
        elif self.tool == "shield":
            c.polygon(ellipse(0, 0, 15), _round(metal))
            c.polygon(ellipse(0, 0, 12), accent)
            c.polygon(star(5, 8, 3.5), WHITE)
        elif self.tool == "wrench":
            c.stroke([(0, 12), (0, -28)], metal, 5)
            c.stroke(arc(0, -35, 7, -60, 240), metal, 5)
        elif self.tool == "lantern":
            c.polygon(box(-8, 4, 8, 28, 3), INK)
            c.polygon(box(-5, 8, 5, 24, 2), (255, 220, 110))
        elif self.tool == "broom":
            c.polygon([(-4, -52), (4, -52), (11, -76), (-11, -76)], (226, 180, 80))
        else:
            c.stroke([(0, 8), (0, -26)], WOOD, 3)
            c.polygon(moved(star(5, 12, 5), 0, -34), (255, 214, 70))

    def _head(self, c: Canvas) -> None:
        skin = HEADS[self.head]
        if self.head in ("pale", "tan", "deep"):
            c.polygon(ellipse(0, 40, 24, 23), self.hair)
        if self.head == "cat":
            for side in (-1, 1):
                c.polygon([(side * 21, 14), (side * 4, 24), (side * 21, 38)], skin)
        outline = box(-20, 22, 20, 62, 6) if self.head == "robot" else ellipse(0, 43, 21, 20)
        c.polygon(outline, _round(skin))
        if self.head in ("pale", "tan", "deep"):
            c.polygon(arc(0, 42, 21, 190, 350), self.hair)
        high = 10 if self.head == "frog" else 0
        for side in (-1, 1):
            if high:
                c.polygon(ellipse(side * 11, 43 - high, 9), skin)
            big = 5.5 if self.head in ("alien", "frog", "robot") else 3.4
            c.polygon(ellipse(side * 8.5, 44 - high, big, 1.15 * big), WHITE if big > 4 else INK)
            c.polygon(ellipse(side * 8.5, 44 - high, 0.55 * big), INK)
            c.polygon(ellipse(side * 13, 51, 3), (240, 120, 120), alpha=0.5)
        c.stroke(arc(0, 50, 6, 20, 160), dark(skin, 0.75), 1.8)
        if self.head == "snow":
            c.polygon([(0, 45), (15, 49), (0, 50)], NAMED["orange"])

    def _hat(self, c: Canvas) -> None:
        hat, shade = self.hat_colour, _round(self.hat_colour)
        if self.hat == "wizard":
            c.polygon([(-19, 30), (4, 0), (19, 30)], shade)
            c.polygon(ellipse(0, 30, 28, 5), _round(dark(hat, 0.2)))
            c.polygon(moved(star(5, 5, 2), 2, 19), (255, 220, 90))
        elif self.hat == "top":
            c.polygon(box(-15, 2, 15, 28, 2), shade)
            c.polygon(box(-15, 20, 15, 26), self.accent)
            c.polygon(box(-25, 26, 25, 31, 2), _round(dark(hat, 0.2)))
        elif self.hat == "crown":
            c.polygon([(-19, 30), (-21, 8), (-10, 18), (0, 5), (10, 18), (21, 8), (19, 30)], _round((240, 192, 60)))
            for x in (-10, 0, 10):
                c.polygon(ellipse(x, 25, 2.4), hat)
        elif self.hat == "helmet":
            c.polygon([*arc(0, 34, 23, 180, 360), (23, 40), (-23, 40)], _round(METALS["silver"]))
            c.polygon([(-4, 12), (0, 1), (14, 4), (6, 14)], hat)
        elif self.hat == "beanie":
            c.polygon(arc(0, 32, 22, 180, 360), shade)
            c.polygon(box(-23, 27, 23, 35, 3), _round(light(hat)))
            c.polygon(ellipse(0, 9, 6), light(hat))
        elif self.hat == "chef":
            for x, y in ((-12, 14), (12, 14), (0, 9)):
                c.polygon(ellipse(x, y, 11, 9), WHITE)
            c.polygon(box(-17, 16, 17, 31, 2), _round(WHITE))
            c.polygon(box(-17, 26, 17, 31), hat)
        elif self.hat == "cowboy":
            c.polygon(box(-15, 6, 15, 28, 7), shade)
            c.polygon(box(-15, 21, 15, 25), self.accent)
            c.polygon([(-32, 20), (-20, 26), (20, 26), (32, 20), (20, 32), (-20, 32)], _round(dark(hat, 0.2)))
        elif self.hat == "bow":
            for side in (-1, 1):
                c.polygon([(0, 20), (side * 18, 9), (side * 18, 31)], shade)
            c.polygon(ellipse(0, 20, 5), dark(hat))
        elif self.hat == "horns":
            for side in (-1, 1):
                c.polygon([(side * 8, 25), (side * 20, 3), (side * 20, 32)], _round(hat))
        elif self.hat == "halo":
            c.stroke(ellipse(0, 11, 19, 6), (255, 214, 80), 4, closed=True)
        elif self.hat == "cap":
            c.polygon(arc(0, 31, 22, 180, 360), shade)
            c.polygon(box(0, 26, 34, 32, 3), _round(dark(hat, 0.25)))


def _round(colour: Colour) -> Gradient:
    """Light from the left, as on something round."""
    return Gradient(light(colour, 0.28), dark(colour, 0.28), across=True)
