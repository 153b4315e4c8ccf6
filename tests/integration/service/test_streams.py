"""Several requests of one stream at once."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from semblance.client import AsyncClient, DeadlineExceededError, NewItem, Outcome, SemblanceError
from semblance.orchestrator.grpc_edge.stream import Streams
from semblance.v1.catalog_pb2 import PutRequest
from semblance.v1.search_pb2 import SearchRequest
from tests.integration.service.world import GREEN_PHOTO, PATIENCE, RED_PHOTO, Caller, World, item, until


async def test_answers_of_a_stream_come_as_they_are_ready(caller: Caller, world: World) -> None:
    world.models.gate.clear()
    stream = caller.searching.SearchStream(timeout=PATIENCE)
    await stream.write(SearchRequest(request_id="slow", image=RED_PHOTO))
    await until(lambda: world.models.waiting == 1)
    await stream.write(SearchRequest(request_id="bad"))
    assert (await stream.read()).request_id == "bad"
    world.models.gate.set()
    answer = await stream.read()
    assert (answer.request_id, answer.response.request_id) == ("slow", "slow")
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is StatusCode.OK


async def test_an_id_in_flight_is_refused_once_more_but_free_again_after(caller: Caller, world: World) -> None:
    world.models.gate.clear()
    stream = caller.searching.SearchStream(timeout=PATIENCE)
    await stream.write(SearchRequest(request_id="a", image=RED_PHOTO))
    await stream.write(SearchRequest(request_id="a", image=RED_PHOTO))
    refused = await stream.read()
    assert (refused.request_id, refused.failure.reason) == ("a", "INVALID_ARGUMENT")
    world.models.gate.set()
    assert (await stream.read()).WhichOneof("result") == "response"
    await stream.write(SearchRequest(request_id="a", image=RED_PHOTO))
    assert (await stream.read()).WhichOneof("result") == "response"
    await stream.done_writing()


async def test_a_stream_works_on_no_more_than_its_window(start: Callable[..., Any], world: World) -> None:
    caller = await start(search_in_flight=2, search_queue=1)
    world.models.gate.clear()
    requests = [SearchRequest(request_id=str(number), image=RED_PHOTO) for number in range(6)]
    stream = caller.searching.SearchStream(iter(requests), timeout=PATIENCE)
    await until(lambda: world.models.waiting == 2)
    world.models.gate.set()
    answers = [answer async for answer in stream]
    assert sorted(answer.request_id for answer in answers) == [str(number) for number in range(6)]
    assert {answer.WhichOneof("result") for answer in answers} == {"response"}


@pytest.mark.parametrize("asked", [0.2, 100.0])
async def test_a_request_of_a_stream_names_its_own_time(start: Callable[..., Any], world: World, asked: float) -> None:
    caller = await start(default_deadline=PATIENCE, max_deadline=0.3 if asked > 1 else PATIENCE)
    world.models.gate.clear()
    request = SearchRequest(image=RED_PHOTO)
    request.timeout.FromNanoseconds(round(asked * 1e9))
    [answer] = [answer async for answer in caller.searching.SearchStream(iter([request]))]
    assert answer.failure.reason == "DEADLINE_EXCEEDED"
    await until(lambda: world.models.cancelled == 1)
    request.timeout.FromNanoseconds(0)
    [answer] = [answer async for answer in caller.searching.SearchStream(iter([request]))]
    assert answer.failure.reason == "INVALID_ARGUMENT"
    assert "timeout" in answer.failure.message


@pytest.mark.parametrize("asked", [0.2, 100.0])
async def test_a_put_names_its_own_time(start: Callable[..., Any], world: World, asked: float) -> None:
    caller = await start(max_deadline=0.3 if asked > 1 else 60)
    world.models.gate.clear()
    request = PutRequest(item=item("a", RED_PHOTO))
    request.timeout.FromNanoseconds(round(asked * 1e9))
    async with asyncio.timeout(PATIENCE):
        [answer] = [answer async for answer in caller.catalog.Put(iter([request]))]
    assert (answer.item_id, answer.failure.reason) == ("a", "DEADLINE_EXCEEDED")
    await until(lambda: world.models.cancelled == 1)
    request.timeout.FromNanoseconds(0)
    [answer] = [answer async for answer in caller.catalog.Put(iter([request]))]
    assert answer.failure.reason == "INVALID_ARGUMENT"
    assert "timeout" in answer.failure.message


async def test_what_is_too_slow_fails_alone(
    start: Callable[..., Any], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client sends more at once than the service works on, whose time begins when they are read."""
    monkeypatch.setattr("semblance.client._channel.STREAM_GRACE", 2.0)
    caller = await start(ingest_in_flight=1)
    slow = [NewItem(str(number), [RED_PHOTO]) for number in range(4)]
    world.models.gate.clear()

    async def items() -> AsyncIterator[NewItem]:
        for one in slow:
            yield one
        await until(lambda: len(outcomes) == len(slow))
        world.models.gate.set()
        yield NewItem("quick", [GREEN_PHOTO])

    outcomes: dict[str, Outcome | SemblanceError] = {}
    async with AsyncClient(caller.address, timeout=1.0) as client:
        async for one, outcome in client.put(items()):
            outcomes[one.item_id] = outcome
    assert outcomes.pop("quick") is Outcome.CREATED
    assert [type(outcome) for outcome in outcomes.values()] == [DeadlineExceededError] * len(slow)


async def test_a_caller_that_goes_away_cancels_its_requests(
    caller: Caller, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.models.gate.clear()
    stream = caller.searching.SearchStream()
    for number in range(3):
        await stream.write(SearchRequest(request_id=str(number), image=RED_PHOTO))
    unary = caller.searching.Search(SearchRequest(image=RED_PHOTO))
    await until(lambda: world.models.waiting == 4)
    stream.cancel()
    unary.cancel()
    await until(lambda: world.models.cancelled == 4)
    world.models.gate.set()
    assert (await caller.search(RED_PHOTO)).objects
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_caller_who_is_gone_when_it_is_answered_is_no_error() -> None:
    class Gone:
        async def write(self, response: int) -> None:
            raise grpc.aio.InternalError("the call has ended")

    async def requests() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async def answer(request: int) -> int:
        return request

    context: Any = Gone()
    await Streams(lambda _: nullcontext()).converse(requests(), answer, 1, context)
