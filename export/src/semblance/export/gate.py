"""The gate: a graph is published only if it computes what its PyTorch network does.

The network sees each picture alone. The graph sees different pictures together, at every batch size from 1 to the
largest, on ONNX Runtime's CPU provider. A graph that mixes images up, or treats only the first, is thereby refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from semblance.export import boxes, nms
from semblance.export.contract import MAX_DETECTIONS
from semblance.export.detector import Detector, Thresholds
from semblance.export.embedder import Embedder
from semblance.export.errors import GateFailed
from semblance.export.gallery import Gallery
from semblance.export.session import Progress, answer, open_session

MIN_IOU = boxes.SAME
MAX_SCORE_DIFFERENCE = boxes.TIE
MIN_COSINE = 0.9999
MIN_COSINE_REDUCED = 0.999

# Where nothing passes the threshold in some picture, it is lowered until each has this many boxes.
MIN_BOXES = 5


@dataclass
class Parity:
    """What was measured, and the bounds that it met. See `Manifest.Parity`."""

    batch_sizes: list[int]
    images: int
    figures: dict[str, float] = field(default_factory=dict)
    bounds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """One picture of one batch, and the graph's output for it."""

    picture: int
    batch_size: int
    output: NDArray[np.float32]

    def described(self, gallery: Gallery) -> str:
        return f"{gallery.names[self.picture]} in a batch of {self.batch_size}"


def check_detector(
    detector: Detector, model: onnx.ModelProto, gallery: Gallery, thresholds: Thresholds, progress: Progress
) -> Parity:
    """Compares at batch sizes from 1 to the number of pictures.

    Boxes are matched one to one at an IoU of at least 0.99, with equal classes, scores whose logits are within a
    thousandth, and in the same order up to ties; of two rivals whose scores tie, either may have suppressed the
    other. Where some picture has no box, the whole is done once more on a copy of the graph with a threshold low
    enough that each has.

    Raises:
        GateFailed: naming the picture, the batch size, the figure and its bound.
    """
    parity = Parity(list(range(1, len(gallery.names) + 1)), len(gallery.names))
    parity.bounds = {"min_iou": MIN_IOU, "max_score_difference": MAX_SCORE_DIFFERENCE}
    parity.figures = {"min_iou": 1.0, "max_score_difference": 0.0, "boxes": 0, "borderline_boxes": 0}
    expected = _detect(detector, gallery, thresholds, progress)
    _compare_detections(detector, model, expected, gallery, thresholds, parity, progress)
    if min(map(len, expected)) == 0:
        lowered = Thresholds(_telling_score(detector, gallery, thresholds), thresholds.iou)
        expected = _detect(detector, gallery, lowered, progress)
        telling = _with_score_threshold(model, lowered.score)
        try:
            _compare_detections(detector, telling, expected, gallery, lowered, parity, progress)
        except GateFailed as error:
            raise GateFailed(
                f"{error}; compared down to a score of {lowered.score:.2g}, as there are pictures in which the network "
                "finds nothing: rounding decides what suppresses what down there, so give --images with its objects"
            ) from None
        parity.figures["lowered_score_threshold"] = lowered.score
    if not parity.figures["boxes"]:
        raise GateFailed("not one box was compared, so nothing is known about the graph; give --images with objects")
    return parity


