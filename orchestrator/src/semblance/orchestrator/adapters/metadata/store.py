"""`MetadataStore` over SQLAlchemy."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, Select, Table, case, delete, func, inspect, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateColumn

from semblance.orchestrator.adapters.metadata.engine import (
    CALL_TIMEOUT,
    CONNECTIONS,
    WRITES,
    engine,
    make_folder,
    reason,
)
from semblance.orchestrator.adapters.metadata.page_token import item_id_of, token_after
from semblance.orchestrator.adapters.metadata.rows import check_text, check_value, converted, item_of, item_rows
from semblance.orchestrator.adapters.metadata.schema import (
    attribute_types,
    images,
    items,
    metadata,
    releases,
    revisions,
)
from semblance.orchestrator.errors import Conflict, DependencyUnavailable, NotFound
from semblance.orchestrator.item import Attributes, AttributeType, CatalogSize, Item, ItemImage, Page, Value
from semblance.orchestrator.ports import Written
from semblance.orchestrator.release import Release, ReleaseState

T = TypeVar("T")

# Whoever makes the tables holds this PostgreSQL advisory lock; any number will do.
TABLES_LOCK = 0x5E3B1A9CE
# In seconds, where no service with a longest deadline opens the store.
LONGEST_WRITE = 120.0
# Items unsettled by one statement.
UNSETTLE_PAGE = 5000

_RELEASE = TypeAdapter(Release)
_INSERTS: Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


class SqlMetadataStore:
    """Connects when first used, and makes its tables where they are missing. Processes may share a database."""

    def __init__(self, url: str, longest_write: float = LONGEST_WRITE) -> None:
        """`url` is `sqlite:///file` or `postgresql+psycopg://user:password@host/database`; else raises ValueError.

        `longest_write`: for so many seconds after an item was changed its rows may still be written to the index.
        """
        self._engine = engine(url)
        self._longest_write = timedelta(seconds=longest_write)
        self._insert = _INSERTS[self._engine.dialect.name]
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="metadata")
        self._tables_lock = threading.Lock()
        self._tables_made = False

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    async def get(self, item_id: str) -> tuple[Item, bool] | None:
        check_text("the item id", item_id)
        rows = await self._run(
            lambda connection: connection.execute(
                item_rows(select(items).where(items.c.item_id == item_id))
                .join(revisions, revisions.c.item_id == item_id)
                .add_columns(revisions.c.settled)
            ).all()
        )
        return (item_of(rows), bool(rows[0].settled)) if rows else None

    async def write(self, item: Item, after: int | None = None) -> Written:
        check_text("the item id", item.item_id)
        for name, value in item.attributes.items():
            check_value(name, value)
        return await self._run(lambda connection: self._write(connection, item, after), writes=True)

    async def remove(self, item_id: str, after: int | None = None) -> int:
        check_text("the item id", item_id)
        return await self._run(lambda connection: self._remove(connection, item_id, after), writes=True)

    async def settle(self, item_id: str, revision: int, release: Release, images: Sequence[ItemImage] = ()) -> bool:
        check_text("the item id", item_id)
        return await self._run(lambda connection: _settle(connection, item_id, revision, release, images), writes=True)

    async def unsettled(self, limit: int, before: datetime | None = None) -> Sequence[tuple[str, int]]:
        query = (
            select(revisions.c.item_id, revisions.c.revision)
            .where(revisions.c.settled.is_(False))
            .order_by(revisions.c.changed_at, revisions.c.item_id)
            .limit(limit)
        )
        if before is not None:
            query = query.where(revisions.c.changed_at < before)
        rows = await self._run(lambda connection: connection.execute(query).all())
        return [(row.item_id, row.revision) for row in rows]

    async def count_unsettled(self, before: datetime) -> int:
        unsettled = revisions.c.settled.is_(False), revisions.c.changed_at < before
        query = select(func.count()).select_from(revisions).where(*unsettled)
        return await self._run(lambda connection: int(connection.execute(query).scalar_one()))

    async def unsettle(self, item_ids: Collection[str]) -> None:
        now = datetime.now(UTC)
        rows = [
            {"item_id": item_id, "revision": 1, "settled": False, "changed_at": now} for item_id in sorted(item_ids)
        ]
        statement = self._insert(revisions).on_conflict_do_update(
            index_elements=[revisions.c.item_id], set_={"settled": False, "changed_at": _no_later_than(now)}
        )
        if rows:
            await self._run(lambda connection: connection.execute(statement, rows), writes=True)

    async def revisions(self, item_ids: Collection[str]) -> Mapping[str, tuple[int, bool]]:
        query = select(revisions).where(revisions.c.item_id.in_(item_ids))
        rows = await self._run(lambda connection: connection.execute(query).all())
        return {row.item_id: (row.revision, row.settled) for row in rows}

    async def postpone(self, item_id: str, revision: int) -> None:
        this = revisions.c.item_id == item_id, revisions.c.revision == revision, revisions.c.settled.is_(False)
        later = update(revisions).where(*this).values(changed_at=datetime.now(UTC))
        await self._run(lambda connection: connection.execute(later), writes=True)

    async def count(self) -> CatalogSize:
        query = select(
            select(func.count()).select_from(items).scalar_subquery(),
            select(func.count()).select_from(images).scalar_subquery(),
            select(func.coalesce(func.sum(images.c.vectors), 0)).scalar_subquery(),
        )
        counts = await self._run(lambda connection: connection.execute(query).one())
        return CatalogSize(*map(int, counts))

    async def list(self, page_size: int, page_token: str) -> Page:
        found = await self.items_after(item_id_of(page_token) if page_token else "", page_size + 1)
        more = len(found) > page_size
        return Page(tuple(found[:page_size]), token_after(found[page_size - 1].item_id) if more else "")

    async def items_after(self, item_id: str, limit: int) -> Sequence[Item]:
        page = select(items).where(items.c.item_id > item_id).order_by(items.c.item_id).limit(limit)
        rows = await self._run(lambda connection: connection.execute(item_rows(page)).all())
        return [item_of(list(group)) for _, group in groupby(rows, key=lambda row: row.item_id)]

    async def image_ids(self, shard: str) -> frozenset[str]:
        # Hexadecimal digits are below g.
        query = select(images.c.image_id).where(images.c.image_id.between(shard, f"{shard}g")).distinct()
        return frozenset(await self._run(lambda connection: connection.execute(query).scalars().all()))

    async def attribute_types(self) -> Mapping[str, AttributeType]:
        return await self._run(lambda connection: _types(connection))

    async def indexed(self) -> bool:
        query = _settled_items().limit(1)
        return await self._run(lambda connection: connection.execute(query).first() is not None)

    async def active_release(self) -> Release | None:
        return await self._run(_active_release)

    async def add_first_release(self, release: Release) -> Release:
        return await self._run(lambda connection: self._add_first_release(connection, release), writes=True)

    async def replace_collection(self, collection: str) -> Release:
        # Page by page, so that no statement takes long; those settled meanwhile are few.
        last: str | None = ""
        while last is not None:
            last = await self._run(partial(_unsettle_page, after=last), writes=True)
        return await self._run(lambda connection: _replace_collection(connection, collection), writes=True)

    async def _run(self, work: Callable[[Connection], T], *, writes: bool = False) -> T:
        """`work` in a transaction, in a thread. It commits even if the caller goes away meanwhile."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._transact, work, writes)
        except TimeoutError as error:
            raise DependencyUnavailable(f"the metadata store did not answer within {CALL_TIMEOUT:.3g} s") from error

    def _transact(self, work: Callable[[Connection], T], writes: bool) -> T:
        try:
            self._make_tables()
            with self._transaction(writes) as connection:
                return work(connection)
        except (DBAPIError, sqlite3.Error) as error:
            why = reason(error.orig if isinstance(error, DBAPIError) else error)
            if why is None:
                raise
            raise DependencyUnavailable(f"the metadata store can't be used: {why}") from error
        except OSError as error:
            raise DependencyUnavailable(f"the metadata store can't be used: {error.strerror}") from error

    def _make_tables(self) -> None:
        with self._tables_lock:
            if self._tables_made:
                return
            make_folder(self._engine.url)
            with self._transaction(writes=True) as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": TABLES_LOCK})
                metadata.create_all(connection)
                _add_columns(connection)
            self._tables_made = True

    @contextmanager
    def _transaction(self, writes: bool) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            connection.execution_options(**{WRITES: writes})
            with connection.begin():
                yield connection

    def _write(self, connection: Connection, item: Item, after: int | None) -> Written:
        revision = self._next_revision(connection, item.item_id, after)
        attributes = self._typed(connection, item.attributes)
        row = self._insert(items).values(
            item_id=item.item_id, attributes=attributes, created_at=item.created_at, updated_at=item.updated_at
        )
        replaced = {"attributes": row.excluded.attributes, "updated_at": row.excluded.updated_at}
        connection.execute(row.on_conflict_do_update(index_elements=[items.c.item_id], set_=replaced))
        connection.execute(delete(images).where(images.c.item_id == item.item_id))
        if item.images:
            connection.execute(
                images.insert(),
                [
                    {
                        "item_id": item.item_id,
                        "position": position,
                        "image_id": image.image_id,
                        "width": image.width,
                        "height": image.height,
                        "vectors": image.vectors,
                    }
                    for position, image in enumerate(item.images)
                ],
            )
        return Written(revision, attributes)

    def _remove(self, connection: Connection, item_id: str, after: int | None) -> int:
        revision = self._next_revision(connection, item_id, after)
        if not connection.execute(delete(items).where(items.c.item_id == item_id)).rowcount:
            raise NotFound(f"there is no item {item_id!r}")
        return revision

    def _next_revision(self, connection: Connection, item_id: str, after: int | None) -> int:
        """Locks the item's row until the transaction ends."""
        now = datetime.now(UTC)
        row = self._insert(revisions).values(item_id=item_id, revision=1, settled=False, changed_at=now)
        changed = {
            "revision": revisions.c.revision + 1,
            "settled": False,
            "changed_at": row.excluded.changed_at,
            # Whoever wrote the revision before, or mends it, may still be at it, or may have died half-way.
            "disputed_until": case((revisions.c.settled, None), else_=now + self._longest_write),
        }
        known = None if after is None else revisions.c.revision == after
        statement = row.on_conflict_do_update(index_elements=[revisions.c.item_id], set_=changed, where=known)
        revision = connection.execute(statement.returning(revisions.c.revision)).scalar_one_or_none()
        if revision is None:
            raise Conflict(f"item {item_id!r} was changed by somebody else at the same time; try again")
        return int(revision)

    def _typed(self, connection: Connection, attributes: Attributes) -> dict[str, Value]:
        """The values as their attributes' types want them; fixes the types of new attributes."""
        known = _types(connection, attributes)
        # In one order everywhere, so that two writers never wait for each other.
        if new := sorted(attributes.keys() - known.keys()):
            rows = [{"name": name, "type": AttributeType.of(attributes[name]).value} for name in new]
            connection.execute(self._insert(attribute_types).values(rows).on_conflict_do_nothing())
            known = _types(connection, attributes)
        return {name: converted(name, value, known[name]) for name, value in attributes.items()}

    def _add_first_release(self, connection: Connection, release: Release) -> Release:
        row = self._insert(releases).values(
            release_id=release.release_id,
            state=ReleaseState.ACTIVE.value,
            definition=_RELEASE.dump_python(release, mode="json"),
            created_at=datetime.now(UTC),
        )
        connection.execute(row.on_conflict_do_nothing())
        active = _active_release(connection)
        if active is None:
            raise Conflict(f"release {release.release_id} exists and is not active, and no other one is")
        return active


