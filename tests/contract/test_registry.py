"""What every registry promises, alone and with the metadata store beside it: SQLite, PostgreSQL, and the fake."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest
from sqlalchemy import create_engine, inspect, make_url, text

from semblance.orchestrator.adapters.metadata import settlement
from semblance.orchestrator.adapters.metadata.engine import make_folder
from semblance.orchestrator.errors import Conflict, InvalidArgument, NotFound, WrongState
from semblance.orchestrator.evaluation import Evaluation
from semblance.orchestrator.figure import Figure
from semblance.orchestrator.item import CatalogSize
from semblance.orchestrator.measure import METRICS, Measure
from semblance.orchestrator.ports import MetadataStore, Registry
from semblance.orchestrator.release import Canary, IndexParameters, Presence, Registered, Release, ReleaseState
from tests.contract.stores import HERE, IMAGES, RELEASE, Open, Stores, another_release, item, moment_after, opened

SECOND = another_release("r2")
THIRD = another_release("r3")
THERE = SECOND.collection


@pytest.fixture
def registry(stores: Stores) -> Registry:
    """With r1 active."""
    return stores.registry


async def put(store: MetadataStore, *item_ids: str, settled_in: Collection[str] = (HERE,)) -> None:
    for item_id in item_ids:
        revision = (await store.write(item(item_id))).revision
        for collection in settled_in:
            assert await store.settle(collection, item_id, revision)


async def add_ready(registry: Registry, *releases: Release) -> None:
    for release in releases:
        await registry.add_release(release)
        await registry.set_ready(release.release_id, moment_after())


async def by_id(registry: Registry, release_id: str) -> Registered:
    (found,) = [each for each in await registry.releases() if each.release_id == release_id]
    return found


async def states(registry: Registry) -> dict[str, str]:
    return {each.release_id: each.state.value for each in await registry.releases()}


async def unsettled(store: MetadataStore, collection: str) -> list[str]:
    return sorted(item_id for item_id, _ in await store.unsettled(collection, 10_000))


async def enlist(store: MetadataStore, collection: str) -> None:
    while await store.enlist(collection):
        pass


async def until(true: Callable[[], Awaitable[bool]], limit: float = 10.0) -> None:
    """Returns when a condition holds; fails where it does not within `limit` seconds."""
    async with asyncio.timeout(limit):
        while not await true():
            await asyncio.sleep(0.01)


# The life of a release.


async def test_an_outside_engine_has_a_release_for_a_while(registry: Registry, another: Open) -> None:
    began = datetime.now(UTC)
    assert not (await registry.add_release(SECOND)).is_built_outside(began)
    assert (await registry.add_release(THIRD, outside=20.0)).is_built_outside(began + timedelta(seconds=19))
    # The last word holds, be it less.
    for seconds in (50.0, 20.0):
        asked = datetime.now(UTC)
        left = await another().registry.leave_outside("r2", seconds)
        assert left == await by_id(registry, "r2")
        assert left.is_built_outside(asked + timedelta(seconds=seconds - 1))
        assert not left.is_built_outside(datetime.now(UTC) + timedelta(seconds=seconds + 1))
    with pytest.raises(NotFound, match="'r9'"):
        await registry.leave_outside("r9", 10.0)


async def test_what_is_not_building_is_left_to_no_engine(registry: Registry) -> None:
    await registry.add_release(SECOND, outside=100.0)
    await registry.set_ready("r2", moment_after())
    for release_id in ("r1", "r2"):
        left = await registry.leave_outside(release_id, 1000.0)
        assert (left.state is ReleaseState.BUILDING, left.is_built_outside(datetime.now(UTC))) == (False, False)
        assert left.outside_until is None or left.outside_until < datetime.now(UTC) + timedelta(seconds=500)


async def test_has_no_release_at_first(another: Open) -> None:
    registry = another().registry
    assert await registry.active_release() is None
    assert list(await registry.releases()) == []
    with pytest.raises(NotFound, match="no release is active"):
        await registry.replace_collection("other")
    with pytest.raises(WrongState, match="replaced no other one"):
        await registry.roll_back()


async def test_keeps_a_release(another: Open) -> None:
    before = datetime.now(UTC)
    assert await another().registry.add_first_release(RELEASE) == RELEASE
    assert await another().registry.active_release() == RELEASE
    (known,) = await another().registry.releases()
    assert known == Registered(RELEASE, ReleaseState.ACTIVE, known.created_at, known.changed_at)
    assert before <= known.created_at <= known.changed_at <= datetime.now(UTC)
    assert known.created_at.utcoffset() == known.changed_at.utcoffset() == before.utcoffset()


async def test_several_starting_at_once_get_the_same_release(another: Open) -> None:
    registries = [another().registry for _ in range(6)]
    releases = [replace(RELEASE, collection=f"c{number}") for number in range(6)]
    releases[3:] = [replace(release, release_id=f"r{n}") for n, release in enumerate(releases[3:], 5)]
    given = await asyncio.gather(
        *(registry.add_first_release(release) for registry, release in zip(registries, releases, strict=True))
    )
    assert len(set(given)) == 1
    assert given[0] in releases
    assert [each.release for each in await another().registry.releases()] == [given[0]]


async def test_a_release_is_built_ready_active_and_retired(registry: Registry) -> None:
    added = await registry.add_release(SECOND)
    assert added == Registered(SECOND, ReleaseState.BUILDING, added.created_at, added.created_at)
    assert added == await by_id(registry, "r2")
    moment = moment_after()
    await registry.set_ready("r2", moment)
    ready = await by_id(registry, "r2")
    assert (ready.state, ready.created_at) == (ReleaseState.READY, added.created_at)
    assert ready.changed_at >= moment
    moment = moment_after()
    active = await registry.activate("r2")
    assert active == await by_id(registry, "r2")
    assert (active.state, active.replaced, active.release) == (ReleaseState.ACTIVE, "r1", SECOND)
    assert active.changed_at >= moment
    assert await registry.active_release() == SECOND
    before = await by_id(registry, "r1")
    assert (before.state, before.replaced) == (ReleaseState.READY, "")
    assert before.changed_at >= moment
    retired = await registry.retire("r1")
    assert retired == await by_id(registry, "r1")
    assert retired.state is ReleaseState.RETIRED
    assert retired.changed_at > before.changed_at
    assert await states(registry) == {"r1": "retired", "r2": "active"}


async def test_tells_releases_in_the_order_of_their_making(registry: Registry) -> None:
    for release_id in ("z", "b", "a"):
        await registry.add_release(another_release(release_id))
    await registry.retire("b")
    assert list(await states(registry)) == ["r1", "z", "b", "a"]


async def test_a_building_release_can_be_given_up(registry: Registry) -> None:
    await registry.add_release(SECOND)
    await registry.retire("r2")
    assert await states(registry) == {"r1": "active", "r2": "retired"}


async def test_an_id_is_taken_once(registry: Registry) -> None:
    await add_ready(registry, SECOND)
    await registry.retire("r2")
    for taken in (RELEASE, SECOND):
        with pytest.raises(Conflict, match=f"there is a release {taken.release_id} already"):
            await registry.add_release(replace(taken, collection="new"))
    assert await states(registry) == {"r1": "active", "r2": "retired"}


CHANGES: dict[str, Callable[[Registry, str], Awaitable[object]]] = {
    "set_ready": lambda registry, release_id: registry.set_ready(release_id, datetime.now(UTC)),
    "activate": lambda registry, release_id: registry.activate(release_id),
    "retire": lambda registry, release_id: registry.retire(release_id),
    "set_canary": lambda registry, release_id: registry.set_canary(release_id, Canary(1.0)),
    "set_shadow": lambda registry, release_id: registry.set_shadow(release_id, 1.0),
}
ALLOWED = {
    "building": {"set_ready", "retire"},
    "ready": {"activate", "retire", "set_canary", "set_shadow"},
    "active": {"activate"},
    "retired": set[str](),
}


@pytest.mark.parametrize("state", ALLOWED)
async def test_a_state_allows_some_changes_and_no_other(registry: Registry, state: str) -> None:
    for name, change in CHANGES.items():
        release_id = f"for_{name}"
        await registry.add_release(another_release(release_id))
        if state == "retired":
            await registry.retire(release_id)
        elif state != "building":
            await registry.set_ready(release_id, moment_after())
        if state == "active":
            await registry.activate(release_id)
        before = await registry.releases()
        assert (await states(registry))[release_id] == state
        if name in ALLOWED[state]:
            await change(registry, release_id)
        else:
            with pytest.raises(WrongState, match=f"release {release_id} is {state}"):
                await change(registry, release_id)
            assert await registry.releases() == before


async def test_a_release_that_never_was_is_not_found(registry: Registry) -> None:
    ends: list[Callable[[Registry, str], Awaitable[object]]] = [
        lambda registry, release_id: registry.set_canary(release_id, None),
        lambda registry, release_id: registry.set_shadow(release_id, 0),
    ]
    for change in [*CHANGES.values(), *ends]:
        with pytest.raises(NotFound, match="no release 'never'"):
            await change(registry, "never")


async def test_one_release_is_active_whoever_activates_at_once(another: Open) -> None:
    await another().registry.add_first_release(RELEASE)
    releases = [another_release(f"n{number}") for number in range(6)]
    await add_ready(another().registry, *releases)
    registries = [another().registry for _ in range(3)]
    await asyncio.gather(*(registries[n % 3].activate(each.release_id) for n, each in enumerate(releases)))
    given = await states(registries[0])
    assert sorted(given.values()) == ["active"] + ["ready"] * 6
    # Each replaced another one: they came after one another.
    replaced = [each.replaced for each in await registries[0].releases()]
    last = next(each for each, state in given.items() if state == "active")
    assert sorted(replaced) == sorted({"", *given} - {last})


async def test_activating_the_active_release_changes_nothing(registry: Registry) -> None:
    await add_ready(registry, SECOND)
    active = await registry.activate("r2")
    assert await registry.activate("r2") == active
    assert (await by_id(registry, "r2")).replaced == "r1"


async def test_rolls_back_through_what_was_active_before(registry: Registry) -> None:
    await add_ready(registry, SECOND, THIRD)
    await registry.activate("r2")
    await registry.activate("r3")
    moment = moment_after()
    back = await registry.roll_back()
    assert (back.release, back.state, back.replaced) == (SECOND, ReleaseState.ACTIVE, "r1")
    assert back.changed_at >= moment
    assert await states(registry) == {"r1": "ready", "r2": "active", "r3": "ready"}
    assert (await registry.roll_back()).release == RELEASE
    with pytest.raises(WrongState, match="replaced no other one"):
        await registry.roll_back()
    assert await registry.active_release() == RELEASE
    # What is activated anew is where a rollback goes from, whatever it replaced earlier.
    assert (await registry.activate("r3")).replaced == "r1"
    assert (await registry.roll_back()).release == RELEASE


async def test_a_retired_release_is_not_rolled_back_to(registry: Registry) -> None:
    await add_ready(registry, SECOND)
    await registry.activate("r2")
    await registry.retire("r1")
    with pytest.raises(WrongState, match="release r1 is retired"):
        await registry.roll_back()
    assert await registry.active_release() == SECOND


async def test_notes_how_a_build_gets_on(another: Open) -> None:
    registry = another().registry
    await registry.add_first_release(RELEASE)
    await registry.add_release(SECOND)
    await registry.note("r2", "Milvus is full 😀", 12.5)
    noted = await by_id(another().registry, "r2")
    assert (noted.problem, noted.rate, noted.state) == ("Milvus is full 😀", 12.5, ReleaseState.BUILDING)
    await registry.note("r2", "", 0.0)
    assert await by_id(registry, "r2") == replace(noted, problem="", rate=0.0)
    await registry.note("r2", "again", 1.0)
    await registry.set_ready("r2", moment_after())
    assert (await by_id(registry, "r2")).problem == ""


# Canary and shadow.


async def test_a_ready_release_is_a_canary_until_it_ends(another: Open) -> None:
    registry = another().registry
    await registry.add_first_release(RELEASE)
    await add_ready(registry, SECOND)
    canary = Canary(12.5, ("shop", "é"))
    assert (await registry.set_canary("r2", canary)).canary == canary
    assert (await by_id(another().registry, "r2")).canary == canary
    # Another one of the same release takes its place.
    assert (await registry.set_canary("r2", Canary(0.0, ("shop",)))).canary == Canary(0.0, ("shop",))
    assert (await registry.set_canary("r2", None)).canary is None
    assert (await registry.set_canary("r2", None)).canary is None
    assert (await by_id(registry, "r2")).canary is None


async def test_a_ready_release_is_a_shadow_until_it_ends(another: Open) -> None:
    registry = another().registry
    await registry.add_first_release(RELEASE)
    await add_ready(registry, SECOND)
    assert (await registry.set_shadow("r2", 0.5)).shadow == 0.5
    assert (await by_id(another().registry, "r2")).shadow == 0.5
    assert (await registry.set_shadow("r2", 100)).shadow == 100
    assert (await registry.set_shadow("r2", 0)).shadow == 0
    assert (await by_id(registry, "r2")).shadow == 0


async def test_one_release_is_the_canary_and_one_the_shadow(registry: Registry) -> None:
    await add_ready(registry, SECOND, THIRD)
    await registry.set_canary("r2", Canary(5))
    with pytest.raises(WrongState, match=r"release r2 is .*end"):
        await registry.set_canary("r3", Canary(5))
    await registry.set_shadow("r3", 5)
    with pytest.raises(WrongState, match=r"release r3 is .*end"):
        await registry.set_shadow("r2", 5)
    # Of others it ends nothing.
    await registry.set_canary("r3", None)
    await registry.set_shadow("r2", 0)
    assert (await by_id(registry, "r2")).canary == Canary(5)
    assert (await by_id(registry, "r3")).shadow == 5
    # One may be both.
    await registry.set_shadow("r3", 0)
    await registry.set_shadow("r2", 5)
    await registry.set_canary("r2", None)
    await registry.set_canary("r3", Canary(5))
    assert (await by_id(registry, "r3")).canary == Canary(5)


@pytest.mark.parametrize("percent", [-0.001, 100.001, float("nan"), float("inf")])
async def test_a_share_is_between_nothing_and_all(registry: Registry, percent: float) -> None:
    await add_ready(registry, SECOND)
    with pytest.raises(InvalidArgument, match="percent is not between 0 and 100"):
        await registry.set_canary("r2", Canary(percent))
    with pytest.raises(InvalidArgument, match="percent is not between 0 and 100"):
        await registry.set_shadow("r2", percent)
    known = await by_id(registry, "r2")
    assert (known.canary, known.shadow) == (None, 0)


async def test_what_is_activated_is_neither_canary_nor_shadow(registry: Registry) -> None:
    await add_ready(registry, SECOND)
    await registry.set_canary("r2", Canary(5))
    await registry.set_shadow("r2", 5)
    active = await registry.activate("r2")
    assert (active.canary, active.shadow) == (None, 0)
    await registry.set_canary("r1", Canary(5))
    back = await registry.roll_back()
    assert (back.release_id, back.canary) == ("r1", None)


async def test_a_canary_or_shadow_is_not_retired(registry: Registry) -> None:
    await add_ready(registry, SECOND)
    await registry.set_canary("r2", Canary(5))
    with pytest.raises(WrongState, match=r"release r2 is a canary.*end that first"):
        await registry.retire("r2")
    await registry.set_canary("r2", None)
    await registry.set_shadow("r2", 5)
    with pytest.raises(WrongState, match=r"release r2 is a .*shadow.*end that first"):
        await registry.retire("r2")
    await registry.set_shadow("r2", 0)
    assert (await registry.retire("r2")).state is ReleaseState.RETIRED


async def test_keeps_what_each_orchestrator_observed_last(another: Open) -> None:
    registry = another().registry
    await registry.add_first_release(RELEASE)
    await add_ready(registry, SECOND, THIRD)
    assert list(await registry.observations("r2")) == []
    observed = {"searches": 3, "seconds": [0.5, 1e-9], "errors": {"é": 1}}
    await registry.observe("r2", "a", {"searches": 1})
    await registry.observe("r2", "b", {"searches": 2})
    await registry.observe("r3", "a", {"searches": 9})
    await another().registry.observe("r2", "a", observed)
    found = await registry.observations("r2")
    assert sorted(found, key=lambda each: -each["searches"]) == [observed, {"searches": 2}]


async def test_becoming_a_candidate_forgets_what_was_observed(registry: Registry) -> None:
    await add_ready(registry, SECOND, THIRD)

    async def observed() -> bool:
        return bool(await registry.observations("r2"))

    await registry.observe("r3", "a", {"n": 1})
    await registry.observe("r2", "a", {"n": 1})
    await registry.observe("r2", "b", {"n": 1})
    await registry.set_shadow("r2", 5)
    assert not await observed()
    await registry.observe("r2", "a", {"n": 1})
    # Still a candidate, and then none any more: what was observed is kept to be looked at.
    await registry.set_shadow("r2", 10)
    await registry.set_canary("r2", Canary(1))
    await registry.set_canary("r2", Canary(2))
    await registry.set_shadow("r2", 0)
    await registry.set_canary("r2", None)
    assert await observed()
    await registry.set_canary("r2", Canary(1))
    assert not await observed()
    assert await registry.observations("r3")


# Collections.


async def test_a_new_release_lacks_the_whole_catalogue_until_it_is_mended(stores: Stores) -> None:
    store, registry = stores.metadata, stores.registry
    await put(store, "a", "b", "gone")
    await store.settle(HERE, "gone", await store.remove("gone"))
    await registry.add_release(SECOND)
    assert await store.count_unsettled(THERE, moment_after()) == 2
    assert not await store.indexed(THERE)
    assert await store.revisions(THERE, ["a"]) == {"a": (1, False)}
    known = await store.get(THERE, "a")
    assert known is not None
    assert not known[1]
    await enlist(store, THERE)
    assert await unsettled(store, THERE) == ["a", "b"]
    assert await store.count_unsettled(THERE, moment_after()) == 2
    with pytest.raises(WrongState, match="release r2 is not ready: 2 items"):
        await registry.set_ready("r2", moment_after())
    for item_id, revision in await store.unsettled(THERE, 10):
        assert await store.settle(THERE, item_id, revision)
    assert await store.indexed(THERE)
    await registry.set_ready("r2", moment_after())
    # Nothing of it is seen in the other collection.
    assert await unsettled(store, HERE) == []


async def test_is_not_ready_before_all_is_enlisted(stores: Stores) -> None:
    await put(stores.metadata, "a", "b")
    await stores.registry.add_release(SECOND)
    with pytest.raises(WrongState, match="2 items"):
        await stores.registry.set_ready("r2", moment_after())


async def test_what_changed_since_does_not_keep_it_from_being_ready(stores: Stores) -> None:
    store, registry = stores.metadata, stores.registry
    await put(store, "a", "b")
    await registry.add_release(SECOND)
    await enlist(store, THERE)
    for item_id, revision in await store.unsettled(THERE, 10):
        await store.settle(THERE, item_id, revision)
    moment = moment_after()
    await put(store, "b", "c")
    assert await unsettled(store, THERE) == ["b", "c"]
    await registry.set_ready("r2", moment)
    assert (await states(registry))["r2"] == "ready"
    assert await unsettled(store, THERE) == ["b", "c"]


async def test_an_empty_catalogue_is_ready_at_once(stores: Stores) -> None:
    await stores.registry.add_release(SECOND)
    assert not await stores.metadata.enlist(THERE)
    await stores.registry.set_ready("r2", moment_after())


async def test_the_first_release_lacks_what_was_there_before_it(another: Open) -> None:
    stores = another()
    await stores.metadata.write(item("early"))
    await stores.registry.add_first_release(RELEASE)
    assert not await stores.metadata.indexed(HERE)
    await enlist(stores.metadata, HERE)
    assert await unsettled(stores.metadata, HERE) == ["early"]


async def test_the_catalogue_is_enlisted_a_page_at_a_time_by_whoever_goes_on(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "ENLIST_PAGE", 2)
    names = ["B", "a", "b", "c", "é"]
    async with opened(url) as again:
        first = again()
        await first.registry.add_first_release(RELEASE)
        await put(first.metadata, *names)
        await first.registry.add_release(SECOND)
        assert await first.metadata.enlist(THERE)
        assert await unsettled(first.metadata, THERE) == names[:2]
        # Beyond the page are one that is listed already, one that goes and one that comes.
        await put(first.metadata, "c")
        await first.metadata.settle(HERE, "b", await first.metadata.remove("b"))
        await put(first.metadata, "d")
        assert await first.metadata.count_unsettled(THERE, moment_after()) == 6
        assert await first.metadata.revisions(THERE, ["é", "a"]) == {"a": (1, False), "é": (1, False)}
        ((item_id, revision), *_) = await first.metadata.unsettled(THERE, 1)
        assert await first.metadata.settle(THERE, item_id, revision)
        assert (await first.metadata.revisions(THERE, [item_id]))[item_id] == (revision, True)
        second = again()
        assert await second.metadata.enlist(THERE)
        assert not await second.metadata.enlist(THERE)
        assert not await first.metadata.enlist(THERE)
        assert await unsettled(second.metadata, THERE) == ["a", "b", "c", "d", "é"]
        assert await second.metadata.count_unsettled(THERE, moment_after()) == 5


async def test_several_may_enlist_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settlement, "ENLIST_PAGE", 7)
    async with opened(url) as again:
        opened_stores = [again() for _ in range(3)]
        await opened_stores[0].registry.add_first_release(RELEASE)
        names = [f"i{number:02}" for number in range(50)]
        await put(opened_stores[0].metadata, *names)
        await opened_stores[0].registry.add_release(SECOND)
        await asyncio.gather(*(enlist(each.metadata, THERE) for each in opened_stores))
        assert await unsettled(opened_stores[0].metadata, THERE) == names


async def test_a_change_is_due_in_every_live_collection(stores: Stores) -> None:
    store, registry = stores.metadata, stores.registry
    await registry.add_release(SECOND)
    await add_ready(registry, THIRD)
    live = [HERE, SECOND.collection, THIRD.collection]
    first = (await store.write(item("i"))).revision
    for collection in live:
        assert await store.unsettled(collection, 10) == [("i", first)]
    # Settled in one, it is not in the others.
    assert await store.settle(live[1], "i", first)
    assert [await unsettled(store, each) for each in live] == [["i"], [], ["i"]]
    for collection in live:
        assert await store.settle(collection, "i", first)
    removed = await store.remove("i")
    for collection in live:
        assert await store.unsettled(collection, 10) == [("i", removed)]


async def test_releases_may_share_a_collection(stores: Stores) -> None:
    store, registry = stores.metadata, stores.registry
    await put(store, "a")
    await registry.add_release(replace(SECOND, collection=HERE))
    # It has all of it.
    assert await store.indexed(HERE)
    assert not await store.enlist(HERE)
    await registry.set_ready("r2", moment_after())
    await put(store, "b")
    await registry.activate("r2")
    await registry.retire("r1")
    assert list(await registry.discarded(moment_after())) == []
    await put(store, "c")
    await registry.add_release(replace(THIRD, collection="new"))
    await enlist(store, "new")
    for item_id, revision in await store.unsettled("new", 10):
        await store.settle("new", item_id, revision)
    await registry.set_ready("r3", moment_after())
    await registry.activate("r3")
    await registry.retire("r2")
    assert list(await registry.discarded(moment_after())) == [HERE]


async def test_a_retired_releases_collection_is_settled_no_more(stores: Stores) -> None:
    store, registry = stores.metadata, stores.registry
    await add_ready(registry, SECOND)
    revision = (await store.write(item("i"))).revision
    await registry.retire("r2")
    # Whoever put it began before, and has done what was to be done.
    assert await store.settle(THERE, "i", revision)
    assert await store.unsettled(HERE, 10) == [("i", revision)]
    later = (await store.write(item("i"))).revision
    assert await store.settle(THERE, "i", revision)
    assert await store.settle("never", "i", later)
    assert await store.unsettled(HERE, 10) == [("i", later)]
    assert await store.settle(HERE, "i", later)


async def test_a_discarded_collection_is_dropped_once_and_forgotten(another: Open) -> None:
    stores = another()
    registry = stores.registry
    await registry.add_first_release(RELEASE)
    await add_ready(registry, SECOND)
    await put(stores.metadata, "i", settled_in=[HERE])
    before = moment_after()
    await registry.retire("r2")
    assert list(await registry.discarded(before)) == []
    assert list(await another().registry.discarded(moment_after())) == [THERE]
    await registry.forget(THERE)
    await registry.forget("never")
    assert list(await registry.discarded(moment_after())) == []
    assert await unsettled(stores.metadata, THERE) == []


async def test_a_replaced_collection_is_discarded_unless_another_release_has_it(stores: Stores) -> None:
    registry = stores.registry
    changed = await registry.replace_collection("one")
    assert changed == replace(RELEASE, collection="one") == await registry.active_release()
    assert list(await registry.discarded(moment_after())) == [HERE]
    await registry.add_release(replace(SECOND, collection="one"))
    await registry.replace_collection("two")
    assert list(await registry.discarded(moment_after())) == [HERE]


async def test_a_collection_that_was_discarded_and_is_live_again_lacks_everything(stores: Stores) -> None:
    store, registry = stores.metadata, stores.registry
    await put(store, "a")
    await add_ready(registry, replace(SECOND, collection=HERE))
    await registry.replace_collection("other")
    await registry.retire("r2")
    await enlist(store, "other")
    (known,) = await store.unsettled("other", 10)
    await store.settle("other", *known)
    await put(store, "b", settled_in=["other"])
    assert list(await registry.discarded(moment_after())) == [HERE]
    await registry.add_release(replace(THIRD, collection=HERE))
    assert list(await registry.discarded(moment_after())) == []
    with pytest.raises(WrongState, match="2 items"):
        await registry.set_ready("r3", moment_after())
    await enlist(store, HERE)
    assert await unsettled(store, HERE) == ["a", "b"]


async def test_an_old_revision_in_a_collection_that_is_built_disturbs_no_other(stores: Stores) -> None:
    store, registry = stores.metadata, stores.registry
    await add_ready(registry, SECOND)
    old, new = [(await store.write(item("i"))).revision for _ in range(2)]
    assert await store.settle(HERE, "i", new)
    assert await store.settle(THERE, "i", new)
    # The mender that was at the old one comes late: what it wrote has to be mended, there.
    assert not await store.settle(THERE, "i", old)
    assert await store.unsettled(THERE, 10) == [("i", new)]
    assert await store.unsettled(HERE, 10) == []
    assert await store.revisions(HERE, ["i"]) == {"i": (new, True)}
    assert await store.settle(THERE, "i", new)
    # In the active one somebody wrote, and the others get what is right in the end.
    assert not await store.settle(HERE, "i", old)
    ((_, newest),) = await store.unsettled(HERE, 10)
    assert newest > new
    assert await store.unsettled(THERE, 10) == [("i", newest)]


async def test_an_item_that_never_was_is_not_due_in_a_collection_that_is_built(stores: Stores) -> None:
    await add_ready(stores.registry, SECOND)
    assert not await stores.metadata.settle(THERE, "never", 1)
    assert list(await stores.metadata.unsettled(THERE, 10)) == []
    assert await stores.metadata.revisions(THERE, ["never"]) == {}


async def test_numbers_of_vectors_are_told_of_each_collection(stores: Stores) -> None:
    store = stores.metadata
    await put(store, "i", "j")
    await stores.registry.add_release(SECOND)
    await enlist(store, THERE)
    found = [replace(IMAGES[0], vectors=7), replace(IMAGES[1], vectors=0)]
    assert await store.settle(THERE, "i", 1, found)
    assert await store.settle(THERE, "j", 1, IMAGES)
    assert await store.count(HERE) == CatalogSize(2, 4, 6)
    assert await store.count(THERE) == CatalogSize(2, 4, 10)
    for collection, images in ((HERE, IMAGES), (THERE, tuple(found))):
        known = await store.get(collection, "i")
        assert known is not None
        assert known[0].images == images
        assert (await store.list(collection, 1, "")).items[0].images == images
        assert (await store.items_after(collection, "", 1))[0].images == images
        assert (await store.items_after(collection, "i", 1))[0].images == IMAGES
    # Found anew, with as many as its writer found.
    assert await store.settle(THERE, "i", 1, IMAGES)
    assert await store.count(THERE) == CatalogSize(2, 4, 6)
    assert await store.settle(THERE, "i", 1, found)
    await store.settle(THERE, "i", await store.remove("i"))
    await put(store, "i", settled_in=[HERE, THERE])
    assert await store.count(THERE) == CatalogSize(2, 4, 6)


async def test_an_image_that_an_item_shows_twice_has_other_vectors_in_another_collection(stores: Stores) -> None:
    store = stores.metadata
    await stores.registry.add_release(SECOND)
    revision = (await store.write(item("i", images=(IMAGES[0], IMAGES[1], IMAGES[0])))).revision
    more = replace(IMAGES[0], vectors=5)
    assert await store.settle(THERE, "i", revision, (more, IMAGES[1], more))
    known = await store.get(THERE, "i")
    assert known is not None
    assert known[0].images == (more, IMAGES[1], more)
    assert await store.settle(HERE, "i", revision)
    assert await store.count(HERE) == CatalogSize(1, 3, 5)
    assert await store.count(THERE) == CatalogSize(1, 3, 11)


async def test_no_write_misses_a_collection_that_is_added_meanwhile(
    another: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "ENLIST_PAGE", 20)
    writers, builder = [another() for _ in range(3)], another()
    await builder.registry.add_first_release(RELEASE)
    await put(builder.metadata, *(f"old{number}" for number in range(30)))
    added = asyncio.Event()
    # SQLite's lock goes to whoever asks at the right moment: with many more, some would get none within its limit.
    turns = asyncio.Semaphore(8)

    async def write(number: int) -> None:
        store = writers[number % 3].metadata
        async with turns:
            await put(store, f"new{number}")
            await put(store, f"old{number % 20}-again{number}")
            if number % 4 == 0:
                await store.write(item(f"old{number % 30}"))
        if number == 30:
            added.set()

    async def build() -> None:
        # In the midst of the writes.
        await added.wait()
        await builder.registry.add_release(SECOND)
        await enlist(builder.metadata, THERE)

    await asyncio.gather(build(), *map(write, range(100)))
    everything = [each.item_id for each in await builder.metadata.items_after(THERE, "", 1000)]
    assert len(everything) == 230
    assert await unsettled(builder.metadata, THERE) == everything
    # One that was settled there too early would be missed above, and one of an old revision here.
    newest = await builder.metadata.revisions(THERE, everything)
    assert dict(await builder.metadata.unsettled(THERE, 1000)) == {each: newest[each][0] for each in everything}
    assert not any(settled for _, settled in newest.values())


@pytest.mark.parametrize("halted", ["unsettle_everywhere", "add_collection"])
async def test_a_write_and_a_new_collection_wait_for_each_other(
    url: str, halted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever is halted before it commits, when it has looked at what the other one changes."""
    reached, go_on = Event(), Event()
    step = getattr(settlement, halted)

    def halting(*arguments: object) -> None:
        step(*arguments)
        reached.set()
        assert go_on.wait(4)

    async with opened(url) as again:
        writer, builder = again(), again()
        await builder.registry.add_first_release(RELEASE)
        monkeypatch.setattr(settlement, halted, halting)

        async def write() -> None:
            await writer.metadata.write(item("i"))

        async def build() -> None:
            await builder.registry.add_release(SECOND)
            await enlist(builder.metadata, THERE)

        first, second = (write, build) if halted == "unsettle_everywhere" else (build, write)
        halts = asyncio.create_task(first())
        assert await asyncio.to_thread(reached.wait, 10)
        waits = asyncio.create_task(second())
        # Time enough to do it, where it does not wait.
        await asyncio.wait([waits], timeout=0.5)
        assert not waits.done()
        go_on.set()
        await asyncio.gather(halts, waits)
        assert await unsettled(builder.metadata, THERE) == ["i"]