def check_embedder(
    embedder: Embedder, model: onnx.ModelProto, gallery: Gallery, min_cosine: float, progress: Progress
) -> Parity:
    """Compares at batch sizes from 1 to the number of pictures: each cosine is at least `min_cosine`.

    Raises:
        GateFailed: naming the picture, the batch size, the figure and its bound; or the pictures are so alike to the
            network that a graph that confuses them would pass.
    """
    parity = Parity(list(range(1, len(gallery.names) + 1)), len(gallery.names))
    expected = _embed(embedder, gallery, progress)
    alike = expected @ expected.T - 2 * np.eye(len(expected))
    if alike.max() >= min_cosine:
        one, other = np.unravel_index(alike.argmax(), alike.shape)
        raise GateFailed(
            f"the network's own vectors of {gallery.names[one]} and {gallery.names[other]} have a cosine of "
            f"{alike.max():.6f}, so the bound of {min_cosine} can't tell them apart; give other --images"
        )
    lowest = 1.0
    for place in _places(model, gallery, progress):
        cosine = float(place.output @ expected[place.picture] / np.linalg.norm(place.output))
        norm = float(np.linalg.norm(place.output))
        if not cosine >= min_cosine or not abs(norm - 1) <= 1e-3:
            raise GateFailed(
                f"{place.described(gallery)}: the graph's vector has a cosine of {cosine:.6f} with PyTorch's (bound "
                f"{min_cosine}) and a length of {norm:.4f} (expected 1)"
            )
        lowest = min(lowest, cosine)
    parity.figures = {"min_cosine": lowest, "max_cross_cosine": float(alike.max())}
    parity.bounds = {"min_cosine": min_cosine}
    return parity


def measure_rounded_detector(
    original: Detector, rounded: Detector, gallery: Gallery, thresholds: Thresholds, progress: Progress
) -> dict[str, float]:
    """How far rounding the weights moved detections: figures for the manifest, without a bound."""
    expected, found = (_detect(each, gallery, thresholds, progress) for each in (original, rounded))
    matches = [_match(one, other, thresholds) for one, other in zip(expected, found, strict=True)]
    ious = np.concatenate([match.ious for match in matches])
    return {
        "rounding_matched_share": len(ious) / max(sum(map(len, expected)), sum(map(len, found))),
        "rounding_mean_iou": float(ious.mean()) if len(ious) else 0.0,
    }


def check_rounded_embedder(
    original: Embedder, rounded: Embedder, gallery: Gallery, progress: Progress
) -> dict[str, float]:
    """How far rounding the weights turned the vectors: at most to a cosine of 0.999.

    Raises:
        GateFailed: naming the picture, the figure and its bound.
    """
    cosines = (_embed(original, gallery, progress) * _embed(rounded, gallery, progress)).sum(axis=1)
    worst = int(cosines.argmin())
    if not cosines[worst] >= MIN_COSINE_REDUCED:
        raise GateFailed(
            f"{gallery.names[worst]}: int8 weights turn its vector to a cosine of {cosines[worst]:.6f} with the "
            f"original (bound {MIN_COSINE_REDUCED}); export without --int8-weights"
        )
    return {"rounding_min_cosine": float(cosines[worst])}


def _detect(
    detector: Detector, gallery: Gallery, thresholds: Thresholds, progress: Progress
) -> list[NDArray[np.float32]]:
    found = []
    for number, picture in enumerate(gallery.pixels):
        progress("PyTorch, one picture at a time", number, len(gallery.pixels))
        found.append(detector.detect(picture, thresholds))
    return found


def _embed(embedder: Embedder, gallery: Gallery, progress: Progress) -> NDArray[np.float32]:
    vectors = []
    for number, picture in enumerate(gallery.pixels):
        progress("PyTorch, one picture at a time", number, len(gallery.pixels))
        vectors.append(embedder.embed(picture))
    return np.stack(vectors)


