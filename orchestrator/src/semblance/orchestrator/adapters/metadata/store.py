"""`MetadataStore` over SQLAlchemy."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

from sqlalchemy import Connection, delete, func, select, union, update

from semblance.orchestrator.adapters.metadata import settlement
from semblance.orchestrator.adapters.metadata.database import Database
from semblance.orchestrator.adapters.metadata.page_token import key_of, token_after
from semblance.orchestrator.adapters.metadata.rows import (
    check_text,
    check_value,
    converted,
    in_collection,
    item_of,
    item_rows,
    vectors,
)
from semblance.orchestrator.adapters.metadata.schema import (
    attribute_types,
    feedback,
    images,
    indexed,
    items,
    revisions,
    unsettled,
)
from semblance.orchestrator.errors import Conflict, NotFound
from semblance.orchestrator.item import Attributes, AttributeType, CatalogSize, IdPage, Item, ItemImage, Page, Value
from semblance.orchestrator.ports import Written

# In seconds, where no service with a longest deadline opens the store.
LONGEST_WRITE = 120.0


class SqlMetadataStore:
    def __init__(self, database: Database, longest_write: float = LONGEST_WRITE) -> None:
        """`longest_write`: for so many seconds after an item was changed its rows may still be written to the index."""
        self._database = database
        self._longest_write = timedelta(seconds=longest_write)

    async def get(self, collection: str, item_id: str) -> tuple[Item, bool] | None:
        check_text("the item id", item_id)

        def find(connection: Connection) -> tuple[Item, bool] | None:
            settled = settlement.is_settled(connection, collection, items.c.item_id).label("settled")
            chosen = select(items, settled).where(items.c.item_id == item_id)
            rows = connection.execute(item_rows(chosen, collection)).all()
            return (item_of(rows), bool(rows[0].settled)) if rows else None

        return await self._database.run(find)

    async def write(self, item: Item, after: int | None = None) -> Written:
        check_text("the item id", item.item_id)
        for name, value in item.attributes.items():
            check_value(name, value)
        return await self._database.run(lambda connection: self._write(connection, item, after), writes=True)

    async def remove(self, item_id: str, after: int | None = None) -> int:
        check_text("the item id", item_id)
        return await self._database.run(lambda connection: self._remove(connection, item_id, after), writes=True)

    async def settle(self, collection: str, item_id: str, revision: int, images: Sequence[ItemImage] = ()) -> bool:
        check_text("the item id", item_id)
        return await self._database.run(
            lambda connection: settlement.settle(self._database, connection, collection, item_id, revision, images),
            writes=True,
        )

    async def unsettled(self, collection: str, limit: int, before: datetime | None = None) -> Sequence[tuple[str, int]]:
        query = (
            select(unsettled.c.item_id, func.coalesce(revisions.c.revision, 0).label("revision"))
            .outerjoin_from(unsettled, revisions, revisions.c.item_id == unsettled.c.item_id)
            .where(unsettled.c.collection == collection)
            .order_by(unsettled.c.due_at, unsettled.c.item_id)
            .limit(limit)
        )
        if before is not None:
            query = query.where(unsettled.c.due_at < before)
        rows = await self._database.run(lambda connection: connection.execute(query).all())
        return [(row.item_id, row.revision) for row in rows]

    async def count_unsettled(self, collection: str, before: datetime) -> int:
        return await self._database.run(lambda connection: settlement.count_unsettled(connection, collection, before))

    async def count_due(self, collection: str, before: datetime) -> int:
        return await self._database.run(
            lambda connection: settlement.count_unsettled(connection, collection, before, unsettled.c.due_at)
        )

    async def enlist(self, collection: str) -> bool:
        return await self._database.run(
            lambda connection: settlement.enlist(self._database, connection, collection), writes=True
        )

    async def unsettle(self, collection: str, item_ids: Collection[str]) -> None:
        def mark(connection: Connection) -> None:
            rows = [{"item_id": item_id, "revision": 1} for item_id in sorted(item_ids)]
            if rows:
                # What the index holds may never have been an item.
                connection.execute(self._database.insert(revisions).on_conflict_do_nothing(), rows)
                settlement.unsettle(self._database, connection, collection, item_ids)

        await self._database.run(mark, writes=True)

    async def revisions(self, collection: str, item_ids: Collection[str]) -> Mapping[str, tuple[int, bool]]:
        def find(connection: Connection) -> Mapping[str, tuple[int, bool]]:
            settled = settlement.is_settled(connection, collection, revisions.c.item_id).label("settled")
            query = select(revisions, settled).where(revisions.c.item_id.in_(item_ids))
            return {row.item_id: (row.revision, bool(row.settled)) for row in connection.execute(query)}

        return await self._database.run(find)

    async def postpone(self, collection: str, item_id: str, revision: int) -> None:
        newest = select(revisions.c.revision).where(revisions.c.item_id == item_id).scalar_subquery()
        this = unsettled.c.collection == collection, unsettled.c.item_id == item_id, newest == revision
        later = update(unsettled).where(*this).values(due_at=datetime.now(UTC))
        await self._database.run(lambda connection: connection.execute(later), writes=True)

    async def count_items(self) -> int:
        query = select(func.count()).select_from(items)
        return int(await self._database.run(lambda connection: connection.execute(query).scalar_one()))

    async def count(self, collection: str) -> CatalogSize:
        total = select(func.coalesce(func.sum(vectors()), 0)).outerjoin_from(images, indexed, in_collection(collection))
        query = select(
            select(func.count()).select_from(items).scalar_subquery(),
            select(func.count()).select_from(images).scalar_subquery(),
            total.scalar_subquery(),
        )
        counts = await self._database.run(lambda connection: connection.execute(query).one())
        return CatalogSize(*map(int, counts))

    async def list(self, collection: str, page_size: int, page_token: str) -> Page:
        found = await self.items_after(collection, key_of(page_token) if page_token else "", page_size + 1)
        more = len(found) > page_size
        return Page(tuple(found[:page_size]), token_after(found[page_size - 1].item_id) if more else "")

    async def pending(self, collection: str, page_size: int, page_token: str) -> IdPage:
        after = key_of(page_token) if page_token else ""
        found = await self._database.run(
            lambda connection: settlement.pending(connection, collection, after, page_size + 1)
        )
        more = len(found) > page_size
        return IdPage(tuple(found[:page_size]), token_after(found[page_size - 1]) if more else "")

    async def items_after(self, collection: str, item_id: str, limit: int) -> Sequence[Item]:
        page = select(items).where(items.c.item_id > item_id).order_by(items.c.item_id).limit(limit)
        rows = await self._database.run(lambda connection: connection.execute(item_rows(page, collection)).all())
        return [item_of(list(group)) for _, group in groupby(rows, key=lambda row: row.item_id)]

    async def image_ids(self, shard: str) -> frozenset[str]:
        # Hexadecimal digits are below g.
        query = union(
            *(
                select(table.c.image_id).where(table.c.image_id.between(shard, f"{shard}g"))
                for table in (images, feedback)
            )
        )
        return frozenset(await self._database.run(lambda connection: connection.execute(query).scalars().all()))

    async def attribute_types(self) -> Mapping[str, AttributeType]:
        return await self._database.run(lambda connection: _types(connection))

    async def indexed(self, collection: str) -> bool:
        def find(connection: Connection) -> bool:
            settled = settlement.is_settled(connection, collection, items.c.item_id)
            return connection.execute(select(items.c.item_id).where(settled).limit(1)).first() is not None

        return await self._database.run(find)

    def _write(self, connection: Connection, item: Item, after: int | None) -> Written:
        revision = self._next_revision(connection, item.item_id, after)
        attributes = self._typed(connection, item.attributes)
        row = self._database.insert(items).values(
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
        settlement.hold_collections(connection, alone=False)
        row = self._database.insert(revisions).values(item_id=item_id, revision=1)
        known = None if after is None else revisions.c.revision == after
        statement = row.on_conflict_do_update(
            index_elements=[revisions.c.item_id], set_={"revision": revisions.c.revision + 1}, where=known
        )
        revision = connection.execute(statement.returning(revisions.c.revision)).scalar_one_or_none()
        if revision is None:
            raise Conflict(f"item {item_id!r} was changed by somebody else at the same time; try again")
        settlement.unsettle_everywhere(self._database, connection, item_id, self._longest_write)
        return int(revision)

    def _typed(self, connection: Connection, attributes: Attributes) -> dict[str, Value]:
        """The values as their attributes' types want them; fixes the types of new attributes."""
        known = _types(connection, attributes)
        # In one order everywhere, so that two writers never wait for each other.
        if new := sorted(attributes.keys() - known.keys()):
            rows = [{"name": name, "type": AttributeType.of(attributes[name]).value} for name in new]
            connection.execute(self._database.insert(attribute_types).values(rows).on_conflict_do_nothing())
            known = _types(connection, attributes)
        return {name: converted(name, value, known[name]) for name, value in attributes.items()}


def _types(connection: Connection, names: Iterable[str] | None = None) -> dict[str, AttributeType]:
    query = select(attribute_types.c.name, attribute_types.c.type)
    if names is not None:
        query = query.where(attribute_types.c.name.in_(names))
    return {row.name: AttributeType(row.type) for row in connection.execute(query)}
