"""A request's id, from its caller through the log and back."""

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from semblance.orchestrator.logs import JsonFormatter
from semblance.v1.search_pb2 import SearchRequest
from tests.integration.service.world import PATIENCE, RED_PHOTO, Caller, World

KEY = "x-request-id"


class Lines(logging.Handler):
    """The log, as it is written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter())
        self.written: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(json.loads(self.format(record)))


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    logger, handler = logging.getLogger("semblance"), Lines()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler.written
    logger.removeHandler(handler)
    logger.setLevel(before)


def search(caller: Caller, *metadata: tuple[str, str], image: bytes = RED_PHOTO) -> Any:
    return caller.searching.Search(SearchRequest(image=image), metadata=metadata, timeout=PATIENCE)


async def trailing(call: Any) -> list[str]:
    return [value for key, value in await call.trailing_metadata() if key == KEY]


async def test_the_callers_own_id_is_kept_and_another_made_where_there_is_none(caller: Caller) -> None:
    assert await trailing(search(caller, (KEY, "order-7/a"))) == ["order-7/a"]
    made = [await trailing(search(caller, *metadata)) for metadata in ((), ((KEY, "two words"),), ((KEY, "x" * 200),))]
    assert len({each for [each] in made}) == 3
    assert all(len(each) == 16 for [each] in made)


async def test_a_failure_carries_the_id_beside_its_details(caller: Caller) -> None:
    call = search(caller, (KEY, "order-8"), image=b"no image")
    with pytest.raises(grpc.aio.AioRpcError):
        await call
    assert await trailing(call) == ["order-8"]
    assert "grpc-status-details-bin" in {key for key, _ in await call.trailing_metadata()}


async def test_every_line_of_a_request_carries_its_id(
    caller: Caller, world: World, lines: list[dict[str, Any]]
) -> None:
    world.index.fail(*(ValueError("a defect") for _ in range(2)))
    # At once: what one of them logs is not to be taken for the other's.
    calls = [search(caller, (KEY, name)) for name in ("first", "second")]
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, grpc.aio.AioRpcError)
        assert error.code() is grpc.StatusCode.INTERNAL
    for name in ("first", "second"):
        mine = [line for line in lines if line.get("request_id") == name]
        assert any("internal error" in line["message"] and "a defect" in line["exception"] for line in mine)
        assert {(line["method"], line["release"]) for line in mine} == {("semblance.v1.SearchService/Search", "r1")}
    assert not [line for line in lines if "internal error" in line["message"] and "request_id" not in line]


async def test_a_message_of_a_stream_has_the_streams_id_and_its_number(
    caller: Caller, lines: list[dict[str, Any]]
) -> None:
    requests = [SearchRequest(request_id=name, image=b"no image") for name in ("a", "b")]
    stream = caller.searching.SearchStream(iter(requests), metadata=((KEY, "bulk"),), timeout=PATIENCE)
    assert len([answer async for answer in stream]) == 2
    failed = [line["request_id"] for line in lines if line["message"].startswith("failed with INVALID_ARGUMENT")]
    assert sorted(failed) == ["bulk/1", "bulk/2"]
