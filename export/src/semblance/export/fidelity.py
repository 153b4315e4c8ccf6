"""What a graph that was changed loses against the fp32 one that it was made from, and how much it may lose.

The fp32 graph has met the gate against PyTorch, so it stands for it: pictures by the hundred are compared in minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semblance.export import boxes
from semblance.export.contract import MAX_DETECTIONS, Precision
from semblance.export.errors import GateFailed

Vectors = NDArray[np.float32]
Change = Precision | Literal["tensorrt"]
"""A reduced precision, or the fp32 graph as TensorRT takes it."""

# fp16 keeps 11 bits of mantissa: rounding alone turns no vector farther, and moves a box by less than half a pixel.
# int8 keeps 8 bits of each activation: a vector turns by some degrees (a cosine of 0.97 is 14°), at random, so that
# what is near stays near. Whether it did, recall and mAP say; these bounds catch a layer whose range was missed.
# TensorRT's graph computes the same numbers; of two boxes that overlap by just the threshold, either may go.
MIN_COSINE: dict[Change, float] = {"fp16": 0.999, "int8": 0.97, "tensorrt": 0.9999}
MIN_MEAN_IOU: dict[Change, float] = {"fp16": 0.99, "int8": 0.95, "tensorrt": 0.999}

# What a faster or smaller model may cost in answers: one in two hundred is hard to notice, one in a hundred is a trade
# that an operator makes knowingly, and fifty would be another model.
MAX_RECALL_LOSS: dict[Change, float] = {"fp16": 0.005, "int8": 0.01, "tensorrt": 0.005}
MAX_MAP50_LOSS: dict[Change, float] = {"fp16": 0.005, "int8": 0.02, "tensorrt": 0.005}
MAX_PROJECTION_RECALL_LOSS = 0.02

# A projecting graph gives what the matrix product does, up to the order of additions.
MIN_PROJECTING_COSINE = 0.9999

# Detections of the fp32 graph that count as the truth: what the service answers with unless it is asked for more.
TRUTH_SCORE = 0.25


@dataclass(frozen=True)
class Fidelity:
    """Figures by name, and bounds on some: `least` from below, `most` from above.

    `worst` says on which picture the comparison came out worst. `cost` orders graphs: 0 loses nothing.
    """

    figures: dict[str, float]
    least: dict[str, float]
    most: dict[str, float]
    worst: str
    cost: float

    @property
    def failures(self) -> list[str]:
        """Each figure that misses its bound, with both."""
        low = [(name, "at least", bound) for name, bound in self.least.items() if not self.figures[name] >= bound]
        high = [(name, "at most", bound) for name, bound in self.most.items() if not self.figures[name] <= bound]
        return [f"{name} is {self.figures[name]:.4f}, {word} {bound} allowed" for name, word, bound in low + high]

    def check(self, subject: str, way_out: str) -> None:
        """Raises GateFailed, naming figures, bounds and the worst picture."""
        if self.failures:
            raise GateFailed(f"{subject}: {'; '.join(self.failures)}; worst on {self.worst}. {way_out}")

    def with_recall(self, before: float, after: float, change: Change) -> Fidelity:
        """With recall@1 of both graphs, and the bound on its loss."""
        loss = f"{change}_recall_at_1_loss"
        figures = {f"{change}_recall_at_1": after, f"{change}_recall_at_1_before": before, loss: before - after}
        return replace(self, figures=self.figures | figures, most=self.most | {loss: MAX_RECALL_LOSS[change]})


def of_vectors(expected: Vectors, found: Vectors, names: Sequence[str], change: Change) -> Fidelity:
    """Compares vectors [N,dim] of the same pictures, each L2-normalised."""
    lowest, mean, worst = _cosines(expected, found)
    figures = {f"{change}_min_cosine": lowest, f"{change}_mean_cosine": mean}
    return Fidelity(figures, {f"{change}_min_cosine": MIN_COSINE[change]}, {}, names[worst], 1 - mean)


def of_projection(expected: Vectors, found: Vectors, names: Sequence[str], before: float, after: float) -> Fidelity:
    """Compares a projecting graph's vectors [N,dim] with what they should be, and recall@1 before and after."""
    lowest, mean, worst = _cosines(expected, found)
    figures = {
        "projected_min_cosine": lowest,
        "projected_recall_at_1": after,
        "projected_recall_at_1_before": before,
        "projected_recall_at_1_loss": before - after,
    }
    most = {"projected_recall_at_1_loss": MAX_PROJECTION_RECALL_LOSS}
    return Fidelity(figures, {"projected_min_cosine": MIN_PROJECTING_COSINE}, most, names[worst], 1 - mean)


def _cosines(expected: Vectors, found: Vectors) -> tuple[float, float, int]:
    """The lowest, their mean, and the place of the lowest."""
    cosines = (expected * found).sum(axis=1)
    worst = int(cosines.argmin())
    return float(cosines[worst]), float(cosines.mean()), worst


def of_detections(expected: Vectors, found: Vectors, names: Sequence[str], change: Change) -> Fidelity:
    """Compares detections [N,100,6] of the same pictures, those of the fp32 graph with a score of at least 0.25 as the
    truth.

    Boxes pair up at an IoU of at least 0.5 within a class. mAP50 is the area under the precision-recall curve of each
    class (PASCAL VOC 2010), averaged over the classes of the truth; the fp32 graph's own is 1.

    Raises:
        GateFailed: there is no truth, because nothing is detected.
    """
    ious: list[NDArray[np.float64]] = []
    guesses, rights, truths = [], [], []
    for wanted, given in zip(expected, found, strict=True):
        truth, guess = wanted[wanted[:, 4] >= TRUTH_SCORE], given[given[:, 4] > 0]
        match = boxes.match(truth, guess, limit=MAX_DETECTIONS, score_threshold=0.0, iou_threshold=1.0)
        ious.append(match.ious)
        guesses.append(guess)
        rights.append(np.isin(np.arange(len(guess)), match.pairs[:, 1]))
        truths.append(truth)
    guess, right, truth = (np.concatenate(rows) for rows in (guesses, rights, truths))
    if not len(truth):
        raise GateFailed(
            f"the fp32 detector finds nothing with a score of {TRUTH_SCORE} in the calibration pictures, so no loss "
            "can be measured; give --calibrate a folder of pictures with objects"
        )
    means = [each.sum() / len(rows) if len(rows) else 1.0 for each, rows in zip(ious, truths, strict=True)]
    matched = np.concatenate(ious)
    mean_iou = float(matched.mean()) if len(matched) else 0.0
    of_class = {index: guess[:, 5] == index for index in np.unique(truth[:, 5])}
    precisions = [
        boxes.average_precision(guess[of, 4], right[of], int((truth[:, 5] == index).sum()))
        for index, of in of_class.items()
    ]
    loss = 1 - float(np.mean(precisions))
    return Fidelity(
        {f"{change}_mean_iou": mean_iou, f"{change}_map50_loss": loss, f"{change}_objects": len(truth)},
        {f"{change}_mean_iou": MIN_MEAN_IOU[change]},
        {f"{change}_map50_loss": MAX_MAP50_LOSS[change]},
        names[int(np.argmin(means))],
        loss + 1 - mean_iou,
    )
