"""How right an answer about a scene is: which box is which object, and whether its item was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demo.drawing.placement import Box
from demo.scenes import Object
from semblance.client import ObjectHits

MINIMUM_OVERLAP = 0.5
"""IoU from which a box counts as an object's, as in PASCAL VOC."""


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union


def matched(found: Sequence[ObjectHits], objects: Sequence[Object]) -> dict[int, int]:
    """Object number by the number of its box: of the same kind, each at most once, boxes in their order."""
    pairs: dict[int, int] = {}
    for number, candidate in enumerate(found):
        box = candidate.box.x1, candidate.box.y1, candidate.box.x2, candidate.box.y2
        free = [i for i, o in enumerate(objects) if o.kind == candidate.class_name and i not in pairs.values()]
        best = max(free, key=lambda i: overlap(box, objects[i].box), default=None)
        if best is not None and overlap(box, objects[best].box) >= MINIMUM_OVERLAP:
            pairs[number] = best
    return pairs


@dataclass(slots=True)
class Score:
    """Counts over the objects of scenes. An object that is not detected counts as not found."""

    objects: int = 0
    boxes: int = 0
    detected: int = 0
    first: int = 0
    among_five: int = 0

    def add(self, found: Sequence[ObjectHits], objects: Sequence[Object]) -> None:
        """Counts one scene, by what was found in it, best detection first."""
        pairs = matched(found, objects)
        self.objects += len(objects)
        self.boxes += len(found)
        self.detected += len(pairs)
        for number, i in pairs.items():
            items = [hit.item_id for hit in found[number].hits[:5]]
            self.first += objects[i].item_id in items[:1]
            self.among_five += objects[i].item_id in items

    @property
    def detection_recall(self) -> float:
        return self.detected / self.objects

    @property
    def detection_precision(self) -> float:
        return self.detected / self.boxes

    @property
    def recall_at_1(self) -> float:
        return self.first / self.objects

    @property
    def recall_at_5(self) -> float:
        return self.among_five / self.objects


def average_precision(hits: Sequence[tuple[float, bool]], objects: int) -> float:
    """Area under the precision-recall curve of one kind, from (score, is right) of every box (PASCAL VOC 2010)."""
    right = np.array([hit for _, hit in sorted(hits, key=lambda h: -h[0])], bool).cumsum()
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.concatenate([[0.0], right / objects])
    return float((np.diff(recall) * envelope).sum())
