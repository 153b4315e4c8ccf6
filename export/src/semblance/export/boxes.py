"""Two lists of detections of one picture, matched one to one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
"""FP32 [N,6]: x1 y1 x2 y2 in pixels, score, class; best first."""

# Scores that are apart by less, see `score_difference`, tie: PyTorch and ONNX Runtime add in different orders.
TIE = 1e-3
# Boxes that overlap by at least this much are one and the same.
SAME = 0.99


@dataclass(frozen=True)
class Match:
    """How two lists agree.

    `pairs`: int [M,2], rows of the first and of the second list, in the order of the second; `ious` [M].
    `unmatched`: rows in one list alone, except `borderline` ones: those that a threshold, the limit of rows or a tie
    puts on either side of a decision, where the last bit of a score decides.
    """

    pairs: NDArray[np.int64]
    ious: NDArray[np.float64]
    unmatched: Rows
    borderline: Rows


def iou(boxes: Rows, others: Rows) -> NDArray[np.float64]:
    """Intersection over union [N,M] of boxes [N,≥4] and others [M,≥4].

    >>> iou(np.array([[0, 0, 2, 2.0]]), np.array([[0, 0, 2, 1.0], [5, 5, 6, 6]]))
    array([[0.5, 0. ]])
    """
    first, second = _corners(boxes)[:, :, None], _corners(others)[:, None]
    intersection = (np.minimum(first[1], second[1]) - np.maximum(first[0], second[0])).clip(min=0).prod(-1)
    union = (first[1] - first[0]).prod(-1) + (second[1] - second[0]).prod(-1) - intersection
    ious: NDArray[np.float64] = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return ious


def match(expected: Rows, found: Rows, *, limit: int, score_threshold: float, iou_threshold: float) -> Match:
    """Pairs each found row with the expected row of its class that it overlaps most, best overlaps first.

    Pairs that overlap by less than a half are no pairs. Thresholds and limit are those that made both lists.
    """
    overlaps = iou(expected, found)
    overlaps[expected[:, None, 5] != found[None, :, 5]] = 0
    remaining = overlaps.copy()
    chosen: dict[int, int] = {}
    while remaining.size and remaining.max() >= 0.5:
        i, j = np.unravel_index(remaining.argmax(), remaining.shape)
        chosen[int(j)] = int(i)
        remaining[i], remaining[:, j] = 0, 0
    pairs = np.array([(i, j) for j, i in sorted(chosen.items())], np.int64).reshape(-1, 2)
    alone = np.concatenate([np.delete(expected, pairs[:, 0], axis=0), np.delete(found, pairs[:, 1], axis=0)])
    everything = np.concatenate([expected, found])
    cuts = [score_threshold, *(rows[-1, 4] for rows in (expected, found) if len(rows) == limit)]
    excused = np.array([_is_borderline(row, everything, cuts, iou_threshold) for row in alone], bool)
    return Match(pairs, overlaps[pairs[:, 0], pairs[:, 1]], alone[~excused], alone[excused])


def swapped(wanted: Rows, found: Rows, candidates: Rows) -> NDArray[np.bool_]:
    """Which of the paired rows [M,6] differ because each list kept another one of two rivals: bool [M].

    Their scores tie, so that the last bit decides which suppresses the other, and what was found is itself one of the
    `candidates`, the network's rows before suppression.
    """
    same = (iou(found, candidates) >= SAME) & (found[:, None, 5] == candidates[None, :, 5])
    kept: NDArray[np.bool_] = (same & tied(found[:, None, 4], candidates[None, :, 4])).any(axis=1)
    return kept & tied(wanted[:, 4], found[:, 4])


def average_precision(scores: Rows, right: NDArray[np.bool_], truths: int) -> float:
    """Area under the precision-recall curve of detections [N] of one class, in any order (PASCAL VOC 2010).

    >>> average_precision(np.array([0.9, 0.5]), np.array([True, False]), 2)
    0.5
    """
    hits = right[np.argsort(-scores, kind="stable")].cumsum()
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(hits / truths, prepend=0) * envelope).sum())


def _corners(boxes: Rows) -> NDArray[np.float64]:
    """Upper left and lower right corners [2,N,2], of boxes that are inside out too."""
    pairs = boxes[:, :4].astype(np.float64).reshape(-1, 2, 2)
    return np.stack([pairs.min(axis=1), pairs.max(axis=1)])


def score_difference(scores: Rows, others: Rows) -> NDArray[np.float64]:
    """How far scores [N] are apart before the sigmoid, as a share of what they are there, or of 1 where that is less.

    Rounding errors arise there: a share of the score itself would ask more of a score of 0.0001 than FP32 can give.
    """
    first, second = _logits(scores), _logits(others)
    scale = np.maximum(1, np.maximum(np.abs(first), np.abs(second)))
    difference: NDArray[np.float64] = np.abs(first - second) / scale
    return difference


def tied(scores: Rows, others: Rows) -> NDArray[np.bool_]:
    close: NDArray[np.bool_] = score_difference(scores, others) <= TIE
    return close


def _logits(scores: Rows) -> NDArray[np.float64]:
    # Close to 1 a score in FP32 no longer tells its logit.
    shares = np.clip(scores.astype(np.float64), 1e-12, 0.999)
    logits: NDArray[np.float64] = np.log(shares / (1 - shares))
    return logits


def _is_borderline(row: Rows, everything: Rows, cuts: list[float], iou_threshold: float) -> bool:
    if tied(np.array(cuts, np.float32), row[4:5]).any():
        return True
    rivals = everything[(everything[:, 5] == row[5]) & (everything != row).any(axis=1)]
    overlaps = iou(row[None], rivals)[0]
    at_threshold = np.abs(overlaps - iou_threshold) <= TIE
    swapped = (overlaps > iou_threshold) & tied(rivals[:, 4], row[4:5])
    return bool((at_threshold | swapped).any())
