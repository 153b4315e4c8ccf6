"""What the embedder sees of a picture when it is served: the service's own crop."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demo.drawing.placement import Box
from semblance.orchestrator.letterbox import letterbox

GREY = 114
"""What pads a crop to a square, as the exported embedder's manifest says."""


def cut(picture: NDArray[np.uint8], box: Box, side: int) -> NDArray[np.uint8]:
    """The part of an RGB picture in `box`, with its aspect ratio kept: uint8 [side,side,3]."""
    height, width = picture.shape[:2]
    x1, y1 = (int(np.clip(np.floor(v), 0, limit - 1)) for v, limit in zip(box[:2], (width, height), strict=True))
    x2, y2 = (
        int(np.clip(np.ceil(v), low + 1, limit))
        for v, low, limit in zip(box[2:], (x1, y1), (width, height), strict=True)
    )
    square = np.empty((side, side, 3), np.uint8)
    letterbox(picture[y1:y2, x1:x2], square, GREY)
    return square


def jittered(rng: np.random.Generator, box: Box, share: float) -> Box:
    """The box with every edge moved by up to `share` of its side."""
    x1, y1, x2, y2 = box
    moves = rng.uniform(-share, share, 4) * (x2 - x1, y2 - y1, x2 - x1, y2 - y1)
    return float(x1 + moves[0]), float(y1 + moves[1]), float(x2 + moves[2]), float(y2 + moves[3])
