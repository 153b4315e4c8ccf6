"""What each collection lacks of the truth: statements of one transaction."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, select, text, true, update

from semblance.orchestrator.adapters.metadata.database import Database
from semblance.orchestrator.adapters.metadata.schema import (
    collections,
    images,
    indexed,
    items,
    releases,
    revisions,
    unsettled,
)
from semblance.orchestrator.item import ItemImage
from semblance.orchestrator.release import LIVE, Release, ReleaseState

# Who changes items shares this PostgreSQL advisory lock; who changes which collections there are has it alone.
COLLECTIONS_LOCK = 0x5E3B1A9CF
# Items enlisted by one statement.
ENLIST_PAGE = 5000

RELEASE = TypeAdapter(Release)
LIVE_STATES = sorted(state.value for state in LIVE)


def hold_collections(connection: Connection, *, alone: bool) -> None:
    """Until the transaction ends no live collection comes or goes; `alone`, nobody else writes items meanwhile.

    SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        function = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
        connection.execute(text(f"SELECT {function}(:key)"), {"key": COLLECTIONS_LOCK})


def live_releases(connection: Connection) -> list[tuple[Release, ReleaseState]]:
    query = select(releases.c.definition, releases.c.state).where(releases.c.state.in_(LIVE_STATES))
    return [(RELEASE.validate_python(row.definition), ReleaseState(row.state)) for row in connection.execute(query)]


def live_collections(connection: Connection) -> list[str]:
    """In one order everywhere, so that two writers never wait for each other."""
    return sorted({release.collection for release, _ in live_releases(connection)})


def unsettle_everywhere(
    database: Database, connection: Connection, item_id: str, disputed: timedelta | None = None
) -> None:
    """A new revision of an item: no live collection agrees.

    Where one did not before, whoever wrote the revision before, or mends it, may be at it for as long as `disputed`
    says, or may have died half-way."""
    now = datetime.now(UTC)
    rows = [_unsettled(each, item_id, now) for each in live_collections(connection)]
    if rows:
        row = database.insert(unsettled)
        changed: dict[str, Any] = {"changed_at": row.excluded.changed_at, "due_at": row.excluded.due_at}
        if disputed is not None:
            changed["disputed_until"] = now + disputed
        connection.execute(row.on_conflict_do_update(index_elements=_KEY, set_=changed), rows)


def unsettle(database: Database, connection: Connection, collection: str, item_ids: Collection[str]) -> None:
    """Those that are disputed no longer than until now."""
    now = datetime.now(UTC)
    row = database.insert(unsettled)
    earlier = {column.name: _no_later_than(now, column) for column in (unsettled.c.changed_at, unsettled.c.due_at)}
    statement = row.on_conflict_do_update(index_elements=_KEY, set_=earlier)
    rows = [_unsettled(collection, item_id, now) for item_id in sorted(item_ids)]
    if rows:
        connection.execute(statement, rows)


def settle(
    database: Database,
    connection: Connection,
    collection: str,
    item_id: str,
    revision: int,
    found: Sequence[ItemImage],
) -> bool:
    hold_collections(connection, alone=False)
    states = [state for release, state in live_releases(connection) if release.collection == collection]
    if not states:
        return True
    # Held until the transaction ends: a writer of the next revision waits for it.
    newest = update(revisions).where(revisions.c.item_id == item_id, revisions.c.revision == revision)
    if connection.execute(newest.values(revision=revision)).rowcount:
        _take_out(connection, collection, item_id)
        _store_found(database, connection, collection, item_id, found)
        return True
    step = 1 if ReleaseState.ACTIVE in states else 0
    known = update(revisions).where(revisions.c.item_id == item_id)
    if not connection.execute(known.values(revision=revisions.c.revision + step)).rowcount:
        return False
    if step:
        unsettle_everywhere(database, connection, item_id)
    else:
        unsettle(database, connection, collection, [item_id])
    return False


def enlist(database: Database, connection: Connection, collection: str) -> bool:
    """The next page; whether there may be more."""
    this = collections.c.collection == collection
    query = select(collections.c.enlisted).where(this, collections.c.enlisted.is_not(None)).with_for_update()
    after = connection.execute(query).scalar_one_or_none()
    if after is None:
        return False
    page = select(items.c.item_id).where(items.c.item_id > after).order_by(items.c.item_id).limit(ENLIST_PAGE)
    item_ids = connection.execute(page).scalars().all()
    now = datetime.now(UTC)
    rows = [_unsettled(collection, item_id, now) for item_id in item_ids]
    if rows:
        connection.execute(database.insert(unsettled).on_conflict_do_nothing(), rows)
    more = len(rows) == ENLIST_PAGE
    connection.execute(update(collections).where(this).values(enlisted=item_ids[-1] if more else None))
    return more


def enlisted_to(connection: Connection, collection: str) -> str | None:
    """None where wholly."""
    query = select(collections.c.enlisted).where(collections.c.collection == collection)
    return connection.execute(query).scalar_one_or_none()