# Orchestrators.


async def test_one_holds_a_lease_until_it_is_over_or_he_leaves(another: Open) -> None:
    one, two = another().registry, another().registry
    assert await one.lease("keeper", "one", 60)
    assert not await two.lease("keeper", "two", 60)
    assert await two.lease("other", "two", 60)
    # Renewed for less, it is over soon.
    assert await one.lease("keeper", "one", 0.01)
    await until(lambda: two.lease("keeper", "two", 60))
    assert not await one.lease("keeper", "one", 60)
    await one.leave("one")
    assert not await one.lease("keeper", "one", 60)
    await two.leave("two")
    assert await one.lease("keeper", "one", 60)
    assert await one.lease("other", "one", 60)


async def test_a_renewed_lease_is_not_over(another: Open) -> None:
    registry = another().registry
    assert await registry.lease("keeper", "one", 0.01)
    assert await registry.lease("keeper", "one", 60)
    # Another one whose time is over tells that the first's would be.
    assert await registry.lease("clock", "one", 0.01)
    await until(lambda: registry.lease("clock", "two", 60))
    assert not await registry.lease("keeper", "two", 60)


async def test_one_of_many_that_ask_at_once_gets_the_lease(another: Open) -> None:
    registries = [another().registry for _ in range(4)]
    for name in ("a", "b", "c"):
        got = await asyncio.gather(*(registries[n % 4].lease(name, f"holder{n}", 60) for n in range(12)))
        assert sum(got) == 1


