"""One bidirectional stream with several requests in flight: at most so many, and given up when it falls silent.

Answers come in any order and are matched to their requests by a key. Where the service becomes unavailable, what it has
not answered is sent again on another stream, after the same waits as gRPC's between the attempts of a call. No request
is sent more often than a call is made: one that a service dies of shall not be carried from each to the next.
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
    UnavailableError,
    from_rpc_error,
)
from semblance.client._retry import ATTEMPTS, backoff

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Message = Any

CLOSING = 5.0
"""Seconds that the service has to end a stream by itself: to cancel at once would look like going away."""

SIGNAL_LATENCY = 0.2
"""Seconds that a wait lasts at a time: a signal that comes just before a wait begins is seen when it ends."""

UNSAID = "Internal error from Core"
"""What grpc.aio says of a call to which it wrote after it had ended: why it had is lost, and the next one tells."""


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
class Sent(Generic[Request]):
    """A request, its message, and on how many streams that was sent."""

    request: Request
    message: Message
    times: int = 1


@dataclass(slots=True)
class Window(Generic[Request, Answer]):
    """The requests that are sent and not yet answered."""

    protocol: Protocol[Request, Answer]
    _sent: dict[str, Sent[Request]] = field(default_factory=dict)
    _silent_since: float = 0.0
    # Streams since the last answer.
    _streams: int = 1

    def __len__(self) -> int:
        return len(self._sent)

    def admits(self, key: str) -> bool:
        """Whether a request may be sent now; not while one of the same key is in flight, which it might overtake."""
        return len(self._sent) < self.protocol.in_flight and key not in self._sent

    def send(self, key: str, request: Request, message: Message) -> None:
        if not self._sent:
            self._silent_since = time.monotonic()
        self._sent[key] = Sent(request, message)

    def receive(self, message: Message) -> tuple[Request, Answer | SemblanceError]:
        """The request that the message answers, and the answer."""
        key, answer = self.protocol.decode(message)
        if key not in self._sent:
            raise InternalError(f"{self.protocol.target} answered {key!r}, which is not in flight")
        self._silent_since = time.monotonic()
        self._streams = 0
        return self._sent.pop(key).request, answer

    def again(self, error: Any) -> list[tuple[Request, SemblanceError]]:
        """After an error of gRPC has ended a stream: what was sent often enough, with its error. `messages` are to be
        sent on another stream, after a `pause`.

        Raises the error where it is of another kind, or as many streams in a row have answered nothing.
        """
        unsaid = error.code() is grpc.StatusCode.INTERNAL and error.details() == UNSAID
        gone = error.code() is grpc.StatusCode.UNAVAILABLE or unsaid
        if not gone or self._streams >= ATTEMPTS:
            raise from_rpc_error(error, self.protocol.target) from error
        self._streams += 1
        given_up = [key for key, sent in self._sent.items() if sent.times >= ATTEMPTS]
        answered = [(self._sent.pop(key).request, self._unavailable(error)) for key in given_up]
        for sent in self._sent.values():
            sent.times += 1
        return answered

    def messages(self) -> list[Message]:
        return [sent.message for sent in self._sent.values()]

    def pause(self) -> float:
        """Seconds before another stream."""
        return backoff(max(2, self._streams, *(sent.times for sent in self._sent.values())))

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

    def _unavailable(self, error: Any) -> SemblanceError:
        return UnavailableError(
            f"{self.protocol.target} became unavailable each of the {ATTEMPTS} times that it was sent this: "
            f"{error.details()}"
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
    stream = _Stream(method)

    def take() -> Iterator[tuple[Request, Answer | SemblanceError]]:
        """What comes next: an answer, or none where the stream had to be replaced."""
        nonlocal stream
        try:
            received = _next(stream.inbox, window.patience())
        except Empty:
            raise window.overdue() from None
        if received is _End:
            raise window.unanswered()
        if not isinstance(received, grpc.RpcError):
            yield window.receive(received)
            return
        given_up = window.again(received)
        stream.close()
        time.sleep(window.pause())
        stream = _Stream(method, window.messages())
        yield from given_up

    try:
        for request in requests:
            try:
                key, message = protocol.encode(request)
            except SemblanceError as error:
                yield request, error
                continue
            while not window.admits(key):
                yield from take()
            window.send(key, request, message)
            stream.outbox.put(message)
            while window and not stream.inbox.empty():
                yield from take()
        while window:
            stream.outbox.put(None)
            yield from take()
        stream.outbox.put(None)
        with suppress(Empty):
            _next(stream.inbox, CLOSING)
    finally:
        stream.close()


class _Stream:
    """A call with the thread that waits for its answers. In the outbox, None stands for the end."""

    def __init__(self, method: Callable[[Iterator[Message]], Any], messages: Iterable[Message] = ()) -> None:
        self.outbox: SimpleQueue[Message | None] = SimpleQueue()
        self.inbox: SimpleQueue[Message | grpc.RpcError | type[_End]] = SimpleQueue()
        for message in messages:
            self.outbox.put(message)
        self._call = method(iter(self.outbox.get, None))
        Thread(target=_forward, args=(self._call, self.inbox), name="semblance-answers", daemon=True).start()

    def close(self) -> None:
        self.outbox.put(None)
        self._call.cancel()


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
    source = requests if isinstance(requests, AsyncIterable) else _asynchronously(requests)
    upcoming = aiter(source)
    stream = _AsyncStream(method)
    pulling: asyncio.Future[Any] | None = asyncio.ensure_future(anext(upcoming, _End))
    held: tuple[Request, str, Message] | None = None
    ended = False
    try:
        while pulling or held or window:
            pending = {stream.reading, pulling} if pulling else {stream.reading}
            done, _ = await asyncio.wait(
                pending, timeout=window.patience() if window else None, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise window.overdue()
            if stream.reading in done:
                try:
                    received = stream.reading.result()
                except grpc.RpcError as error:
                    given_up = window.again(error)
                    await stream.close()
                    await asyncio.sleep(window.pause())
                    stream = _AsyncStream(method, [*window.messages(), None] if ended else window.messages())
                    for pair in given_up:
                        yield pair
                else:
                    if received is _End:
                        raise window.unanswered()
                    stream.read()
                    yield window.receive(received)
            if pulling in done and pulling:
                request, pulling = pulling.result(), None
                if request is _End:
                    ended = True
                    stream.outbox.put_nowait(None)
                    continue
                try:
                    held = (request, *protocol.encode(request))
                except SemblanceError as error:
                    yield request, error
                    pulling = asyncio.ensure_future(anext(upcoming, _End))
            if held and window.admits(held[1]):
                window.send(held[1], held[0], held[2])
                stream.outbox.put_nowait(held[2])
                held = None
                pulling = asyncio.ensure_future(anext(upcoming, _End))
        await asyncio.wait({stream.reading}, timeout=CLOSING)
    finally:
        if pulling:
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)
        await stream.close()


class _AsyncStream:
    """A call, and `reading` its next answer. In the outbox, None stands for the end."""

    def __init__(
        self, method: Callable[[AsyncIterator[Message]], Any], messages: Iterable[Message | None] = ()
    ) -> None:
        self.outbox: asyncio.Queue[Message | None] = asyncio.Queue()
        for message in messages:
            self.outbox.put_nowait(message)
        self._call = method(_drain(self.outbox))
        self._answers = aiter(self._call)
        self.read()

    def read(self) -> None:
        self.reading: asyncio.Future[Any] = asyncio.ensure_future(anext(self._answers, _End))

    async def close(self) -> None:
        self._call.cancel()
        self.reading.cancel()
        await asyncio.gather(self.reading, return_exceptions=True)


async def _drain(outbox: asyncio.Queue[Message | None]) -> AsyncIterator[Message]:
    while (message := await outbox.get()) is not None:
        yield message


async def _asynchronously(requests: Iterable[Request]) -> AsyncIterator[Request]:
    for request in requests:
        yield request
