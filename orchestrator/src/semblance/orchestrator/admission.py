"""Who is served now, who waits, who is refused; and with which release.

Work that the models do is done in lanes, which share one limit of what is in flight:

    search   first
    ingest   when no search waits; but it always has one in flight, and it leaves one free for the next search; a put
             whose images are described leaves the limit to the next one while it is stored

Lookups in the catalogue have a lane of their own, whose work does not count in that limit. In each lane callers take
turns, and the lane's queue is bounded.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import ContractMismatch, DeadlineExceeded, DependencyUnavailable, Overloaded
from semblance.orchestrator.limit import Limit
from semblance.orchestrator.queue import FairQueue
from semblance.orchestrator.release import Release
from semblance.orchestrator.request import answering
from semblance.orchestrator.traffic import Traffic

log = logging.getLogger(__name__)

# The least that who is refused is asked to wait, in seconds.
MIN_RETRY_DELAY = 0.1
# What a request takes at least, as a part of what most take in a quiet service: some show less, and are quicker.
LEAST = 0.5
# How far one request moves the mean of what they take.
SMOOTHING = 0.1
# Between two lines of the log about refusals, in seconds.
TELL_EVERY = 10.0


class Refusal(StrEnum):
    """Why a request is not admitted."""

    QUEUE_FULL = "queue_full"
    # Too little time is left for it.
    DEADLINE = "deadline"
    # There is no release yet.
    STARTING = "starting"
    # Its release is not what it says.
    RELEASE = "release"


@dataclass(frozen=True, slots=True, eq=False)
class Waiter:
    """A request of `size` bytes that waits; `turn` is done when its turn comes, or it is refused."""

    caller: str
    size: int
    turn: asyncio.Future[None]


Queue = FairQueue[Waiter]


class Place:
    """What a request was admitted with: `release` is what it is served with."""

    __slots__ = ("_lane", "release")

    def __init__(self, lane: "Lane", release: Release) -> None:
        self.release = release
        self._lane: Lane | None = lane

    def leave_models(self) -> None:
        """The models have done their part, and may do the next one's."""
        if self._lane is not None:
            lane, self._lane = self._lane, None
            lane.leave_models()


class Admission:
    """Nobody is admitted before there is `traffic`, which says what each request is served with."""

    def __init__(
        self, limit: Limit, *, search: Queue, ingest: Queue, lookup: Queue, ingests: int, lookups: int
    ) -> None:
        """Each lane's queue, and how many ingests and lookups are in flight at most."""
        self.traffic: Traffic | None = None
        self.limit = limit
        self.search = SearchLane(self, "searches", search)
        self.ingest = IngestLane(self, "puts", ingest, ingests)
        self.lookup = LookupLane(self, "catalogue calls", lookup, lookups)
        self._sharing = (self.search, self.ingest)
        self._last: Lane | None = None

    @property
    def in_flight(self) -> int:
        """What counts in the limit."""
        return self.search.in_flight + self.ingest.in_flight

    @property
    def idle(self) -> bool:
        """Whether there is room for what nobody waits for."""
        waiting = self.search.waiting or self.ingest.waiting
        return not waiting and self.in_flight < self.limit.value

    def releases(self) -> Sequence[Release]:
        """What requests are served with, the active one first; none before there is traffic."""
        return self.traffic.releases if self.traffic else ()

    def chosen(self, caller: str) -> Release | None:
        """The one that a caller's searches are for, refused or not; None before there is traffic."""
        return self.traffic.chosen(caller) if self.traffic else None

    def pass_on(self) -> None:
        """Gives what is free to those whose turn it is."""
        while ready := [lane for lane in self._sharing if lane.waiting and lane.has_room]:
            # Who has nothing in flight goes first, they in turns; otherwise the lanes' order decides.
            self._last = min(ready, key=lambda lane: (lane.in_flight > 0, lane.in_flight == 0 and lane is self._last))
            self._last.let_in()
        while self.lookup.waiting and self.lookup.has_room:
            self.lookup.let_in()


