"""Items of a release that an outside engine builds: each once, whatever happened to it meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from semblance.orchestrator import builds as module
from semblance.orchestrator.builds import ATTEMPTS, Builds
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import (
    Conflict,
    DependencyUnavailable,
    InvalidArgument,
    NotFound,
    Overloaded,
    WrongState,
)
from semblance.orchestrator.mender import Pace
from semblance.orchestrator.ports import Ports
from semblance.orchestrator.release import Registered, Release, ReleaseState
from tests.integration.service.world import until
from tests.unit.orchestrator.stores import GREEN, RED, RELEASE, Stores

LATE = Deadline.after(3600)
SECOND = replace(RELEASE, release_id="r2", collection="second")


@pytest.fixture
async def stores() -> AsyncIterator[Stores]:
    """With two items, and r2, which is prepared."""
    made = Stores()
    await made.open()
    await made.put("red", RED, n=1)
    await made.put("green", GREEN, RED, n=2)
    await made.registry.add_release(SECOND)
    await made.metadata.enlist(SECOND.collection)
    await made.index.create(SECOND, 1)
    yield made
    made.threads.close()


def made(stores: Stores, in_flight: int = 2, queue: int = 2) -> Builds:
    ports = Ports({}, Any, stores.index, stores.metadata, stores.registry, stores.images, Any)  # type: ignore[arg-type]
    return Builds(ports, stores.catalog, Pace(1.0, lambda: False), in_flight, queue)


@pytest.fixture
def builds(stores: Stores) -> Builds:
    return made(stores)


async def second(stores: Stores) -> Registered:
    return next(each for each in await stores.registry.releases() if each.release_id == "r2")


async def test_what_is_built_is_what_the_active_release_has(stores: Stores, builds: Builds) -> None:
    assert (await builds.pending("r2", 1, "")).item_ids == ("green",)
    await builds.build("r2", "red", LATE)
    assert stores.unsettled(SECOND.collection) == ["green"]
    await builds.build("r2", "green", LATE)
    assert stores.indexed(SECOND.collection) == stores.indexed() == stores.true()
    assert (await builds.pending("r2", 1, "")).item_ids == ()


async def test_what_is_settled_is_not_computed_again(stores: Stores, builds: Builds) -> None:
    await builds.build("r2", "red", LATE)
    stores.models.requests.clear()
    await builds.build("r2", "red", LATE)
    assert not stores.models.requests
    assert [item_id for item_id, *_ in stores.indexed(SECOND.collection)] == ["red"]


async def test_two_engines_with_the_same_item_double_nothing(stores: Stores) -> None:
    await asyncio.gather(*(each.build("r2", "green", LATE) for each in (made(stores), made(stores)) for _ in range(2)))
    assert [item_id for item_id, *_ in stores.indexed(SECOND.collection)] == ["green", "green"]


async def test_what_was_deleted_is_taken_out(stores: Stores, builds: Builds) -> None:
    await builds.build("r2", "red", LATE)
    await stores.delete("red")
    assert (await builds.pending("r2", 10, "")).item_ids == ("green", "red")
    await builds.build("r2", "red", LATE)
    assert stores.indexed(SECOND.collection) == []
    assert stores.unsettled(SECOND.collection) == ["green"]


async def test_what_never_was_is_not_found(builds: Builds) -> None:
    with pytest.raises(NotFound, match="there is no item 'blue', and never was"):
        await builds.build("r2", "blue", LATE)


@pytest.mark.parametrize("times", [1, ATTEMPTS])
async def test_what_changes_meanwhile_is_built_as_it_is_then(
    stores: Stores, builds: Builds, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    changes = iter(range(times))
    upsert = stores.index.upsert

    async def changed(release: Release, rows: Any, timeout: float) -> None:
        await upsert(release, rows, timeout)
        if release == SECOND and (number := next(changes, None)) is not None:
            await stores.metadata.write(replace(stores.metadata.items["red"], attributes={"n": 7 + number}))

    monkeypatch.setattr(stores.index, "upsert", changed)
    if times == ATTEMPTS:
        with pytest.raises(Conflict, match="go on with the others"):
            await builds.build("r2", "red", LATE)
        assert "red" in stores.unsettled(SECOND.collection)
        return
    await builds.build("r2", "red", LATE)
    [(item_id, _, attributes)] = stores.indexed(SECOND.collection)
    assert (item_id, attributes) == ("red", {"n": 7})
    assert stores.unsettled(SECOND.collection) == ["green"]


async def set_ready(stores: Stores) -> None:
    for item_id in ("red", "green"):
        await made(stores).build("r2", item_id, LATE)
    await stores.registry.set_ready("r2", datetime.now(UTC) + timedelta(seconds=1))


async def activate(stores: Stores) -> None:
    await set_ready(stores)
    await stores.registry.activate("r2")


async def retire(stores: Stores) -> None:
    await stores.registry.retire("r2")


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (set_ready, "is ready, .* nothing is left to build: `semblance release activate r2`"),
        (activate, "is active, .* it is served with already"),
        (retire, "is retired, .* create it anew under another id"),
    ],
)
async def test_what_is_not_building_takes_no_items(
    stores: Stores, builds: Builds, change: Callable[[Stores], Awaitable[None]], advice: str
) -> None:
    await change(stores)
    stores.models.requests.clear()
    with pytest.raises(WrongState, match=advice):
        await builds.build("r2", "red", LATE)
    assert not stores.models.requests


async def test_what_there_is_not_has_no_items(stores: Stores, builds: Builds) -> None:
    for asked in (builds.build("r9", "red", LATE), builds.pending("r9", 10, "")):
        with pytest.raises(NotFound, match="'r9'"):
            await asked
    with pytest.raises(InvalidArgument, match="page token"):
        await builds.pending("r2", 10, "x")
    await retire(stores)
    with pytest.raises(WrongState, match="r2 is retired and has no collection; create it anew"):
        await builds.pending("r2", 10, "")


@pytest.mark.parametrize("state", [ReleaseState.ACTIVE, ReleaseState.READY])
async def test_a_release_with_the_index_of_another_one_is_left_to_the_service(
    stores: Stores, builds: Builds, state: ReleaseState
) -> None:
    if state is ReleaseState.READY:
        await activate(stores)
    await stores.registry.add_release(replace(RELEASE, release_id="r3"))
    await stores.metadata.unsettle(RELEASE.collection, ["red"])
    stores.models.requests.clear()
    with pytest.raises(WrongState, match=r"r3 uses the index of release r1, .* `semblance release show r3`"):
        await builds.build("r3", "red", LATE)
    assert not stores.models.requests
    assert stores.unsettled() == ["red"]
    assert (await builds.pending("r3", 10, "")).item_ids == ()
    [kept] = [each for each in await stores.registry.releases() if each.release_id == "r3"]
    assert kept.outside_until is None


async def test_an_index_whose_releases_are_retired_is_built(
    stores: Stores, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stores.registry.add_release(replace(RELEASE, release_id="r3"))
    with pytest.raises(WrongState, match="uses the index of release r1"):
        await builds.build("r3", "red", LATE)
    await activate(stores)
    await stores.registry.retire("r1")
    await stores.metadata.unsettle(RELEASE.collection, ["red"])
    assert (await builds.pending("r3", 10, "")).item_ids == ("red",)
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.0)
    await builds.build("r3", "red", LATE)
    assert stores.unsettled() == []


async def test_the_active_release_has_what_it_lacks_listed(stores: Stores, builds: Builds) -> None:
    await stores.metadata.unsettle(RELEASE.collection, ["red"])
    assert (await builds.pending("r1", 10, "")).item_ids == ("red",)


@pytest.fixture
async def unprepared(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The looks at whether r2 is prepared, which it is not."""
    looks: list[str] = []
    check = stores.index.check

    async def looked(release: Release, timeout: float) -> None:
        looks.append(release.release_id)
        await check(release, timeout)

    await stores.index.drop(SECOND.collection, 1)
    monkeypatch.setattr(stores.index, "check", looked)
    monkeypatch.setattr(module, "PREPARE_POLL", 0.02)
    return looks


