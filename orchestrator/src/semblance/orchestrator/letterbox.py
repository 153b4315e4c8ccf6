"""A picture of any shape in a square one: scaled to fit, centred, the rest filled."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Letterbox:
    """pixels: uint8 [size, size, 3]. A point (x, y) of the picture is at (x · scale_x + left, y · scale_y + top)."""

    pixels: NDArray[np.uint8]
    scale_x: float
    scale_y: float
    left: int
    top: int

    def to_picture(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """boxes: float32 [N, 4], x1 y1 x2 y2 in letterbox pixels; returned in pixels of the picture."""
        offset = np.array([self.left, self.top] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        return (boxes - offset) / scale


def letterbox(picture: NDArray[np.uint8], size: int, pad_value: int) -> Letterbox:
    """picture: uint8 [height, width, 3], at least 1 × 1.

    The models were trained on pictures scaled this way: averaging when it shrinks, so that nothing aliases, and
    linear when it grows.
    """
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    left, top = (size - inner_width) // 2, (size - inner_height) // 2
    pixels = np.full((size, size, 3), pad_value, np.uint8)
    pixels[top : top + inner_height, left : left + inner_width] = cv2.resize(
        picture, (inner_width, inner_height), interpolation=interpolation
    )
    return Letterbox(pixels, inner_width / width, inner_height / height, left, top)
