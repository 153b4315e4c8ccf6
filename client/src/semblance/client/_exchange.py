"""One bidirectional stream with several requests in flight: at most so many, and given up when it falls silent.

Answers come in any order and are matched to their requests by a key.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

import grpc

from semblance.client._errors import (
    DeadlineExceededError,
    InternalError,
    SemblanceError,
    from_rpc_error,
    mapped,
)

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Message = Any

CLOSING = 5.0
"""Seconds that the service has to end a stream by itself: to cancel at once would look like going away."""

SIGNAL_LATENCY = 0.2
"""Seconds that a wait lasts at a time: a signal that comes just before a wait begins is seen when it ends."""


@dataclass(frozen=True, slots=True)
class Protocol(Generic[Request, Answer]):
    """How requests become messages and messages answers.

    Attributes:
        encode: the key and the message of a request; raises SemblanceError for one that can't be sent.
        decode: the key and the answer of a message.
        patience: seconds that the service may stay silent while requests are in flight. Not the time of one request:
            it may wait for the others before the service reads it.
        in_flight: requests sent and not yet answered, at most.
        target: whom the errors name.
    """

    encode: Callable[[Request], tuple[str, Message]]
    decode: Callable[[Message], tuple[str, Answer | SemblanceError]]
    patience: float
    in_flight: int
    target: str

    def __post_init__(self) -> None:
        if self.in_flight < 1:
            raise ValueError(f"in_flight is {self.in_flight}, but must be at least 1")


@dataclass(slots=True)
class Window(Generic[Request, Answer]):
    """The requests that are sent and not yet answered."""

    protocol: Protocol[Request, Answer]
    _sent: dict[str, Request] = field(default_factory=dict)
    _silent_since: float = 0.0

    def __len__(self) -> int:
        return len(self._sent)

    def admits(self, key: str) -> bool:
        """Whether a request may be sent now; not while one of the same key is in flight, which it might overtake."""
        return len(self._sent) < self.protocol.in_flight and key not in self._sent

    def send(self, key: str, request: Request) -> None:
        if not self._sent:
            self._silent_since = time.monotonic()
        self._sent[key] = request

    def receive(self, message: Message) -> tuple[Request, Answer | SemblanceError]:
        """The request that the message answers, and the answer."""
        key, answer = self.protocol.decode(message)
        if key not in self._sent:
            raise InternalError(f"{self.protocol.target} answered {key!r}, which is not in flight")
        self._silent_since = time.monotonic()
        return self._sent.pop(key), answer

    def patience(self) -> float:
        """Seconds until an answer is overdue; without end where nothing is in flight."""
        if not self._sent:
            return math.inf
        return max(0.0, self._silent_since + self.protocol.patience - time.monotonic())

    def overdue(self) -> DeadlineExceededError:
        protocol = self.protocol
        return DeadlineExceededError(
            f"{protocol.target} answered none of {len(self)} requests on a stream within {protocol.patience:g} s"
        )

    def unanswered(self) -> InternalError:
        return InternalError(f"{self.protocol.target} ended the stream with {len(self)} requests unanswered")


class _End:
    """The service has ended the stream."""


def exchange(
    method: Callable[[Iterator[Message]], Any],
    protocol: Protocol[Request, Answer],
    requests: Iterable[Request],
) -> Iterator[tuple[Request, Answer | SemblanceError]]:
    """Sends the requests over `method` and yields each with its answer, as they come.

    `requests` is consumed in the caller's thread, at most `in_flight` ahead of the answers. What ends the stream
    is raised; what fails one request is its answer.
    """
    window = Window(protocol)
    outbox: SimpleQueue[Message | None] = SimpleQueue()
    inbox: SimpleQueue[Message | grpc.RpcError | type[_End]] = SimpleQueue()

    def take() -> tuple[Request, Answer | SemblanceError]:
        try:
            received = _next(inbox, window.patience())
        except Empty:
            raise window.overdue() from None
        if isinstance(received, grpc.RpcError):
            raise from_rpc_error(received, protocol.target) from received
        if received is _End:
            raise window.unanswered()
        return window.receive(received)

    call = method(iter(outbox.get, None))
    Thread(target=_forward, args=(call, inbox), name="semblance-answers", daemon=True).start()
    try:
        for request in requests:
            try:
                key, message = protocol.encode(request)
            except SemblanceError as error:
                yield request, error
                continue
            while not window.admits(key):
                yield take()
            window.send(key, request)
            outbox.put(message)
            while window and not inbox.empty():
                yield take()
        outbox.put(None)
        while window:
            yield take()
        with suppress(Empty):
            _next(inbox, CLOSING)
    finally:
        outbox.put(None)
        call.cancel()


def _next(inbox: SimpleQueue[Any], seconds: float) -> Any:
    """What comes into the queue; raises Empty after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        left = max(0.0, deadline - time.monotonic())
        try:
            return inbox.get(timeout=min(left, SIGNAL_LATENCY))
        except Empty:
            if left <= SIGNAL_LATENCY:
                raise


def _forward(call: Any, inbox: SimpleQueue[Message | grpc.RpcError | type[_End]]) -> None:
    """Waiting on a queue has a timeout and gives way to Ctrl-C; waiting on a call has neither."""
    try:
        for message in call:
            inbox.put(message)
        inbox.put(_End)
    except grpc.RpcError as error:
        inbox.put(error)


async def exchange_async(
    method: Callable[[AsyncIterator[Message]], Any],
    protocol: Protocol[Request, Answer],
    requests: Iterable[Request] | AsyncIterable[Request],
) -> AsyncIterator[tuple[Request, Answer | SemblanceError]]:
    """`exchange` for asyncio."""
    window = Window(protocol)
    outbox: asyncio.Queue[Message | None] = asyncio.Queue()
    source = requests if isinstance(requests, AsyncIterable) else _asynchronously(requests)
    upcoming = aiter(source)
    call = method(_drain(outbox))
    answers = aiter(call)

    reading: asyncio.Future[Any] = asyncio.ensure_future(anext(answers, _End))
    pulling: asyncio.Future[Any] | None = asyncio.ensure_future(anext(upcoming, _End))
    held: tuple[Request, str, Message] | None = None
    try:
        while pulling or held or window:
            pending = {reading, pulling} if pulling else {reading}
            done, _ = await asyncio.wait(
                pending, timeout=window.patience() if window else None, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise window.overdue()
            if reading in done:
                with mapped(protocol.target):
                    received = reading.result()
                if received is _End:
                    raise window.unanswered()
                reading = asyncio.ensure_future(anext(answers, _End))
                yield window.receive(received)
            if pulling in done and pulling:
                request, pulling = pulling.result(), None
                if request is _End:
                    outbox.put_nowait(None)
                    continue
                try:
                    held = (request, *protocol.encode(request))
                except SemblanceError as error:
                    yield request, error
                    pulling = asyncio.ensure_future(anext(upcoming, _End))
            if held and window.admits(held[1]):
                window.send(held[1], held[0])
                outbox.put_nowait(held[2])
                held = None
                pulling = asyncio.ensure_future(anext(upcoming, _End))
        await asyncio.wait({reading}, timeout=CLOSING)
    finally:
        call.cancel()
        for task in (reading, pulling):
            if task:
                task.cancel()
        await asyncio.gather(*(task for task in (reading, pulling) if task), return_exceptions=True)


async def _drain(outbox: asyncio.Queue[Message | None]) -> AsyncIterator[Message]:
    while (message := await outbox.get()) is not None:
        yield message


async def _asynchronously(requests: Iterable[Request]) -> AsyncIterator[Request]:
    for request in requests:
        yield request