def pending(connection: Connection, collection: str, after: str, limit: int) -> list[str]:
    """The next items that may be mended now, by id."""
    # In this order: what is enlisted between two statements is seen twice, and not missed.
    found = set[str]()
    enlisted = enlisted_to(connection, collection)
    if enlisted is not None:
        beyond = select(items.c.item_id).where(items.c.item_id > max(after, enlisted))
        found.update(connection.execute(beyond.order_by(items.c.item_id).limit(limit)).scalars())
    due = unsettled.c.due_at < datetime.now(UTC)
    listed = select(unsettled.c.item_id).where(unsettled.c.collection == collection, unsettled.c.item_id > after, due)
    found.update(connection.execute(listed.order_by(unsettled.c.item_id).limit(limit)).scalars())
    return sorted(found)[:limit]


def count_unsettled(
    connection: Connection, collection: str, before: datetime, moment: ColumnElement[datetime] = unsettled.c.changed_at
) -> int:
    """Those whose `moment` is before that one."""
    listed = unsettled.c.collection == collection, moment < before
    count = int(connection.execute(select(func.count()).select_from(unsettled).where(*listed)).scalar_one())
    after = enlisted_to(connection, collection)
    if after is None:
        return count
    # Items beyond that are listed already, by a writer, are few, and counted as what is to be enlisted.
    beyond = select(func.count()).select_from(items).where(items.c.item_id > after)
    both = unsettled.join(items, items.c.item_id == unsettled.c.item_id)
    twice = select(func.count()).select_from(both).where(*listed, unsettled.c.item_id > after)
    return count + int(connection.execute(beyond).scalar_one()) - int(connection.execute(twice).scalar_one())


def is_settled(connection: Connection, collection: str, item_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Of the item of a row."""
    there = select(unsettled.c.item_id).where(unsettled.c.collection == collection, unsettled.c.item_id == item_id)
    after = enlisted_to(connection, collection)
    return and_(~there.exists(), true() if after is None else item_id <= after)


def discard(database: Database, connection: Connection, collection: str) -> None:
    """Unless a live release has it."""
    if collection in live_collections(connection):
        return
    row = database.insert(collections).values(collection=collection, discarded_at=datetime.now(UTC))
    changed = {"discarded_at": row.excluded.discarded_at}
    connection.execute(row.on_conflict_do_update(index_elements=[collections.c.collection], set_=changed))


def add_collection(database: Database, connection: Connection, collection: str) -> None:
    """One that is to hold the whole catalogue; what it held when it was discarded is of another time."""
    any_items = connection.execute(select(items.c.item_id).limit(1)).first() is not None
    row = database.insert(collections).values(collection=collection, enlisted="" if any_items else None)
    changed = {"enlisted": row.excluded.enlisted, "discarded_at": None}
    connection.execute(row.on_conflict_do_update(index_elements=[collections.c.collection], set_=changed))


def forget(connection: Connection, collection: str) -> None:
    """Nothing where a live release has it."""
    hold_collections(connection, alone=True)
    if collection in live_collections(connection):
        return
    for table in (unsettled, indexed, collections):
        connection.execute(delete(table).where(table.c.collection == collection))


_KEY = [unsettled.c.collection, unsettled.c.item_id]


def _take_out(connection: Connection, collection: str, item_id: str) -> None:
    this = unsettled.c.collection == collection, unsettled.c.item_id == item_id
    disputed = unsettled.c.disputed_until > datetime.now(UTC)
    until = unsettled.c.disputed_until
    waiting = update(unsettled).where(*this, disputed).values(changed_at=until, due_at=until)
    if not connection.execute(waiting).rowcount:
        connection.execute(delete(unsettled).where(*this))


def _store_found(
    database: Database, connection: Connection, collection: str, item_id: str, found: Iterable[ItemImage]
) -> None:
    """The numbers of vectors that are not those that the item's writer found."""
    query = select(images.c.image_id, images.c.vectors).where(images.c.item_id == item_id)
    written = {row.image_id: row.vectors for row in connection.execute(query)}
    connection.execute(delete(indexed).where(indexed.c.collection == collection, indexed.c.item_id == item_id))
    # An item may show an image twice.
    others = {
        image.image_id: image.vectors for image in found if written.get(image.image_id, image.vectors) != image.vectors
    }
    rows = [
        {"collection": collection, "item_id": item_id, "image_id": image_id, "vectors": vectors}
        for image_id, vectors in others.items()
    ]
    if rows:
        connection.execute(database.insert(indexed), rows)


def _unsettled(collection: str, item_id: str, now: datetime) -> dict[str, Any]:
    return {"collection": collection, "item_id": item_id, "changed_at": now, "due_at": now}


def _no_later_than(now: datetime, moment: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """In the future is that of disputed items, which are settled then."""
    return case((moment > now, now), else_=moment)
