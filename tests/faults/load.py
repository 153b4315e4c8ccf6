"""Callers that put, replace, replay, delete and search, and note what they were told."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from semblance.client import AsyncClient, InternalError, NotFoundError, SemblanceError
from tests.faults.ledger import Record, State, Version, photo

WRITERS, ITEMS_EACH, SEARCHERS = 6, 6, 2
# Of one call, and after one that failed, in seconds.
CALL_TIMEOUT, PAUSE = 10.0, 0.05
# The cosine of a photo with itself, and of one with another, are well on either side.
SAME = 0.99


@dataclass(slots=True)
class Load:
    """The writers own their items; the searchers look for anybody's. Runs while inside `running`."""

    client: AsyncClient
    seed: int
    searchers: int = SEARCHERS
    records: dict[str, Record] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    _random: list[random.Random] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = [random.Random(f"{self.seed} {number}") for number in range(WRITERS + self.searchers)]
        for number in range(WRITERS):
            self.records |= {item_id: Record() for item_id in _items(number)}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """On leaving, what is under way ends, so that nobody writes any more."""
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._write(number, stop)) for number in range(WRITERS)]
        tasks += [asyncio.create_task(self._search(WRITERS + number, stop)) for number in range(self.searchers)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def _write(self, number: int, stop: asyncio.Event) -> None:
        choose = self._random[number]
        while not stop.is_set():
            item_id = choose.choice(_items(number))
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

    async def _change(self, item_id: str, state: State) -> None:
        record = self.records[item_id]
        certainly_there = None not in record.possible
        record.begin(state)
        try:
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
            try:
                complaint = await misses(self.client, version)
            except SemblanceError as error:
                await self._failed(error)
                continue
            self.counts["searches"] += 1
            if complaint and record.changes == changes:
                self.wrong.append(complaint)

    async def _failed(self, error: SemblanceError) -> None:
        self.counts[type(error).__name__] += 1
        if isinstance(error, InternalError):
            self.wrong.append(f"internal error: {error}")
        await asyncio.sleep(PAUSE)


async def misses(client: AsyncClient, version: Version) -> str:
    """What is wrong with a search by a version's photo, or nothing."""
    result = await client.search(version.photo, top_k=1, include_attributes=True)
    for found in result.objects:
        hits = [(hit.item_id, hit.attributes.get("version"), round(hit.similarity, 3)) for hit in found.hits]
        if not hits or hits[0][:2] != (version.item_id, version.number) or hits[0][2] < SAME:
            return f"a search for {version} found {hits}"
    return ""


def choice(random: random.Random) -> str:
    return random.choices(("put", "replay", "delete"), (6, 2, 2))[0]


def _items(writer: int) -> Sequence[str]:
    return [f"item-{writer}-{number}" for number in range(ITEMS_EACH)]
