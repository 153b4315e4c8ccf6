"""Crops of items: what the embedder will be served, and what it learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.export.contract import CROP_SIZE
from semblance.orchestrator import crop as service
from semblance.orchestrator.box import Box
from semblance.orchestrator.decode import ImageLimits, Photo, decode
from semblance.orchestrator.errors import InvalidImage
from semblance.training.train.errors import TrainingError

PAD_VALUE = 114
"""What the exported embedder's manifest says, and with it what the service pads crops with."""

LIMITS = ImageLimits(max_bytes=16 << 20, max_pixels=50_000_000)
"""The service's own defaults."""

MARGIN = 0.3
"""What is kept around a box for moved and turned views of it, as a share of its longer side."""

DETAIL = 1.3
"""Pixels kept along a box's longer side, as a multiple of the crop's."""


@dataclass(frozen=True)
class Crop:
    """A place in a photo that shows an item. Without a box, it is the whole photo."""

    path: Path
    item_id: str
    box: Box | None = None


@dataclass(frozen=True)
class Patch:
    """A box and what is around it.

    pixels: UINT8 [H,W,3], RGB. x1, y1, x2, y2: the box in pixels of the patch.
    """

    pixels: NDArray[np.uint8]
    x1: float
    y1: float
    x2: float
    y2: float


def read(path: Path) -> Photo:
    """A photo as the service decodes it.

    Raises:
        TrainingError: it can't be read.
    """
    try:
        return decode(path.read_bytes(), LIMITS)
    except OSError as error:
        raise TrainingError(f"{path} can't be read: {error.strerror}") from error
    except InvalidImage as error:
        raise TrainingError(f"{path}: {error}") from error


def square(photo: Photo, box: Box | None) -> NDArray[np.uint8]:
    """What the service gives the embedder for a box of a photo: UINT8 [224,224,3], RGB."""
    pixels = np.empty((CROP_SIZE, CROP_SIZE, 3), np.uint8)
    service.crop(photo, [_inside(photo, box)], [pixels], PAD_VALUE)
    return pixels


def patch(photo: Photo, box: Box | None) -> Patch:
    """The box with its surroundings, shrunk where it has more detail than training needs."""
    inner = _inside(photo, box)
    margin = MARGIN * max(inner.x2 - inner.x1, inner.y2 - inner.y1)
    left, top = int(max(0.0, inner.x1 - margin)), int(max(0.0, inner.y1 - margin))
    right, bottom = int(min(photo.width, inner.x2 + margin + 1)), int(min(photo.height, inner.y2 + margin + 1))
    pixels = photo.pixels[top:bottom, left:right]
    scale = min(1.0, DETAIL * CROP_SIZE / max(inner.x2 - inner.x1, inner.y2 - inner.y1))
    if scale < 1:
        size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    across, down = pixels.shape[1] / (right - left), pixels.shape[0] / (bottom - top)
    x1, x2 = (inner.x1 - left) * across, (inner.x2 - left) * across
    y1, y2 = (inner.y1 - top) * down, (inner.y2 - top) * down
    return Patch(np.ascontiguousarray(pixels), x1, y1, x2, y2)


def by_photo(crops: Sequence[Crop]) -> dict[Path, list[int]]:
    """The numbers of the crops of each photo, so that it is decoded once."""
    places: dict[Path, list[int]] = {}
    for number, each in enumerate(crops):
        places.setdefault(each.path, []).append(number)
    return places


def _inside(photo: Photo, box: Box | None) -> Box:
    return Box.whole(photo.width, photo.height) if box is None else box.clipped(photo.width, photo.height)