def _places(model: onnx.ModelProto, gallery: Gallery, progress: Progress) -> Iterator[_Place]:
    """Every batch size, each on the next pictures, around and around; no batch has a picture twice."""
    session = open_session(model)
    count = len(gallery.pixels)
    start, done = 0, 0
    for size in range(1, count + 1):
        progress(f"ONNX Runtime, batch of {size}", done, count * (count + 1) // 2)
        pictures = np.arange(start, start + size) % count
        outputs = answer(session, gallery.pixels[pictures])
        yield from (_Place(int(picture), size, output) for picture, output in zip(pictures, outputs, strict=True))
        start, done = (start + size) % count, done + size


def _match(expected: NDArray[np.float32], found: NDArray[np.float32], thresholds: Thresholds) -> boxes.Match:
    return boxes.match(
        expected,
        found,
        limit=MAX_DETECTIONS,
        score_threshold=thresholds.score,
        iou_threshold=thresholds.iou,
    )


def _compare_detections(
    detector: Detector,
    model: onnx.ModelProto,
    expected: list[NDArray[np.float32]],
    gallery: Gallery,
    thresholds: Thresholds,
    parity: Parity,
    progress: Progress,
) -> None:
    figures = parity.figures
    for place in _places(model, gallery, progress):
        wanted = expected[place.picture]
        found = place.output[place.output[:, 4] > 0]
        match = _match(wanted, found, thresholds)
        pairs = match.pairs
        scores = wanted[pairs[:, 0], 4], found[pairs[:, 1], 4]
        ious, swaps = match.ious, 0
        if not ious.min(initial=1.0) >= MIN_IOU:
            candidates = detector.candidates(gallery.pixels[place.picture], thresholds.score)
            excused = (ious < MIN_IOU) & boxes.swapped(wanted[pairs[:, 0]], found[pairs[:, 1]], candidates)
            ious, swaps = ious[~excused], int(excused.sum())
        worst = float(ious.min(initial=1.0))
        difference = float(boxes.score_difference(*scores).max(initial=0.0))
        problem = None
        if len(match.unmatched):
            x1, y1, x2, y2, score, index = match.unmatched[0]
            problem = (
                f"{len(match.unmatched)} boxes of PyTorch's {len(wanted)} and the graph's {len(found)} have no "
                f"partner, first [{x1:.1f} {y1:.1f} {x2:.1f} {y2:.1f}] of class {index:.0f} with score {score:.4f}"
            )
        elif not worst >= MIN_IOU:
            problem = f"a pair of boxes has an IoU of {worst:.4f} (bound {MIN_IOU})"
        elif not difference <= MAX_SCORE_DIFFERENCE:
            problem = f"the logits of a pair of scores differ by {difference:.4%} (bound {MAX_SCORE_DIFFERENCE:.4%})"
        elif not _is_ordered(scores[0]):
            problem = "the graph's boxes are not in PyTorch's order, best first"
        elif place.output[len(found) :].any():
            problem = "padding rows are not zero, or stand before detections"
        if problem:
            raise GateFailed(f"{place.described(gallery)}: {problem}")
        figures["min_iou"] = min(figures["min_iou"], worst)
        figures["max_score_difference"] = max(figures["max_score_difference"], difference)
        figures["boxes"] += len(pairs)
        figures["borderline_boxes"] += len(match.borderline) + swaps


def _is_ordered(scores: NDArray[np.float32]) -> bool:
    """Whether PyTorch's scores, in the graph's order, fall, up to ties."""
    best_after = np.maximum.accumulate(scores[::-1])[::-1]
    return bool(np.all((scores >= best_after) | boxes.tied(scores, best_after)))


def _telling_score(detector: Detector, gallery: Gallery, thresholds: Thresholds) -> float:
    """The highest score threshold with which every picture has some boxes."""
    everything = _detect(detector, gallery, Thresholds(0.0, thresholds.iou), lambda *_: None)
    fewest = min(range(len(everything)), key=lambda number: len(everything[number]))
    if len(everything[fewest]) < MIN_BOXES:
        raise GateFailed(f"{gallery.names[fewest]}: PyTorch finds nothing at any score, so there is nothing to compare")
    return 0.99 * float(min(rows[MIN_BOXES - 1, 4] for rows in everything))


def _with_score_threshold(model: onnx.ModelProto, score: float) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    threshold = next(tensor for tensor in copy.graph.initializer if tensor.name == nms.SCORE_THRESHOLD)
    threshold.CopyFrom(numpy_helper.from_array(np.array([score], np.float32), nms.SCORE_THRESHOLD))
    return copy
