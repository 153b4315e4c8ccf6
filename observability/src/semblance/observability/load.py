"""What is done to a service so that each of its metrics has something to tell: the good, the bad, and a loss."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

from semblance.benchmarks.world import World, numbered
from semblance.client import AsyncClient, NewItem, NewRelease, SemblanceError, Verdict
from semblance.observability.stack import Stack

# As many at once as the service, which takes and lets wait eight, must refuse some of.
CALLERS = 16
TIMEOUT = 60.0
# Long enough for some scrapes, each.
STEADY_SECONDS = 8.0
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.2
SHADOW_PERCENT = 50.0
# Who calls from this host, as a canary knows it.
CALLER = "ipv4:127.0.0.1"
RELEASE = "r2"


class NotAsExpected(Exception):
    """The service did not do what the load is for; the message says what."""


async def drive(stack: Stack, world: World, say: Callable[[str], None]) -> None:
    """Searches and puts all the time, while a release is built, shadows and is a canary, and at last Triton is lost.

    Raises:
        NotAsExpected
    """
    async with AsyncClient(stack.target, timeout=TIMEOUT) as client, meanwhile(*callers(client, world)):
        say("searches, puts, pictures that are none; a release is built")
        await build(client)
        say(f"release {RELEASE} gets copies of {SHADOW_PERCENT:.0f} % of the searches")
        await client.releases.shadow(RELEASE, percent=SHADOW_PERCENT)
        await asyncio.sleep(STEADY_SECONDS)
        await client.releases.shadow(RELEASE, percent=0)
        say(f"release {RELEASE} is a canary")
        await client.releases.canary(RELEASE, callers=[CALLER])
        await asyncio.sleep(STEADY_SECONDS)
        await client.releases.canary(RELEASE)
        say("Triton is lost")
        await asyncio.to_thread(stack.inference.close)
        await asyncio.sleep(STEADY_SECONDS)


async def build(client: AsyncClient) -> None:
    await client.releases.create(NewRelease(RELEASE, embedder=2))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await client.releases.get(RELEASE)).state != "ready":
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise NotAsExpected(f"release {RELEASE} was not built within {PATIENCE_SECONDS:.0f} s") from None


def callers(client: AsyncClient, world: World) -> list[Coroutine[Any, Any, None]]:
    """Without end and whatever becomes of it: those who search, one of them with what is no picture, one who puts items
    of new pictures, and one who says what is right and wrong."""
    photos = itertools.cycle(world.photos)

    async def search(images: Iterator[bytes]) -> None:
        for image in images:
            try:
                await client.search(image)
            except SemblanceError:
                await asyncio.sleep(POLL_SECONDS)

    async def put() -> None:
        for number in itertools.count():
            picture = numbered(next(photos), number)
            try:
                await client.put_item(NewItem(f"new-{number % 10}", [picture]))
            except SemblanceError:
                await asyncio.sleep(POLL_SECONDS)

    async def judge() -> None:
        for number in itertools.count():
            picture = numbered(next(photos), number)
            try:
                result = await client.search(picture)
                found = result.objects[0]
                verdicts = Verdict.right(found.hits[0].item_id), Verdict.item("another"), Verdict.box_wrong()
                await client.feedback.give(picture, result.release, verdicts[number % len(verdicts)], found)
            except SemblanceError:
                await asyncio.sleep(POLL_SECONDS)

    return [put(), judge(), search(itertools.repeat(b"no picture")), *(search(photos) for _ in range(CALLERS))]


@asynccontextmanager
async def meanwhile(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
