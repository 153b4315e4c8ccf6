"""What the caller sees where something goes wrong."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from semblance.client import AsyncClient, NotFoundError
from semblance.orchestrator.dependency import FAILURES
from semblance.orchestrator.errors import DependencyUnavailable
from semblance.orchestrator.grpc_edge import searcher
from semblance.v1.search_pb2 import SearchRequest
from tests.integration.service.world import PATIENCE, RED_PHOTO, Caller, World, item, reason, until


async def test_what_is_too_much_is_refused_at_once(start: Callable[..., Any], world: World) -> None:
    caller = await start(search_in_flight=1, search_queue=1)
    world.models.gate.clear()
    searches = [asyncio.ensure_future(caller.search(RED_PHOTO)) for _ in range(3)]
    [refused], accepted = await asyncio.wait(searches, return_when=asyncio.FIRST_COMPLETED)
    error = refused.exception()
    assert isinstance(error, grpc.aio.AioRpcError)
    code, text, delay = reason(error)
    assert (code, text) == (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert delay is not None
    assert 0 < delay < 1
    world.models.gate.set()
    assert all(answer.objects for answer in await asyncio.gather(*accepted))


async def test_a_dependency_that_fails_is_unavailable_and_worth_a_retry(caller: Caller, world: World) -> None:
    world.models.fail(DependencyUnavailable("Triton at x does not answer"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await caller.search(RED_PHOTO)
    assert reason(raised.value) == (StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE", 1.0)
    assert (await caller.search(RED_PHOTO)).objects


async def test_a_delete_that_grpc_repeats_ends_what_it_began(caller: Caller, world: World) -> None:
    await caller.put(item("red", RED_PHOTO))
    async with AsyncClient(caller.address) as client:
        world.index.fail(DependencyUnavailable("Milvus at x does not answer"))
        await client.delete("red")
        assert not (await caller.search(RED_PHOTO)).objects[0].hits
        with pytest.raises(NotFoundError):
            await client.delete("red")


async def test_nothing_is_computed_for_a_search_while_milvus_is_missing(caller: Caller, world: World) -> None:
    world.index.fail(*map(DependencyUnavailable, ["Milvus at x does not answer"] * 1000))
    computed = []
    for _ in range(FAILURES + 2):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await caller.search(RED_PHOTO)
        assert reason(raised.value)[0] is StatusCode.UNAVAILABLE
        computed.append(len(world.models.requests))
    # A detection and an embedding each, until Milvus is known to be missing.
    assert computed[FAILURES - 1 :] == [2 * FAILURES] * 3


async def test_a_defect_is_internal_and_shows_nothing(
    caller: Caller, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.models.fail(KeyError("secret"), KeyError("secret"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await caller.search(RED_PHOTO)
    assert reason(raised.value) == (StatusCode.INTERNAL, "INTERNAL", None)
    assert "secret" not in str(raised.value)
    error_id = str(raised.value.details()).split()[2].rstrip(";")
    assert any(error_id in record.getMessage() for record in caplog.records)
    [answer] = await caller.put(item("a", RED_PHOTO))
    assert answer.failure.reason == "INTERNAL"
    assert "secret" not in answer.failure.message
    assert (await caller.search(RED_PHOTO)).objects


@pytest.mark.parametrize("named", [None, 100.0])
async def test_a_request_without_a_short_deadline_gets_the_services(
    start: Callable[..., Any], world: World, named: float | None
) -> None:
    caller = await start(default_deadline=0.2, max_deadline=0.3)
    world.models.gate.clear()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await caller.search(RED_PHOTO, timeout=named)
    assert reason(raised.value) == (StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", None)
    await until(lambda: world.models.cancelled == 1)
    stream = caller.searching.SearchStream(iter([SearchRequest(image=RED_PHOTO)]), timeout=named)
    [answer] = [answer async for answer in stream]
    assert answer.failure.reason == "DEADLINE_EXCEEDED"


async def test_a_callers_deadline_is_kept(caller: Caller, world: World) -> None:
    world.models.gate.clear()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await caller.search(RED_PHOTO, timeout=0.2)
    assert raised.value.code() is StatusCode.DEADLINE_EXCEEDED
    await until(lambda: world.models.cancelled == 1)


async def test_who_goes_away_leaves_his_place_in_the_queue_and_in_flight(
    start: Callable[..., Any], world: World
) -> None:
    caller = await start(search_in_flight=1, search_queue=1)
    world.models.gate.clear()

    async def refused() -> bool:
        """Whether one more is, of two that come when one of two places is taken."""
        searches = [asyncio.ensure_future(caller.search(RED_PHOTO)) for _ in range(2)]
        [first], [waiting] = await asyncio.wait(searches, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await asyncio.wait({waiting})
        error = first.exception()
        return isinstance(error, grpc.aio.AioRpcError) and error.code() is StatusCode.RESOURCE_EXHAUSTED

    first = asyncio.ensure_future(caller.search(RED_PHOTO))
    await until(lambda: world.models.waiting == 1)
    async with asyncio.timeout(PATIENCE):
        assert await refused()
        assert await refused()
    first.cancel()
    await until(lambda: world.models.cancelled == 1)
    second = asyncio.ensure_future(caller.search(RED_PHOTO))
    await until(lambda: world.models.waiting == 1)
    world.models.gate.set()
    assert (await second).objects


async def test_a_search_without_time_enough_is_refused_before_it_costs_anything(
    start: Callable[..., Any], world: World
) -> None:
    """A fake service is quick: a search held up at the gate makes it a slow one."""
    caller = await start(search_in_flight=2)
    for _ in range(8):
        world.models.gate.clear()
        search = asyncio.ensure_future(caller.search(RED_PHOTO))
        await until(lambda: world.models.waiting == 1)
        asyncio.get_running_loop().call_later(0.3, world.models.gate.set)
        await search
    world.models.gate.clear()
    first = asyncio.ensure_future(caller.search(RED_PHOTO))
    await until(lambda: world.models.waiting == 1)
    with pytest.raises(grpc.aio.AioRpcError, match="a search takes at least") as raised:
        await caller.search(RED_PHOTO, timeout=0.1)
    assert reason(raised.value)[:2] == (StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert world.models.waiting == 1
    world.models.gate.set()
    await first


async def test_an_answer_that_is_too_large_is_refused_in_our_words(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searcher, "MAX_ANSWER_BYTES", 100)
    with pytest.raises(grpc.aio.AioRpcError, match="ask for fewer items or objects") as raised:
        await caller.search(RED_PHOTO, include_embeddings=True)
    assert reason(raised.value) == (StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", None)
