"""What every metadata store promises: SQLite, PostgreSQL, and the fake."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from sqlalchemy import create_engine, text

from semblance.orchestrator.adapters.metadata import SqlMetadataStore, engine
from semblance.orchestrator.adapters.metadata import store as store_module
from semblance.orchestrator.errors import Conflict, DependencyUnavailable, InvalidArgument, NotFound
from semblance.orchestrator.item import Attributes, AttributeType, CatalogSize, Item, ItemImage, Value
from semblance.orchestrator.ports import MetadataStore
from semblance.orchestrator.testing import MemoryMetadataStore, example_release

EARLY = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC)
LATE = EARLY + timedelta(days=1)

IMAGES = (ItemImage("a" * 64, 640, 480, 2), ItemImage("b" * 64, 1, 1, 1))

RELEASE = example_release()

Open = Callable[[], MetadataStore]


def item(item_id: str, attributes: Attributes | None = None, images: tuple[ItemImage, ...] = IMAGES) -> Item:
    return Item(item_id, attributes or {}, images, EARLY, EARLY)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgresql_database"))
    return f"sqlite:///{tmp_path}/new/metadata.db"


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def another(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens a store on the same database again, as another orchestrator does."""
    if request.param == "memory":
        memory = MemoryMetadataStore()
        yield lambda: memory
        return
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_database")
    else:
        url = f"sqlite:///{tmp_path}/new/metadata.db"
    async with AsyncExitStack() as stack:

        def make() -> MetadataStore:
            # Nobody but the test writes to the index.
            store = SqlMetadataStore(url, longest_write=0.0)
            stack.push_async_callback(store.close)
            return store

        yield make


@pytest.fixture
def store(another: Open) -> MetadataStore:
    return another()


async def test_is_empty_at_first(store: MetadataStore) -> None:
    assert await store.get("i") is None
    assert await store.count() == CatalogSize(0, 0, 0)
    assert (await store.list(10, "")).items == ()
    assert not await store.unsettled(10)
    assert await store.attribute_types() == {}
    assert await store.active_release() is None


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
    await another().write(item("i", attributes))
    found = await another().get("i")
    assert found is not None
    assert found[0] == item("i", attributes)
    assert {name: type(value) for name, value in found[0].attributes.items()} == {
        name: type(value) for name, value in attributes.items()
    }
    assert found[0].created_at.utcoffset() == timedelta(0)


async def test_moments_are_kept_whatever_their_zone(store: MetadataStore) -> None:
    elsewhere = EARLY.astimezone(timezone(timedelta(hours=5, minutes=45)))
    await store.write(replace(item("i"), created_at=elsewhere, updated_at=elsewhere))
    found = await store.get("i")
    assert found is not None
    assert (found[0].created_at, found[0].updated_at) == (EARLY, EARLY)


async def test_replacing_keeps_only_the_creation(store: MetadataStore) -> None:
    await store.write(item("i", {"a": 1, "b": 2}))
    new = Item("i", {"c": "x"}, IMAGES[1:], LATE, LATE)
    await store.write(new)
    found = await store.get("i")
    assert found is not None
    assert found[0] == replace(new, created_at=EARLY)
    assert await store.count() == CatalogSize(1, 1, 1)


async def test_an_item_may_show_an_image_twice_and_none(store: MetadataStore) -> None:
    twice = item("twice", images=(IMAGES[0], IMAGES[1], IMAGES[0]))
    await store.write(twice)
    await store.write(item("none", images=()))
    assert await store.list(10, "") == await store.list(2, "")
    assert (await store.list(10, "")).items == (item("none", images=()), twice)


async def test_counts(store: MetadataStore) -> None:
    for number in range(3):
        await store.write(item(str(number)))
    await store.remove("1")
    assert await store.count() == CatalogSize(items=2, images=4, vectors=6)


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
            page = await store.list(size, token)
            assert len(page.items) <= size
            listed += [each.item_id for each in page.items]
            token = page.next_page_token
            if not token:
                break
        assert listed == IDS