async def test_items_wait_until_the_release_is_prepared_and_one_looks_for_all(
    stores: Stores, unprepared: list[str]
) -> None:
    builds = made(stores, in_flight=8)
    for number in range(6):
        await stores.metadata.write(replace(stores.metadata.items["red"], item_id=f"i{number}"))
    began = time.monotonic()
    asked = [asyncio.create_task(builds.build("r2", f"i{number}", LATE)) for number in range(6)]
    # What Milvus does not answer meanwhile is waited for, too.
    stores.index.fail(DependencyUnavailable("Milvus does not answer"))
    await until(lambda: len(unprepared) >= 3)
    assert len(unprepared) <= 1 + (time.monotonic() - began) / module.PREPARE_POLL
    assert not any(each.done() for each in asked)
    await stores.index.create(SECOND, 1)
    await asyncio.gather(*asked)
    assert {item_id for item_id, *_ in stores.indexed(SECOND.collection)} == {f"i{number}" for number in range(6)}
    looks = len(unprepared)
    await builds.build("r2", "red", LATE)
    assert len(unprepared) == looks


async def test_what_waited_for_it_in_vain_says_so_within_its_time(stores: Stores, unprepared: list[str]) -> None:
    builds = made(stores)
    deadline = Deadline.after(module.PREPARE_REST + 0.1)
    with pytest.raises(DependencyUnavailable, match=r"not prepared yet: .* `semblance release show r2`") as failed:
        await builds.build("r2", "red", deadline)
    assert deadline.remaining() > 0
    assert failed.value.retry_delay == module.PREPARE_RETRY
    assert len(unprepared) > 1
    assert (await second(stores)).is_built_outside(datetime.now(UTC))


