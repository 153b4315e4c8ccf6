"""What `CatalogService` answers."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from semblance.v1.catalog_pb2 import CountRequest, DeleteRequest, GetRequest, ListRequest, PutResponse
from semblance.v1.item_pb2 import Value
from tests.integration.service.world import BOTH, GREEN_PHOTO, PRICE, RED_PHOTO, Caller, World, item, reason


async def test_put_says_what_it_did(caller: Caller) -> None:
    outcomes = []
    for files in ([RED_PHOTO], [RED_PHOTO], [RED_PHOTO, GREEN_PHOTO], [GREEN_PHOTO, RED_PHOTO]):
        [answer] = await caller.put(item("a", *files))
        outcomes.append(PutResponse.Outcome.Name(answer.outcome))
    assert outcomes == ["CREATED", "UNCHANGED", "REPLACED", "REPLACED"]


async def test_a_put_that_fails_does_not_end_the_stream(caller: Caller, world: World) -> None:
    bad = item("bad", b"no image")
    answers = {answer.item_id: answer for answer in await caller.put(item("a", RED_PHOTO), bad, item("b", RED_PHOTO))}
    assert answers["a"].outcome == answers["b"].outcome == PutResponse.CREATED
    failure = answers["bad"].failure
    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT.value[0], "INVALID_IMAGE")
    assert "JPEG, PNG or WebP" in failure.message
    assert set(world.metadata.items) == {"a", "b"}


async def test_more_puts_than_the_window_are_all_answered(start: Callable[..., Any]) -> None:
    caller = await start(ingest_in_flight=2, ingest_queue=0)
    answers = await caller.put(*(item(f"i{number}", RED_PHOTO) for number in range(20)))
    assert sorted(answer.item_id for answer in answers) == sorted(f"i{number}" for number in range(20))
    assert {answer.outcome for answer in answers} == {PutResponse.CREATED}


async def test_get_gives_the_item_and_its_files(caller: Caller) -> None:
    await caller.put(item("a", RED_PHOTO, GREEN_PHOTO, name=Value(string_value="Ä"), **PRICE))
    got = await caller.catalog.Get(GetRequest(item_id="a"))
    assert dict(got.attributes) == {"name": Value(string_value="Ä"), **PRICE}
    assert [(image.width, image.height, image.vectors, image.data) for image in got.images] == [(320, 240, 1, b"")] * 2
    assert got.created_at.ToSeconds() > 1_700_000_000
    got = await caller.catalog.Get(GetRequest(item_id="a", include_image_data=True))
    assert [image.data for image in got.images] == [RED_PHOTO, GREEN_PHOTO]


async def test_delete_takes_the_item_out_of_everything(caller: Caller) -> None:
    await caller.put(item("a", RED_PHOTO))
    await caller.catalog.Delete(DeleteRequest(item_id="a"))
    assert not (await caller.search(RED_PHOTO)).objects[0].hits
    for call in (caller.catalog.Get(GetRequest(item_id="a")), caller.catalog.Delete(DeleteRequest(item_id="a"))):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert reason(raised.value)[:2] == (StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_count_and_list(caller: Caller) -> None:
    await caller.put(*(item(f"i{number}", RED_PHOTO, BOTH) for number in range(5)))
    count = await caller.catalog.Count(CountRequest())
    assert (count.items, count.images, count.vectors) == (5, 10, 15)
    listed: list[list[str]] = []
    token = ""
    while not listed or token:
        page = await caller.catalog.List(ListRequest(page_size=2, page_token=token))
        listed.append([found.item_id for found in page.items])
        token = page.next_page_token
    assert listed == [["i0", "i1"], ["i2", "i3"], ["i4"]]
