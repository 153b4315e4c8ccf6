"""Load from an asyncio client, and what it and the service took of the CPU meanwhile.

The client shares the host with the service. Its share of the CPU is measured and stands in every result.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from semblance.benchmarks.reading import Reading
from semblance.benchmarks.stack import Stack
from semblance.benchmarks.world import numbered
from semblance.client import AsyncClient, NewItem, SearchRequest, SemblanceError

Calls = Literal["unary", "stream"]
# More than anyone puts in one measurement.
ITEMS_OF_A_TURN = 1_000_000
POLL_SECONDS = 0.01


class NothingAnswered(Exception):
    """A measurement was too short for a single answer."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was answered in `seconds`, and what was spent meanwhile.

    Attributes:
        count: photos; see `photos_within`.
        latencies: of each photo that was answered, in seconds.
    """

    seconds: float
    count: float
    latencies: tuple[float, ...]
    spent: Reading

    @property
    def rate(self) -> float:
        """Photos a second."""
        return self.count / self.seconds

    @property
    def cpu_each(self) -> dict[str, float]:
        """CPU seconds of each process for one photo."""
        return self.spent.cpu_each(self.count)


def photos_within(begin: float, end: float, times: Iterable[tuple[float, float]]) -> float:
    """How many photos, sent and answered at `times`, the time between `begin` and `end` was spent on.

    A photo in flight at either edge counts for the part of its time that lies inside: answers come in bursts, as
    batches do, and a count of whole answers would be wrong by up to a burst.
    """
    return sum(max(0.0, min(answered, end) - max(sent, begin)) / (answered - sent) for sent, answered in times)


@dataclass(slots=True)
class _Recorder:
    """Photos by when they were sent, and when answered if they are, in seconds of `perf_counter`.

    Callers send no more when it is `over`.
    """

    in_flight: set[float] = field(default_factory=set)
    answered: list[tuple[float, float]] = field(default_factory=list)
    over: bool = False

    def send(self) -> float:
        sent = time.perf_counter()
        self.in_flight.add(sent)
        return sent

    def answer(self, sent: float) -> None:
        self.in_flight.remove(sent)
        self.answered.append((sent, time.perf_counter()))

    async def measure(self, service: Stack, warm_up: float, seconds: float) -> Load:
        await asyncio.sleep(warm_up)
        before = await asyncio.to_thread(Reading.of, service)
        begin = time.perf_counter()
        await asyncio.sleep(seconds)
        end = time.perf_counter()
        after = await asyncio.to_thread(Reading.of, service)
        # The load goes on, so that the last ones are served as all before them.
        while min(self.in_flight, default=end) < end:
            await asyncio.sleep(POLL_SECONDS)
        latencies = tuple(answered - sent for sent, answered in self.answered if begin <= answered <= end)
        if not latencies:
            raise NothingAnswered(f"nothing was answered within {seconds:g} seconds; measure for longer")
        return Load(end - begin, photos_within(begin, end, self.answered), latencies, after.since(before))


def search(
    service: Stack,
    photos: Sequence[bytes],
    *,
    in_flight: int,
    seconds: float,
    warm_up: float = 1.0,
    calls: Calls = "unary",
) -> Load:
    """Searches with `photos` over and over, `in_flight` at once, for `seconds` after `warm_up` seconds.

    Raises SemblanceError where a search fails.
    """

    async def measured() -> Load:
        async with AsyncClient(service.target) as client:
            if calls == "unary":
                return await searches(
                    client.search, service, photos, in_flight=in_flight, seconds=seconds, warm_up=warm_up
                )
            recorder = _Recorder()
            stream = _stream(client, itertools.cycle(photos), recorder, in_flight)
            return await _measured([stream], recorder, service, warm_up, seconds)

    return asyncio.run(measured())


async def searches(
    search: Callable[[bytes], Awaitable[object]],
    service: Stack,
    photos: Sequence[bytes],
    *,
    in_flight: int,
    seconds: float,
    warm_up: float,
) -> Load:
    """As `search`, by any function that answers a photo. Raises what that raises."""
    recorder = _Recorder()
    turns = itertools.cycle(photos)
    callers = [_unary(search, turns, recorder) for _ in range(in_flight)]
    return await _measured(callers, recorder, service, warm_up, seconds)


def put(
    service: Stack,
    photos: Sequence[bytes],
    *,
    in_flight: int,
    seconds: float,
    warm_up: float = 1.0,
    turn: int = 0,
) -> Load:
    """Puts items of one photo each through a stream, never the same bytes twice where each call has its own `turn`.

    Raises SemblanceError where a put fails.
    """
    items = (
        NewItem(f"bulk-{number}", [numbered(photo, number)])
        for number, photo in enumerate(itertools.cycle(photos), turn * ITEMS_OF_A_TURN)
    )

    async def measured() -> Load:
        async with AsyncClient(service.target) as client:
            recorder = _Recorder()
            return await _measured([_puts(client, items, recorder, in_flight)], recorder, service, warm_up, seconds)

    return asyncio.run(measured())


async def _measured(
    callers: Sequence[Coroutine[Any, Any, None]], recorder: _Recorder, service: Stack, warm_up: float, seconds: float
) -> Load:
    """Lets the callers finish what they have sent, so that it does not burden what is measured next."""
    calling = [asyncio.create_task(caller) for caller in callers]
    measuring = asyncio.create_task(recorder.measure(service, warm_up, seconds))
    try:
        done, _ = await asyncio.wait({measuring, *calling}, return_when=asyncio.FIRST_COMPLETED)
        # Callers end by an error only, until it is over.
        for task in done - {measuring}:
            task.result()
        load = await measuring
        recorder.over = True
        await asyncio.gather(*calling)
        return load
    finally:
        for task in (measuring, *calling):
            task.cancel()
        await asyncio.gather(measuring, *calling, return_exceptions=True)


async def _unary(search: Callable[[bytes], Awaitable[object]], photos: Iterator[bytes], recorder: _Recorder) -> None:
    while not recorder.over:
        sent = recorder.send()
        await search(next(photos))
        recorder.answer(sent)


async def _stream(client: AsyncClient, photos: Iterator[bytes], recorder: _Recorder, in_flight: int) -> None:
    sent: dict[SearchRequest, float] = {}

    def requests() -> Iterator[SearchRequest]:
        while not recorder.over:
            request = SearchRequest(next(photos))
            sent[request] = recorder.send()
            yield request

    async for request, result in client.search_many(requests(), in_flight=in_flight):
        if isinstance(result, SemblanceError):
            raise result
        recorder.answer(sent.pop(request))


async def _puts(client: AsyncClient, items: Iterator[NewItem], recorder: _Recorder, in_flight: int) -> None:
    sent: dict[NewItem, float] = {}

    def begun() -> Iterator[NewItem]:
        while not recorder.over:
            item = next(items)
            sent[item] = recorder.send()
            yield item

    async for item, outcome in client.put(begun(), in_flight=in_flight):
        if isinstance(outcome, SemblanceError):
            raise outcome
        recorder.answer(sent.pop(item))
