"""What no message can carry is refused with the client's own errors, which name it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from semblance.client import (
    AsyncClient,
    Box,
    Client,
    Filter,
    InvalidArgumentError,
    InvalidFilterError,
    InvalidImageError,
    NewItem,
    Outcome,
    SearchRequest,
    SearchResult,
    SemblanceError,
    field,
)
from semblance.client import _translate as translate
from semblance.client._filters import All
from semblance.client.testing import FakeSemblance
from semblance.v1 import search_pb2

Picture = Callable[[int], bytes]

SURROGATE = "m\udcff"
"""As a file name has it that is no UTF-8."""


def nested(depth: int, wrap: Callable[[Filter], Filter]) -> Filter:
    condition: Filter = field("price") == 1
    for _ in range(depth - 1):
        condition = wrap(condition)
    return condition


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"top_k": -1}, InvalidArgumentError, "top_k is -1, but must be a whole number from 1 to 1000"),
        ({"top_k": 2**40}, InvalidArgumentError, "top_k is 1099511627776"),
        ({"top_k": 7.5}, InvalidArgumentError, "top_k is 7.5"),
        ({"release": 2}, InvalidArgumentError, "release is 2, but must be a release's id, such as 'r2'"),
        ({"min_similarity": "high"}, InvalidArgumentError, "min_similarity is 'high', but must be a number"),
        ({"include_timings": "yes"}, InvalidArgumentError, "include_timings is 'yes', but must be a bool"),
        ({"objects": "some"}, InvalidArgumentError, "objects is 'some', but must be one of 'all', 'largest'"),
        ({"objects": "largest", "boxes": [Box(0, 0, 1, 1)]}, InvalidArgumentError, "boxes exclude"),
        ({"boxes": [(0, 0, 1, 1)]}, InvalidArgumentError, "a box is (0, 0, 1, 1), but must be a Box"),
        ({"filter": field(SURROGATE) == 1}, InvalidFilterError, r"a filter's field is 'm\udcff'"),
        ({"filter": field("price") == 2**63}, InvalidFilterError, "compared with price is 9223372036854775808"),
        ({"filter": field("price").in_(1, None)}, InvalidFilterError, "compared with price is None"),  # type: ignore[arg-type]
        ({"filter": "price<3"}, InvalidFilterError, "made with field(...)"),
        ({"filter": nested(120, lambda inner: ~inner)}, InvalidFilterError, "more than 40 conditions deep"),
        ({"filter": nested(9000, lambda inner: ~inner)}, InvalidFilterError, "more than 40 conditions deep"),
    ],
)
def test_a_search(client: Client, options: dict[str, Any], kind: type[SemblanceError], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        client.search(b"photo", **options)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (NewItem(SURROGATE, [b"x"]), r"item_id is 'm\udcff', but must be Unicode text"),
        (NewItem(7, [b"x"]), "item_id is 7"),  # type: ignore[arg-type]
        (NewItem("mug", [b"x"], {"size": -(2**63) - 1}), "attribute size is -9223372036854775809, but must be"),
        (NewItem("mug", [b"x"], {"size": [1]}), "attribute size is [1]"),  # type: ignore[dict-item]
        (NewItem("mug", [b"x"], {"colour": SURROGATE}), r"attribute colour is 'm\udcff'"),
        (NewItem("mug", [b"x"], {SURROGATE: 1}), r"an attribute's name is 'm\udcff'"),
        (NewItem("mug", ["a\0b.jpg"]), r"image is 'a\x00b.jpg', but must be the bytes of an image file or its path"),
        (NewItem("mug", b"x"), "image is 120"),  # type: ignore[arg-type]
    ],
)
def test_an_item(client: Client, item: NewItem, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=re.escape(message)):
        client.put_item(item)


@pytest.mark.parametrize("timeout", [math.inf, math.nan, 1e300])
def test_a_time(fake: FakeSemblance, timeout: float) -> None:
    with Client(fake.target, timeout=timeout) as client, pytest.raises(InvalidArgumentError, match="timeout is"):
        client.put_item(NewItem("mug", [b"x"]))


async def test_an_id_that_is_asked_for(fake: FakeSemblance, client: Client) -> None:
    with pytest.raises(InvalidArgumentError, match="item_id is"):
        client.get(SURROGATE)
    with pytest.raises(InvalidArgumentError, match="item_id is"):
        client.delete(SURROGATE)
    async with AsyncClient(fake.target) as asynchronous:
        with pytest.raises(InvalidArgumentError, match="item_id is"):
            await asynchronous.get(SURROGATE)
        with pytest.raises(InvalidArgumentError, match="item_id is"):
            await asynchronous.delete(SURROGATE)


def test_it_does_not_end_a_stream(client: Client, picture: Picture) -> None:
    items = [NewItem("mug", [picture(1)]), NewItem(SURROGATE, [picture(2)]), NewItem("cup", [picture(3)])]
    outcomes = dict(client.put(items))
    assert isinstance(outcomes.pop(items[1]), InvalidArgumentError)
    assert list(outcomes.values()) == [Outcome.CREATED] * 2
    requests = [SearchRequest(picture(1)), SearchRequest(picture(1), top_k=-1), SearchRequest(bytearray(b"x"))]  # type: ignore[arg-type]
    results = dict(client.search_many(requests))
    assert isinstance(results[requests[0]], SearchResult)
    assert type(results[requests[1]]) is InvalidArgumentError
    assert type(results[requests[2]]) is InvalidImageError


@pytest.mark.parametrize("wrap", [lambda inner: ~inner, lambda inner: All((inner,))])
def test_the_deepest_filter_can_be_read(wrap: Callable[[Filter], Filter]) -> None:
    deepest = nested(translate.MAX_FILTER_DEPTH, wrap)
    message = translate.search_message(SearchRequest(b"photo", filter=deepest))
    assert search_pb2.SearchRequest.FromString(message.SerializeToString()) == message
