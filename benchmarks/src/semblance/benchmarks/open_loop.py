"""Load that does not wait for answers: searches that come by chance, at a mean rate, whatever the service does."""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

from semblance.benchmarks.load import photos_within
from semblance.client import AsyncClient, OverloadedError, SemblanceError

# Of a phase, how much passes before anything counts: what is in flight and waits fills up meanwhile.
SETTLING = 0.25
# Linux takes all of 127.0.0.0/8 for its own.
OTHER_ADDRESS = "127.0.0.2"
CHUNK = 1 << 16
# Until a closed connection has ended on both sides, at most, in seconds.
CLOSING_SECONDS = 5.0


class Outcome(StrEnum):
    ANSWERED = "answered"
    # As it should be where too much is asked.
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Call:
    """`due`, when it was to be sent, and `ended` are `perf_counter` seconds."""

    due: float
    ended: float
    outcome: Outcome

    @property
    def seconds(self) -> float:
        return self.ended - self.due


@dataclass(frozen=True, slots=True)
class Phase:
    """`calls` are all of them; what counts lies between `begin` and `end`."""

    begin: float
    end: float
    calls: tuple[Call, ...]

    @property
    def asked(self) -> float:
        """Searches due a second."""
        return sum(self.begin <= call.due <= self.end for call in self.calls) / (self.end - self.begin)

    @property
    def goodput(self) -> float:
        """Searches answered a second."""
        answered = ((call.due, call.ended) for call in self.calls if call.outcome is Outcome.ANSWERED)
        return photos_within(self.begin, self.end, answered) / (self.end - self.begin)

    def seconds(self, outcome: Outcome) -> list[float]:
        """Of the calls that were due while it counted."""
        return [call.seconds for call in self.calls if call.outcome is outcome and self.begin <= call.due <= self.end]

    def count(self, outcome: Outcome) -> int:
        return sum(call.outcome is outcome for call in self.calls)


def p99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[98] if len(seconds) > 1 else max(seconds, default=0)


async def search(client: AsyncClient, photos: Sequence[bytes], rate: float, seconds: float) -> Phase:
    """Poisson arrivals for so many seconds, `rate` a second; returns when all calls have ended."""
    turns = itertools.cycle(photos)
    calling: list[asyncio.Task[Call]] = []
    begin = due = time.perf_counter()
    while (due := due + random.expovariate(rate)) < begin + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        calling.append(asyncio.create_task(call(client, next(turns), due)))
    return Phase(begin + SETTLING * seconds, begin + seconds, tuple(await asyncio.gather(*calling)))


async def call(client: AsyncClient, photo: bytes, due: float) -> Call:
    """A search that was due at a time of `perf_counter`."""
    try:
        await client.search(photo)
        outcome = Outcome.ANSWERED
    except OverloadedError:
        outcome = Outcome.REFUSED
    except SemblanceError:
        outcome = Outcome.FAILED
    return Call(due, time.perf_counter(), outcome)


@asynccontextmanager
async def another_caller(target: str) -> AsyncIterator[str]:
    """An address of this host through which whoever connects reaches `target` as a caller from another address.

    Connections are to be closed before it is left.
    """
    host, _, port = target.rpartition(":")
    connections: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, int(port), local_addr=(OTHER_ADDRESS, 0))
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            connections.discard(task)
            writer.close()
            far_writer.close()

    async with await asyncio.start_server(relay, host, 0) as server:
        own_host, own_port = server.sockets[0].getsockname()[:2]
        yield f"{own_host}:{own_port}"
        if connections:
            await asyncio.wait(connections, timeout=CLOSING_SECONDS)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(CHUNK):
        sink.write(data)
        await sink.drain()
    sink.write_eof()
