"""`MetadataStore` over SQLAlchemy."""

import asyncio
import base64
import binascii
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, Select, Table, delete, func, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from semblance.orchestrator.adapters.metadata.engine import (
    CALL_TIMEOUT,
    CONNECTIONS,
    WRITES,
    engine,
    make_folder,
    reason,
)
from semblance.orchestrator.adapters.metadata.schema import (
    attribute_types,
    images,
    items,
    metadata,
    releases,
    revisions,
)
from semblance.orchestrator.errors import Conflict, DependencyUnavailable, InvalidArgument, NotFound
from semblance.orchestrator.item import Attributes, AttributeType, CatalogSize, Item, ItemImage, Page, Value
from semblance.orchestrator.ports import Written
from semblance.orchestrator.release import Release, ReleaseState

T = TypeVar("T")

# Whoever makes the tables holds this PostgreSQL advisory lock; any number will do.
TABLES_LOCK = 0x5E3B1A9CE

_RELEASE = TypeAdapter(Release)
_INSERTS: Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


class SqlMetadataStore:
    """Connects when first used, and makes its tables where they are missing. Processes may share a database."""

    def __init__(self, url: str) -> None:
        """`url` is `sqlite:///file` or `postgresql+psycopg://user:password@host/database`; else raises ValueError."""
        self._engine = engine(url)
        self._insert = _INSERTS[self._engine.dialect.name]
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="metadata")
        self._tables_lock = threading.Lock()
        self._tables_made = False

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    async def get(self, item_id: str) -> tuple[Item, bool] | None:
        _check_text("the item id", item_id)
        rows = await self._run(
            lambda connection: connection.execute(
                _item_rows(select(items).where(items.c.item_id == item_id))
                .join(revisions, revisions.c.item_id == item_id)
                .add_columns(revisions.c.settled)
            ).all()
        )
        return (_item(rows), bool(rows[0].settled)) if rows else None

    async def write(self, item: Item) -> Written:
        _check_text("the item id", item.item_id)
        for name, value in item.attributes.items():
            _check_value(name, value)
        return await self._run(lambda connection: self._write(connection, item), writes=True)

    async def remove(self, item_id: str) -> int:
        _check_text("the item id", item_id)
        return await self._run(lambda connection: self._remove(connection, item_id), writes=True)

    async def settle(self, item_id: str, revision: int) -> bool:
        _check_text("the item id", item_id)
        return await self._run(lambda connection: _settle(connection, item_id, revision), writes=True)

    async def unsettled(self, limit: int) -> Sequence[tuple[str, int]]:
        query = (
            select(revisions.c.item_id, revisions.c.revision)
            .where(revisions.c.settled.is_(False))
            .order_by(revisions.c.changed_at, revisions.c.item_id)
            .limit(limit)
        )
        rows = await self._run(lambda connection: connection.execute(query).all())
        return [(row.item_id, row.revision) for row in rows]

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
        page = select(items).order_by(items.c.item_id).limit(page_size + 1)
        if page_token:
            page = page.where(items.c.item_id > _item_id_of(page_token))
        rows = await self._run(lambda connection: connection.execute(_item_rows(page)).all())
        found = [_item(list(group)) for _, group in groupby(rows, key=lambda row: row.item_id)]
        more = len(found) > page_size
        return Page(tuple(found[:page_size]), _page_token(found[page_size - 1].item_id) if more else "")

    async def attribute_types(self) -> Mapping[str, AttributeType]:
        return await self._run(lambda connection: _types(connection))

    async def active_release(self) -> Release | None:
        return await self._run(_active_release)

    async def add_first_release(self, release: Release) -> Release:
        return await self._run(lambda connection: self._add_first_release(connection, release), writes=True)

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
            self._tables_made = True

    @contextmanager
    def _transaction(self, writes: bool) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            connection.execution_options(**{WRITES: writes})
            with connection.begin():
                yield connection

    def _write(self, connection: Connection, item: Item) -> Written:
        revision = self._next_revision(connection, item.item_id)
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

    def _remove(self, connection: Connection, item_id: str) -> int:
        revision = self._next_revision(connection, item_id)
        if not connection.execute(delete(items).where(items.c.item_id == item_id)).rowcount:
            raise NotFound(f"there is no item {item_id!r}")
        return revision

    def _next_revision(self, connection: Connection, item_id: str) -> int:
        """Locks the item's row until the transaction ends."""
        row = self._insert(revisions).values(item_id=item_id, revision=1, settled=False, changed_at=datetime.now(UTC))
        changed = {
            "revision": revisions.c.revision + 1,
            "settled": False,
            "changed_at": row.excluded.changed_at,
        }
        statement = row.on_conflict_do_update(index_elements=[revisions.c.item_id], set_=changed)
        return int(connection.execute(statement.returning(revisions.c.revision)).scalar_one())

    def _typed(self, connection: Connection, attributes: Attributes) -> dict[str, Value]:
        """The values as their attributes' types want them; fixes the types of new attributes."""
        known = _types(connection, attributes)
        # In one order everywhere, so that two writers never wait for each other.
        if new := sorted(attributes.keys() - known.keys()):
            rows = [{"name": name, "type": AttributeType.of(attributes[name]).value} for name in new]
            connection.execute(self._insert(attribute_types).values(rows).on_conflict_do_nothing())
            known = _types(connection, attributes)
        return {name: _converted(name, value, known[name]) for name, value in attributes.items()}

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