async def test_tells_who_is_present(another: Open) -> None:
    registry = another().registry
    assert list(await registry.present(60)) == []
    full = Presence("b", "r1", "r2", "r3", True, True, {"r2": 'no "model" é'})
    await registry.appear(full)
    await another().registry.appear(Presence("a", "r1"))
    assert list(await another().registry.present(60)) == [Presence("a", "r1"), full]
    await registry.appear(Presence("a", "r2", searching=True))
    assert list(await registry.present(60)) == [Presence("a", "r2", searching=True), full]
    await registry.leave("b")
    await registry.leave("never")
    assert [each.name for each in await registry.present(60)] == ["a"]


async def test_who_has_not_appeared_for_a_while_is_not_present(another: Open) -> None:
    registry = another().registry
    await registry.appear(Presence("a", "r1"))

    async def gone() -> bool:
        return not await registry.present(0.01)

    await until(gone)
    await registry.appear(Presence("b", "r1"))
    assert [each.name for each in await registry.present(60)] == ["a", "b"]


# An earlier version, which knew of one collection.

EARLIER = (
    """CREATE TABLE items (item_id {id} PRIMARY KEY, attributes JSON NOT NULL,
    created_at {moment} NOT NULL, updated_at {moment} NOT NULL)""",
    """CREATE TABLE images (item_id {id} NOT NULL REFERENCES items (item_id) ON DELETE CASCADE,
    position INTEGER NOT NULL, image_id VARCHAR(64) NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    vectors INTEGER NOT NULL, PRIMARY KEY (item_id, position))""",
    "CREATE INDEX image_ids ON images (image_id)",
    """CREATE TABLE revisions (item_id {id} PRIMARY KEY, revision {whole} NOT NULL, settled BOOLEAN NOT NULL,
    changed_at {moment} NOT NULL, disputed_until {moment})""",
    "CREATE INDEX unsettled ON revisions (changed_at, item_id) WHERE NOT settled",
    "CREATE TABLE attribute_types (name VARCHAR(64) PRIMARY KEY, type VARCHAR(16) NOT NULL)",
    """CREATE TABLE releases (release_id VARCHAR(64) PRIMARY KEY, state VARCHAR(16) NOT NULL,
    definition JSON NOT NULL, created_at {moment} NOT NULL)""",
    "CREATE UNIQUE INDEX active_release ON releases (state) WHERE state = 'active'",
    """INSERT INTO items VALUES ('a', '{{"n": 1}}', '{at}', '{at}'), ('b', '{{}}', '{at}', '{at}')""",
    "INSERT INTO images VALUES ('a', 0, '{image}', 640, 480, 2)",
    """INSERT INTO revisions VALUES ('a', 3, true, '{at}', NULL), ('b', 1, false, '{at}', NULL),
    ('gone', 2, false, '{later}', '{later}'), ('mended', 5, true, '{at}', NULL)""",
    "INSERT INTO attribute_types VALUES ('n', 'integer')",
    "INSERT INTO releases VALUES ('r1', 'active', :definition, '{at}')",
)
KINDS = {
    "sqlite": {"id": "TEXT", "moment": "DATETIME", "whole": "INTEGER", "zone": ""},
    "postgresql": {"id": 'TEXT COLLATE "C"', "moment": "TIMESTAMP WITH TIME ZONE", "whole": "BIGINT", "zone": "+00"},
}


