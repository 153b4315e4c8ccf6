"""Who may use a Milvus Lite server at the same time.

Milvus Lite (3.2) loses writes that are made at the same time as others or as a flush, and while it flushes it shows
neither the newest rows nor the newest deletions. It also searches what it has not flushed row by row, a hundred times
slower than the rest. So here many read while at most one writes; soon after a write everything is flushed, and nobody
reads or writes meanwhile. One Milvus Lite serves one orchestrator.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc
from pymilvus.exceptions import MilvusException

# From a write to the flush of it and of what came meanwhile, in seconds.
FLUSH_DELAY = 0.5

log = logging.getLogger(__name__)


class Turns:
    """`flush` flushes a collection, within some seconds."""

    def __init__(self, flush: Callable[[str], Awaitable[None]]) -> None:
        self._flush = flush
        self._writing = asyncio.Lock()
        self._readers = 0
        self._no_readers = asyncio.Event()
        self._no_readers.set()
        self._no_flush = asyncio.Event()
        self._no_flush.set()
        self._waiting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        while not self._no_flush.is_set():
            await self._no_flush.wait()
        self._readers += 1
        self._no_readers.clear()
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers:
                self._no_readers.set()

    async def write(self, collection: str, work: Coroutine[Any, Any, object]) -> None:
        """Does `work` alone. It goes on to its end, and others wait for that, even if the caller is cancelled."""
        await asyncio.shield(self._start(self._write(collection, work)))

    async def close(self) -> None:
        """Drops the flushes that have not begun, and waits for what is under way."""
        async with self._writing:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _write(self, collection: str, work: Coroutine[Any, Any, object]) -> None:
        async with self._writing:
            await work
        if collection not in self._waiting:
            self._waiting.add(collection)
            self._start(self._flush_later(collection))

    async def _flush_later(self, collection: str) -> None:
        await asyncio.sleep(FLUSH_DELAY)
        async with self._writing:
            # What is written from here on needs another flush.
            self._waiting.remove(collection)
            self._no_flush.clear()
            try:
                await self._no_readers.wait()
                await self._flush(collection)
            except (MilvusException, grpc.RpcError) as error:
                log.warning("Milvus Lite did not flush collection %s, and searches it slowly: %s", collection, error)
            finally:
                self._no_flush.set()
