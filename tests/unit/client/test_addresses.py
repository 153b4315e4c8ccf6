"""Several orchestrators behind one client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse

from semblance.client import AsyncClient, Client, UnavailableError
from semblance.v1 import catalog_pb2

PATIENCE = 20.0
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


class Orchestrator:
    """Takes calls of `Count`, and counts them in `calls`; its health is what `takes_traffic` says.

    `lacks`: it can't answer them for want of something that it needs.
    """

    def __init__(self, *, knows_traffic: bool = True) -> None:
        self.calls = 0
        self.lacks = False
        self._health = HealthServicer()
        self._server = grpc.server(ThreadPoolExecutor(8))
        count = grpc.unary_unary_rpc_method_handler(
            self._count, catalog_pb2.CountRequest.FromString, catalog_pb2.CountResponse.SerializeToString
        )
        service = grpc.method_handlers_generic_handler("semblance.v1.CatalogService", {"Count": count})
        self._server.add_generic_rpc_handlers((service,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        # What does not serve, as searches without Milvus, says so better than its balancer.
        self._health.set("", NOT_SERVING)
        if knows_traffic:
            self.takes_traffic(True)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def takes_traffic(self, it_does: bool) -> None:
        self._health.set("traffic", SERVING if it_does else NOT_SERVING)

    def close(self) -> None:
        self._server.stop(None).wait()

    def _count(self, request: Any, context: Any) -> catalog_pb2.CountResponse:
        self.calls += 1
        if self.lacks:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Milvus does not answer")
        return catalog_pb2.CountResponse(items=1)


@pytest.fixture
def pair() -> Iterator[tuple[Orchestrator, Orchestrator]]:
    with ExitStack() as stack:
        first, second = Orchestrator(), Orchestrator()
        for each in (first, second):
            stack.callback(each.close)
        yield first, second


def target(pair: tuple[Orchestrator, Orchestrator]) -> str:
    return f"ipv4:{','.join(each.address for each in pair)}"


def gets(client: Client, *orchestrators: Orchestrator) -> None:
    """Waits until all calls go to these, and each of them gets some."""
    limit = time.monotonic() + PATIENCE
    counts: list[int] = []
    while sum(counts) != 10 or not all(counts):
        assert time.monotonic() < limit
        before = [each.calls for each in orchestrators]
        for _ in range(10):
            assert client.count().items == 1
        counts = [each.calls - count for each, count in zip(orchestrators, before, strict=True)]


def test_calls_take_turns(pair: tuple[Orchestrator, Orchestrator]) -> None:
    with Client(target(pair)) as client:
        gets(client, *pair)


def test_calls_of_asyncio_take_turns(pair: tuple[Orchestrator, Orchestrator]) -> None:
    async def some() -> None:
        async with AsyncClient(target(pair)) as client, asyncio.timeout(PATIENCE):
            while not all(each.calls for each in pair):
                await client.count()

    asyncio.run(some())


def test_whoever_takes_no_traffic_gets_none(pair: tuple[Orchestrator, Orchestrator]) -> None:
    first, second = pair
    first.takes_traffic(False)
    with Client(target(pair)) as client:
        gets(client, second)
        assert first.calls == 0
        first.takes_traffic(True)
        gets(client, *pair)
        first.takes_traffic(False)
        gets(client, second)
        second.takes_traffic(False)
        # It may not have heard of it yet.
        with pytest.raises(UnavailableError, match="cannot reach ipv4:"):
            gets(client, *pair)


def test_one_of_before_there_was_traffic_gets_none() -> None:
    older, newer = Orchestrator(knows_traffic=False), Orchestrator()
    with closing(older), closing(newer), Client(target((older, newer))) as client:
        for _ in range(10):
            assert client.count().items == 1
        assert (older.calls, newer.calls) == (0, 10)


def test_what_one_alone_lacks_a_call_gets_from_another_one(pair: tuple[Orchestrator, Orchestrator]) -> None:
    first, _ = pair
    with Client(target(pair)) as client:
        gets(client, *pair)
        first.lacks, first.calls = True, 0
        for _ in range(10):
            assert client.count().items == 1
        assert first.calls > 0


def test_nobody_notices_that_one_goes(pair: tuple[Orchestrator, Orchestrator]) -> None:
    first, second = pair
    with Client(target(pair)) as client:
        gets(client, *pair)
        first.close()
        gets(client, second)
