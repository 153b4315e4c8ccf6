"""Releases whose items an engine outside the service builds through any of the orchestrators, on fakes and on the real
stores."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from semblance.client import AsyncClient, Client, NewItem, NewRelease, SemblanceError, WrongStateError
from semblance.orchestrator import builds, releases
from semblance.orchestrator.adapters.images import FileImageStore
from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.adapters.metadata import Database, SqlFeedbackStore, SqlMetadataStore, SqlRegistry
from semblance.orchestrator.adapters.milvus import MilvusIndex
from semblance.orchestrator.bootstrap import Service
from semblance.orchestrator.catalog import row_key
from semblance.orchestrator.ports import Ports
from semblance.orchestrator.release import Release
from semblance.orchestrator.settings import Settings
from tests.integration.service.test_releases import PHOTOS, collection_of, next_models, quick, rows, until
from tests.integration.service.world import PATIENCE, RED_PHOTO, Caller, World
from tests.integration.service.world import until as soon

__all__ = ["quick"]

PAGE = Path(__file__).resolve().parents[3] / "docs" / "swapping-models.md"
OUTSIDE, BY_KEEPER = NewRelease(embedder=2, engine="outside"), NewRelease(embedder=2)
# In seconds: within which no test ends, and after which the keeper goes on where one waits for that.
FOR_EVER, SILENCE = 1000.0, 2.0

Start = Callable[..., Awaitable[Caller]]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keeper waits for the engine for ever, at first and behind its items."""
    monkeypatch.setattr(releases, "ENGINE_WAIT_SECONDS", FOR_EVER)
    monkeypatch.setattr(builds, "LEASE_SECONDS", FOR_EVER)


@pytest.fixture
async def addresses(start: Start, world: World) -> Sequence[str]:
    """Of two orchestrators, one of which is the keeper."""
    started = [(await start(max_deadline=2)).address for _ in range(2)]
    await next_models(world)
    return started


@pytest.fixture
async def clients(addresses: Sequence[str]) -> AsyncIterator[tuple[AsyncClient, AsyncClient]]:
    async with AsyncClient(addresses[0]) as one, AsyncClient(addresses[1]) as other:
        for item_id, file in PHOTOS.items():
            await one.put_item(NewItem(item_id, [file]))
        yield one, other


async def build(client: AsyncClient, *item_ids: str) -> dict[str, SemblanceError | None]:
    return {item_id: error async for item_id, error in client.releases.build_items("r2", item_ids)}


async def built(client: AsyncClient, *item_ids: str) -> None:
    """Sends the items again and again until none fails: the keeper prepares the release first."""

    async def none_fails() -> bool:
        return not any((await build(client, *item_ids)).values())

    await until(none_fails)


async def pending(client: AsyncClient) -> list[str]:
    return [item_id async for item_id in client.releases.pending("r2")]


async def is_ready(client: AsyncClient) -> bool:
    return (await client.releases.get("r2")).state == "ready"


async def engine(client: AsyncClient) -> str | None:
    progress = (await client.releases.get("r2")).progress
    return progress.engine if progress else None


