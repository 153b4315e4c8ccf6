"""A picture of any shape in a square one: scaled to fit, centred, the rest filled."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where in the square the picture is, in pixels of the square."""

    left: int
    top: int
    width: int
    height: int

    def to_picture(self, boxes: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
        """boxes: float32 [N, 4], x1 y1 x2 y2 in pixels of the square; returned in those of the picture at that size."""
        offset = np.array([self.left, self.top] * 2, np.float32)
        scale = np.array([width / self.width, height / self.height] * 2, np.float32)
        return (boxes - offset) * scale


def letterbox(picture: NDArray[np.uint8], square: NDArray[np.uint8], pad_value: int) -> Letterbox:
    """Fills `square`, uint8 [size, size, 3], with `picture`, uint8 [height, width, 3], at least 1 × 1.

    Averages where it shrinks to less than half, so that nothing aliases; else interpolates, which still reads every
    pixel and takes a fifth of the time.
    """
    height, width = picture.shape[:2]
    size = len(square)
    scale = size / max(height, width)
    inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (size - inner_width) // 2, (size - inner_height) // 2
    square[:top], square[top + inner_height :] = pad_value, pad_value
    square[:, :left], square[:, left + inner_width :] = pad_value, pad_value
    cv2.resize(
        picture,
        (inner_width, inner_height),
        dst=square[top : top + inner_height, left : left + inner_width],
        interpolation=cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR,
    )
    return Letterbox(left, top, inner_width, inner_height)