async def test_a_page_goes_on_where_the_last_ended_though_items_come_and_go(store: MetadataStore) -> None:
    for item_id in "bdfh":
        await store.write(item(item_id))
    first = await store.list(2, "")
    await store.remove("d")
    for item_id in "aceg":
        await store.write(item(item_id))
    rest = await store.list(10, first.next_page_token)
    assert [each.item_id for each in rest.items] == ["e", "f", "g", "h"]


async def test_takes_item_ids_of_256_characters_of_any_script(store: MetadataStore) -> None:
    ids = ["😀" * 256, "é" * 256, "'; DROP TABLE items; --", "%", "_", "\\", "İ", "i̇"]
    for item_id in ids:
        await store.write(item(item_id))
    for item_id in ids:
        found = await store.get(item_id)
        assert found is not None
        assert found[0].item_id == item_id
    assert [each.item_id for each in (await store.list(100, "")).items] == sorted(ids)


@pytest.mark.parametrize("token", ["x", "i", "aGVsbG8gd29ybGQ=", "é", "\0", "====", "after"])
async def test_refuses_a_page_token_of_its_callers_making(store: MetadataStore, token: str) -> None:
    with pytest.raises(InvalidArgument, match="page token"):
        await store.list(10, token)


async def test_an_item_is_unsettled_until_the_index_agrees(store: MetadataStore) -> None:
    await store.add_first_release(RELEASE)
    first = (await store.write(item("first"))).revision
    second = (await store.write(item("second"))).revision
    assert await store.unsettled(10) == [("first", first), ("second", second)]
    assert await store.unsettled(1) == [("first", first)]
    assert await store.settle("first", first, RELEASE)
    assert await store.settle("first", first, RELEASE)
    assert await store.unsettled(10) == [("second", second)]
    assert [settled for _, settled in filter(None, [await store.get("first"), await store.get("second")])] == [
        True,
        False,
    ]


async def test_a_postponed_item_is_behind_the_others(store: MetadataStore) -> None:
    await store.add_first_release(RELEASE)
    first, second, third = [(await store.write(item(name))).revision for name in ("first", "second", "third")]
    await store.settle("third", third, RELEASE)
    await store.postpone("first", first)
    await store.postpone("second", second + 1)
    await store.postpone("third", third)
    assert await store.unsettled(10) == [("second", second), ("first", first)]


async def test_a_removed_item_is_gone_and_unsettled(store: MetadataStore) -> None:
    await store.add_first_release(RELEASE)
    await store.settle("i", (await store.write(item("i", {"a": 1}))).revision, RELEASE)
    revision = await store.remove("i")
    assert await store.get("i") is None
    assert await store.unsettled(10) == [("i", revision)]
    assert await store.settle("i", revision, RELEASE)
    assert not await store.unsettled(10)
    with pytest.raises(NotFound, match="'i'"):
        await store.remove("i")
    assert not await store.unsettled(10)


async def test_revisions_grow_through_removal(store: MetadataStore) -> None:
    await store.add_first_release(RELEASE)
    given = [(await store.write(item("i"))).revision for _ in range(2)]
    given.append(await store.remove("i"))
    await store.settle("i", given[-1], RELEASE)
    given += [(await store.write(item("i"))).revision, await store.remove("i"), (await store.write(item("i"))).revision]
    assert given == sorted(set(given))


async def test_settling_an_old_revision_unsettles_the_item_anew(store: MetadataStore) -> None:
    await store.add_first_release(RELEASE)
    old, new = [(await store.write(item("i"))).revision for _ in range(2)]
    assert await store.settle("i", new, RELEASE)
    assert not await store.settle("i", old, RELEASE)
    ((item_id, newest),) = await store.unsettled(10)
    assert item_id == "i"
    assert newest > new
    assert not await store.settle("i", new, RELEASE)
    assert not await store.settle("never", 1, RELEASE)


