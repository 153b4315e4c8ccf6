"""Who may use a Milvus Lite server at the same time."""

import asyncio
from collections.abc import Callable

import pytest
from pymilvus.exceptions import MilvusException

from semblance.orchestrator.adapters import turns as module
from semblance.orchestrator.adapters.turns import Turns


class Server:
    """Says who used it together."""

    def __init__(self) -> None:
        self.users: list[str] = []
        self.together: set[tuple[str, ...]] = set()
        self.flushed: list[str] = []

    async def use(self, what: str, turns: int = 3) -> None:
        self.users.append(what)
        for _ in range(turns):
            self.together.add(tuple(sorted(self.users)))
            await asyncio.sleep(0)
        self.users.remove(what)

    async def flush(self, collection: str) -> None:
        await self.use("flush")
        self.flushed.append(collection)

    async def write(self) -> None:
        await self.use("write")


@pytest.fixture(autouse=True)
def _flush_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_DELAY", 0.001)


async def until(true: Callable[[], bool], limit: float = 5.0) -> None:
    async with asyncio.timeout(limit):
        while not true():
            await asyncio.sleep(0.001)


async def test_many_read_one_writes_and_a_flush_is_alone() -> None:
    server = Server()
    turns = Turns(server.flush)

    async def read() -> None:
        async with turns.reading():
            await server.use("read", turns=20)

    async def mixed() -> None:
        while len(server.flushed) < 5:
            await turns.write("c", server.write())
            await read()

    async def only_read() -> None:
        while len(server.flushed) < 5:
            await read()

    async with asyncio.timeout(10):
        await asyncio.gather(*(mixed() for _ in range(3)), *(only_read() for _ in range(3)))
    seen = server.together
    assert any(users.count("read") > 1 for users in seen)
    assert any("read" in users and "write" in users for users in seen)
    assert all(users.count("write") <= 1 for users in seen)
    assert {users for users in seen if "flush" in users} == {("flush",)}
    await turns.close()


async def test_everything_written_is_flushed_soon() -> None:
    server = Server()
    turns = Turns(server.flush)
    for collection in "abab":
        await turns.write(collection, server.write())
    await until(lambda: set(server.flushed) == {"a", "b"})
    before = len(server.flushed)
    await turns.write("a", server.write())
    await until(lambda: len(server.flushed) > before)
    await turns.close()


async def test_a_write_whose_caller_goes_away_still_keeps_others_out() -> None:
    server = Server()
    turns = Turns(server.flush)
    abandoned = asyncio.create_task(turns.write("a", server.use("abandoned", turns=1000)))
    while "abandoned" not in server.users:
        await asyncio.sleep(0)
    abandoned.cancel()
    await turns.write("a", server.write())
    assert not any({"abandoned", "write"} <= set(users) for users in server.together)
    await turns.close()


async def test_a_failed_write_is_told_and_the_next_goes_on() -> None:
    server = Server()
    turns = Turns(server.flush)

    async def fail() -> None:
        raise MilvusException(message="no")

    with pytest.raises(MilvusException):
        await turns.write("a", fail())
    await turns.write("a", server.write())
    await turns.close()


async def test_a_failed_flush_lets_others_on() -> None:
    failures = 0

    async def fail(_: str) -> None:
        nonlocal failures
        failures += 1
        raise MilvusException(message="no")

    server = Server()
    turns = Turns(fail)
    await turns.write("a", server.write())
    await until(lambda: failures == 1)
    async with turns.reading():
        pass
    await turns.write("a", server.write())
    await until(lambda: failures == 2)
    await turns.close()
