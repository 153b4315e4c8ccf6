"""What `SearchService` answers."""

import hashlib

import numpy as np
import pytest

from semblance.v1.catalog_pb2 import PutResponse
from semblance.v1.item_pb2 import Box, Comparison, Filter, Value
from semblance.v1.search_pb2 import ObjectHits, SearchOptions
from tests.integration.service.world import BOTH, GREEN_PHOTO, GREY_PHOTO, PRICE, RED_PHOTO, Caller, item


async def test_a_photo_finds_the_items_that_it_shows(caller: Caller) -> None:
    answers = await caller.put(item("red", RED_PHOTO, **PRICE), item("green", GREEN_PHOTO))
    assert {answer.item_id: answer.outcome for answer in answers} == dict.fromkeys(
        ("red", "green"), PutResponse.CREATED
    )

    answer = await caller.search(BOTH, include_attributes=True, include_embeddings=True, include_timings=True)
    assert (answer.request_id, answer.release) == ("q", "r1")
    assert (answer.image_width, answer.image_height) == (320, 240)
    assert not answer.nothing_detected
    green, red = answer.objects
    assert (green.hits[0].item_id, red.hits[0].item_id) == ("green", "red")
    assert (green.source, green.class_name) == (ObjectHits.DETECTED, "object")
    assert green.score > red.score > 0.8
    np.testing.assert_allclose((red.box.x1, red.box.y1, red.box.x2, red.box.y2), (10, 10, 91, 91), atol=1)
    hit = red.hits[0]
    assert hit.similarity > 0.99
    assert hit.image_id == hashlib.sha256(RED_PHOTO).hexdigest()
    np.testing.assert_allclose((hit.box.x1, hit.box.y1, hit.box.x2, hit.box.y2), (40, 40, 121, 121), atol=1)
    assert dict(hit.attributes) == PRICE
    assert np.linalg.norm(red.embedding) == pytest.approx(1, abs=1e-4)
    stages = [answer.timings.decode, answer.timings.detect, answer.timings.embed, answer.timings.search]
    assert all(stage.ToMicroseconds() > 0 for stage in stages)
    assert answer.timings.total.ToMicroseconds() >= sum(stage.ToMicroseconds() for stage in stages)


async def test_nothing_comes_back_unasked(caller: Caller) -> None:
    await caller.put(item("red", RED_PHOTO, **PRICE))
    answer = await caller.search(RED_PHOTO)
    assert not answer.objects[0].embedding
    assert not answer.objects[0].hits[0].attributes
    assert not answer.HasField("timings")


async def test_an_empty_catalogue_has_no_hits(caller: Caller) -> None:
    answer = await caller.search(RED_PHOTO)
    assert len(answer.objects) == 1
    assert not answer.objects[0].hits


async def test_where_nothing_is_detected_the_whole_image_counts(caller: Caller) -> None:
    await caller.put(item("grey", GREY_PHOTO))
    answer = await caller.search(GREY_PHOTO)
    assert answer.nothing_detected
    [found] = answer.objects
    assert found.source == ObjectHits.WHOLE_IMAGE
    assert found.box == Box(x2=320, y2=240)
    assert found.hits[0].item_id == "grey"


async def test_what_of_the_photo_is_searched_with(caller: Caller) -> None:
    [largest] = (await caller.search(BOTH, objects=SearchOptions.LARGEST)).objects
    assert largest.box.x1 == pytest.approx(150, abs=1)
    [whole] = (await caller.search(BOTH, objects=SearchOptions.WHOLE_IMAGE)).objects
    assert (whole.source, whole.box) == (ObjectHits.WHOLE_IMAGE, Box(x2=320, y2=240))
    boxes = [Box(x1=10, y1=10, x2=90, y2=90), Box(x2=320, y2=240)]
    answer = await caller.search(BOTH, boxes=boxes)
    assert [(found.source, found.box) for found in answer.objects] == [(ObjectHits.GIVEN, box) for box in boxes]
    assert not answer.nothing_detected
    assert (await caller.search(BOTH, min_detection_score=1)).nothing_detected


async def test_limits_of_hits(caller: Caller) -> None:
    await caller.put(item("red", RED_PHOTO), item("green", GREEN_PHOTO), item("grey", GREY_PHOTO))
    assert len((await caller.search(RED_PHOTO)).objects[0].hits) == 3
    assert len((await caller.search(RED_PHOTO, top_k=1)).objects[0].hits) == 1
    similar = await caller.search(RED_PHOTO, min_similarity=0.9)
    assert [hit.item_id for hit in similar.objects[0].hits] == ["red"]


async def test_a_filter_knows_an_attribute_as_soon_as_it_was_put(caller: Caller) -> None:
    await caller.put(item("cheap", RED_PHOTO, **PRICE), item("dear", RED_PHOTO, price=Value(double_value=9)))
    dear = Comparison(field="price", operator=Comparison.GREATER, values=[Value(int_value=5)])
    answer = await caller.search(RED_PHOTO, filter=Filter(comparison=dear))
    assert [hit.item_id for hit in answer.objects[0].hits] == ["dear"]
