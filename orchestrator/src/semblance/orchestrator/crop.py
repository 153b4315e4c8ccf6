"""Step 3: each object as a picture of its own, in the embedder's size."""

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.box import Box
from semblance.orchestrator.decode import Photo
from semblance.orchestrator.letterbox import letterbox
from semblance.orchestrator.release import ModelVersion


def crop(photo: Photo, boxes: Sequence[Box], embedder: ModelVersion) -> NDArray[np.uint8]:
    """uint8 [N, size, size, 3]: each box, which lies inside the photo, keeping its proportions."""
    size = embedder.input_size
    crops = np.empty((len(boxes), size, size, 3), np.uint8)
    for row, box in zip(crops, boxes, strict=True):
        left, top = min(floor(box.x1), photo.width - 1), min(floor(box.y1), photo.height - 1)
        right, bottom = max(ceil(box.x2), left + 1), max(ceil(box.y2), top + 1)
        row[:] = letterbox(photo.pixels[top:bottom, left:right], size, embedder.pad_value).pixels
    return crops