async def test_what_an_earlier_writer_may_still_be_at_is_settled_when_he_must_have_ended(url: str) -> None:
    store = SqlMetadataStore(url, longest_write=60.0)
    await store.add_first_release(RELEASE)
    first = (await store.write(item("i"))).revision
    assert await store.settle("i", first, RELEASE)
    second = (await store.write(item("i"))).revision
    # It died here, or is slow.
    third = (await store.write(item("i"))).revision
    assert third > second
    assert await store.settle("i", third, RELEASE)
    soon, late = datetime.now(UTC) + timedelta(seconds=30), datetime.now(UTC) + timedelta(seconds=61)
    assert await store.unsettled(10, soon) == []
    assert await store.unsettled(10, late) == [("i", third)]
    # What is found wrong, or has to be written anew, does not wait for that.
    await store.unsettle(["i"])
    assert await store.unsettled(10, soon) == [("i", third)]
    assert await store.settle("i", third, RELEASE)
    assert await store.unsettled(10, soon) == []
    await store.replace_collection("other")
    assert await store.unsettled(10, soon) == [("i", third)]
    await store.close()


async def test_tables_of_an_earlier_version_get_the_new_columns(url: str) -> None:
    store = SqlMetadataStore(url)
    await store.write(item("i"))
    database = create_engine(url)
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE revisions DROP COLUMN disputed_until"))
    database.dispose()
    await store.close()
    store = SqlMetadataStore(url)
    assert (await store.write(item("i"))).revision == 2
    await store.close()


async def test_says_which_were_unsettled_before_a_moment(store: MetadataStore) -> None:
    revision = (await store.write(item("old"))).revision
    moment = datetime.now(UTC)
    await store.write(item("new"))
    assert await store.unsettled(10, moment) == [("old", revision)]
    assert await store.count_unsettled(moment) == 1
    await store.postpone("old", revision)
    assert await store.count_unsettled(moment) == 0
    assert await store.count_unsettled(datetime.now(UTC) + timedelta(seconds=1)) == 2


async def test_unsettles_what_the_index_was_found_to_disagree_about(store: MetadataStore) -> None:
    await store.add_first_release(RELEASE)
    revision = (await store.write(item("here"))).revision
    await store.settle("here", revision, RELEASE)
    assert await store.indexed()
    assert await store.revisions(["here", "never"]) == {"here": (revision, True)}
    await store.unsettle(["here", "never"])
    await store.unsettle([])
    assert not await store.indexed()
    assert await store.revisions(["here", "never"]) == {"here": (revision, False), "never": (1, False)}
    assert {item_id for item_id, _ in await store.unsettled(10)} == {"here", "never"}
    assert await store.settle("here", revision, RELEASE)
    assert await store.settle("never", 1, RELEASE)
    assert await store.get("never") is None


async def test_settling_takes_other_numbers_of_vectors(store: MetadataStore) -> None:
    await store.add_first_release(RELEASE)
    revision = (await store.write(item("i"))).revision
    more = replace(IMAGES[1], vectors=5)
    assert not await store.settle("i", revision - 1, RELEASE, [more])
    ((_, revision),) = await store.unsettled(1)
    assert await store.settle("i", revision, RELEASE, [more])
    known = await store.get("i")
    assert known is not None
    assert known[0].images == (IMAGES[0], more)


async def test_another_collection_unsettles_every_item(another: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "UNSETTLE_PAGE", 2)
    store = another()
    with pytest.raises(NotFound, match="no release is active"):
        await store.replace_collection("other")
    await store.add_first_release(RELEASE)
    names = ["a", "b", "c", "d", "removed"]
    for name in names:
        await store.settle(name, (await store.write(item(name))).revision, RELEASE)
    await store.settle("removed", await store.remove("removed"), RELEASE)
    release = await store.replace_collection("other")
    assert release == replace(RELEASE, collection="other") == await another().active_release()
    assert not await store.indexed()
    assert [item_id for item_id, _ in await store.unsettled(10)] == names[:-1]


