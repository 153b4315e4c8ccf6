"""Which detection's answer an annotated object gets."""

from __future__ import annotations

from semblance.client import Box, Hit, ObjectHits, SearchResult, Source
from semblance.training.dataset.dataset import AnnotatedObject
from semblance.training.evaluate.service import found_answers

LEFT, RIGHT = (10.0, 10.0, 60.0, 60.0), (70.0, 20.0, 110.0, 90.0)


def labelled(class_name: str, box: tuple[float, float, float, float], item_id: str) -> AnnotatedObject:
    return AnnotatedObject.model_validate({"class": class_name, "box": box, "item_id": item_id})


def detected(box: tuple[float, float, float, float], item_id: str) -> ObjectHits:
    hits = (Hit(item_id, 0.9, "", Box(0, 0, 1, 1), {}),)
    return ObjectHits(Source.DETECTED, Box(*box), 0.8, "mug", hits, None)


def ranks(objects: list[AnnotatedObject], *detections: ObjectHits) -> list[int | None]:
    result = SearchResult("r1", 120, 100, detections, not detections, None)
    return [answer.rank if answer else None for answer in found_answers(objects, result)]


def test_a_rectangle_with_two_labels_is_found_by_one_detection() -> None:
    """One that stands for one of the labels alone would leave the other as missed, though a caller has the item."""
    both = [labelled("mug", LEFT, "a"), labelled("cup", LEFT, "a")]
    assert ranks(both, detected(LEFT, "a")) == [1, 1]
    assert ranks(both) == [None, None]


def test_a_detection_stands_for_one_of_two_boxes_that_it_overlaps() -> None:
    near = (12.0, 10.0, 62.0, 60.0)
    assert ranks([labelled("mug", LEFT, "a"), labelled("mug", near, "a")], detected(near, "a")) == [None, 1]
    assert ranks([labelled("mug", LEFT, "a"), labelled("mug", RIGHT, "b")], detected(RIGHT, "b")) == [None, 1]
