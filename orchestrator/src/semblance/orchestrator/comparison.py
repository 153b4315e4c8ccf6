"""How two releases' answers to the same query differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.box import Box
from semblance.orchestrator.pipeline import Answer
from semblance.orchestrator.ports import Neighbour

# The numbers of items whose overlap is told.
DEPTHS = (1, 5, 10)
# Boxes of the two answers are of the same object where their intersection is at least this part of their union, as in
# the PASCAL VOC challenge (Everingham et al., IJCV 2010, section 4.2).
SAME_OBJECT = 0.5


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs for the objects that both answers have.

    Attributes:
        overlaps: by k, the share of the active release's first k items that are among the candidate's first k, in the
            mean of the objects. Where the active one has fewer items, it is the share of those; an object of which it
            has none is left out, and there are no overlaps where that leaves none.
        rank_shift: the mean absolute difference of an item's ranks, over all items that both have of an object; None
            where there is none.
        score_shift: the mean of those items' similarity, the candidate's less the active's; None as above, and where
            the two answers' similarities are of different measures.
        detections_shift: how many more objects the candidate has detected, less than 0 where they are fewer.
    """

    overlaps: Mapping[int, float]
    rank_shift: float | None
    score_shift: float | None
    detections_shift: int


def compare(active: Answer, candidate: Answer) -> Comparison:
    pairs = [(active.hits[one], candidate.hits[two]) for one, two in matched(_boxes(active), _boxes(candidate))]
    lists = [(one, two) for one, two in pairs if one]
    shifts = [shift for one, two in lists for shift in _shifts(one, two)]
    return Comparison(
        {depth: mean(_overlap(one, two, depth) for one, two in lists) for depth in DEPTHS} if lists else {},
        mean(abs(ranks) for ranks, _ in shifts) if shifts else None,
        mean(similarity for _, similarity in shifts) if shifts and active.measure is candidate.measure else None,
        _detections(candidate) - _detections(active),
    )


def matched(some: Sequence[Box], others: Sequence[Box]) -> list[tuple[int, int]]:
    """Pairs of numbers of boxes that show the same object, those that overlap most first; none is in two of them."""
    overlaps = _ious(some, others)
    same = np.argwhere(overlaps >= SAME_OBJECT).tolist()
    pairs: dict[int, int] = {}
    for one, two in sorted(same, key=lambda pair: -overlaps[pair[0], pair[1]]):
        if one not in pairs and two not in pairs.values():
            pairs[one] = two
    return list(pairs.items())


def _boxes(answer: Answer) -> list[Box]:
    return [region.box for region in answer.description.regions]


def _detections(answer: Answer) -> int:
    return sum(region.detection is not None for region in answer.description.regions)


def _overlap(active: Sequence[Neighbour], candidate: Sequence[Neighbour], depth: int) -> float:
    wanted = {hit.item_id for hit in active[:depth]}
    return len(wanted & {hit.item_id for hit in candidate[:depth]}) / len(wanted)


def _shifts(active: Sequence[Neighbour], candidate: Sequence[Neighbour]) -> list[tuple[int, float]]:
    """Of the items of both: how many ranks the candidate has each lower, and how much more similar."""
    found = {hit.item_id: (rank, hit.similarity) for rank, hit in enumerate(candidate)}
    shifts = []
    for rank, hit in enumerate(active):
        if hit.item_id in found:
            other, similarity = found[hit.item_id]
            shifts.append((other - rank, similarity - hit.similarity))
    return shifts


def _ious(some: Sequence[Box], others: Sequence[Box]) -> NDArray[np.float64]:
    """float64 [N, M]: the area of the intersection of two boxes over that of their union."""
    one, two = _corners(some)[:, None], _corners(others)[None, :]
    sides = np.minimum(one[..., 2:], two[..., 2:]) - np.maximum(one[..., :2], two[..., :2])
    both = sides.clip(min=0).prod(axis=-1)
    areas = (one[..., 2:] - one[..., :2]).prod(axis=-1) + (two[..., 2:] - two[..., :2]).prod(axis=-1)
    return np.asarray(both / (areas - both), np.float64)


def _corners(boxes: Sequence[Box]) -> NDArray[np.float64]:
    return np.array([(box.x1, box.y1, box.x2, box.y2) for box in boxes], np.float64).reshape(-1, 4)
