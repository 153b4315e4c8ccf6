"""Views of an item to learn from: as another photo, in another light, might show it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.training.train.crops import PAD_VALUE, Patch


@dataclass(frozen=True)
class Augmentation:
    """The widest that is drawn of each.

    jitter: how far each edge of the box moves, as a share of the box's side, as a detector's may.
    turn: degrees of rotation. tilt: how far each corner moves, as a share of the side: perspective.
    gain, cast: brightness, and that of each colour beside it, as shares. fall: light that falls off to a side.
    blur: deviation in pixels of a crop of 224. grain: deviation of noise. quality: least of JPEG.
    occlusion: how often a part of another picture lies in front; its sides are up to `hidden` of the box's.
    """

    jitter: float = 0.06
    turn: float = 20.0
    tilt: float = 0.07
    gain: float = 0.3
    cast: float = 0.1
    fall: float = 0.25
    blur: float = 1.5
    grain: float = 9.0
    quality: int = 50
    occlusion: float = 0.4
    hidden: float = 0.45


STILL = Augmentation(
    jitter=0, turn=0, tilt=0, gain=0, cast=0, fall=0, blur=0, grain=0, quality=96, occlusion=0, hidden=0
)
"""Changes nothing but what a JPEG of the best quality here does."""


def view(random: np.random.Generator, patch: Patch, other: Patch, side: int, widest: Augmentation) -> NDArray[np.uint8]:
    """One view of a patch's box, letterboxed as the service does: UINT8 [side,side,3], RGB.

    Args:
        other: what may lie in front.
    """
    x1, y1, x2, y2 = _jittered(random, patch, widest.jitter)
    scale = side / max(x2 - x1, y2 - y1)
    width, height = max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale))
    pixels = _warped(random, patch, (x1, y1, x2, y2), (width, height), widest)
    if random.random() < widest.occlusion:
        _cover(random, pixels, other, widest.hidden)
    lit = _lit(random, pixels, widest)
    sigma = random.uniform(0, widest.blur) * side / 224
    if sigma > 0.25:
        lit = np.asarray(cv2.GaussianBlur(lit, (0, 0), sigma), np.float32)
    lit += np.float32(random.uniform(0, widest.grain)) * random.standard_normal((height, width, 1), np.float32)
    picture = _compressed(random, np.clip(lit, 0, 255).astype(np.uint8), widest.quality)
    square = np.full((side, side, 3), PAD_VALUE, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square


def _jittered(random: np.random.Generator, patch: Patch, share: float) -> tuple[float, float, float, float]:
    width, height = patch.x2 - patch.x1, patch.y2 - patch.y1
    moves = random.uniform(-share, share, 4) * (width, height, width, height)
    x1, y1, x2, y2 = np.array([patch.x1, patch.y1, patch.x2, patch.y2]) + moves
    return float(x1), float(y1), float(x2), float(y2)


def _warped(
    random: np.random.Generator,
    patch: Patch,
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    widest: Augmentation,
) -> NDArray[np.uint8]:
    """The box, turned and seen at an angle, as UINT8 [height,width,3]."""
    x1, y1, x2, y2 = box
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)
    middle = corners.mean(axis=0)
    angle = np.radians(random.uniform(-widest.turn, widest.turn))
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    moved = (corners - middle) @ turned.T + middle
    moved += random.uniform(-widest.tilt, widest.tilt, (4, 2)).astype(np.float32) * (x2 - x1, y2 - y1)
    width, height = size
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(moved.astype(np.float32), target)
    warped = cv2.warpPerspective(patch.pixels, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(warped, np.uint8)


def _cover(random: np.random.Generator, pixels: NDArray[np.uint8], other: Patch, hidden: float) -> None:
    """Lays a piece of another picture over a place, in place."""
    height, width = pixels.shape[:2]
    down, across = (max(1, int(side * random.uniform(0.1, hidden))) for side in (height, width))
    piece = cv2.resize(other.pixels, (across, down), interpolation=cv2.INTER_AREA)
    # In front of an edge more often than of the middle, as things in photos are.
    top = int(random.integers(-down // 2, height - down // 2))
    left = int(random.integers(-across // 2, width - across // 2))
    y, x = max(0, top), max(0, left)
    bottom, right = min(height, top + down), min(width, left + across)
    pixels[y:bottom, x:right] = piece[y - top : bottom - top, x - left : right - left]


def _lit(random: np.random.Generator, pixels: NDArray[np.uint8], widest: Augmentation) -> NDArray[np.float32]:
    height, width = pixels.shape[:2]
    gain = random.uniform(1 - widest.gain, 1 + widest.gain) * random.uniform(1 - widest.cast, 1 + widest.cast, 3)
    corners = random.uniform(1 - widest.fall, 1 + widest.fall, (2, 2)).astype(np.float32)
    field = np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return pixels.astype(np.float32) * gain.astype(np.float32) * field[..., None]


def _compressed(random: np.random.Generator, pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """The pixels after a round trip through JPEG."""
    setting = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(quality, 97))]
    done, data = cv2.imencode(".jpg", pixels, setting)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if done else None
    return pixels if decoded is None else np.asarray(decoded, np.uint8)