class Lane:
    """One kind of work, and those who wait for it."""

    def __init__(self, admission: Admission, name: str, queue: Queue) -> None:
        self.in_flight = 0
        # Since the process started.
        self.refused: Counter[Refusal] = Counter()
        self._admission = admission
        self._name = name
        self._queue = queue
        # Mean seconds from a request's turn to its end.
        self._seconds = 0.0
        self._tell_at = 0.0

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def has_room(self) -> bool:
        """Whether one more may be in flight."""
        raise NotImplementedError

    @asynccontextmanager
    async def admit(self, caller: str, size: int, deadline: Deadline, release_id: str = "") -> AsyncIterator[Place]:
        """Gives the request of `size` bytes its place, to its end; a search may name the release that it is of.

        Raises Overloaded where the queue is full and the caller has no less of it than others, DeadlineExceeded where
        too little time is left, DependencyUnavailable before the service is ready, ContractMismatch where its release
        is refused, and what `Traffic.for_search` raises of one that is named. Who waits is to be within
        `deadline.enforced()`.
        """
        if self._admission.traffic is None:
            self.refused[Refusal.STARTING] += 1
            raise DependencyUnavailable("the service is starting: Triton and Milvus are not ready yet")
        self._check_time(deadline)
        if self.has_room and not self.waiting:
            self.in_flight += 1
        else:
            await self._turn(caller, size)
        in_flight, began = self._admission.in_flight, time.monotonic()
        place: Place | None = None
        try:
            self._check_time(deadline)
            place = Place(self, self._served(self._admission.traffic, caller, release_id))
            yield place
        except BaseException as error:
            self._failed(error, time.monotonic() - began, in_flight, deadline)
            raise
        else:
            self._answered(time.monotonic() - began, in_flight)
        finally:
            if place is None:
                self.leave_models()
            else:
                place.leave_models()
            self._end()

    def _served(self, traffic: Traffic, caller: str, release_id: str) -> Release:
        """What the request that is being answered is served with. Raises ContractMismatch where it is refused."""
        try:
            release = self._release(traffic, caller, release_id)
        except ContractMismatch:
            self.refused[Refusal.RELEASE] += 1
            raise
        if (request := answering.get()) is not None:
            request.release_id = release.release_id
        return release

    def _release(self, traffic: Traffic, caller: str, release_id: str) -> Release:
        """Raises ContractMismatch where it is refused."""
        return traffic.for_change()

    def leave_models(self) -> None:
        """One that is in flight needs the models no more."""
        self.in_flight -= 1
        self._admission.pass_on()

    def _end(self) -> None:
        """One that was admitted has ended, and has left the models."""

    def let_in(self) -> None:
        """The next one that waits, unless it has given up."""
        waiter = self._queue.next()
        if not waiter.turn.done():
            self.in_flight += 1
            waiter.turn.set_result(None)

    async def _turn(self, caller: str, size: int) -> None:
        waiter = Waiter(caller, size, asyncio.get_running_loop().create_future())
        for refused in self._queue.join(waiter):
            if not refused.turn.done():
                refused.turn.set_exception(self._overloaded())
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.cancelled():
                self._queue.leave(waiter)
            elif waiter.turn.exception() is None:
                # Its turn came, and in the same moment it was cancelled.
                self.in_flight -= 1
                self._admission.pass_on()
            raise

    def _overloaded(self) -> Overloaded:
        self.refused[Refusal.QUEUE_FULL] += 1
        wait = self._seconds * (self.waiting + 1) / max(1, self.in_flight)
        delay = random.uniform(0.5, 1.5) * max(MIN_RETRY_DELAY, wait)
        text = f"{self._name}: {self.in_flight} in flight and {self.waiting} waiting"
        if time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + TELL_EVERY
            log.warning("overloaded: %s; %d refused since the start", text, self.refused[Refusal.QUEUE_FULL])
        return Overloaded(f"{text}, which is all that may; try again in {delay:.2g} s", delay)

    def _check_time(self, deadline: Deadline) -> None:
        try:
            self._check(deadline)
        except DeadlineExceeded:
            self.refused[Refusal.DEADLINE] += 1
            raise

    def _check(self, deadline: Deadline) -> None:
        """Raises DeadlineExceeded where nothing is left."""
        deadline.remaining()

    def _answered(self, seconds: float, in_flight: int) -> None:
        self._seconds += SMOOTHING * (seconds - self._seconds)

    def _failed(self, error: BaseException, seconds: float, in_flight: int, deadline: Deadline) -> None:
        """What its failure says of the limit."""


class SearchLane(Lane):
    """How long searches take moves the limit."""

    @property
    def has_room(self) -> bool:
        return self._admission.in_flight < self._admission.limit.value

    def _release(self, traffic: Traffic, caller: str, release_id: str) -> Release:
        return traffic.for_search(caller, release_id)

    def _check(self, deadline: Deadline) -> None:
        """Refuses what would be computed for nothing, unless nothing else is: what we know may be out of date."""
        left, least = deadline.remaining(), LEAST * self._admission.limit.base
        if left < least and self._admission.in_flight > 1:
            raise DeadlineExceeded(
                f"the deadline leaves {left:.3g} s, and a search takes at least {least:.3g} s; allow more"
            )

    def _answered(self, seconds: float, in_flight: int) -> None:
        super()._answered(seconds, in_flight)
        self._admission.limit.add(seconds, in_flight, time.monotonic())

    def _failed(self, error: BaseException, seconds: float, in_flight: int, deadline: Deadline) -> None:
        if isinstance(error, Overloaded):
            self._admission.limit.back_off()
        elif isinstance(error, (DeadlineExceeded, asyncio.CancelledError)) and time.monotonic() >= deadline.at:
            self._admission.limit.add_unanswered(seconds, in_flight, time.monotonic())


class IngestLane(Lane):
    def __init__(self, admission: Admission, name: str, queue: Queue, most: int) -> None:
        super().__init__(admission, name, queue)
        self._most = most
        # Those that have left the models, and have not ended.
        self._stored = 0

    @property
    def has_room(self) -> bool:
        free = self._admission.limit.value - self._admission.in_flight
        return self.in_flight + self._stored < self._most and free > (1 if self.in_flight else 0)

    def leave_models(self) -> None:
        self._stored += 1
        super().leave_models()

    def _end(self) -> None:
        self._stored -= 1
        self._admission.pass_on()


class LookupLane(Lane):
    def __init__(self, admission: Admission, name: str, queue: Queue, most: int) -> None:
        super().__init__(admission, name, queue)
        self._most = most

    @property
    def has_room(self) -> bool:
        return self.in_flight < self._most
