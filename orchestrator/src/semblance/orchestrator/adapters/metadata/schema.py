"""The tables, the same on SQLite and PostgreSQL."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
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
    "item_revisions",
    metadata,
    Column("item_id", ItemId, primary_key=True),
    Column("revision", Whole, nullable=False),
)

# What a collection may disagree about.
unsettled = Table(
    "unsettled",
    metadata,
    Column("collection", String(128), primary_key=True),
    Column("item_id", ItemId, primary_key=True),
    Column("changed_at", UtcDateTime, nullable=False),
    # The order of mending: when it changed, or when it was last tried in vain.
    Column("due_at", UtcDateTime, nullable=False),
    # Until then a writer of an earlier revision may still write to the collection.
    Column("disputed_until", UtcDateTime, nullable=True),
    Index("unsettled_by_turn", "collection", "due_at", "item_id"),
)

# How many vectors an image has in a collection, where that is not what the writer of its item found.
indexed = Table(
    "indexed",
    metadata,
    Column("collection", String(128), primary_key=True),
    Column("item_id", ItemId, primary_key=True),
    Column("image_id", String(64), primary_key=True),
    Column("vectors", Integer, nullable=False),
)

# Collections that were filled after the catalogue was: up to which item it is enlisted as unsettled, null where wholly.
collections = Table(
    "collections",
    metadata,
    Column("collection", String(128), primary_key=True),
    Column("enlisted", ItemId, nullable=True),
    Column("discarded_at", UtcDateTime, nullable=True),
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
    Column("changed_at", UtcDateTime, nullable=True),
    Column("replaced", String(64), nullable=True),
    Column("canary", JSON(none_as_null=True), nullable=True),
    Column("shadow", Float, nullable=True),
    Column("problem", Text, nullable=True),
    Column("rate", Float, nullable=True),
    # Until then an outside engine builds it.
    Column("outside_until", UtcDateTime, nullable=True),
)
# At most one is active.
Index(
    "active_release",
    releases.c.state,
    unique=True,
    sqlite_where=text("state = 'active'"),
    postgresql_where=text("state = 'active'"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", UtcDateTime, nullable=False),
)

orchestrators = Table(
    "orchestrators",
    metadata,
    Column("name", String(256), primary_key=True),
    Column("presence", JSON, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("release_id", String(64), primary_key=True),
    Column("evaluation", JSON, nullable=False),
)

observations = Table(
    "observations",
    metadata,
    Column("release_id", String(64), primary_key=True),
    Column("observer", String(256), primary_key=True),
    Column("observed", JSON, nullable=False),
)

feedback = Table(
    "feedback",
    metadata,
    Column("feedback_id", ItemId, primary_key=True),
    # What is said of which answer, by whom: it tells the same feedback from another one under the same id.
    Column("content", String(64), nullable=False),
    Column("caller", Text, nullable=False),
    Column("given_at", UtcDateTime, nullable=False),
    Column("release_id", String(64), nullable=False),
    Column("image_id", String(64), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("verdict", JSON, nullable=False),
    Column("answered", JSON(none_as_null=True), nullable=True),
    Column("class_name", Text, nullable=False),
    Column("success", Boolean, nullable=True),
    Column("sharpness", Float, nullable=False),
    Column("light", Float, nullable=False),
    Column("size", Float, nullable=False),
    Column("reference_id", String(64), nullable=True),
    Index("feedback_by_time", "given_at", "feedback_id"),
    Index("feedback_by_image", "image_id", "feedback_id"),
    Index("feedback_by_caller", "caller"),
)

# Photos of feedback that was deleted; each is removed later, unless something refers to it by then.
discarded_images = Table(
    "discarded_images",
    metadata,
    Column("image_id", String(64), primary_key=True),
    Column("discarded_at", UtcDateTime, nullable=False),
    Index("discarded_by_time", "discarded_at"),
)
