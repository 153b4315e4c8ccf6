"""Step 3: each object as a picture of its own, in the embedder's size."""

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.box import Box
from semblance.orchestrator.decode import Photo
from semblance.orchestrator.letterbox import letterbox


def crop(photo: Photo, boxes: Sequence[Box], squares: Sequence[NDArray[np.uint8]], pad_value: int) -> None:
    """Fills each of `squares`, uint8 [size, size, 3], with its box, which lies inside the photo and keeps its
    proportions."""
    for box, square in zip(boxes, squares, strict=True):
        letterbox(cut(photo, box), square, pad_value)


def cut(photo: Photo, box: Box) -> NDArray[np.uint8]:
    """The pixels of a box that lies inside the photo, one at least: uint8 [height, width, 3]."""
    height, width = photo.pixels.shape[:2]
    across, down = width / photo.width, height / photo.height
    left, top = min(floor(box.x1 * across), width - 1), min(floor(box.y1 * down), height - 1)
    right, bottom = max(ceil(box.x2 * across), left + 1), max(ceil(box.y2 * down), top + 1)
    return photo.pixels[top:bottom, left:right]


def enough_for(boxes: Sequence[Box], photo: Photo, size: int) -> int:
    """Pixels that the photo's longer side needs: no crop of `size` is enlarged where the original has more detail."""
    smallest = min(max(box.x2 - box.x1, box.y2 - box.y1) for box in boxes)
    side = max(photo.width, photo.height)
    return min(ceil(size / smallest * side), side)
