"""Searches that differ only in their vectors go to Milvus as one call, where others are under way already.

A call costs the orchestrator about as much for many vectors as for one. Nothing waits in an idle service: a search goes
at once while fewer than `UNDER_WAY` calls of its kind are under way; what comes meanwhile goes with the next.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.ports import Neighbours

# Calls of one kind.
UNDER_WAY = 2
# Of one call, unless a single search has more: a search should not wait long for the others' vectors.
MOST_VECTORS = 64

# Serialised settings, vectors, and seconds → an answer to each vector.
Call = Callable[[bytes, NDArray[np.float32], float], Awaitable[list[Neighbours]]]


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """`deadline` is a moment of the monotonic clock; `answer` is cancelled when nobody waits for it any more."""

    vectors: NDArray[np.float32]
    deadline: float
    answer: asyncio.Future[list[Neighbours]]


class Coalescer:
    def __init__(self, call: Call) -> None:
        self._call = call
        # By settings: the kind of a search.
        self._waiting: dict[bytes, deque[Search]] = {}
        self._under_way: Counter[bytes] = Counter()

    async def search(self, settings: bytes, vectors: NDArray[np.float32], timeout: float) -> list[Neighbours]:
        """Raises what the call raises. A call is cancelled with the last of its searches."""
        search = Search(vectors, time.monotonic() + timeout, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(settings, deque()).append(search)
        if self._under_way[settings] < UNDER_WAY:
            self._start(settings)
        return await search.answer

    def _start(self, settings: bytes) -> None:
        searches = self._next(settings)
        if not searches:
            return
        vectors = np.concatenate([search.vectors for search in searches])
        timeout = max(search.deadline for search in searches) - time.monotonic()
        call = asyncio.ensure_future(self._call(settings, vectors, timeout))
        self._under_way[settings] += 1
        call.add_done_callback(partial(self._finish, settings, searches))
        for search in searches:
            search.answer.add_done_callback(partial(_cancel_unless_wanted, call, searches))

    def _next(self, settings: bytes) -> list[Search]:
        """Those that go together; empty where nobody waits."""
        waiting = self._waiting[settings]
        searches: list[Search] = []
        size = 0
        while waiting and (not searches or size + len(waiting[0].vectors) <= MOST_VECTORS):
            search = waiting.popleft()
            if not search.answer.done():
                searches.append(search)
                size += len(search.vectors)
        return searches

    def _finish(self, settings: bytes, searches: Sequence[Search], call: asyncio.Future[list[Neighbours]]) -> None:
        self._under_way[settings] -= 1
        self._start(settings)
        if not self._under_way[settings]:
            del self._under_way[settings], self._waiting[settings]
        error = asyncio.CancelledError() if call.cancelled() else call.exception()
        found = [] if error else call.result()
        start = 0
        for search in searches:
            end = start + len(search.vectors)
            if search.answer.done():
                pass
            elif error:
                search.answer.set_exception(error)
            else:
                search.answer.set_result(found[start:end])
            start = end


def _cancel_unless_wanted(
    call: asyncio.Future[list[Neighbours]], searches: Sequence[Search], _: asyncio.Future[list[Neighbours]]
) -> None:
    if all(search.answer.done() for search in searches):
        call.cancel()
