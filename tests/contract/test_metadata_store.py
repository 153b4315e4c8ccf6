"""What every metadata store promises: SQLite, PostgreSQL, and the fake."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from sqlalchemy import Connection

from semblance.orchestrator.adapters.metadata import Database, SqlMetadataStore, engine, settlement
from semblance.orchestrator.adapters.metadata import database as database_module
from semblance.orchestrator.errors import Conflict, DependencyUnavailable, InvalidArgument, NotFound
from semblance.orchestrator.item import Attributes, AttributeType, CatalogSize, Item, ItemImage, Value
from semblance.orchestrator.ports import MetadataStore
from tests.contract.stores import (
    EARLY,
    HERE,
    IMAGES,
    RELEASE,
    Open,
    Stores,
    another_release,
    item,
    moment_after,
    opened,
)

LATE = EARLY + timedelta(days=1)
ELSEWHERE = "elsewhere"


@pytest.fixture
def store(stores: Stores) -> MetadataStore:
    return stores.metadata


async def test_is_empty_at_first(store: MetadataStore) -> None:
    assert await store.get(HERE, "i") is None
    assert await store.count(HERE) == CatalogSize(0, 0, 0)
    assert (await store.list(HERE, 10, "")).items == ()
    assert not await store.unsettled(HERE, 10)
    assert await store.attribute_types() == {}


async def test_gives_back_what_was_written(another: Open) -> None:
    attributes: dict[str, Value] = {
        "text": 'it\'s "q" \\ \n\t é 😀 {a} %s :x',
        "empty": "",
        "small": -(2**63),
        "large": 2**63 - 1,
        "whole": 3.0,
        "tiny": 5e-324,
        "huge": 1.7976931348623157e308,
        "yes": True,
        "no": False,
    }
    await another().metadata.write(item("i", attributes))
    found = await another().metadata.get(HERE, "i")
    assert found is not None
    assert found[0] == item("i", attributes)
    assert {name: type(value) for name, value in found[0].attributes.items()} == {
        name: type(value) for name, value in attributes.items()
    }
    assert found[0].created_at.utcoffset() == timedelta(0)


async def test_moments_are_kept_whatever_their_zone(store: MetadataStore) -> None:
    elsewhere = EARLY.astimezone(timezone(timedelta(hours=5, minutes=45)))
    await store.write(replace(item("i"), created_at=elsewhere, updated_at=elsewhere))
    found = await store.get(HERE, "i")
    assert found is not None
    assert (found[0].created_at, found[0].updated_at) == (EARLY, EARLY)


async def test_replacing_keeps_only_the_creation(store: MetadataStore) -> None:
    await store.write(item("i", {"a": 1, "b": 2}))
    new = Item("i", {"c": "x"}, IMAGES[1:], LATE, LATE)
    await store.write(new)
    found = await store.get(HERE, "i")
    assert found is not None
    assert found[0] == replace(new, created_at=EARLY)
    assert await store.count(HERE) == CatalogSize(1, 1, 1)


async def test_an_item_may_show_an_image_twice_and_none(store: MetadataStore) -> None:
    twice = item("twice", images=(IMAGES[0], IMAGES[1], IMAGES[0]))
    await store.write(twice)
    await store.write(item("none", images=()))
    assert await store.list(HERE, 10, "") == await store.list(HERE, 2, "")
    assert (await store.list(HERE, 10, "")).items == (item("none", images=()), twice)


async def test_counts(store: MetadataStore) -> None:
    for number in range(3):
        await store.write(item(str(number)))
    await store.remove("1")
    assert await store.count(HERE) == CatalogSize(items=2, images=4, vectors=6)


# The order of text that a language asks for is another one: it ignores case, accents and punctuation at first.
IDS = sorted(
    ["a", "B", "b", "Z", "é", "e", "z", "_", "~", " ", "a b", "a-b", "ab", "ﬁ", "\ud7ff", "\ufffd", "😀", "\x01"]
)


async def test_lists_in_the_order_of_code_points_a_page_at_a_time(store: MetadataStore) -> None:
    for item_id in reversed(IDS):
        await store.write(item(item_id, {"id": item_id}))
    for size in (1, 5, len(IDS), 100):
        token, listed = "", []
        while True:
            page = await store.list(HERE, size, token)
            assert len(page.items) <= size
            listed += [each.item_id for each in page.items]
            token = page.next_page_token
            if not token:
                break
        assert listed == IDS


async def test_a_page_goes_on_where_the_last_ended_though_items_come_and_go(store: MetadataStore) -> None:
    for item_id in "bdfh":
        await store.write(item(item_id))
    first = await store.list(HERE, 2, "")
    await store.remove("d")
    for item_id in "aceg":
        await store.write(item(item_id))
    rest = await store.list(HERE, 10, first.next_page_token)
    assert [each.item_id for each in rest.items] == ["e", "f", "g", "h"]


async def pending(store: MetadataStore, collection: str, size: int = 100) -> list[str]:
    token, listed = "", list[str]()
    while True:
        page = await store.pending(collection, size, token)
        assert len(page.item_ids) <= size
        listed += page.item_ids
        token = page.next_page_token
        if not token:
            return listed


async def test_lists_what_a_collection_lacks_whether_it_is_enlisted_or_not(stores: Stores) -> None:
    store = stores.metadata
    for item_id in reversed(IDS):
        written = await store.write(item(item_id))
        assert await store.settle(HERE, item_id, written.revision)
    assert await pending(store, HERE) == []
    await stores.registry.add_release(another_release("r2", ELSEWHERE))
    for size in (1, 5, len(IDS), 100):
        assert await pending(store, ELSEWHERE, size) == IDS
    # Of some it is known before all are enlisted.
    changed = (await store.write(item(IDS[1]))).revision
    assert await pending(store, ELSEWHERE, 2) == IDS
    assert await pending(store, HERE) == [IDS[1]]
    while await store.enlist(ELSEWHERE):
        pass
    assert await pending(store, ELSEWHERE, 5) == IDS
    assert await store.settle(ELSEWHERE, IDS[1], changed)
    await store.remove(IDS[0])
    assert await pending(store, ELSEWHERE) == [IDS[0], *IDS[2:]]


async def test_what_is_enlisted_while_it_is_listed_is_not_missed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    enlisted_to = settlement.enlisted_to
    async with opened(url) as again:
        stores, keeper = again(), again()
        await stores.registry.add_first_release(RELEASE)
        for item_id in IDS:
            await stores.metadata.write(item(item_id))
        await stores.registry.add_release(another_release("r2", ELSEWHERE))
        enlisted = list[bool]()

        def later(connection: Connection, collection: str) -> str | None:
            if not enlisted:
                enlisted.append(asyncio.run(keeper.metadata.enlist(ELSEWHERE)))
            return enlisted_to(connection, collection)

        monkeypatch.setattr(settlement, "enlisted_to", later)
        assert await pending(stores.metadata, ELSEWHERE) == IDS
        assert enlisted == [False]


async def test_what_may_not_be_mended_yet_is_not_listed_as_lacking(url: str) -> None:
    """A writer of the revision before may still come; until then it would be mended in vain, again and again."""
    async with opened(url, longest_write=1000.0) as again:
        stores = again()
        await stores.registry.add_first_release(RELEASE)
        await stores.metadata.write(item("disputed"))
        revision = (await stores.metadata.write(item("disputed"))).revision
        assert await pending(stores.metadata, HERE) == ["disputed"]
        assert await stores.metadata.settle(HERE, "disputed", revision)
        assert await stores.metadata.revisions(HERE, ["disputed"]) == {"disputed": (revision, False)}
        assert await pending(stores.metadata, HERE) == []


async def test_takes_item_ids_of_256_characters_of_any_script(store: MetadataStore) -> None:
    ids = ["😀" * 256, "é" * 256, "'; DROP TABLE items; --", "%", "_", "\\", "İ", "i̇"]
    for item_id in ids:
        await store.write(item(item_id))
    for item_id in ids:
        found = await store.get(HERE, item_id)
        assert found is not None
        assert found[0].item_id == item_id
    assert [each.item_id for each in (await store.list(HERE, 100, "")).items] == sorted(ids)


@pytest.mark.parametrize("token", ["x", "i", "aGVsbG8gd29ybGQ=", "é", "\0", "====", "after"])
async def test_refuses_a_page_token_of_its_callers_making(store: MetadataStore, token: str) -> None:
    with pytest.raises(InvalidArgument, match="page token"):
        await store.list(HERE, 10, token)
    with pytest.raises(InvalidArgument, match="page token"):
        await store.pending(HERE, 10, token)


async def test_an_item_is_unsettled_until_the_index_agrees(store: MetadataStore) -> None:
    first = (await store.write(item("first"))).revision
    second = (await store.write(item("second"))).revision
    assert await store.unsettled(HERE, 10) == [("first", first), ("second", second)]
    assert await store.unsettled(HERE, 1) == [("first", first)]
    assert await store.settle(HERE, "first", first)
    assert await store.settle(HERE, "first", first)
    assert await store.unsettled(HERE, 10) == [("second", second)]
    assert [
        settled for _, settled in filter(None, [await store.get(HERE, "first"), await store.get(HERE, "second")])
    ] == [
        True,
        False,
    ]


async def test_a_postponed_item_is_behind_the_others(store: MetadataStore) -> None:
    first, second, third = [(await store.write(item(name))).revision for name in ("first", "second", "third")]
    await store.settle(HERE, "third", third)
    await store.postpone(HERE, "first", first)
    await store.postpone(HERE, "second", second + 1)
    await store.postpone(HERE, "third", third)
    assert await store.unsettled(HERE, 10) == [("second", second), ("first", first)]


async def test_a_removed_item_is_gone_and_unsettled(store: MetadataStore) -> None:
    await store.settle(HERE, "i", (await store.write(item("i", {"a": 1}))).revision)
    revision = await store.remove("i")
    assert await store.get(HERE, "i") is None
    assert await store.unsettled(HERE, 10) == [("i", revision)]
    assert await store.settle(HERE, "i", revision)
    assert not await store.unsettled(HERE, 10)
    with pytest.raises(NotFound, match="'i'"):
        await store.remove("i")
    assert not await store.unsettled(HERE, 10)


async def test_revisions_grow_through_removal(store: MetadataStore) -> None:
    given = [(await store.write(item("i"))).revision for _ in range(2)]
    given.append(await store.remove("i"))
    await store.settle(HERE, "i", given[-1])
    given += [(await store.write(item("i"))).revision, await store.remove("i"), (await store.write(item("i"))).revision]
    assert given == sorted(set(given))


async def test_settling_an_old_revision_unsettles_the_item_anew(store: MetadataStore) -> None:
    old, new = [(await store.write(item("i"))).revision for _ in range(2)]
    assert await store.settle(HERE, "i", new)
    assert not await store.settle(HERE, "i", old)
    ((item_id, newest),) = await store.unsettled(HERE, 10)
    assert item_id == "i"
    assert newest > new
    assert not await store.settle(HERE, "i", new)
    assert not await store.settle(HERE, "never", 1)


async def test_what_an_earlier_writer_may_still_be_at_is_settled_when_he_must_have_ended(url: str) -> None:
    async with opened(url, longest_write=60.0) as again:
        stores = again()
        store = stores.metadata
        await stores.registry.add_first_release(RELEASE)
        first = (await store.write(item("i"))).revision
        assert await store.settle(HERE, "i", first)
        second = (await store.write(item("i"))).revision
        # It died here, or is slow.
        third = (await store.write(item("i"))).revision
        assert third > second
        assert await store.settle(HERE, "i", third)
        soon, late = datetime.now(UTC) + timedelta(seconds=30), datetime.now(UTC) + timedelta(seconds=61)
        assert await store.unsettled(HERE, 10, soon) == []
        assert await store.unsettled(HERE, 10, late) == [("i", third)]
        # What is found wrong does not wait for that, nor does another collection.
        await store.unsettle(HERE, ["i"])
        assert await store.unsettled(HERE, 10, soon) == [("i", third)]
        assert await store.settle(HERE, "i", third)
        assert await store.unsettled(HERE, 10, soon) == []
        await stores.registry.replace_collection(ELSEWHERE)
        assert not await store.enlist(ELSEWHERE)
        assert await store.unsettled(ELSEWHERE, 10, soon) == [("i", third)]


async def test_says_which_were_unsettled_before_a_moment(store: MetadataStore) -> None:
    revision = (await store.write(item("old"))).revision
    moment = moment_after()
    await store.write(item("new"))
    assert await store.unsettled(HERE, 10, moment) == [("old", revision)]
    assert await store.count_unsettled(HERE, moment) == 1
    await store.postpone(HERE, "old", revision)
    # It was changed before all the same.
    assert await store.count_unsettled(HERE, moment) == 1
    assert await store.unsettled(HERE, 10, moment) == []
    assert await store.count_due(HERE, moment) == 0
    for count in (store.count_unsettled, store.count_due):
        assert await count(HERE, datetime.now(UTC) + timedelta(seconds=1)) == 2


async def test_a_change_takes_a_postponed_item_its_turn_anew(store: MetadataStore) -> None:
    first, second = [(await store.write(item(name))).revision for name in ("first", "second")]
    await store.postpone(HERE, "first", first)
    third = (await store.write(item("third"))).revision
    await store.postpone(HERE, "third", third)
    again = (await store.write(item("first"))).revision
    assert await store.unsettled(HERE, 10) == [("second", second), ("third", third), ("first", again)]


async def test_counts_the_items(store: MetadataStore) -> None:
    assert await store.count_items() == 0
    for name in ("a", "b", "a"):
        await store.write(item(name))
    await store.remove("b")
    assert await store.count_items() == 1


async def test_unsettles_what_the_index_was_found_to_disagree_about(store: MetadataStore) -> None:
    revision = (await store.write(item("here"))).revision
    await store.settle(HERE, "here", revision)
    assert await store.indexed(HERE)
    assert await store.revisions(HERE, ["here", "never"]) == {"here": (revision, True)}
    await store.unsettle(HERE, ["here", "never"])
    await store.unsettle(HERE, [])
    assert not await store.indexed(HERE)
    assert await store.revisions(HERE, ["here", "never"]) == {"here": (revision, False), "never": (1, False)}
    assert {item_id for item_id, _ in await store.unsettled(HERE, 10)} == {"here", "never"}
    assert await store.settle(HERE, "here", revision)
    assert await store.settle(HERE, "never", 1)
    assert await store.get(HERE, "never") is None


async def test_settling_takes_other_numbers_of_vectors(store: MetadataStore) -> None:
    revision = (await store.write(item("i"))).revision
    more = replace(IMAGES[1], vectors=5)
    assert not await store.settle(HERE, "i", revision - 1, [more])
    ((_, revision),) = await store.unsettled(HERE, 1)
    assert await store.settle(HERE, "i", revision, [more])
    known = await store.get(HERE, "i")
    assert known is not None
    assert known[0].images == (IMAGES[0], more)


async def test_another_collection_unsettles_every_item(stores: Stores) -> None:
    store = stores.metadata
    names = ["a", "b", "c", "d", "removed"]
    for name in names:
        await store.settle(HERE, name, (await store.write(item(name))).revision)
    await store.settle(HERE, "removed", await store.remove("removed"))
    release = await stores.registry.replace_collection(ELSEWHERE)
    assert release == replace(RELEASE, collection=ELSEWHERE)
    assert not await store.indexed(ELSEWHERE)
    assert not await store.enlist(ELSEWHERE)
    assert not await store.indexed(ELSEWHERE)
    assert [item_id for item_id, _ in await store.unsettled(ELSEWHERE, 10)] == names[:-1]


async def test_what_was_written_to_a_replaced_collection_is_not_settled_in_the_next(stores: Stores) -> None:
    store = stores.metadata
    late = (await store.write(item("late"))).revision
    await stores.registry.replace_collection(ELSEWHERE)
    await store.enlist(ELSEWHERE)
    moment = moment_after()
    assert await store.settle(HERE, "late", late)
    assert await store.count_unsettled(ELSEWHERE, moment) == 1
    assert await store.unsettled(ELSEWHERE, 10) == [("late", late)]
    assert await store.settle(ELSEWHERE, "late", late)
    assert await store.settle(HERE, "late", late)
    assert not await store.unsettled(ELSEWHERE, 10)


async def test_what_is_settled_while_the_collection_is_replaced_is_not_settled_in_the_new_one(another: Open) -> None:
    opened = [another() for _ in range(4)]
    await opened[0].registry.add_first_release(RELEASE)

    async def put(number: int) -> bool:
        store = opened[number % 3].metadata
        revision = (await store.write(item(f"i{number}"))).revision
        return await store.settle(HERE, f"i{number}", revision)

    putting = asyncio.gather(*map(put, range(60)))
    await opened[3].registry.replace_collection(ELSEWHERE)
    await putting
    store = opened[0].metadata
    while await store.enlist(ELSEWHERE):
        pass
    assert not await store.indexed(ELSEWHERE)
    assert len(await store.unsettled(ELSEWHERE, 100)) == 60


async def test_names_the_images_that_items_refer_to(store: MetadataStore) -> None:
    images = [ItemImage(each * 64, 1, 1, 1) for each in "af0"]
    await store.write(item("i", images=tuple(images)))
    await store.write(item("j", images=(images[0],)))
    assert await store.image_ids("aa") == {"a" * 64}
    assert await store.image_ids("ff") == {"f" * 64}
    assert await store.image_ids("00") == {"0" * 64}
    assert await store.image_ids("01") == set()


async def test_a_late_write_changes_nothing_that_came_after_what_it_knew(store: MetadataStore) -> None:
    first = (await store.write(item("i", {"n": 1}), 0)).revision
    second = (await store.write(item("i", {"n": 2}), first)).revision
    for work in (store.write(item("i", {"n": 3}), first), store.remove("i", first), store.write(item("i"), 0)):
        with pytest.raises(Conflict, match="changed by somebody else"):
            await work
    known = await store.get(HERE, "i")
    assert known is not None
    assert known[0].attributes == {"n": 2}
    assert await store.revisions(HERE, ["i"]) == {"i": (second, False)}
    third = await store.remove("i", second)
    with pytest.raises(Conflict):
        await store.write(item("i"), second)
    assert (await store.write(item("i"), third)).revision > third


async def test_writers_of_one_item_get_different_revisions(another: Open) -> None:
    stores = [another().metadata for _ in range(3)]
    written = await asyncio.gather(*(stores[number % 3].write(item("i", {"n": number})) for number in range(30)))
    given = [each.revision for each in written]
    assert sorted(given) == list(range(min(given), min(given) + 30))
    found = await stores[0].get(HERE, "i")
    assert found is not None
    last = max(range(30), key=lambda number: given[number])
    assert found[0].attributes == {"n": last}


async def test_an_attribute_keeps_its_first_type(store: MetadataStore) -> None:
    await store.write(item("i", {"s": "x", "i": 1, "d": 1.5, "b": True}))
    assert await store.attribute_types() == {
        "s": AttributeType.STRING,
        "i": AttributeType.INTEGER,
        "d": AttributeType.DOUBLE,
        "b": AttributeType.BOOLEAN,
    }
    wrong: list[Attributes] = [{"s": 1}, {"i": 1.5}, {"i": True}, {"d": "1.5"}, {"b": 1}, {"new": 1, "s": 2}]
    for attributes in wrong:
        with pytest.raises(InvalidArgument, match="attribute"):
            await store.write(item("j", attributes))
    assert await store.get(HERE, "j") is None
    assert "new" not in await store.attribute_types()
    assert [item_id for item_id, _ in await store.unsettled(HERE, 10)] == ["i"]


async def test_an_integer_becomes_a_double_where_the_attribute_is_one(store: MetadataStore) -> None:
    await store.write(item("i", {"price": 1.5}))
    written = await store.write(item("j", {"price": 2}))
    assert repr(written.attributes["price"]) == "2.0"
    found = await store.get(HERE, "j")
    assert found is not None
    assert repr(found[0].attributes["price"]) == "2.0"


async def test_attribute_types_race_safely(another: Open) -> None:
    stores = [another().metadata for _ in range(4)]
    values: list[Value] = ["x", 1, True, "y"]
    names = [f"a{number}" for number in range(10)]

    async def write(number: int, name: str) -> type[Value] | None:
        try:
            await stores[number].write(item(f"{name}-{number}", {name: values[number]}))
        except InvalidArgument:
            return None
        return type(values[number])

    for name in names:
        written = await asyncio.gather(*(write(number, name) for number in range(4)))
        assert len({kind for kind in written if kind}) == 1
        kept = (await stores[0].attribute_types())[name]
        assert {AttributeType.of(kind()) for kind in written if kind} == {kept}


async def test_writers_of_the_same_new_attributes_do_not_deadlock(another: Open) -> None:
    stores = [another().metadata for _ in range(4)]
    for attempt in range(5):
        names = [f"n{attempt}_{number}" for number in range(400)]
        orders = [names, names[::-1], names[200:] + names[:200], names[::2] + names[1::2]]
        items = [item(f"{attempt}-{number}", dict.fromkeys(order, 1)) for number, order in enumerate(orders)]
        await asyncio.gather(*(store.write(each) for store, each in zip(stores, items, strict=True)))
    assert (await stores[0].count(HERE)).items == 20


def test_a_new_database_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    def connect(url: str) -> None:
        opened = engine.engine(url)
        together.wait()
        with opened.connect():
            pass
        opened.dispose()

    together = Barrier(6)
    with ThreadPoolExecutor(6) as threads:
        for attempt in range(100):
            urls = [f"sqlite:///{tmp_path}/{attempt}.db"] * 6
            list(threads.map(connect, urls))


@pytest.mark.parametrize("bad", ["a\0b", "\ud800"])
async def test_refuses_text_that_a_database_can_not_hold(url: str, bad: str) -> None:
    async with opened(url) as again:
        store = again().metadata
        for work in (
            store.get(HERE, bad),
            store.write(item(bad)),
            store.write(item("i", {"a": bad})),
            store.remove(bad),
            store.settle(HERE, bad, 1),
        ):
            with pytest.raises(InvalidArgument, match="NUL or lone surrogates"):
                await work
        assert await store.count(HERE) == CatalogSize(0, 0, 0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 2**63, -(2**63) - 1])
async def test_refuses_numbers_that_the_index_can_not_hold(url: str, bad: Value) -> None:
    async with opened(url) as again:
        with pytest.raises(InvalidArgument, match="attribute a"):
            await again().metadata.write(item("i", {"a": bad}))


def test_an_acknowledged_write_survives_a_kill(url: str) -> None:
    program = """
