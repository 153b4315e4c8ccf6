"""Callers of every kind, good and bad, each in a closed loop."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO
from random import Random
from typing import Any

import grpc
import numpy as np
from PIL import Image

from semblance.v1.catalog_pb2 import CountRequest, DeleteRequest, GetRequest, PutRequest
from semblance.v1.catalog_pb2_grpc import CatalogServiceStub
from semblance.v1.item_pb2 import Comparison, Filter, Item, ItemImage, Value
from semblance.v1.search_pb2 import SearchOptions, SearchRequest
from semblance.v1.search_pb2_grpc import SearchServiceStub
from tests.fuzz import port

# Items are put and deleted over and over, so that the catalogue does not grow.
ITEMS = 50
PHOTOS = 16
SEARCHERS = 4
STREAM = 8
# Milvus Lite builds its index anew now and then, and all wait meanwhile.
PATIENCE = 60.0
CHEAP = Filter(comparison=Comparison(field="price", operator=Comparison.LESS, values=[Value(double_value=5.0)]))
# What a caller who does everything right may be told, and tries again.
REFUSALS = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED}


def drawn(number: int) -> bytes:
    """A JPEG of 480 × 360, different for each number."""
    pixels = np.random.default_rng(number).integers(0, 255, (12, 16, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).resize((480, 360)).save(buffer, "JPEG")
    return buffer.getvalue()


class Load:
    """`calls` counts them by kind, `failures` holds what must not happen."""

    def __init__(self, address: str, seed: int, methods: list[port.Method]) -> None:
        self.calls: Counter[str] = Counter()
        self.failures: list[str] = []
        self._address = address
        self._seed = seed
        self._inputs = port.Inputs(methods, seed)
        self._photos = [drawn(number) for number in range(PHOTOS)]

    async def run(self) -> None:
        """Until it is cancelled."""
        async with grpc.aio.insecure_channel(self._address) as channel, asyncio.TaskGroup() as callers:
            # Filters name attributes that an item has had.
            await self._put(channel, Random(self._seed))
            kinds: list[Callable[[grpc.aio.Channel, Random], Awaitable[None]]] = [
                *[self._search] * SEARCHERS,
                self._stream,
                self._put,
                self._delete,
                self._bad,
                self._cancelled,
                self._late,
                self._reconnect,
            ]
            for number, call in enumerate(kinds):
                callers.create_task(self._repeat(call, channel, Random(f"{self._seed} {number}")))

    async def _repeat(
        self, call: Callable[[grpc.aio.Channel, Random], Awaitable[None]], channel: grpc.aio.Channel, random: Random
    ) -> None:
        kind = call.__name__.strip("_")
        while True:
            try:
                await call(channel, random)
            except grpc.aio.AioRpcError as error:
                if error.code() not in REFUSALS:
                    self.failures.append(f"{kind}: {error.code().name}: {error.details()}")
            except port.Unhandled as error:
                self.failures.append(f"{kind}: {error}")
            self.calls[kind] += 1

    def _query(self, random: Random) -> SearchRequest:
        options = SearchOptions(top_k=random.randint(1, 50), include_attributes=random.random() < 0.5)
        if random.random() < 0.3:
            options.filter.CopyFrom(CHEAP)
        return SearchRequest(request_id=str(random.random()), image=random.choice(self._photos), options=options)

    async def _search(self, channel: grpc.aio.Channel, random: Random) -> None:
        await SearchServiceStub(channel).Search(self._query(random), timeout=PATIENCE)

    async def _stream(self, channel: grpc.aio.Channel, random: Random) -> None:
        """A few searches by one stream; one of two streams is left before its end."""
        requests = iter([self._query(random) for _ in range(STREAM)])
        stream: Any = SearchServiceStub(channel).SearchStream(requests, timeout=PATIENCE)
        leave = random.randint(1, 2 * STREAM)
        answers = 0
        async for _ in stream:
            answers += 1
            if answers == leave:
                stream.cancel()
                return

    async def _put(self, channel: grpc.aio.Channel, random: Random) -> None:
        """New and changed items, with photos that nobody sent before."""

        async def items() -> AsyncIterator[PutRequest]:
            for _ in range(STREAM):
                image = ItemImage(data=drawn(random.getrandbits(32)))
                attributes = {"price": Value(double_value=random.random() * 10), "colour": Value(string_value="red")}
                item_id = f"item-{random.randrange(ITEMS)}"
                yield PutRequest(item=Item(item_id=item_id, images=[image], attributes=attributes))

        stream: Any = CatalogServiceStub(channel).Put(items(), timeout=PATIENCE)
        async for answer in stream:
            if answer.failure.code == grpc.StatusCode.INTERNAL.value[0]:
                self.failures.append(f"put: {answer.failure.message}")

    async def _delete(self, channel: grpc.aio.Channel, random: Random) -> None:
        catalog = CatalogServiceStub(channel)
        item_id = f"item-{random.randrange(ITEMS)}"
        try:
            await catalog.Get(GetRequest(item_id=item_id, include_image_data=True), timeout=PATIENCE)
            await catalog.Delete(DeleteRequest(item_id=item_id), timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
        await catalog.Count(CountRequest(), timeout=PATIENCE)

    async def _bad(self, channel: grpc.aio.Channel, random: Random) -> None:
        await port.send(channel, self._inputs[random.getrandbits(32)])

    async def _cancelled(self, channel: grpc.aio.Channel, random: Random) -> None:
        call = SearchServiceStub(channel).Search(self._query(random), timeout=PATIENCE)
        await asyncio.sleep(random.random() * 0.05)
        call.cancel()
        await asyncio.wait([asyncio.ensure_future(_outcome(call))])

    async def _late(self, channel: grpc.aio.Channel, random: Random) -> None:
        await SearchServiceStub(channel).Search(self._query(random), timeout=random.random() * 0.03)

    async def _reconnect(self, _: grpc.aio.Channel, random: Random) -> None:
        """A call by a connection of its own, which one of two callers breaks off."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self._address, options=options) as channel:
            if random.random() < 0.5:
                await self._search(channel, random)
                return
            call = SearchServiceStub(channel).Search(self._query(random), timeout=PATIENCE)
            await asyncio.sleep(random.random() * 0.05)
        await asyncio.wait([asyncio.ensure_future(_outcome(call))])


async def _outcome(call: Any) -> None:
    """Waits for the end of a call, whatever it is."""
    try:
        await call
    except (asyncio.CancelledError, grpc.aio.AioRpcError):
        return