def make_earlier(url: str, definition: str) -> None:
    make_folder(make_url(url))
    engine = create_engine(url)
    kind = KINDS[engine.dialect.name]
    at, later = (f"2024-02-29 23:59:{second}.123456{kind['zone']}" for second in (10, 20))
    with engine.begin() as connection:
        for statement in EARLIER:
            made = statement.format(**kind, at=at, later=later, image=IMAGES[0].image_id)
            connection.execute(text(made), {"definition": definition} if ":definition" in made else {})
    engine.dispose()


async def test_a_database_of_an_earlier_version_is_taken_over(url: str) -> None:
    definition = asdict(RELEASE)
    # All were indexed by cosine.
    assert definition["index"].pop("metric") is Measure.COSINE
    make_earlier(url, json.dumps(definition))
    async with opened(url) as again:
        both = [again(), again()]
        # Two that start at once do it once.
        active = await asyncio.gather(*(each.registry.active_release() for each in both))
        assert active == [RELEASE, RELEASE]
        store, registry = both[1].metadata, both[1].registry
        at = datetime(2024, 2, 29, 23, 59, 10, 123456, tzinfo=UTC)
        assert await registry.releases() == [Registered(RELEASE, ReleaseState.ACTIVE, at, at)]
        assert await store.unsettled(HERE, 10) == [("b", 1), ("gone", 2)]
        assert await store.unsettled(HERE, 10, at) == []
        assert await store.count_unsettled(HERE, at.replace(second=15)) == 1
        assert await store.revisions(HERE, ["a", "mended"]) == {"a": (3, True), "mended": (5, True)}
        known = await store.get(HERE, "a")
        assert known is not None
        assert (known[0].attributes, known[0].images, known[0].created_at) == ({"n": 1}, IMAGES[:1], at)
        assert not await store.enlist(HERE)
        assert (await store.write(item("a"))).revision == 4
        assert (await store.write(item("mended"))).revision == 6
        assert await store.settle(HERE, "gone", 2)
        await registry.add_release(SECOND)
        await enlist(store, THERE)
        assert await unsettled(store, THERE) == ["a", "b", "mended"]
        await registry.note("r2", "problem", 1.0)
        await registry.set_canary("r2", None)
    engine = create_engine(url)
    assert not inspect(engine).has_table("revisions")
    engine.dispose()


