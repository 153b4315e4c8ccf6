"""Inputs for the same kind of call that wait go together, and each gets its own answer.

A call costs the orchestrator and the other side about as much for many rows as for one. While fewer calls of a kind are
under way than may be, what comes goes at once, with no more than those that were being filled beside it; what comes
meanwhile goes with the next.

    join ──▶ filling ──▶ answer ──▶ waiting ──▶ sent ──▶ answered
               └───────▶ leave      (a call goes when nobody fills it any more)
"""

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from semblance.orchestrator import spans
from semblance.orchestrator.request import Span

Kind = TypeVar("Kind", bound=Hashable)


@dataclass(slots=True, eq=False)
class Part:
    """A caller's rows of a call.

    Attributes:
        data: the rows; None until there is room for them.
        first: the number of the first in the call.
        deadline: a moment of the monotonic clock.
        answer: None until all rows are there; done when nobody waits for it any more.
        left: the caller went before that.
        span: what the call is a part of, where its request is traced.
    """

    rows: int
    data: Any = None
    call: "Call | None" = None
    first: int = 0
    deadline: float = 0.0
    answer: asyncio.Future[Any] | None = None
    left: bool = False
    span: Span | None = None

    @property
    def wanted(self) -> bool:
        return self.answer is not None and not self.answer.done()


class Call(ABC):
    """What goes together.

    Attributes:
        room: the most rows.
        parts: in the order of their rows; when the call is sent, those that are wanted.
        filling: parts whose rows are not all there yet.
        torn: whether a caller that left may still write to its rows.
        cancellable: whether the other side may be told that nobody waits for the answer any more.
    """

    cancellable = True

    def __init__(self, room: int) -> None:
        self.room = room
        self.rows = 0
        self.parts: list[Part] = []
        self.filling = 0
        self.torn = False

    def add(self, part: Part) -> None:
        part.call, part.first = self, self.rows
        self.parts.append(part)
        self.rows += part.rows
        self.filling += 1

    @property
    def wanted(self) -> bool:
        return any(part.wanted for part in self.parts)

    @property
    def spans(self) -> list[Span | None]:
        return [part.span for part in self.parts]

    @abstractmethod
    async def send(self, timeout: float) -> Any:
        """The answers to the rows of `parts`, a sequence or an array."""

    def close(self) -> None:  # noqa: B027
        """Frees what it holds. It has been sent and has ended, or nobody wanted it before it could be."""


@dataclass(slots=True, eq=False)
class Queue:
    """Calls of one kind: those that may still grow or wait, and how many are under way."""

    waiting: deque[Call] = field(default_factory=deque)
    under_way: int = 0


class Coalescer(Generic[Kind]):
    """`make` a call of a kind with room for so many rows at least; `most` of a kind are under way at once."""

    def __init__(self, make: Callable[[Kind, int], Call], most: Callable[[Kind], int]) -> None:
        self._make = make
        self._most = most
        self._queues: dict[Kind, Queue] = {}
        self._sent: set[asyncio.Future[Any]] = set()
        # Rows are filled in threads, each of which joins when it begins, so that no call waits long for another's rows.
        self._lock = threading.Lock()

    def join(self, kind: Kind, part: Part) -> bool:
        """Makes room for the rows of a part, from any thread; False where its caller has left."""
        with self._lock:
            if part.left:
                return False
            waiting = self._queues.setdefault(kind, Queue()).waiting
            if not waiting or waiting[-1].rows + part.rows > waiting[-1].room:
                waiting.append(self._make(kind, part.rows))
            waiting[-1].add(part)
            return True

    def leave(self, kind: Kind, part: Part, writing: bool) -> None:
        """A part's caller has gone before it asked for an answer; `writing`: a thread may still fill its rows."""
        with self._lock:
            part.left = True
            if part.call is None:
                return
            part.call.filling -= 1
            part.call.torn |= writing
        self._forget(kind, part)
        self._start(kind)

    async def answer(self, kind: Kind, part: Part, timeout: float) -> Any:
        """To the rows of a part, which are all there. Raises what the call raises.

        A call has the time of its most patient part, and is cancelled with its last one where it may be.
        """
        assert part.call is not None
        part.deadline = time.monotonic() + timeout
        part.answer = asyncio.get_running_loop().create_future()
        part.span = spans.current()
        with self._lock:
            part.call.filling -= 1
        self._start(kind)
        try:
            return await part.answer
        except asyncio.CancelledError:
            self._forget(kind, part)
            raise

    async def rest(self, timeout: float) -> None:
        """Waits until no call is under way, for so many seconds at most."""
        if self._sent:
            await asyncio.wait(self._sent, timeout=timeout)

    def _forget(self, kind: Kind, part: Part) -> None:
        """Frees what is held for a part that nobody waits for any more, if its call was not sent yet."""
        call = part.call
        with self._lock:
            queue = self._queues.get(kind)
            if queue is None or call is None or call not in queue.waiting:
                return
            part.data = None
            if call.filling or call.wanted:
                return
            queue.waiting.remove(call)
        call.close()
        self._start(kind)

    def _start(self, kind: Kind) -> None:
        """Sends what may go."""
        queue = self._queues.get(kind)
        if queue is None:
            return
        while queue.under_way < self._most(kind) and (call := self._next(queue)):
            call.parts = [part for part in call.parts if part.wanted]
            if not call.parts:
                call.close()
                continue
            timeout = max(part.deadline for part in call.parts) - time.monotonic()
            sending = asyncio.ensure_future(call.send(timeout))
            self._sent.add(sending)
            queue.under_way += 1
            sending.add_done_callback(partial(self._finish, kind, call))
            for part in call.parts if call.cancellable else ():
                assert part.answer is not None
                part.answer.add_done_callback(partial(_cancel_unless_wanted, sending, call))
        with self._lock:
            if not queue.under_way and not queue.waiting:
                del self._queues[kind]
            elif queue.waiting and queue.under_way < self._most(kind) and queue.waiting[-1].wanted:
                # It could go but for those who still fill it: none may join any more.
                queue.waiting[-1].room = queue.waiting[-1].rows

    def _next(self, queue: Queue) -> Call | None:
        """The first that nobody fills any more, taken out of the queue."""
        with self._lock:
            call = next((call for call in queue.waiting if not call.filling), None)
            if call is not None:
                queue.waiting.remove(call)
            return call

    def _finish(self, kind: Kind, call: Call, sending: asyncio.Future[Any]) -> None:
        self._sent.discard(sending)
        error = asyncio.CancelledError() if sending.cancelled() else sending.exception()
        start = 0
        for part in call.parts:
            end = start + part.rows
            if part.wanted:
                assert part.answer is not None
                if error:
                    part.answer.set_exception(error)
                else:
                    part.answer.set_result(sending.result()[start:end])
            start = end
        self._queues[kind].under_way -= 1
        self._start(kind)
        call.close()


def _cancel_unless_wanted(sending: asyncio.Future[Any], call: Call, _: asyncio.Future[Any]) -> None:
    if not call.wanted:
        sending.cancel()
