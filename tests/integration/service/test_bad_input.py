"""Each bad request is refused with help, and the service goes on."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from semblance.v1.catalog_pb2 import ListRequest
from semblance.v1.item_pb2 import Box, Comparison, Filter, Value
from semblance.v1.search_pb2 import SearchOptions, SearchRequest, SearchStreamResponse
from tests.integration.service.world import PATIENCE, PRICE, RED_PHOTO, Caller, item, photo, reason


def compare(field: str, value: Value) -> Filter:
    return Filter(comparison=Comparison(field=field, operator=Comparison.EQUAL, values=[value]))


BAD_SEARCHES = [
    (SearchRequest(), "INVALID_IMAGE", "empty"),
    (SearchRequest(image=b"GIF89a no"), "INVALID_IMAGE", "JPEG, PNG or WebP"),
    (SearchRequest(image=RED_PHOTO[:-80]), "INVALID_IMAGE", "truncated"),
    (SearchRequest(image=photo(kind="GIF")), "INVALID_IMAGE", "JPEG, PNG or WebP"),
    (SearchRequest(image=bytes(100_001)), "INVALID_IMAGE", "at most 100,000"),
    (SearchRequest(image=RED_PHOTO, options=SearchOptions(top_k=0)), "INVALID_ARGUMENT", "1 to 1000"),
    (SearchRequest(image=RED_PHOTO, options=SearchOptions(min_similarity=2)), "INVALID_ARGUMENT", "-1 to 1"),
    (
        SearchRequest(image=RED_PHOTO, options=SearchOptions(boxes=[Box(x2=321, y2=240)])),
        "INVALID_ARGUMENT",
        "not inside the image: expected 0 ≤ x1 < x2 ≤ 320",
    ),
    (
        SearchRequest(image=RED_PHOTO, options=SearchOptions(boxes=[Box(x1=5, x2=5, y2=5)])),
        "INVALID_ARGUMENT",
        "not inside",
    ),
    (
        SearchRequest(image=RED_PHOTO, options=SearchOptions(filter=compare("sise", Value(int_value=1)))),
        "INVALID_FILTER",
        "unknown filter field 'sise'; the catalogue has item_id, price",
    ),
    (
        SearchRequest(image=RED_PHOTO, options=SearchOptions(filter=compare("price", Value(string_value="1")))),
        "INVALID_FILTER",
        "price is a double",
    ),
    (SearchRequest(image=RED_PHOTO, options=SearchOptions(filter=Filter())), "INVALID_FILTER", "empty"),
]


async def test_bad_searches_are_refused_with_help_and_the_service_goes_on(start: Callable[..., Any]) -> None:
    caller = await start(max_image_bytes=100_000)
    await caller.put(item("a", RED_PHOTO, **PRICE))
    for request, expected, message in BAD_SEARCHES:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await caller.searching.Search(request)
        assert reason(raised.value) == (StatusCode.INVALID_ARGUMENT, expected, None)
        assert message in (raised.value.details() or "")

    numbered = [SearchRequest() for _ in BAD_SEARCHES]
    for number, (request, _, _) in enumerate(BAD_SEARCHES):
        numbered[number].CopyFrom(request)
        numbered[number].request_id = str(number)
    answers = [answer async for answer in caller.searching.SearchStream(iter(numbered))]
    assert {answer.request_id: answer.failure.reason for answer in answers} == {
        str(number): expected for number, (_, expected, _) in enumerate(BAD_SEARCHES)
    }
    assert (await caller.search(RED_PHOTO)).objects[0].hits[0].item_id == "a"


async def test_a_put_of_another_type_is_refused(caller: Caller) -> None:
    await caller.put(item("a", RED_PHOTO, **PRICE))
    [answer] = await caller.put(item("b", RED_PHOTO, price=Value(string_value="much")))
    assert answer.failure.reason == "INVALID_ARGUMENT"
    assert "price is a double" in answer.failure.message


async def test_a_page_token_that_is_not_ours_is_refused(caller: Caller) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await caller.catalog.List(ListRequest(page_token="x"))
    assert reason(raised.value)[:2] == (StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


async def test_bytes_that_are_no_message_are_refused(caller: Caller) -> None:
    channel: Any = caller.channel
    for method in ("SearchService/Search", "CatalogService/Get"):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(f"/semblance.v1.{method}")(b"\xff\xff", timeout=PATIENCE)
        assert reason(raised.value) == (StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", None)


async def test_a_stream_ends_behind_bytes_that_are_no_message_and_answers_what_came_before(caller: Caller) -> None:
    good = SearchRequest(request_id="good", image=RED_PHOTO).SerializeToString()
    channel: Any = caller.channel
    stream = channel.stream_stream("/semblance.v1.SearchService/SearchStream")(
        iter([good, b"\xff\xff"]), timeout=PATIENCE
    )
    answer = SearchStreamResponse.FromString(await stream.read())
    assert (answer.request_id, answer.HasField("response")) == ("good", True)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stream.read()
    assert reason(raised.value) == (StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", None)


@pytest.mark.parametrize("text", ["x" * 100_000, "\U0001f0cf" * 4000])
async def test_an_error_that_quotes_the_caller_stays_short_enough_for_it(caller: Caller, text: str) -> None:
    """gRPC's clients break a call off whose trailers exceed 16 KiB, and may from 8 KiB on."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await caller.search(RED_PHOTO, filter=compare(text, Value(int_value=1)))
    assert reason(raised.value) == (StatusCode.INVALID_ARGUMENT, "INVALID_FILTER", None)
    assert sum(len(value) for _, value in raised.value.trailing_metadata() or ()) < 8192
