"""Releases whose items an engine outside the service builds, through any of the orchestrators."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from semblance.client import AsyncClient, NewItem, NewRelease, SemblanceError
from tests.integration.service.test_releases import PHOTOS, collection_of, next_models, quick, rows, until
from tests.integration.service.world import Caller, World

__all__ = ["quick"]

OUTSIDE = NewRelease(embedder=2, engine="outside")
# Seconds in which no test ends.
FOR_EVER = 1000.0

Start = Callable[..., Awaitable[Caller]]


@pytest.fixture
async def clients(start: Start, world: World) -> AsyncIterator[list[AsyncClient]]:
    """Of two orchestrators, one of which is the keeper."""
    addresses = [(await start(max_deadline=2)).address for _ in range(2)]
    await next_models(world)
    async with AsyncClient(addresses[0]) as one, AsyncClient(addresses[1]) as other:
        for item_id, file in PHOTOS.items():
            await one.put_item(NewItem(item_id, [file]))
        yield [one, other]


async def build(client: AsyncClient, *item_ids: str) -> dict[str, SemblanceError | None]:
    return {item_id: error async for item_id, error in client.releases.build_items("r2", item_ids)}


async def built(client: AsyncClient, *item_ids: str) -> None:
    """Sends the items again and again, until none fails."""

    async def none_fails() -> bool:
        return not any((await build(client, *item_ids)).values())

    await until(none_fails)


async def pending(client: AsyncClient) -> list[str]:
    return [item_id async for item_id in client.releases.pending("r2")]


async def is_ready(client: AsyncClient) -> bool:
    return (await client.releases.get("r2")).state == "ready"


async def test_an_engine_builds_through_two_orchestrators(clients: list[AsyncClient], world: World) -> None:
    one, other = clients
    await one.releases.create(OUTSIDE)
    assert await pending(other) == ["green", "red", "two"]
    progress = (await one.releases.get("r2")).progress
    assert progress is not None
    assert (progress.engine, progress.unsettled) == ("outside", 3)
    await built(one, "two")
    assert await pending(other) == ["green", "red"]
    await built(other, "red", "green")
    await until(lambda: is_ready(one))
    assert rows(world, await collection_of(world, "r2")) == rows(world, await collection_of(world, "r1"))
    assert await pending(one) == []