import asyncio, os, signal, sys
from datetime import UTC, datetime
from semblance.orchestrator.adapters.metadata import Database, SqlMetadataStore, SqlRegistry
from semblance.orchestrator.item import Item
from semblance.orchestrator.testing import example_release

async def write():
    database = Database(sys.argv[1])
    await SqlRegistry(database).add_first_release(example_release())
    await SqlMetadataStore(database).write(Item("i", {"a": 1}, (), datetime.now(UTC), datetime.now(UTC)))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(write())
"""
    killed = subprocess.run([sys.executable, "-c", program, url], check=False)
    assert killed.returncode == -signal.SIGKILL

    async def read() -> tuple[Item, bool] | None:
        async with opened(url) as again:
            return await again().metadata.get(HERE, "i")

    found = asyncio.run(read())
    assert found is not None
    assert (found[0].attributes, found[1]) == ({"a": 1}, False)


async def test_a_held_lock_is_waited_for_not_for_ever(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LOCK_TIMEOUT", 1)
    database = Database(url)
    store = SqlMetadataStore(database)
    await store.write(item("i"))
    if url.startswith("sqlite"):
        holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        release = holder.close
    else:
        connection = psycopg.connect(url.replace("+psycopg", ""))
        connection.execute("SELECT * FROM item_revisions FOR UPDATE")
        release = connection.close
    with pytest.raises(DependencyUnavailable, match="holds"):
        await store.write(item("i"))
    assert await store.get(HERE, "i") is not None
    release()
    await store.write(item("i"))
    await database.close()


async def test_goes_on_when_the_database_dropped_its_connections(postgresql_database: str) -> None:
    database = Database(postgresql_database)
    store = SqlMetadataStore(database)
    await store.write(item("i"))
    with psycopg.connect(postgresql_database.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert await store.get(HERE, "i") is not None
    await database.close()


async def test_an_unreachable_database_is_unavailable() -> None:
    database = Database("postgresql+psycopg://semblance:secret@127.0.0.1:1/semblance")
    store = SqlMetadataStore(database)
    with pytest.raises(DependencyUnavailable, match="does not answer") as raised:
        await store.count(HERE)
    assert "secret" not in str(raised.value)
    await database.close()


async def test_a_silent_database_is_unavailable_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "CALL_TIMEOUT", 0.5)
    monkeypatch.setattr(engine, "LOCK_TIMEOUT", 2)
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1") as silent:
        port = silent.sockets[0].getsockname()[1]
        database = Database(f"postgresql+psycopg://semblance@127.0.0.1:{port}/semblance")
        store = SqlMetadataStore(database)
        with pytest.raises(DependencyUnavailable, match=r"within 0\.5 s"):
            await store.count(HERE)
        await database.close()


async def test_a_read_only_database_is_unavailable(postgresql_database: str) -> None:
    database = Database(postgresql_database)
    store = SqlMetadataStore(database)
    await store.write(item("i"))
    await database.close()
    with psycopg.connect(postgresql_database.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = on")
    database = Database(postgresql_database)
    store = SqlMetadataStore(database)
    with pytest.raises(DependencyUnavailable, match="read-only"):
        await store.write(item("i"))
    await database.close()


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "metadata.db").write_bytes(os.urandom(10_000))
    database = Database(f"sqlite:///{tmp_path}/metadata.db")
    store = SqlMetadataStore(database)
    with pytest.raises(DependencyUnavailable, match="not a database"):
        await store.count(HERE)
    await database.close()


async def test_a_folder_that_can_not_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    database = Database(f"sqlite:///{tmp_path}/file/metadata.db")
    store = SqlMetadataStore(database)
    with pytest.raises(DependencyUnavailable, match="can't be used"):
        await store.count(HERE)
    await database.close()


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "small.db")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("PRAGMA max_page_count = 3")
    with pytest.raises(sqlite3.OperationalError) as raised:
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    connection.close()
    assert engine.reason(raised.value) == "the disk is full"
    assert engine.reason(psycopg.errors.DiskFull()) == "the disk is full"


@pytest.mark.parametrize("url", ["mysql://host/db", "postgresql+psycopg2://host/db", "sqlite+aiosqlite:///x"])
def test_refuses_another_database(url: str) -> None:
    with pytest.raises(ValueError, match="must be sqlite:///file or"):
        Database(url)