async def test_what_waits_for_a_release_that_is_retired_is_refused(
    stores: Stores, unprepared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.0)
    asked = asyncio.create_task(made(stores).build("r2", "red", LATE))
    await until(lambda: len(unprepared) > 0)
    await retire(stores)
    with pytest.raises(WrongState, match="r2 is retired"):
        await asked


async def test_items_keep_the_release_from_the_keeper(
    stores: Stores, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not (await second(stores)).is_built_outside(datetime.now(UTC))
    await builds.build("r2", "red", LATE)
    first = (await second(stores)).outside_until
    assert first is not None
    assert timedelta(0) < first - datetime.now(UTC) <= timedelta(seconds=module.LEASE_SECONDS)
    # Not with every item: that would be a write more for each.
    await builds.build("r2", "red", LATE)
    assert (await second(stores)).outside_until == first
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.0)
    await builds.build("r2", "red", LATE)
    renewed = (await second(stores)).outside_until
    assert renewed is not None
    assert renewed > first


async def test_an_item_that_takes_longer_than_that_keeps_the_release_from_the_keeper(
    stores: Stores, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, describe = asyncio.Event(), stores.catalog._describe_stored

    async def held(*arguments: Any) -> Any:
        await gate.wait()
        return await describe(*arguments)

    def until_when() -> datetime:
        return stores.metadata.registered["r2"].outside_until or datetime.min.replace(tzinfo=UTC)

    monkeypatch.setattr(stores.catalog, "_describe_stored", held)
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.1)
    began = datetime.now(UTC)
    asked = asyncio.create_task(builds.build("r2", "red", LATE))
    # One that was given when the item began would be over by far.
    await until(lambda: until_when() > began + timedelta(seconds=0.5))
    # A registry that is away for a moment ends nothing.
    stores.registry.fail(DependencyUnavailable("down"))
    now = datetime.now(UTC)
    await until(lambda: until_when() > now + timedelta(seconds=0.2))
    gate.set()
    await asked
    await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_many_at_once_wait_and_more_are_refused(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, began = asyncio.Event(), list[str]()
    mend = stores.catalog.mend

    async def held(item_id: str, revision: int, release: Release, described: Callable[[], None]) -> bool:
        began.append(item_id)
        await gate.wait()
        return await mend(item_id, revision, release, described)

    monkeypatch.setattr(stores.catalog, "mend", held)
    for number in range(6):
        await stores.metadata.write(replace(stores.metadata.items["red"], item_id=f"i{number}"))
    builds = made(stores, in_flight=2, queue=3)
    asked = [asyncio.create_task(builds.build("r2", f"i{number}", LATE)) for number in range(6)]
    await until(lambda: asked[-1].done())
    with pytest.raises(Overloaded, match="2 items in flight and 3 waiting") as refused:
        asked[-1].result()
    assert refused.value.retry_delay > 0
    assert began == ["i0", "i1"]
    # Who goes away makes room.
    asked[0].cancel()
    await until(lambda: began == ["i0", "i1", "i2"])
    gate.set()
    assert await asyncio.gather(*asked[1:5]) == [None] * 4
    assert {item_id for item_id, *_ in stores.indexed(SECOND.collection)} == {"i1", "i2", "i3", "i4"}


async def test_it_keeps_to_the_pace_of_builds(stores: Stores) -> None:
    turns = list[str]()

    class Counted(Pace):
        def turn(self) -> Any:
            turns.append("turn")
            return super().turn()

    ports = Ports({}, Any, stores.index, stores.metadata, stores.registry, stores.images, Any)  # type: ignore[arg-type]
    builds = Builds(ports, stores.catalog, Counted(1.0, lambda: False), 2, 2)
    await builds.build("r2", "red", LATE)
    await builds.build("r2", "red", LATE)
    assert turns == ["turn"]
