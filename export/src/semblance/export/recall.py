"""Recall@1 on pictures that have no labels: does a disturbed copy of a picture find the picture among all?"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from semblance.export.gallery import JUDGED, Gallery

# A copy is turned by up to this many degrees either way, cut to at least this share of its side at a random place, made
# darker or lighter by up to this share, and stored as a JPEG of this quality: about what a second photo changes.
MAX_TURN = 15.0
MIN_SIDE = 0.75
MAX_LIGHT = 0.3
JPEG_QUALITY = 50

# Of each picture that judges, of which there are at most so many: a loss of one in a hundred shows among some hundreds
# of queries, and more cost time and memory.
COPIES = 4
MOST_JUDGING = 512


@dataclass(frozen=True)
class Retrieval:
    """A gallery's pictures, and after them disturbed copies of some of those that judge.

    Attributes:
        pixels: UINT8 [N+M,size,size,3].
        originals: int64 [M], of which picture each copy is.
    """

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]
    originals: NDArray[np.int64]

    @classmethod
    def of(cls, gallery: Gallery, pad_value: int) -> Retrieval:
        """The same copies for the same pictures."""
        judging = np.arange(len(gallery.names))[JUDGED]
        spread = np.linspace(0, len(judging) - 1, min(len(judging), MOST_JUDGING)).astype(np.int64)
        originals = np.repeat(judging[spread], COPIES)
        count = len(gallery.names)
        pixels = np.empty((count + len(originals), *gallery.pixels.shape[1:]), np.uint8)
        pixels[:count] = gallery.pixels
        for number, original in enumerate(originals):
            pixels[count + number] = _disturb(gallery.pixels[original], pad_value, np.random.default_rng(number))
        names = (*gallery.names, *(f"a disturbed copy of {gallery.names[original]}" for original in originals))
        return cls(names, pixels, originals)

    @property
    def count(self) -> int:
        """N, how many are no copies."""
        return len(self.pixels) - len(self.originals)

    def recall_at_1(self, vectors: NDArray[np.float32]) -> float:
        """The share of copies whose nearest picture is their original, by vectors [N+M,dim], L2-normalised."""
        pictures, copies = vectors[: self.count], vectors[self.count :]
        return float(np.mean((copies @ pictures.T).argmax(axis=1) == self.originals))


def _disturb(picture: NDArray[np.uint8], pad_value: int, random: np.random.Generator) -> NDArray[np.uint8]:
    size = picture.shape[0]
    turn = random.uniform(-MAX_TURN, MAX_TURN)
    image = Image.fromarray(picture).rotate(turn, Image.Resampling.BILINEAR, fillcolor=(pad_value,) * 3)
    side = size * random.uniform(MIN_SIDE, 1)
    left, top = random.uniform(0, size - side, 2)
    image = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    image = ImageEnhance.Brightness(image).enhance(random.uniform(1 - MAX_LIGHT, 1 + MAX_LIGHT))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(file))
