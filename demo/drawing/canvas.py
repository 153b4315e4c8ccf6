"""A drawing surface with smooth edges, in units of the drawing's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from demo.drawing.colour import Colour
from demo.drawing.shape import Point

SUPERSAMPLING = 2


@dataclass(frozen=True, slots=True)
class Gradient:
    """A linear change of colour: top to bottom, or left to right where `across`."""

    first: Colour
    last: Colour
    across: bool = False


Paint = Colour | Gradient


class Canvas:
    """A view of an RGBA picture: an origin and a unit, so that parts are drawn in coordinates of their own."""

    def __init__(self, image: Image.Image, x: float, y: float, unit: float) -> None:
        self._image = image
        self._draw = ImageDraw.Draw(image)
        self._x, self._y, self._unit = x, y, unit

    @classmethod
    def blank(cls, width: float, height: float, pixels: int) -> Canvas:
        """A transparent canvas of `width` × `height` units, whose picture will be `pixels` high."""
        unit = pixels * SUPERSAMPLING / height
        return cls(Image.new("RGBA", (round(width * unit), pixels * SUPERSAMPLING)), 0.0, 0.0, unit)

    def local(self, x: float, y: float, unit: float) -> Canvas:
        """A view whose origin is at (x, y) and whose unit is `unit` of this one's."""
        return Canvas(self._image, self._x + x * self._unit, self._y + y * self._unit, self._unit * unit)

    def layer(self) -> Canvas:
        """A transparent canvas of the same size, origin and unit."""
        return Canvas(Image.new("RGBA", self._image.size), self._x, self._y, self._unit)

    def polygon(self, outline: Sequence[Point], paint: Paint, alpha: float = 1.0) -> None:
        """Fill an outline; `alpha` below 1 lets what is below shine through."""
        points = [self._pixel(p) for p in outline]
        if alpha >= 1 and not isinstance(paint, Gradient):
            self._draw.polygon(points, fill=(*paint, 255))
            return
        x1, y1 = (max(0, int(min(p[axis] for p in points))) for axis in (0, 1))
        x2, y2 = (min(self._image.size[axis], int(max(p[axis] for p in points)) + 2) for axis in (0, 1))
        if x2 <= x1 or y2 <= y1:
            return
        mask = Image.new("L", (x2 - x1, y2 - y1))
        ImageDraw.Draw(mask).polygon([(x - x1, y - y1) for x, y in points], fill=round(255 * alpha))
        self._image.paste(_filling(paint, mask.size), (x1, y1), mask)

    def stroke(self, points: Sequence[Point], colour: Colour, width: float, closed: bool = False) -> None:
        """A line `width` units thick, with round joints."""
        path = [self._pixel(p) for p in (*points, *points[:2]) if closed] or [self._pixel(p) for p in points]
        thickness = max(1, round(width * self._unit))
        self._draw.line(path, fill=(*colour, 255), width=thickness, joint="curve")
        for x, y in () if closed else (path[0], path[-1]):
            r = thickness / 2 - 0.5
            self._draw.ellipse((x - r, y - r, x + r, y + r), fill=(*colour, 255))

    def text(self, x: float, y: float, text: str, height: float, colour: Colour) -> None:
        """One line of text, centred on (x, y), in letters about `height` units high."""
        font = _font(max(4, round(height * self._unit * 1.35)))
        bold = self._unit * height * 0.035
        self._draw.text(self._pixel((x, y)), text, fill=(*colour, 255), font=font, anchor="mm", stroke_width=bold)

    def stamp(self, layer: Canvas, outline: Sequence[Point]) -> None:
        """Put what `layer` shows inside `outline` over this canvas."""
        mask = Image.new("L", self._image.size)
        ImageDraw.Draw(mask).polygon([self._pixel(p) for p in outline], fill=255)
        shown = Image.composite(layer._image, Image.new("RGBA", mask.size), mask)
        self._image.alpha_composite(shown)

    def pixels(self) -> NDArray[np.uint8]:
        """The picture shrunk to its size: uint8 [H,W,4], RGBA, alpha not premultiplied."""
        return np.asarray(self._image.reduce(SUPERSAMPLING))

    def _pixel(self, point: Point) -> Point:
        return self._x + point[0] * self._unit, self._y + point[1] * self._unit


def _filling(paint: Paint, size: tuple[int, int]) -> Image.Image:
    """An RGBA picture of `size` full of `paint`."""
    if not isinstance(paint, Gradient):
        return Image.new("RGBA", size, (*paint, 255))
    ramp = Image.linear_gradient("L")
    ramp = (ramp.transpose(Image.Transpose.ROTATE_90) if paint.across else ramp).resize(size)
    first, last = (Image.new("RGBA", size, (*colour, 255)) for colour in (paint.first, paint.last))
    return Image.composite(last, first, ramp)


@lru_cache(maxsize=64)
def _font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(pixels)
