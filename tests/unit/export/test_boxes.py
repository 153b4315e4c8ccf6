"""Matching of two lists of detections."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.export import boxes

Rows = NDArray[np.float32]


def rows(*values: Sequence[float]) -> Rows:
    return np.array(values, np.float32).reshape(-1, 6)


def match(expected: Rows, found: Rows, limit: int = 100) -> boxes.Match:
    return boxes.match(expected, found, limit=limit, score_threshold=0.25, iou_threshold=0.7)


CUP = (0, 0, 100, 100, 0.9, 1)
BALL = (200, 200, 300, 300, 0.6, 2)


def test_the_same_boxes_pair_up_whatever_their_order() -> None:
    result = match(rows(CUP, BALL), rows(BALL, CUP))
    assert result.pairs.tolist() == [[1, 0], [0, 1]]
    assert result.ious.tolist() == [1, 1]
    assert len(result.unmatched) == 0


def test_boxes_of_another_class_do_not_pair() -> None:
    assert len(match(rows(CUP), rows((*CUP[:5], 2))).unmatched) == 2


def test_a_box_pairs_once() -> None:
    result = match(rows(CUP), rows(CUP, (0, 0, 100, 99, 0.8, 1)))
    assert result.pairs.tolist() == [[0, 0]]
    assert result.unmatched[0, 3] == 99


def test_a_missing_box_is_unmatched() -> None:
    np.testing.assert_array_equal(match(rows(CUP, BALL), rows(CUP)).unmatched, rows(BALL))


@pytest.mark.parametrize(
    ("expected", "found", "limit"),
    [
        pytest.param(rows(CUP, (*BALL[:4], 0.25001, 2)), rows(CUP), 100, id="at the score threshold"),
        pytest.param(rows(CUP, (*BALL[:4], 0.9, 2)), rows(CUP, (400, 0, 500, 90, 0.9, 2)), 2, id="at the limit"),
        pytest.param(rows(CUP, (0, 0, 100, 70, 0.8, 1)), rows(CUP), 100, id="at the overlap of suppression"),
        pytest.param(rows((0, 0, 100, 300, 0.9, 1)), rows((0, 0, 100, 219, 0.9, 1)), 100, id="the other of a tie"),
    ],
)
def test_what_the_last_bit_decides_is_borderline(expected: Rows, found: Rows, limit: int) -> None:
    result = match(expected, found, limit)
    assert len(result.unmatched) == 0


def test_a_clear_miss_is_not_borderline() -> None:
    assert len(match(rows(CUP, (0, 0, 100, 60, 0.8, 1)), rows(CUP)).borderline) == 0


def test_of_two_rivals_that_tie_either_may_stay() -> None:
    wanted = rows([0, 0, 100, 100, 0.5, 1])
    rival = rows([0, 0, 100, 85, 0.50001, 1])
    assert boxes.swapped(wanted, rival, np.concatenate([wanted, rival])).tolist() == [True]


@pytest.mark.parametrize(
    ("found", "candidate"),
    [
        ([0, 0, 100, 85, 0.5, 1], [0, 0, 100, 70, 0.5, 1]),
        ([0, 0, 100, 85, 0.5, 1], [0, 0, 100, 85, 0.5, 2]),
        ([0, 0, 100, 85, 0.5, 1], [0, 0, 100, 85, 0.4, 1]),
        ([0, 0, 100, 85, 0.4, 1], [0, 0, 100, 85, 0.4, 1]),
    ],
    ids=["another box", "another class", "another score", "no tie"],
)
def test_what_is_no_rival_that_ties_is_no_swap(found: list[float], candidate: list[float]) -> None:
    wanted = rows([0, 0, 100, 100, 0.5, 1])
    assert not boxes.swapped(wanted, rows(found), np.concatenate([wanted, rows(candidate)])).any()
