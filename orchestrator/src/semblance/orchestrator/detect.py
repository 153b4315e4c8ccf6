"""Step 2: which objects the photo shows, and where."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.box import Box
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.decode import Photo
from semblance.orchestrator.letterbox import Letterbox
from semblance.orchestrator.ports import Batch

DEFAULT_MIN_SCORE = 0.25

# Boxes thinner than this, in pixels of the photo, hold nothing that could be embedded.
MIN_SIDE = 1.0


@dataclass(frozen=True, slots=True)
class Detection:
    box: Box
    score: float
    class_name: str


async def detect(
    batch: Batch, boxed: Letterbox, photo: Photo, min_score: float, class_names: tuple[str, ...], deadline: Deadline
) -> list[Detection]:
    """Objects of at least `min_score`, best first, in the photo that fills the batch as `boxed` says."""
    output = await batch.infer(deadline.remaining())
    return _detections(output[0], boxed, photo, min_score, class_names)


def _detections(
    rows: NDArray[np.float32], boxed: Letterbox, photo: Photo, min_score: float, class_names: tuple[str, ...]
) -> list[Detection]:
    """rows: float32 [100, 6], the detector's output for one image: x1 y1 x2 y2 score class, padded with score 0."""
    rows = rows[(rows[:, 4] > 0) & (rows[:, 4] >= min_score)]
    corners = boxed.to_picture(rows[:, :4], photo.width, photo.height)
    boxes = [Box(*box).clipped(photo.width, photo.height) for box in corners.tolist()]
    return [
        Detection(box, float(row[4]), class_names[int(row[5])])
        for row, box in zip(rows, boxes, strict=True)
        if box.x2 - box.x1 >= MIN_SIDE and box.y2 - box.y1 >= MIN_SIDE
    ]
