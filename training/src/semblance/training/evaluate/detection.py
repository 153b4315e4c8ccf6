"""Average precision of the detector as COCO computes it, and how right it is at the served score.

Precision is interpolated at 101 recalls for each class, and averaged over classes and, for mAP50-95, over ten
overlaps: `COCOeval` of cocodataset/cocoapi, all areas, and as many detections as the service gives (100).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semblance.export.boxes import iou
from semblance.training.dataset.dataset import Box
from semblance.training.evaluate.interval import Weights
from semblance.training.evaluate.sample import PhotoSample

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)

SERVED_SCORE = 0.25
"""Detections below it are left out unless a caller asks for them."""

SAME = 0.5
"""IoU from which a box counts as an object's, as in PASCAL VOC."""

NUMBERS_AT_ONCE = 4_000_000
"""So many weights of detections are held at a time, 32 MB."""


@dataclass(frozen=True)
class Matches:
    """The detections of one class in all photos, best first. `right`: bool [D,10], by overlap; `served`: bool [D];
    `photo`: int64 [D]; `objects`: int64 [photos]."""

    right: NDArray[np.bool_]
    served: NDArray[np.bool_]
    photo: NDArray[np.int64]
    objects: NDArray[np.int64]

    @classmethod
    def of(cls, photos: Sequence[PhotoSample], class_name: str) -> Matches:
        right, scores, numbers = [np.zeros((0, len(OVERLAPS)), np.bool_)], [np.zeros(0)], [np.zeros(0, np.int64)]
        objects = np.zeros(len(photos), np.int64)
        for number, photo in enumerate(photos):
            detections = [each for each in photo.detections if each.class_name == class_name]
            wanted = [each for each in photo.objects if each.class_name == class_name]
            objects[number] = len(wanted)
            ious = overlaps([each.box for each in detections], [each.box for each in wanted])
            right.append(np.column_stack([matched(ious, least) >= 0 for least in OVERLAPS]))
            scores.append(np.array([each.score for each in detections]))
            numbers.append(np.full(len(detections), number))
        every = np.concatenate(scores)
        order = np.argsort(-every, kind="stable")
        return cls(np.concatenate(right)[order], every[order] >= SERVED_SCORE, np.concatenate(numbers)[order], objects)

    def average_precision(self, weights: Weights) -> NDArray[np.float64]:
        """At each overlap, for each row of weights: float64 [rows, 10]; NaN in a row without objects.

        A photo that counts twice gives each of its detections twice, one after the other. Between the two no
        interpolated precision changes, so that counting them by weight is the same.
        """
        rows = max(1, NUMBERS_AT_ONCE // max(1, len(self.photo)))
        parts = [self._precision(weights[start : start + rows]) for start in range(0, len(weights), rows)]
        return np.concatenate(parts)

    def _precision(self, weights: Weights) -> NDArray[np.float64]:
        counts, objects = weights[:, self.photo], weights @ self.objects
        detections = np.cumsum(counts, axis=1)
        result = np.full((len(weights), len(OVERLAPS)), np.nan)
        for column in range(len(OVERLAPS)):
            right = np.cumsum(counts * self.right[:, column], axis=1)
            precision = np.divide(right, detections, out=np.zeros_like(right), where=detections > 0)
            envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            for row in np.flatnonzero(objects):
                places = np.searchsorted(right[row] / objects[row], RECALLS)
                reached = places[places < envelope.shape[1]]
                result[row, column] = envelope[row, reached].sum() / len(RECALLS)
        return result

    def served_counts(self, weights: Weights) -> NDArray[np.float64]:
        """Objects, served detections, and those of them that are right at `SAME`: float64 [rows, 3]."""
        counts = weights[:, self.photo[self.served]]
        return np.column_stack([weights @ self.objects, counts.sum(axis=1), counts @ self.right[self.served, 0]])


def figures(classes: Sequence[Matches], weights: Weights) -> NDArray[np.float64]:
    """mAP50, mAP50-95, recall and precision at the served score, for each row of weights: float64 [rows, 4].

    Classes without objects in a row do not count in its means.
    """
    precisions = np.stack([each.average_precision(weights) for each in classes])
    objects, served, right = np.sum([each.served_counts(weights) for each in classes], axis=0).T
    return np.column_stack(
        [_mean(precisions[:, :, 0]), _mean(precisions.mean(axis=2)), _share(right, objects), _share(right, served)]
    )


def overlaps(boxes: Sequence[Box], others: Sequence[Box]) -> NDArray[np.float64]:
    """IoU [boxes, others]."""
    return iou(*(np.array(each, np.float32).reshape(-1, 4) for each in (boxes, others)))


def matched(ious: NDArray[np.float64], least: float) -> NDArray[np.int64]:
    """The object of each detection, or -1 where it overlaps none by `least`: int64 [detections], from IoU [detections,
    objects].

    Detections choose in their order, each the free object that it overlaps most.
    """
    chosen, free = np.full(len(ious), -1, np.int64), ious.copy()
    for row in range(len(ious) if ious.size else 0):
        best = int(free[row].argmax())
        if free[row, best] >= least:
            chosen[row] = best
            free[:, best] = -1
    return chosen


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the first axis, NaN left out."""
    known = np.isfinite(values)
    return _share(np.where(known, values, 0).sum(axis=0), known.sum(axis=0).astype(np.float64))


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    share: NDArray[np.float64] = np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
    return share
