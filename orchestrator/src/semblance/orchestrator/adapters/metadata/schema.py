"""The tables, the same on SQLite and PostgreSQL."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A moment; SQLite has no time zones, so there it is kept as UTC without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# Ordered by code point on both: SQLite's BINARY and PostgreSQL's "C" compare the bytes of UTF-8.
ItemId = Text().with_variant(Text(collation="C"), "postgresql")
# SQLite's INTEGER has 64 bits; its BIGINT could not be an ordinary primary key.
Whole = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()

items = Table(
    "items",
    metadata,
    Column("item_id", ItemId, primary_key=True),
    Column("attributes", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

images = Table(
    "images",
    metadata,
    Column("item_id", ItemId, ForeignKey("items.item_id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("image_id", String(64), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("vectors", Integer, nullable=False),
    Index("image_ids", "image_id"),
)

# One row for every item that ever was, so that a revision is never given twice; writers of an item queue for its row.
revisions = Table(
    "revisions",
    metadata,
    Column("item_id", ItemId, primary_key=True),
    Column("revision", Whole, nullable=False),
    Column("settled", Boolean, nullable=False, default=False),
    Column("changed_at", UtcDateTime, nullable=False),
    # Until then a writer of an earlier revision may still write to the index.
    Column("disputed_until", UtcDateTime, nullable=True),
)
Index(
    "unsettled",
    revisions.c.changed_at,
    revisions.c.item_id,
    sqlite_where=revisions.c.settled == false(),
    postgresql_where=revisions.c.settled == false(),
)

attribute_types = Table(
    "attribute_types",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("type", String(16), nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("release_id", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("definition", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
# At most one is active.
Index(
    "active_release",
    releases.c.state,
    unique=True,
    sqlite_where=text("state = 'active'"),
    postgresql_where=text("state = 'active'"),
)
