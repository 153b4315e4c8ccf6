"""What a caller may rely on, of the fake as of the real service."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from PIL import Image

from semblance.client import (
    AsyncClient,
    Box,
    Client,
    ConflictError,
    FeedbackKind,
    Given,
    InvalidArgumentError,
    InvalidFilterError,
    InvalidImageError,
    NewItem,
    NotFoundError,
    Outcome,
    SearchRequest,
    SearchResult,
    Source,
    StoredImage,
    Verdict,
    WrongStateError,
    field,
)

Picture = Callable[..., bytes]


def test_a_put_says_what_it_did(client: Client, picture: Picture, prefix: str) -> None:
    mug = NewItem(prefix, [picture(prefix)], {f"{prefix}_price": 3})
    assert client.put_item(mug) is Outcome.CREATED
    assert client.put_item(mug) is Outcome.UNCHANGED
    assert client.put_item(NewItem(prefix, mug.images, {f"{prefix}_price": 4})) is Outcome.REPLACED
    assert client.put_item(NewItem(prefix, [picture(prefix, (200, 300))], {f"{prefix}_price": 4})) is Outcome.REPLACED


def test_get_returns_what_was_put(client: Client, picture: Picture, prefix: str) -> None:
    images = [picture(f"{prefix} {number}") for number in range(2)]
    values: dict[str, str | int | float | bool] = {"i": -7, "f": 1.5, "s": "ä\"'\\", "b": False}
    attributes = {f"{prefix}_{name}": value for name, value in values.items()}
    client.put_item(NewItem(prefix, images, attributes))

    item = client.get(prefix)
    assert item.item_id == prefix
    assert item.attributes == attributes
    assert {name: type(value) for name, value in item.attributes.items()} == {k: type(v) for k, v in attributes.items()}
    assert [image.image_id for image in item.images] == [hashlib.sha256(image).hexdigest() for image in images]
    assert [(image.width, image.height) for image in item.images] == [(320, 240)] * 2
    assert all(image.vectors >= 1 for image in item.images)
    assert [image.data for image in item.images] == [None, None]
    assert item.created_at <= item.updated_at
    assert [image.data for image in client.get(prefix, include_image_data=True).images] == images


def test_sizes_are_of_the_upright_image(client: Client, picture: Picture, prefix: str) -> None:
    exif = Image.Exif()
    exif[274] = 6
    sideways = picture(prefix, (320, 240), exif=exif)
    client.put_item(NewItem(prefix, [sideways]))
    [image] = client.get(prefix).images
    result = client.search(sideways)
    assert (image.width, image.height) == (result.image_width, result.image_height) == (240, 320)


def test_count_and_list_follow_puts_and_deletes(client: Client, picture: Picture, prefix: str) -> None:
    before = client.count()
    ids = [f"{prefix}-{number}" for number in range(3)]
    assert all(outcome is Outcome.CREATED for _, outcome in client.put(NewItem(one, [picture(one)]) for one in ids))
    after = client.count()
    assert (after.items, after.images) == (before.items + 3, before.images + 3)
    assert after.vectors >= before.vectors + 3

    listed = [item.item_id for item in client.list()]
    assert listed == sorted(listed)
    assert set(ids) <= set(listed)
    for one in ids:
        client.delete(one)
    assert client.count() == before
    assert not set(ids) & {item.item_id for item in client.list()}


def test_an_unknown_item_is_not_found(client: Client, prefix: str) -> None:
    with pytest.raises(NotFoundError, match=prefix):
        client.get(prefix)
    with pytest.raises(NotFoundError, match=prefix):
        client.delete(prefix)


def test_a_release_is_searched_by_its_id(client: Client, picture: Picture, prefix: str) -> None:
    image = picture(prefix)
    client.put_item(NewItem(prefix, [image]))
    serving = client.search(image).release
    named = client.search(image, release=serving, top_k=1)
    assert named.release == serving
    assert named.objects[0].hits[0].item_id == prefix
    with pytest.raises(NotFoundError, match=f"'never'; {serving} can be searched"):
        client.search(image, release="never")


def test_a_copy_finds_its_item_first(client: Client, picture: Picture, prefix: str) -> None:
    pictures = {f"{prefix}-{number}": picture(f"{prefix} {number}") for number in range(4)}
    for item_id, image in pictures.items():
        client.put_item(NewItem(item_id, [image]))
    for item_id, image in pictures.items():
        result = client.search(image, top_k=2)
        assert result.release
        for found in result.objects:
            best, second = found.hits
            assert best.item_id == item_id
            assert best.image_id == hashlib.sha256(image).hexdigest()
            assert 1.001 >= best.similarity > max(0.99, second.similarity)


def test_the_whole_image_is_one_object(client: Client, picture: Picture, prefix: str) -> None:
    result = client.search(picture(prefix), objects="whole_image")
    [found] = result.objects
    assert (found.source, found.box, found.score, found.class_name) == (
        Source.WHOLE_IMAGE,
        Box(0, 0, 320, 240),
        None,
        None,
    )
    assert not result.nothing_detected


def test_what_was_deleted_is_not_found_again(client: Client, picture: Picture, prefix: str) -> None:
    image = picture(prefix)
    client.put_item(NewItem(prefix, [image]))
    client.delete(prefix)
    hits = client.search(image, objects="whole_image", top_k=1000).objects[0].hits
    assert prefix not in {hit.item_id for hit in hits}


def test_filters_choose_among_items(client: Client, picture: Picture, prefix: str) -> None:
    price, colour = field(f"{prefix}_price"), field(f"{prefix}_colour")
    for number in range(4):
        attributes = {f"{prefix}_price": number} | ({f"{prefix}_colour": "red"} if number % 2 else {})
        client.put_item(NewItem(f"{prefix}-{number}", [picture(f"{prefix} {number}")], attributes))

    def found(condition: object) -> set[int]:
        options = {"filter": condition, "objects": "whole_image", "top_k": 100}
        hits = client.search(picture(prefix), **options).objects[0].hits  # type: ignore[arg-type]
        assert all(hit.item_id.startswith(prefix) for hit in hits)
        return {int(hit.item_id.rpartition("-")[2]) for hit in hits}

    assert found(price < 2) == {0, 1}
    assert found(price >= 1.5) == {2, 3}
    assert found((price == 3) | (price == 0)) == {0, 3}
    assert found(price.in_(1, 2) & (price != 1)) == {2}
    assert found(colour == "red") == {1, 3}
    assert found(~(colour == "red") & (price >= 0)) == {0, 2}
    assert found((colour != "red") & (price >= 0)) == set(), "a comparison with what an item does not have is false"
    assert found(field("item_id") == f"{prefix}-2") == {2}


def test_a_wrong_filter_is_refused(client: Client, picture: Picture, prefix: str) -> None:
    client.put_item(NewItem(prefix, [picture(prefix)], {f"{prefix}_price": 1}))
    with pytest.raises(InvalidFilterError, match="nonesuch"):
        client.search(picture(prefix), filter=field("nonesuch") == 1)
    with pytest.raises(InvalidFilterError, match=f"{prefix}_price"):
        client.search(picture(prefix), filter=field(f"{prefix}_price") == "cheap")


def test_more_comes_back_on_request_only(client: Client, picture: Picture, prefix: str) -> None:
    client.put_item(NewItem(prefix, [picture(prefix)], {f"{prefix}_price": 1}))
    only = field("item_id") == prefix
    plain = client.search(picture(prefix), filter=only)
    assert plain.timings is None
    assert plain.objects[0].embedding is None
    assert plain.objects[0].hits[0].attributes == {}

    full = client.search(
        picture(prefix), filter=only, include_attributes=True, include_embeddings=True, include_timings=True
    )
    assert full.objects[0].hits[0].attributes == {f"{prefix}_price": 1}
    assert full.objects[0].embedding
    assert math.hypot(*full.objects[0].embedding) == pytest.approx(1, abs=1e-3)
    assert full.timings
    assert full.timings.total > 0


def test_given_boxes_keep_their_order(client: Client, picture: Picture, prefix: str) -> None:
    boxes = [Box(100, 50, 300, 200), Box(0, 0, 80, 80)]
    result = client.search(picture(prefix), boxes=boxes)
    assert [found.source for found in result.objects] == [Source.GIVEN] * 2
    assert [found.box for found in result.objects] == boxes


def test_hits_below_the_least_similarity_are_left_out(client: Client, picture: Picture, prefix: str) -> None:
    client.put_item(NewItem(prefix, [picture(prefix)]))
    hits = client.search(picture(prefix), objects="whole_image", min_similarity=0.99, top_k=1000).objects[0].hits
    assert all(hit.similarity >= 0.99 for hit in hits)
    everything = client.search(picture(prefix), objects="whole_image", top_k=1000).objects[0].hits
    assert len(everything) <= client.count().items


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_k": 1001}, {"min_similarity": 1.5}, {"min_similarity": -2.0}])
def test_options_out_of_range_are_refused(client: Client, picture: Picture, options: dict[str, float]) -> None:
    with pytest.raises(InvalidArgumentError):
        client.search(picture("range"), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("box", [Box(0, 0, 321, 10), Box(-1, 0, 10, 10), Box(10, 0, 10, 10), Box(0, 20, 10, 10)])
def test_boxes_outside_the_image_are_refused(client: Client, picture: Picture, box: Box) -> None:
    with pytest.raises(InvalidArgumentError, match="box"):
        client.search(picture("box"), boxes=[box])


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "gif"])
def test_what_is_not_an_image_is_refused_and_the_service_goes_on(
    client: Client, picture: Picture, prefix: str, kind: str
) -> None:
    good = picture(prefix)
    bad = {
        "empty": b"",
        "text": b"hello",
        "truncated": good[: len(good) // 2],
        "gif": picture(prefix, file_format="GIF"),
    }
    with pytest.raises(InvalidImageError):
        client.search(bad[kind])
    with pytest.raises(InvalidImageError):
        client.put_item(NewItem(prefix, [good, bad[kind]]))
    with pytest.raises(NotFoundError):
        client.get(prefix)
    assert client.search(good).objects


def test_an_item_needs_an_id_and_an_image(client: Client, picture: Picture, prefix: str) -> None:
    with pytest.raises(InvalidArgumentError):
        client.put_item(NewItem(prefix, []))
    for item_id in ("", "x" * 257, "a\nb"):
        with pytest.raises(InvalidArgumentError):
            client.put_item(NewItem(item_id, [picture(prefix)]))


def test_an_attribute_keeps_its_type(client: Client, picture: Picture, prefix: str) -> None:
    name = f"{prefix}_weight"
    client.put_item(NewItem(f"{prefix}-1", [picture(f"{prefix} 1")], {name: 1.5}))
    client.put_item(NewItem(f"{prefix}-2", [picture(f"{prefix} 2")], {name: 2}))
    assert client.get(f"{prefix}-2").attributes == {name: 2.0}
    with pytest.raises(InvalidArgumentError, match=name):
        client.put_item(NewItem(f"{prefix}-3", [picture(f"{prefix} 3")], {name: "heavy"}))


def test_a_failure_inside_a_stream_does_not_end_it(client: Client, picture: Picture, prefix: str) -> None:
    items = [NewItem(f"{prefix}-{number}", [picture(f"{prefix} {number}")]) for number in range(6)]
    items.insert(3, NewItem(f"{prefix}-bad", [b"not an image"]))
    outcomes = {item.item_id: outcome for item, outcome in client.put(items, in_flight=3)}
    assert isinstance(outcomes.pop(f"{prefix}-bad"), InvalidImageError)
    assert list(outcomes.values()) == [Outcome.CREATED] * 6

    requests = [SearchRequest(item.images[0], top_k=1) for item in items]
    results = dict(client.search_many(requests, in_flight=3))
    assert len(results) == 7
    for request, item in zip(requests, items, strict=True):
        result = results[request]
        if item.item_id.endswith("bad"):
            assert isinstance(result, InvalidImageError)
        else:
            assert isinstance(result, SearchResult)
            assert result.objects[0].hits[0].item_id == item.item_id


async def test_the_async_client_does_the_same(service: str, picture: Picture, prefix: str) -> None:
    async with AsyncClient(service, timeout=60) as client:
        items = [NewItem(f"{prefix}-{number}", [picture(f"{prefix} {number}")]) for number in range(4)]
        items.append(NewItem(f"{prefix}-bad", [b"not an image"]))
        outcomes = {item.item_id: outcome async for item, outcome in client.put(items, in_flight=2)}
        assert isinstance(outcomes.pop(f"{prefix}-bad"), InvalidImageError)
        assert set(outcomes.values()) == {Outcome.CREATED}
        assert await client.put_item(items[0]) is Outcome.UNCHANGED
        assert (await client.get(f"{prefix}-1")).item_id == f"{prefix}-1"
        assert (await client.count()).items >= 4
        assert {item.item_id async for item in client.list()} >= set(outcomes)
        requests = [SearchRequest(item.images[0], top_k=1) for item in items]
        results = {request: result async for request, result in client.search_many(requests, in_flight=2)}
        assert isinstance(results.pop(requests[-1]), InvalidImageError)
        assert len(results) == 4
        alone = await client.search(items[2].images[0], top_k=1)
        assert alone.objects[0].hits[0].item_id == items[2].item_id
        await client.delete(f"{prefix}-1")
        with pytest.raises(NotFoundError):
            await client.get(f"{prefix}-1")


def test_a_verdict_is_found_measured_exported_and_deleted(client: Client, picture: Picture, prefix: str) -> None:
    photo = picture(f"{prefix} photo")
    client.put_item(NewItem(prefix, [photo]))
    result = client.search(photo, top_k=3)
    found = result.objects[0]
    assert found.hits[0].item_id == prefix
    said = (photo, result.release, Verdict.right(prefix), found)
    given = client.feedback.give(*said, feedback_id=prefix)
    assert given == Given(prefix, created=True)
    assert client.feedback.give(*said, feedback_id=prefix) == Given(prefix, created=False)
    by_id = StoredImage(hashlib.sha256(photo).hexdigest())
    assert not client.feedback.give(by_id, *said[1:], feedback_id=prefix).created
    with pytest.raises(ConflictError):
        client.feedback.give(photo, result.release, Verdict.wrong(prefix), found, feedback_id=prefix)

    [kept] = [each for each in client.feedback.list(kinds=[FeedbackKind.RIGHT]) if each.feedback_id == prefix]
    assert (kept.verdict, kept.success, kept.release) == (Verdict.right(prefix), True, result.release)
    assert kept.answered is not None
    assert (kept.answered.source, kept.answered.box) == (found.source, found.box)
    assert [hit.item_id for hit in kept.answered.hits] == [hit.item_id for hit in found.hits]
    assert (kept.image_id, kept.image_width) == (by_id.image_id, result.image_width)

    whole = client.feedback.report(caller=kept.caller).groups[0]
    assert whole.right >= 1
    assert whole.rate is not None
    [exported] = [each for each in client.feedback.export() if each.feedback.feedback_id == prefix]
    assert exported.image == photo

    added = client.feedback.add_reference(prefix)
    assert (added.item_id, added.added) == (prefix, True)
    assert client.feedback.add_reference(prefix) == replace(added, added=False)
    assert added.image_id in {image.image_id for image in client.get(prefix).images}

    assert client.feedback.delete([prefix]) == 1
    assert client.feedback.delete([prefix]) == 0
    assert prefix not in {each.feedback_id for each in client.feedback.list()}


def test_what_was_taken_back_is_no_reference(client: Client, picture: Picture, prefix: str) -> None:
    photo = picture(f"{prefix} photo")
    client.put_item(NewItem(prefix, [photo]))
    found = client.search(photo, top_k=3).objects[0]
    client.feedback.give(photo, "r1", Verdict.right(prefix), found, feedback_id=f"{prefix}-1")
    client.feedback.give(photo, "r1", Verdict.wrong(prefix), found, feedback_id=f"{prefix}-2")
    with pytest.raises(WrongStateError, match=f"'{prefix}-2' later took"):
        client.feedback.add_reference(f"{prefix}-1")
    assert client.feedback.delete([f"{prefix}-1", f"{prefix}-2"]) == 2


def test_what_was_missed_needs_no_object(client: Client, picture: Picture, prefix: str) -> None:
    photo = picture(f"{prefix} photo")
    given = client.feedback.give(photo, "r1", Verdict.missed(Box(5, 6, 70, 80), prefix))
    assert given.created
    [kept] = [each for each in client.feedback.list() if each.feedback_id == given.feedback_id]
    assert (kept.verdict.box, kept.true_item, kept.answered, kept.success) == (Box(5, 6, 70, 80), prefix, None, False)
    assert client.feedback.delete([given.feedback_id]) == 1


def test_verdicts_that_make_no_sense_are_refused(client: Client, picture: Picture, prefix: str) -> None:
    photo = picture(f"{prefix} photo")
    found = client.search(photo).objects[0]
    for verdict, answered in (
        (Verdict.right(f"{prefix} elsewhere"), found),
        (Verdict.item(""), found),
        (Verdict.missed(Box(0, 0, 9, 9)), found),
        (Verdict.box_wrong(), None),
        (Verdict(FeedbackKind.LOW_SIMILARITY), found),
    ):
        with pytest.raises(InvalidArgumentError):
            client.feedback.give(photo, "r1", verdict, answered)
    with pytest.raises(NotFoundError):
        client.feedback.give(photo, "r999", Verdict.item(prefix), found)
    with pytest.raises(NotFoundError):
        client.feedback.give(StoredImage("0" * 64), "r1", Verdict.item(prefix), found)
    with pytest.raises(InvalidImageError):
        client.feedback.give(b"no picture", "r1", Verdict.item(prefix), found)
