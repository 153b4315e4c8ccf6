"""Who is served now, who waits, who is refused; and with which release."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import DeadlineExceeded, DependencyUnavailable, Overloaded
from semblance.orchestrator.release import Release


class Admission:
    """At most `in_flight` requests at once and `queue` more that wait; further ones are refused at once."""

    def __init__(self, in_flight: int, queue: int) -> None:
        self.release: Release | None = None
        self._capacity = in_flight + queue
        self._admitted = 0
        self._turn = asyncio.Semaphore(in_flight)

    @asynccontextmanager
    async def admit(self, deadline: Deadline) -> AsyncIterator[Release]:
        """Gives the release that the request is served with, to its end.

        Raises Overloaded where the queue is full, DeadlineExceeded where the request's turn does not come in time,
        DependencyUnavailable before the service is ready.
        """
        if self._admitted >= self._capacity:
            raise Overloaded(f"{self._capacity} requests are in flight or waiting already; try again later")
        self._admitted += 1
        try:
            try:
                async with asyncio.timeout(deadline.remaining()):
                    await self._turn.acquire()
            except TimeoutError:
                raise DeadlineExceeded("the request's deadline passed while it waited for its turn") from None
            try:
                if self.release is None:
                    raise DependencyUnavailable("the service is starting: Triton and Milvus are not ready yet")
                yield self.release
            finally:
                self._turn.release()
        finally:
            self._admitted -= 1
