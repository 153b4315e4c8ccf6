"""Laying a sprite onto a picture: turned, scaled, a little tilted, with its shadow."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Where and how a sprite lies: its middle and longer side in pixels, its turn in degrees, its tilt."""

    x: float
    y: float
    side: float
    turn: float = 0.0
    tilt: tuple[float, float] = (0.0, 0.0)
    """By how much of its side the upper and the left edge are shorter than their opposites."""


@dataclass(frozen=True)
class Placed:
    """A sprite as it lies in a picture."""

    colour: NDArray[np.float32]
    """float32 [h,w,3], 0 to 255, premultiplied by alpha."""
    alpha: NDArray[np.float32]
    """float32 [h,w], 0 to 1."""
    left: int
    top: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Its rows and columns in the picture."""
        height, width = self.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def box(self) -> Box:
        """What of it is in the picture, pixels of the picture."""
        solid = self.alpha > 0.5
        rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
        x1, x2, y1, y2 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
        return float(x1 + self.left), float(y1 + self.top), float(x2 + self.left), float(y2 + self.top)


def place(sprite: NDArray[np.uint8], pose: Pose, height: int, width: int) -> Placed | None:
    """Lay an RGBA sprite into a picture of height × width; nothing where it would be outside."""
    shrunk = _shrunk(sprite, pose.side)
    corners = _corners(shrunk.shape[0], shrunk.shape[1], pose)
    left, top = (max(0, int(np.floor(corners[:, axis].min()))) for axis in (0, 1))
    right, bottom = (min(side, int(np.ceil(corners[:, axis].max())) + 1) for axis, side in ((0, width), (1, height)))
    if right - left < 4 or bottom - top < 4:
        return None
    h, w = shrunk.shape[:2]
    source = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    transform = cv2.getPerspectiveTransform(source, (corners - (left, top)).astype(np.float32))
    warped = cv2.warpPerspective(shrunk, transform, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    if warped[..., 3].max() < 0.9:
        return None
    return Placed(np.ascontiguousarray(warped[..., :3]), np.ascontiguousarray(warped[..., 3]), left, top)


def lay(picture: NDArray[np.float32], placed: Placed, shadow: tuple[float, float], darkness: float) -> None:
    """Blend a placed sprite into the picture (float32 [H,W,3]), its shadow cast by `shadow` pixels."""
    _shade(picture, placed, shadow, darkness)
    region = picture[placed.window]
    region *= 1 - placed.alpha[..., None]
    region += placed.colour


def _shade(picture: NDArray[np.float32], placed: Placed, offset: tuple[float, float], darkness: float) -> None:
    blur = max(1.0, 0.6 * float(np.hypot(*offset)))
    margin = int(max(abs(offset[0]), abs(offset[1])) + 2.5 * blur) + 1
    height, width = picture.shape[:2]
    top, left = max(0, placed.top - margin), max(0, placed.left - margin)
    bottom = min(height, placed.top + placed.alpha.shape[0] + margin)
    right = min(width, placed.left + placed.alpha.shape[1] + margin)
    shift = np.array([[1, 0, placed.left - left + offset[0]], [0, 1, placed.top - top + offset[1]]], np.float32)
    mask = cv2.GaussianBlur(cv2.warpAffine(placed.alpha, shift, (right - left, bottom - top)), (0, 0), blur)
    picture[top:bottom, left:right] *= 1 - np.float32(darkness) * mask[..., None]


def _shrunk(sprite: NDArray[np.uint8], side: float) -> NDArray[np.float32]:
    """The sprite with its longer side `side` pixels: float32 [H,W,4], premultiplied, alpha 0 to 1."""
    scale = side / max(sprite.shape[:2])
    size = max(2, round(sprite.shape[1] * scale)), max(2, round(sprite.shape[0] * scale))
    whole = sprite.astype(np.float32)
    whole[..., 3] /= 255
    whole[..., :3] *= whole[..., 3:]
    return cv2.resize(whole, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR).astype(np.float32)


def _corners(height: int, width: int, pose: Pose) -> NDArray[np.float64]:
    """The sprite's corners in the picture, clockwise from its upper left: float64 [4,2], x y, pixels."""
    top, left = pose.tilt
    x, y = width / 2, height / 2
    flat = np.array([[-x, -y], [x, -y], [x, y], [-x, y]])
    flat[[0, 1], 0] *= 1 - top
    flat[[0, 3], 1] *= 1 - left
    c, s = np.cos(np.deg2rad(pose.turn)), np.sin(np.deg2rad(pose.turn))
    return np.asarray(flat @ np.array([[c, s], [-s, c]]) + (pose.x, pose.y))
