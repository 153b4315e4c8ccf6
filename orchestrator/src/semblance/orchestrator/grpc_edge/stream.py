"""Several requests of one stream at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from itertools import count
from typing import Any, TypeVar

import grpc

from semblance.orchestrator.caller import current
from semblance.orchestrator.errors import DependencyUnavailable, InvalidArgument, SemblanceError
from semblance.orchestrator.grpc_edge.boundary import Context

Request = TypeVar("Request")


class Streams:
    """The streams that are open, so that they can be told to end."""

    def __init__(self, answering: Callable[[int], AbstractContextManager[None]]) -> None:
        """`answering` is around the answer to each message of a stream, with its number."""
        self._answering = answering
        self._reading: set[asyncio.Timeout] = set()
        self._draining = False

    async def converse(
        self,
        requests: AsyncIterator[Request],
        answer: Callable[[Request], Awaitable[Any]],
        window: int,
        context: Context,
    ) -> None:
        """Answers each request when its answer is ready. `answer` raises nothing: failures are answers too.

        At most `window` requests are worked on; the next one is read when one of them is answered. Where the caller's
        rate is limited, each request waits for its turn: who sends faster is slowed down by the stream itself.

        Ends when the caller has no more to ask and everything is answered; when it goes away, what is in flight is
        cancelled. After everything read was answered, raises DependencyUnavailable where the service stops,
        InvalidArgument behind a message that could not be read (see `boundary`), and what `Caller.check` raises behind
        the first request that the caller may not make any more.
        """
        caller = current.get()
        room = asyncio.Semaphore(window)
        # gRPC takes one message at a time.
        writing = asyncio.Lock()

        numbers = count(1)

        async def respond(request: Request) -> None:
            with self._answering(next(numbers)):
                response = await answer(request)
            async with writing:
                # It fails where the caller is gone, before gRPC cancels what is in flight.
                with suppress(grpc.aio.InternalError):
                    await context.write(response)
            room.release()

        refused: SemblanceError | None = None
        async with asyncio.TaskGroup() as answers, self.until_drained() as limit:
            await room.acquire()
            async for request in requests:
                try:
                    if isinstance(request, InvalidArgument):
                        raise request
                    caller.check()
                except SemblanceError as error:
                    refused = error
                    break
                if caller.rate is not None:
                    await caller.rate.turn()
                answers.create_task(respond(request))
                await room.acquire()
        if refused is not None:
            raise refused
        if limit.expired():
            raise DependencyUnavailable("the service is stopping; send what was not answered again")

    @asynccontextmanager
    async def until_drained(self) -> AsyncIterator[asyncio.Timeout]:
        """Cancels what is inside when the service stops, and goes on behind it."""
        limit = asyncio.timeout(0 if self._draining else None)
        self._reading.add(limit)
        try:
            async with limit:
                yield limit
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            self._reading.discard(limit)

    def drain(self) -> None:
        """Stops reading from every stream, now and later; what was read is answered."""
        self._draining = True
        for limit in self._reading:
            limit.reschedule(0)