async def test_what_was_written_to_another_collection_is_not_settled(another: Open) -> None:
    store = another()
    await store.add_first_release(RELEASE)
    late = (await store.write(item("late"))).revision
    release = await store.replace_collection("other")
    moment = datetime.now(UTC)
    assert not await store.settle("late", late, RELEASE)
    assert await store.count_unsettled(moment) == 1
    assert await store.unsettled(10) == [("late", late)]
    assert await store.settle("late", late, release)
    assert not await store.settle("late", late, RELEASE)
    assert not await store.unsettled(10)


async def test_what_is_settled_while_the_collection_is_replaced_is_settled_in_the_new_one(another: Open) -> None:
    stores = [another() for _ in range(4)]
    await stores[0].add_first_release(RELEASE)

    async def put(number: int) -> tuple[str, int, bool]:
        store = stores[number % 3]
        revision = (await store.write(item(f"i{number}"))).revision
        return f"i{number}", revision, await store.settle(f"i{number}", revision, RELEASE)

    putting = asyncio.gather(*map(put, range(60)))
    await stores[3].replace_collection("other")
    await putting
    assert not await stores[0].indexed()
    assert len(await stores[0].unsettled(100)) == 60


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
    known = await store.get("i")
    assert known is not None
    assert known[0].attributes == {"n": 2}
    assert await store.revisions(["i"]) == {"i": (second, False)}
    third = await store.remove("i", second)
    with pytest.raises(Conflict):
        await store.write(item("i"), second)
    assert (await store.write(item("i"), third)).revision > third


async def test_writers_of_one_item_get_different_revisions(another: Open) -> None:
    stores = [another() for _ in range(3)]
    written = await asyncio.gather(*(stores[number % 3].write(item("i", {"n": number})) for number in range(30)))
    given = [each.revision for each in written]
    assert sorted(given) == list(range(min(given), min(given) + 30))
    found = await stores[0].get("i")
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
    assert await store.get("j") is None
    assert "new" not in await store.attribute_types()
    assert [item_id for item_id, _ in await store.unsettled(10)] == ["i"]


async def test_an_integer_becomes_a_double_where_the_attribute_is_one(store: MetadataStore) -> None:
    await store.write(item("i", {"price": 1.5}))
    written = await store.write(item("j", {"price": 2}))
    assert repr(written.attributes["price"]) == "2.0"
    found = await store.get("j")
    assert found is not None
    assert repr(found[0].attributes["price"]) == "2.0"


async def test_attribute_types_race_safely(another: Open) -> None:
    stores = [another() for _ in range(4)]
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
    stores = [another() for _ in range(4)]
    for attempt in range(5):
        names = [f"n{attempt}_{number}" for number in range(400)]
        orders = [names, names[::-1], names[200:] + names[:200], names[::2] + names[1::2]]
        items = [item(f"{attempt}-{number}", dict.fromkeys(order, 1)) for number, order in enumerate(orders)]
        await asyncio.gather(*(store.write(each) for store, each in zip(stores, items, strict=True)))
    assert (await stores[0].count()).items == 20


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


async def test_keeps_a_release(another: Open) -> None:
    release = example_release()
    assert await another().add_first_release(release) == release
    assert await another().active_release() == release


async def test_several_starting_at_once_get_the_same_release(another: Open) -> None:
    stores = [another() for _ in range(6)]
    releases = [replace(example_release(), collection=f"c{number}") for number in range(6)]
    releases[3:] = [replace(release, release_id=f"r{n}") for n, release in enumerate(releases[3:], 5)]
    given = await asyncio.gather(
        *(store.add_first_release(release) for store, release in zip(stores, releases, strict=True))
    )
    assert len(set(given)) == 1
    assert given[0] in releases
    assert await another().active_release() == given[0]


@pytest.mark.parametrize("bad", ["a\0b", "\ud800"])
async def test_refuses_text_that_a_database_can_not_hold(url: str, bad: str) -> None:
    store = SqlMetadataStore(url)
    for work in (
        store.get(bad),
        store.write(item(bad)),
        store.write(item("i", {"a": bad})),
        store.remove(bad),
        store.settle(bad, 1, RELEASE),
    ):
        with pytest.raises(InvalidArgument, match="NUL or lone surrogates"):
            await work
    assert await store.count() == CatalogSize(0, 0, 0)
    await store.close()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 2**63, -(2**63) - 1])
