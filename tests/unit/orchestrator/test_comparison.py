"""How two answers differ, on answers small enough to count."""

import random

import pytest

from semblance.orchestrator.box import Box
from semblance.orchestrator.comparison import DEPTHS, compare, matched
from tests.unit.orchestrator.answers import BOX, answer, hits

AWAY = Box(50, 50, 60, 60)
ALL_OF_IT = dict.fromkeys(DEPTHS, 1.0)


def test_an_answer_differs_in_nothing_from_itself() -> None:
    same = answer((BOX, hits(("a", 0.9), ("b", 0.8))), (AWAY, hits(("c", 0.7))))
    seen = compare(same, same)
    assert (seen.overlaps, seen.rank_shift, seen.score_shift, seen.detections_shift) == (ALL_OF_IT, 0, 0, 0)


def test_overlap_is_the_share_of_the_active_releases_first_items() -> None:
    active = answer((BOX, hits(*((item, 0.5) for item in "abcdefghij"))))
    candidate = answer((BOX, hits(*((item, 0.5) for item in "badxyzcefg"))))
    # b is not a; a, b, d of abcde; a to g of all.
    assert compare(active, candidate).overlaps == pytest.approx({1: 0.0, 5: 3 / 5, 10: 7 / 10})


def test_a_short_list_is_compared_as_far_as_it_goes() -> None:
    active = answer((BOX, hits(("a", 0.9), ("b", 0.8))))
    candidate = answer((BOX, hits(("a", 0.9), ("x", 0.8), ("b", 0.7))))
    assert compare(active, candidate).overlaps == {1: 1.0, 5: 1.0, 10: 1.0}
    assert compare(candidate, active).overlaps == {1: 1.0, 5: pytest.approx(2 / 3), 10: pytest.approx(2 / 3)}


def test_overlap_is_the_mean_over_objects() -> None:
    active = answer((BOX, hits(("a", 0.9))), (AWAY, hits(("b", 0.9))))
    candidate = answer((BOX, hits(("a", 0.9))), (AWAY, hits(("c", 0.9))))
    assert compare(active, candidate).overlaps == dict.fromkeys(DEPTHS, 0.5)


def test_shifts_are_of_the_items_that_both_have() -> None:
    active = answer((BOX, hits(("a", 0.9), ("b", 0.8), ("c", 0.7), ("d", 0.6))))
    candidate = answer((BOX, hits(("c", 0.95), ("a", 0.85), ("x", 0.8), ("b", 0.5))))
    seen = compare(active, candidate)
    # a is one lower, b two, c two higher.
    assert seen.rank_shift == pytest.approx(5 / 3)
    assert seen.score_shift == pytest.approx((-0.05 - 0.3 + 0.25) / 3)


def test_nothing_in_common_is_no_shift_of_0() -> None:
    seen = compare(answer((BOX, hits(("a", 0.9)))), answer((BOX, hits(("b", 0.9)))))
    assert seen.overlaps == dict.fromkeys(DEPTHS, 0.0)
    assert seen.rank_shift is None
    assert seen.score_shift is None


def test_who_found_nothing_has_nothing_that_another_could_miss() -> None:
    nothing, something = answer((BOX, ())), answer((BOX, hits(("a", 0.9))))
    assert compare(nothing, something).overlaps == {}
    assert compare(something, nothing).overlaps == dict.fromkeys(DEPTHS, 0.0)


def test_only_objects_that_both_saw_are_compared() -> None:
    active = answer((BOX, hits(("a", 0.9))), (AWAY, hits(("b", 0.9))))
    candidate = answer((AWAY, hits(("b", 0.7))))
    seen = compare(active, candidate)
    assert seen.overlaps == ALL_OF_IT
    assert seen.score_shift == pytest.approx(-0.2)
    assert seen.detections_shift == -1
    assert compare(candidate, active).detections_shift == 1
    assert compare(answer((BOX, hits(("a", 0.9)))), candidate).overlaps == {}


def test_what_is_searched_with_undetected_is_no_detection() -> None:
    whole, found = answer((BOX, hits(("a", 0.9))), detected=False), answer((BOX, hits(("a", 0.9))))
    assert compare(whole, found).detections_shift == 1
    assert compare(whole, whole).detections_shift == 0


def test_boxes_of_the_same_object_overlap_by_half() -> None:
    # The union is 10 × 10 in both, the intersection 50, and 49.
    assert matched([BOX], [Box(0, 0, 10, 5)]) == [(0, 0)]
    assert matched([BOX], [Box(0, 0, 10, 4.9)]) == []
    assert matched([BOX], [AWAY]) == matched([], [BOX]) == []
    # Apart both ways, by 9 each: two lengths below 0, whose product is none of an area.
    assert matched([BOX], [Box(19, 19, 29, 29)]) == []


def test_each_box_goes_with_the_one_that_overlaps_it_most() -> None:
    boxes = [Box(0, 0, 10, 10), Box(1, 0, 11, 10)]
    others = [Box(1.1, 0, 11.1, 10), Box(0.1, 0, 10.1, 10), Box(0.2, 0, 10.2, 10)]
    assert sorted(matched(boxes, others)) == [(0, 1), (1, 0)]


def test_equal_boxes_are_each_in_one_pair() -> None:
    assert sorted(matched([BOX] * 3, [BOX] * 2)) in ([(0, 0), (1, 1)], [(1, 0), (2, 1)])


def test_a_pair_is_one_the_other_way_round_too() -> None:
    chance = random.Random(4)
    for _ in range(50):
        some, others = (
            [Box(x, y, x + chance.uniform(1, 9), y + chance.uniform(1, 9)) for x, y in corners]
            for corners in ([(chance.uniform(0, 9), chance.uniform(0, 9)) for _ in range(12)] for _ in range(2))
        )
        assert sorted(matched(some, others)) == sorted((one, two) for two, one in matched(others, some))