def _settle(connection: Connection, item_id: str, revision: int) -> bool:
    this = revisions.c.item_id == item_id
    if connection.execute(
        update(revisions).where(this, revisions.c.revision == revision).values(settled=True)
    ).rowcount:
        return True
    newer = {"revision": revisions.c.revision + 1, "settled": False, "changed_at": datetime.now(UTC)}
    connection.execute(update(revisions).where(this).values(newer))
    return False


def _types(connection: Connection, names: Iterable[str] | None = None) -> dict[str, AttributeType]:
    query = select(attribute_types.c.name, attribute_types.c.type)
    if names is not None:
        query = query.where(attribute_types.c.name.in_(names))
    return {row.name: AttributeType(row.type) for row in connection.execute(query)}


def _active_release(connection: Connection) -> Release | None:
    query = select(releases.c.definition).where(releases.c.state == ReleaseState.ACTIVE.value)
    definition = connection.execute(query).scalar_one_or_none()
    return None if definition is None else _RELEASE.validate_python(definition)


def _item_rows(chosen: Select[Any]) -> Select[Any]:
    """A row for each image of the chosen items, one with nulls for an item without; one statement sees one moment."""
    page = chosen.subquery()
    return (
        select(page, images.c.image_id, images.c.width, images.c.height, images.c.vectors)
        .outerjoin_from(page, images, images.c.item_id == page.c.item_id)
        .order_by(page.c.item_id, images.c.position)
    )


def _item(rows: Sequence[Row[Any]]) -> Item:
    first = rows[0]
    return Item(
        item_id=first.item_id,
        attributes=first.attributes,
        images=tuple(
            ItemImage(row.image_id, row.width, row.height, row.vectors) for row in rows if row.image_id is not None
        ),
        created_at=first.created_at,
        updated_at=first.updated_at,
    )


def _check_text(what: str, value: str) -> None:
    """PostgreSQL stores no NUL, and a lone surrogate has no UTF-8."""
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidArgument(f"{what} must not contain NUL or lone surrogates")


def _check_value(name: str, value: Value) -> None:
    match value:
        case str():
            _check_text(f"attribute {name}", value)
        case bool():
            pass
        case int() if not -(2**63) <= value < 2**63:
            raise InvalidArgument(f"attribute {name} is {value}, beyond 64-bit signed integers")
        case float() if value - value != 0.0:
            raise InvalidArgument(f"attribute {name} is {value}; it must be finite")


def _converted(name: str, value: Value, expected: AttributeType) -> Value:
    given = AttributeType.of(value)
    if given is expected:
        return value
    if given is AttributeType.INTEGER and expected is AttributeType.DOUBLE:
        return float(value)
    raise InvalidArgument(
        f"attribute {name} is a {expected} since the first item that has it, and {value!r} is a {given}"
    )


def _page_token(item_id: str) -> str:
    key = item_id.encode()
    return base64.urlsafe_b64encode(zlib.crc32(key).to_bytes(4) + key).decode()


def _item_id_of(page_token: str) -> str:
    try:
        decoded = base64.b64decode(page_token, altchars=b"-_", validate=True)
        if len(decoded) > 4 and int.from_bytes(decoded[:4]) == zlib.crc32(decoded[4:]):
            return decoded[4:].decode()
    except (binascii.Error, ValueError):
        pass
    raise InvalidArgument("the page token is not one of this service; list from the start with an empty one")