async def test_refuses_numbers_that_the_index_can_not_hold(url: str, bad: Value) -> None:
    store = SqlMetadataStore(url)
    with pytest.raises(InvalidArgument, match="attribute a"):
        await store.write(item("i", {"a": bad}))
    await store.close()


def test_an_acknowledged_write_survives_a_kill(url: str) -> None:
    program = """
import asyncio, os, signal, sys
from datetime import UTC, datetime
from semblance.orchestrator.adapters.metadata import SqlMetadataStore
from semblance.orchestrator.item import Item

async def write():
    store = SqlMetadataStore(sys.argv[1])
    await store.write(Item("i", {"a": 1}, (), datetime.now(UTC), datetime.now(UTC)))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(write())
"""
    killed = subprocess.run([sys.executable, "-c", program, url], check=False)
    assert killed.returncode == -signal.SIGKILL

    async def read() -> tuple[Item, bool] | None:
        store = SqlMetadataStore(url)
        try:
            return await store.get("i")
        finally:
            await store.close()

    found = asyncio.run(read())
    assert found is not None
    assert (found[0].attributes, found[1]) == ({"a": 1}, False)


async def test_a_held_lock_is_waited_for_not_for_ever(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LOCK_TIMEOUT", 1)
    store = SqlMetadataStore(url)
    await store.write(item("i"))
    if url.startswith("sqlite"):
        holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        release = holder.close
    else:
        connection = psycopg.connect(url.replace("+psycopg", ""))
        connection.execute("SELECT * FROM revisions FOR UPDATE")
        release = connection.close
    with pytest.raises(DependencyUnavailable, match="holds"):
        await store.write(item("i"))
    assert await store.get("i") is not None
    release()
    await store.write(item("i"))
    await store.close()


async def test_goes_on_when_the_database_dropped_its_connections(postgresql_database: str) -> None:
    store = SqlMetadataStore(postgresql_database)
    await store.write(item("i"))
    with psycopg.connect(postgresql_database.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert await store.get("i") is not None
    await store.close()


async def test_an_unreachable_database_is_unavailable() -> None:
    store = SqlMetadataStore("postgresql+psycopg://semblance:secret@127.0.0.1:1/semblance")
    with pytest.raises(DependencyUnavailable, match="does not answer") as raised:
        await store.count()
    assert "secret" not in str(raised.value)
    await store.close()


async def test_a_silent_database_is_unavailable_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "CALL_TIMEOUT", 0.5)
    monkeypatch.setattr(engine, "LOCK_TIMEOUT", 2)
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1") as silent:
        port = silent.sockets[0].getsockname()[1]
        store = SqlMetadataStore(f"postgresql+psycopg://semblance@127.0.0.1:{port}/semblance")
        with pytest.raises(DependencyUnavailable, match=r"within 0\.5 s"):
            await store.count()
        await store.close()


async def test_a_read_only_database_is_unavailable(postgresql_database: str) -> None:
    store = SqlMetadataStore(postgresql_database)
    await store.write(item("i"))
    await store.close()
    with psycopg.connect(postgresql_database.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = on")
    store = SqlMetadataStore(postgresql_database)
    with pytest.raises(DependencyUnavailable, match="read-only"):
        await store.write(item("i"))
    await store.close()


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "metadata.db").write_bytes(os.urandom(10_000))
    store = SqlMetadataStore(f"sqlite:///{tmp_path}/metadata.db")
    with pytest.raises(DependencyUnavailable, match="not a database"):
        await store.count()
    await store.close()


async def test_a_folder_that_can_not_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = SqlMetadataStore(f"sqlite:///{tmp_path}/file/metadata.db")
    with pytest.raises(DependencyUnavailable, match="can't be used"):
        await store.count()
    await store.close()


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
        SqlMetadataStore(url)
