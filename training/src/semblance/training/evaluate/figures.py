"""The figures of an evaluation, what each says, and their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from semblance.training.evaluate import detection, retrieval
from semblance.training.evaluate.interval import Bootstrap, Estimate, Statistic, Weights, doubted
from semblance.training.evaluate.sample import ObjectSample, PhotoSample, queries

Estimates = Mapping[str, Estimate]
"""By the figures' names."""

CAUSES = ("missed", "misplaced", "misjudged")

_RANKED = {
    "recall@1": "share of objects whose item came first",
    "recall@5": "share of objects whose item was among the first five",
    "recall@10": "share of objects whose item was among the first ten",
    "mrr": "mean of 1/rank of the right item, which is the mean average precision too",
}

MEANINGS: Mapping[str, str] = {
    **{name: f"{meaning}, end to end" for name, meaning in _RANKED.items()},
    **{f"{name}_true_boxes": f"{meaning}, searched with true boxes" for name, meaning in _RANKED.items()},
    "map50": "mean average precision of the detector at IoU 0.5, as COCO",
    "map50_95": "the same, mean over IoU 0.5 to 0.95",
    "detection_recall": "share of objects that the detector finds at the served score and IoU 0.5",
    "detection_precision": "share of its boxes of the annotated classes that are right there",
    "missed": "share of objects for which nothing was detected",
    "misplaced": "share of objects whose box was detected, and whose item came first only with the true box",
    "misjudged": "share of objects whose box was detected, and whose item did not come first with the true box either",
    "embedder_less_boxes": "misjudged less missed and misplaced: above 0, the embedder loses more than the detector",
}
"""By name, in the order of the report."""


def statistic(photos: Sequence[PhotoSample], classes: Sequence[str]) -> Statistic:
    """`MEANINGS`' figures of objects of these classes, in its order."""
    matches = [detection.Matches.of(photos, name) for name in classes]
    asked = [(number, each) for number, each in queries(photos) if each.class_name in classes]
    found = retrieval.Ranks.of(len(photos), [(number, each.found) for number, each in asked])
    given = retrieval.Ranks.of(len(photos), [(number, each.given) for number, each in asked])
    causes = _Causes(len(photos), asked)

    def figures(weights: Weights) -> NDArray[np.float64]:
        return np.column_stack(
            [found.figures(weights), given.figures(weights), detection.figures(matches, weights), causes(weights)]
        )

    return figures


def estimates(photos: Sequence[PhotoSample], classes: Sequence[str], bootstrap: Bootstrap) -> dict[str, Estimate]:
    """Every figure with its interval."""
    return dict(zip(MEANINGS, bootstrap.estimates(statistic(photos, classes)), strict=True))


def differences(
    after: Sequence[PhotoSample], before: Sequence[PhotoSample], classes: Sequence[str], bootstrap: Bootstrap
) -> dict[str, Estimate]:
    """`after` less `before` of the same photos, resampled together; see `interval.doubted`."""
    late, early = statistic(after, classes), statistic(before, classes)

    def difference(weights: Weights) -> NDArray[np.float64]:
        return late(weights) - early(weights)

    alone = difference(np.eye(len(after)))
    found = zip(bootstrap.estimates(difference), alone.T, strict=True)
    return dict(zip(MEANINGS, (doubted(estimate, photos) for estimate, photos in found), strict=True))


def cause(query: ObjectSample) -> str | None:
    """Why its item did not come first: one of `CAUSES`; None where it did."""
    if query.found is None:
        return "missed"
    if query.found.rank == 1:
        return None
    return "misplaced" if query.given and query.given.rank == 1 else "misjudged"


class _Causes:
    """Shares of queries that failed for each of `CAUSES`, and the last of them less the others."""

    def __init__(self, photos: int, asked: Sequence[tuple[int, ObjectSample]]) -> None:
        self._sums = np.zeros((photos, len(CAUSES) + 1))
        for number, query in asked:
            self._sums[number, -1] += 1
            why = cause(query)
            if why:
                self._sums[number, CAUSES.index(why)] += 1

    def __call__(self, weights: Weights) -> NDArray[np.float64]:
        lost = retrieval.shares(weights @ self._sums)
        return np.column_stack([lost, lost[:, 2] - lost[:, 0] - lost[:, 1]])
