"""Pairs of crops of the same item for the embedder to learn from: one as in a product photo, one as in a scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.catalogue import photograph
from demo.drawing.clutter import thing
from demo.drawing.light import ROOM, STUDIO, Light, compressed, expose
from demo.scenes import SIDES, Table
from demo.training.crop import cut, jittered

JITTER = 0.06
"""How far a detector's box may be off, as a share of the object's side."""

TURN = 45.0
"""Degrees by which items are turned, a little more than in the scenes."""


@dataclass(frozen=True, slots=True)
class Views:
    """Renders crops of `side` pixels."""

    side: int

    def photo(self, rng: np.random.Generator, sprite: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The item as its product photo shows it: uint8 [side,side,3], RGB."""
        picture, box = photograph(rng, sprite, round(self.side * rng.uniform(1.5, 2.1)))
        return cut(_developed(rng, picture, STUDIO), jittered(rng, box, JITTER), self.side)

    def scene(self, rng: np.random.Generator, sprites: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The first item as a scene shows it, maybe with a part of the second: uint8 [side,side,3], RGB."""
        in_frame = rng.uniform(*SIDES) * 640
        scale = float(np.clip(self.side / in_frame * rng.uniform(0.6, 1.5), 0.8, 2.0))
        longer = in_frame * scale
        window = round(longer * rng.uniform(1.35, 1.8))
        table = Table(rng, window, window)
        if rng.random() < 0.5:
            table.put(thing(rng, 96), (0.3 * longer, 0.9 * longer), 0.1, 180)
        if rng.random() < 0.35:
            table.put(sprites[1], (0.6 * longer, 1.2 * longer), 0.12, TURN)
        placed = table.put(sprites[0], (longer, longer), 0.13, TURN)
        if placed is None:
            raise ValueError("an empty table has no room for an item")
        table.claim(placed)
        if rng.random() < 0.5:
            on_top = thing(rng, 96) if rng.random() < 0.6 else sprites[1]
            table.put(on_top, (0.2 * longer, 0.9 * longer), 0.1, 180)
        picture = _developed(rng, expose(rng, table.picture, ROOM, scale), ROOM)
        return cut(picture, jittered(rng, placed.box, JITTER), self.side)


def _developed(rng: np.random.Generator, picture: NDArray[np.uint8], light: Light) -> NDArray[np.uint8]:
    """The picture after a round trip through JPEG."""
    data = np.frombuffer(compressed(rng, picture, light), np.uint8)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    if decoded is None:
        raise ValueError("a picture just compressed could not be read")
    return np.asarray(decoded, np.uint8)