def _add_columns(connection: Connection) -> None:
    """To the tables of an earlier version, those that are new; each may be empty."""
    for table in metadata.sorted_tables:
        there = {column["name"] for column in inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                connection.execute(
                    text(f"ALTER TABLE {table.name} ADD COLUMN {CreateColumn(column).compile(connection)}")
                )


def _settle(
    connection: Connection, item_id: str, revision: int, release: Release, changed: Sequence[ItemImage]
) -> bool:
    # Held until the transaction ends, so that what is settled here is not in a collection that was just replaced.
    active = _active_release(connection, held=True)
    if active is None or active.collection != release.collection:
        return False
    this = revisions.c.item_id == item_id
    disputed = revisions.c.disputed_until > datetime.now(UTC)
    newest = (
        update(revisions)
        .where(this, revisions.c.revision == revision)
        .values(
            settled=case((disputed, False), else_=True),
            changed_at=case((disputed, revisions.c.disputed_until), else_=revisions.c.changed_at),
        )
    )
    if connection.execute(newest).rowcount:
        for image in changed:
            same = images.c.item_id == item_id, images.c.image_id == image.image_id
            sizes = {"width": image.width, "height": image.height, "vectors": image.vectors}
            connection.execute(update(images).where(*same).values(sizes))
        return True
    newer = {"revision": revisions.c.revision + 1, "settled": False, "changed_at": datetime.now(UTC)}
    connection.execute(update(revisions).where(this).values(newer))
    return False


def _types(connection: Connection, names: Iterable[str] | None = None) -> dict[str, AttributeType]:
    query = select(attribute_types.c.name, attribute_types.c.type)
    if names is not None:
        query = query.where(attribute_types.c.name.in_(names))
    return {row.name: AttributeType(row.type) for row in connection.execute(query)}


def _unsettle_page(connection: Connection, after: str) -> str | None:
    """Unsettles the next items; the last one's id, or None where there are no more."""
    page = _settled_items().where(revisions.c.item_id > after).order_by(revisions.c.item_id).limit(UNSETTLE_PAGE)
    item_ids = connection.execute(page).scalars().all()
    if not item_ids:
        return None
    connection.execute(update(revisions).where(revisions.c.item_id.in_(item_ids)).values(settled=False))
    return str(item_ids[-1])


def _settled_items() -> Select[Any]:
    """The ids of the items that the index should hold; the settled removal of an item is not among them."""
    settled = select(revisions.c.item_id).join(items, items.c.item_id == revisions.c.item_id)
    return settled.where(revisions.c.settled.is_(True))


def _replace_collection(connection: Connection, collection: str) -> Release:
    active = releases.c.state == ReleaseState.ACTIVE.value
    # Locks the release: whoever is settling an item has ended before the next statement, or sees the new collection.
    connection.execute(update(releases).where(active).values(state=ReleaseState.ACTIVE.value))
    release = _active_release(connection)
    if release is None:
        raise NotFound("no release is active: the service was never started with this metadata store")
    changed = replace(release, collection=collection)
    connection.execute(update(releases).where(active).values(definition=_RELEASE.dump_python(changed, mode="json")))
    now = datetime.now(UTC)
    connection.execute(update(revisions).where(revisions.c.item_id.in_(_settled_items())).values(settled=False))
    connection.execute(update(revisions).where(revisions.c.changed_at > now).values(changed_at=now))
    return changed


def _no_later_than(now: datetime) -> ColumnElement[datetime]:
    """When an item changed; in the future is that of disputed ones, which are settled then."""
    return case((revisions.c.changed_at > now, now), else_=revisions.c.changed_at)


def _active_release(connection: Connection, held: bool = False) -> Release | None:
    """`held`: nobody changes it until the transaction ends. SQLite has one writer at a time anyway."""
    query = select(releases.c.definition).where(releases.c.state == ReleaseState.ACTIVE.value)
    if held:
        query = query.with_for_update(read=True)
    definition = connection.execute(query).scalar_one_or_none()
    return None if definition is None else _RELEASE.validate_python(definition)