@pytest.mark.parametrize("metric", METRICS)
async def test_keeps_by_what_a_release_is_indexed(registry: Registry, metric: Measure) -> None:
    release = replace(SECOND, index=IndexParameters(m=8, metric=metric))
    await registry.add_release(release)
    assert (await by_id(registry, "r2")).release == release


# What was measured of releases.


def evaluated(against: str, **figures: float) -> Evaluation:
    measured = tuple(Figure(name, value, f"what {name} is") for name, value in figures.items())
    return Evaluation(against, measured, datetime.now(UTC))


async def test_keeps_the_last_evaluation_of_a_release(registry: Registry) -> None:
    await add_ready(registry, SECOND)
    assert await registry.evaluation("r2") is None
    await registry.record_evaluation("r2", evaluated("r1", recall=0.5, mrr=1e-300, map=0.1 + 0.2))
    last = evaluated("", recall=0.75)
    await registry.record_evaluation("r2", last)
    assert await registry.evaluation("r2") == last
    assert await registry.evaluation("r1") is None
    # It was measured on labelled queries, and says the same whatever is active.
    await registry.activate("r2")
    await registry.roll_back()
    await registry.retire("r2")
    assert await registry.evaluation("r2") == last


async def test_an_evaluation_is_of_releases_there_are(registry: Registry) -> None:
    await add_ready(registry, SECOND)
    for release_id, against in (("never", ""), ("r2", "never")):
        with pytest.raises(NotFound, match="no release 'never'"):
            await registry.record_evaluation(release_id, evaluated(against, recall=0.5))
    assert await registry.evaluation("r2") is None