async def test_an_engine_builds_through_two_orchestrators(
    clients: tuple[AsyncClient, AsyncClient], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = clients
    await one.releases.create(OUTSIDE)
    assert await pending(other) == ["green", "red", "two"]
    assert await engine(one) == "outside"
    await built(one, "two")
    assert await pending(other) == ["green", "red"]
    await built(other, "red", "green")
    await until(lambda: is_ready(one))
    assert rows(world, await collection_of(world, "r2")) == rows(world, await collection_of(world, "r1"))
    assert await pending(one) == []
    assert await engine(one) is None
    # Nothing is kept of a build that is over.
    await soon(lambda: not any(service._keeper._countdowns for service in world.services))
    # It is looked at now and then, and not for each item.
    monkeypatch.setattr(builds, "RENEW_SECONDS", 0.0)
    [(_, refused)] = (await build(other, "red")).items()
    assert isinstance(refused, WrongStateError)


async def test_a_release_that_keeps_the_index_is_ready_without_an_engine(
    clients: tuple[AsyncClient, AsyncClient], world: World
) -> None:
    await clients[0].releases.create(NewRelease(detector=2, keep_index=True, engine="outside"))
    assert [each.outside_until for each in await world.registry.releases()] == [None, None]
    assert await pending(clients[0]) == []
    await until(lambda: is_ready(clients[0]))


async def test_the_keeper_begins_by_itself_where_no_engine_comes(
    clients: tuple[AsyncClient, AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "ENGINE_WAIT_SECONDS", SILENCE)
    await clients[0].releases.create(OUTSIDE)
    await until(lambda: is_ready(clients[0]))


async def test_an_engine_takes_over_from_the_keeper(clients: tuple[AsyncClient, AsyncClient], world: World) -> None:
    one, other = clients
    world.models.gate.clear()
    await one.releases.create(BY_KEEPER)
    await soon(lambda: world.models.waiting == len(PHOTOS))
    assert await engine(one) == "keeper"
    asked = asyncio.create_task(build(other, "red"))
    # What the keeper was at is given up.
    await soon(lambda: world.models.cancelled == len(PHOTOS))
    assert await engine(one) == "outside"
    world.models.gate.set()
    assert await asked == {"red": None}
    assert await pending(other) == ["green", "two"]
    await built(one, "green", "two")
    await until(lambda: is_ready(one))


def fall_silent_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the next item on the keeper does not wait for ever."""
    monkeypatch.setattr(builds, "LEASE_SECONDS", SILENCE)
    monkeypatch.setattr(builds, "RENEW_SECONDS", 0.0)


async def test_the_keeper_goes_on_where_the_engine_is_silent(
    clients: tuple[AsyncClient, AsyncClient], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = clients
    await one.releases.create(OUTSIDE)
    await built(one, "red")
    await other.put_item(NewItem("new", [RED_PHOTO]))
    await other.delete("red")
    assert await pending(one) == ["green", "new", "red", "two"]
    fall_silent_soon(monkeypatch)
    await built(one, "two")
    await until(lambda: is_ready(one))
    assert rows(world, await collection_of(world, "r2")) == rows(world, await collection_of(world, "r1"))


@pytest.mark.parametrize("number", [0, 1])
async def test_every_orchestrator_yields_to_searches_that_one_of_them_serves(
    clients: tuple[AsyncClient, AsyncClient], world: World, number: int
) -> None:
    assert not any(service._searching() for service in world.services)
    await clients[number].search(RED_PHOTO)
    await soon(lambda: all(service._searching() for service in world.services))


async def test_the_program_of_the_page_builds_a_release_whose_models_load_meanwhile(
    clients: tuple[AsyncClient, AsyncClient], addresses: Sequence[str], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    asked, load, check = asyncio.Event(), world.models.load, world.index.check

    async def when_items_wait(*arguments: Any) -> None:
        await asked.wait()
        await load(*arguments)

    async def seen(release: Release, timeout: float) -> None:
        try:
            await check(release, timeout)
        finally:
            if release.release_id == "r2":
                asked.set()

    monkeypatch.setattr(world.models, "load", when_items_wait)
    monkeypatch.setattr(world.index, "check", seen)
    monkeypatch.setattr(builds, "PREPARE_POLL", 0.01)
    said: list[str] = []

    def run() -> None:
        with Client(addresses[0]) as client:
            exec(program, {"client": client, "print": lambda *words: said.append(" ".join(map(str, words)))})

    await asyncio.to_thread(run)
    assert asked.is_set()
    assert not said
    assert await is_ready(clients[0])
    assert rows(world, await collection_of(world, "r2")) == rows(world, await collection_of(world, "r1"))


@dataclass
class Stores:
    """PostgreSQL, Milvus and a folder, each opened anew for every orchestrator but Milvus, whose models are fakes."""

    world: World
    url: str
    index: MilvusIndex
    folder: Path
    stack: AsyncExitStack

    def ports(self) -> Ports:
        database = Database(self.url)
        self.stack.push_async_callback(database.close)
        images = FileImageStore(f"file://{self.folder}")
        self.stack.push_async_callback(images.close)
        return Ports(
            {"Triton": self.world.models},
            FileModelRepository(str(self.world.repository)),
            self.index,
            SqlMetadataStore(database),
            SqlRegistry(database),
            images,
            SqlFeedbackStore(database),
        )

    async def serve(self) -> AsyncClient:
        settings: dict[str, Any] = {"listen": "127.0.0.1:0", "startup_wait": 0, "drain_delay": 0}
        service = Service(Settings(**settings), self.ports())
        port = await service.bind()
        self.stack.push_async_callback(service.stop)
        await service.activate()
        return await self.stack.enter_async_context(AsyncClient(f"127.0.0.1:{port}"))


@pytest.fixture
async def real(world: World, postgresql_database: str, milvus_lite: str, tmp_path: Path) -> AsyncIterator[Stores]:
    async with AsyncExitStack() as stack:
        index = MilvusIndex(milvus_lite)
        stack.push_async_callback(index.close)
        yield Stores(world, postgresql_database, index, tmp_path / "images", stack)


async def test_on_real_stores_the_keeper_goes_on_where_an_engine_stops(
    real: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await real.serve(), await real.serve()
    await next_models(real.world)
    items = {f"{name}-{number}": file for number in range(10) for name, file in PHOTOS.items()}
    for item_id, file in items.items():
        await one.put_item(NewItem(item_id, [file]))
    ports = real.ports()
    await one.releases.create(OUTSIDE)
    listed = await pending(other)
    assert listed == sorted(items)
    # Both build some, of which five are the same; then one of them dies in the middle, and so does the other.
    await built(one, *listed[:10])
    await built(other, *listed[5:15])
    assert await engine(one) == "outside"
    left = await pending(one)
    assert left == listed[15:]
    fall_silent_soon(monkeypatch)
    stopped = cast("AsyncGenerator[Any]", one.releases.build_items("r2", left, in_flight=1))
    await anext(stopped)
    await stopped.aclose()
    assert len(await pending(one)) >= len(left) - 2
    await other.delete(listed[0])
    await until(lambda: is_ready(one))
    by_id = {each.release_id: each.release for each in await ports.registry.releases()}
    wanted = {
        row_key(item.item_id, image.image_id, number)
        for item in await ports.metadata.items_after(by_id["r2"].collection, "", 100)
        for image in item.images
        for number in range(image.vectors)
    }
    for release in by_id.values():
        entries = await ports.index.entries(release, "", None, 1000, PATIENCE)
        assert sorted(each.key for each in entries) == sorted(wanted)
        assert await ports.index.count(release, PATIENCE) == len(wanted) == 39
    switch: Any = await other.releases.activate("r2")
    assert switch.lagging == ()
    assert (await one.search(RED_PHOTO)).release == "r2"
