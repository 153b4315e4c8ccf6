"""Draws the crops of which `vectors` are made: `python -m semblance.benchmarks.crops PART`, from the root.

Writes uint8 [1000,224,224,3] to standard output. One thread: who wants more starts more.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.items import KINDS, Item
from demo.training.views import Views
from semblance.benchmarks.vectors import PART, QUERIES, QUERY_PART, SHOTS, item_of_query
from semblance.export.contract import CROP_SIZE

COLLECTION = 3_000_017
"""Seeds the items: others than the demo's catalogue and those that its models learned from."""

PIXELS = 288
"""Height at which items are drawn."""


def main(part: int) -> None:
    cv2.setNumThreads(1)
    for crop in _scenes() if part == QUERY_PART else _photos(part):
        sys.stdout.buffer.write(crop.tobytes())


def _photos(part: int) -> Iterator[NDArray[np.uint8]]:
    """Of a part of the catalogue, `SHOTS` of an item after each other."""
    rng = np.random.default_rng([COLLECTION, part])
    views = Views(CROP_SIZE)
    for number in range(part * PART // SHOTS, (part + 1) * PART // SHOTS):
        sprite = _item(number).draw(PIXELS)
        for _ in range(SHOTS):
            yield views.photo(rng, sprite)


def _scenes() -> Iterator[NDArray[np.uint8]]:
    """Of the queries, each of an item of the catalogue's first part."""
    rng = np.random.default_rng(COLLECTION + 1)
    views = Views(CROP_SIZE)
    sprites = [_item(number).draw(PIXELS) for number in range(PART // SHOTS)]
    for item in item_of_query(np.arange(QUERIES)):
        yield views.scene(rng, (sprites[item], sprites[item - 1]))


def _item(number: int) -> Item:
    return Item(KINDS[number % len(KINDS)], COLLECTION, number)


if __name__ == "__main__":
    main(int(sys.argv[1]))
