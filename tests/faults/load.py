"""Callers that put, replace, replay, delete and search, and note what they were told."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import cycle

from semblance.client import (
    AsyncClient,
    InternalError,
    NewItem,
    NotFoundError,
    SearchRequest,
    SearchResult,
    SemblanceError,
)
from tests.faults.ledger import Record, State, Version, photo

WRITERS, ITEMS_EACH, SEARCHERS = 6, 6, 2
# Of one call, and after one that failed, in seconds.
CALL_TIMEOUT, PAUSE = 10.0, 0.05
# The cosine of a photo with itself, and of one with another, are well on either side.
SAME = 0.99


@dataclass(slots=True)
class Load:
    """The writers own their items, which are named for `name`; the searchers look for any of them. Runs while inside
    `running`.

    With `streams` there are one more writer and one more searcher, each of which has one long stream with several
    requests in flight. Between two calls, or requests of a stream, everybody rests for `rest` seconds. `failed_at` is
    when a call failed last, by the monotonic clock, and `slowest` what the slowest one took, in seconds.
    """

    client: AsyncClient
    seed: int
    searchers: int = SEARCHERS
    writers: int = WRITERS
    streams: bool = False
    rest: float = 0.0
    name: str = "item"
    failed_at: float = 0.0
    slowest: float = 0.0
    records: dict[str, Record] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    _random: list[random.Random] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = [random.Random(f"{self.seed} {number}") for number in range(self.writers + self.searchers)]
        for number in range(self.writers):
            self.records |= {item_id: Record() for item_id in self._items(number)}
        if self.streams:
            self.records |= {item_id: Record() for item_id in self._items(self.writers)}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """On leaving, what is under way ends, so that nobody writes any more."""
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._write(number, stop)) for number in range(self.writers)]
        tasks += [asyncio.create_task(self._search(self.writers + number, stop)) for number in range(self.searchers)]
        if self.streams:
            tasks += [asyncio.create_task(self._write_stream(stop)), asyncio.create_task(self._search_stream(stop))]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def _write(self, number: int, stop: asyncio.Event) -> None:
        choose = self._random[number]
        while not stop.is_set():
            item_id = choose.choice(self._items(number))
            record = self.records[item_id]
            action = choice(choose)
            known = max(filter(None, record.possible), key=lambda version: version.number, default=None)
            state: State
            if action == "delete":
                state = None
            elif action == "replay" and known:
                state = known
            else:
                record.next_number += 1
                state = Version(item_id, record.next_number, photo(self.seed, item_id, record.next_number))
            await self._change(item_id, state)
            await asyncio.sleep(self.rest)

    async def _change(self, item_id: str, state: State) -> None:
        record = self.records[item_id]
        certainly_there = None not in record.possible
        record.begin(state)
        try:
            with self._timed():
                if state is None:
                    await self.client.delete(item_id)
                else:
                    await self.client.put_item(state.item)
        except NotFoundError:
            if certainly_there:
                self.wrong.append(f"{item_id} was there, and its deletion was told that it is not")
        except SemblanceError as error:
            await self._failed(error)
            return
        record.acknowledge(state)
        self.counts["acknowledged"] += 1

    async def _search(self, number: int, stop: asyncio.Event) -> None:
        """What was acknowledged before a search, and not touched since, it finds."""
        choose = self._random[number]
        while not stop.is_set():
            record = self.records[choose.choice(sorted(self.records))]
            if not record.certain or record.state is None:
                await asyncio.sleep(PAUSE / 10)
                continue
            changes, version = record.changes, record.state
            await asyncio.sleep(self.rest)
            try:
                with self._timed():
                    complaint = await misses(self.client, version)
            except SemblanceError as error:
                await self._failed(error)
                continue
            self.counts["searches"] += 1
            if complaint and record.changes == changes:
                self.wrong.append(complaint)

    async def _write_stream(self, stop: asyncio.Event) -> None:
        """An item is put again when it was answered."""
        sent: dict[str, Version] = {}
        answered = {item_id: asyncio.Event() for item_id in self._items(self.writers)}

        async def versions() -> AsyncIterator[NewItem]:
            for item_id in cycle(answered):
                await answered[item_id].wait()
                await asyncio.sleep(self.rest)
                if stop.is_set():
                    return
                answered[item_id].clear()
                record = self.records[item_id]
                record.next_number += 1
                sent[item_id] = Version(item_id, record.next_number, photo(self.seed, item_id, record.next_number))
                record.begin(sent[item_id])
                yield sent[item_id].item

        while not stop.is_set():
            for event in answered.values():
                event.set()
            try:
                async for new, outcome in self.client.put(versions()):
                    if isinstance(outcome, SemblanceError):
                        await self._failed(outcome)
                    else:
                        self.records[new.item_id].acknowledge(sent[new.item_id])
                        self.counts["put on a stream"] += 1
                    answered[new.item_id].set()
            except SemblanceError as error:
                await self._failed(error)

    async def _search_stream(self, stop: asyncio.Event) -> None:
        choose = random.Random(f"{self.seed} stream")
        looked_for: dict[SearchRequest, tuple[Version, int]] = {}

        async def requests() -> AsyncIterator[SearchRequest]:
            while not stop.is_set():
                record = self.records[choose.choice(sorted(self.records))]
                if not record.certain or record.state is None:
                    await asyncio.sleep(PAUSE / 10)
                    continue
                request = SearchRequest(record.state.photo, top_k=1, include_attributes=True)
                looked_for[request] = record.state, record.changes
                yield request
                await asyncio.sleep(self.rest)

        while not stop.is_set():
            try:
                async for request, result in self.client.search_many(requests(), in_flight=2):
                    version, changes = looked_for.pop(request)
                    if isinstance(result, SemblanceError):
                        await self._failed(result)
                        continue
                    self.counts["found on a stream"] += 1
                    if (complaint := _miss(result, version)) and self.records[version.item_id].changes == changes:
                        self.wrong.append(complaint)
            except SemblanceError as error:
                await self._failed(error)

    async def _failed(self, error: SemblanceError) -> None:
        self.failed_at = time.monotonic()
        self.counts[type(error).__name__] += 1
        if isinstance(error, InternalError):
            self.wrong.append(f"internal error: {error}")
        await asyncio.sleep(PAUSE)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.slowest = max(self.slowest, time.monotonic() - begun)

    def _items(self, writer: int) -> Sequence[str]:
        return [f"{self.name}-{writer}-{number}" for number in range(ITEMS_EACH)]


async def misses(client: AsyncClient, version: Version) -> str:
    """What is wrong with a search by a version's photo, or nothing."""
    return _miss(await client.search(version.photo, top_k=1, include_attributes=True), version)


def _miss(result: SearchResult, version: Version) -> str:
    for found in result.objects:
        hits = [(hit.item_id, hit.attributes.get("version"), round(hit.similarity, 3)) for hit in found.hits]
        if not hits or hits[0][:2] != (version.item_id, version.number) or hits[0][2] < SAME:
            return f"a search for {version} found {hits}"
    return ""


def choice(random: random.Random) -> str:
    return random.choices(("put", "replay", "delete"), (6, 2, 2))[0]
