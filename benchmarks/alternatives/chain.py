"""The steps that the alternatives share: pixels in, pixels out, and the search's parameters.

How the steps are served, and how the models are run, is each alternative's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import ceil, floor
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

IMAGE_SIZE, CROP_SIZE, PAD_VALUE = 640, 224, 114
MIN_SCORE, MIN_SIDE = 0.25, 1.0
TOP_K = 10
# An item has several vectors: rows are fetched in surplus and grouped by item.
SEARCH: dict[str, Any] = {
    "anns_field": "vector",
    "limit": 4 * TOP_K,
    "search_params": {"params": {"ef": 128}},
    "output_fields": ["item_id", "image_id", "x1", "y1", "x2", "y2"],
    "consistency_level": "Bounded",
    "timeout": 10.0,
}

# Servers bring their own threads and processes.
cv2.setNumThreads(1)

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Model = Callable[[Pixels], Awaitable[Floats]]
Search = Callable[[Floats], Awaitable[list[list[dict[str, Any]]]]]


async def answer(image: bytes, detect: Model, embed: Model, search: Search) -> list[dict[str, Any]]:
    """The box of each object in a JPEG, best first, and its items, most similar first."""
    picture = simplejpeg.decode_jpeg(image, colorspace="RGB")
    square, scale, offset = letterbox(picture, IMAGE_SIZE)
    rows = (await detect(square[None]))[0]
    boxes = objects(rows, scale, offset, picture)
    vectors = await embed(crops(picture, boxes))
    return objects_with_items(boxes, await search(vectors))


def letterbox(picture: Pixels, size: int) -> tuple[Pixels, Floats, Floats]:
    """A square of `size` with the picture in its middle; a point p of the picture is at p · scale + offset in it."""
    height, width = picture.shape[:2]
    factor = size / max(height, width)
    inner = max(1, round(width * factor)), max(1, round(height * factor))
    left, top = (size - inner[0]) // 2, (size - inner[1]) // 2
    square = np.full((size, size, 3), PAD_VALUE, np.uint8)
    cv2.resize(
        picture,
        inner,
        dst=square[top : top + inner[1], left : left + inner[0]],
        interpolation=cv2.INTER_AREA if factor < 0.5 else cv2.INTER_LINEAR,
    )
    scale = np.array([inner[0] / width, inner[1] / height] * 2, np.float32)
    return square, scale, np.array([left, top] * 2, np.float32)


def objects(rows: Floats, scale: Floats, offset: Floats, picture: Pixels) -> Floats:
    """Boxes in the picture, float32 [N, 4]; all of it where nothing was detected.

    rows: float32 [100, 6], x1 y1 x2 y2 score class.
    """
    height, width = picture.shape[:2]
    boxes = (rows[rows[:, 4] >= MIN_SCORE, :4] - offset) / scale
    boxes = boxes.clip(0, [width, height, width, height]).astype(np.float32)
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(axis=1)]
    return boxes if len(boxes) else np.array([[0, 0, width, height]], np.float32)


def crops(picture: Pixels, boxes: Floats) -> Pixels:
    """uint8 [N, 224, 224, 3]: each box, letterboxed."""
    windows = [(floor(x1), floor(y1), ceil(x2), ceil(y2)) for x1, y1, x2, y2 in boxes]
    return np.stack([letterbox(picture[y1:y2, x1:x2], CROP_SIZE)[0] for x1, y1, x2, y2 in windows])


def objects_with_items(boxes: Floats, answers: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"box": box, "items": items(rows)} for box, rows in zip(boxes.tolist(), answers, strict=True)]


def items(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The different items of one answer of Milvus, `TOP_K` at most, each by its most similar row."""
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        best.setdefault(row["entity"]["item_id"], row)
    return [{"similarity": row["distance"], **row["entity"]} for row in list(best.values())[:TOP_K]]
