"""Items as rows of the tables, and the values that both databases hold."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Label, Row, Select, and_, func, select

from semblance.orchestrator.adapters.metadata.schema import images, indexed
from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.item import AttributeType, Item, ItemImage, Value


def item_rows(chosen: Select[Any], collection: str) -> Select[Any]:
    """A row for each image of the chosen items, one with nulls for an item without; one statement sees one moment.
    `vectors` are those in the collection."""
    page = chosen.subquery()
    return (
        select(page, images.c.image_id, images.c.width, images.c.height, vectors())
        .outerjoin_from(page, images, images.c.item_id == page.c.item_id)
        .outerjoin(indexed, in_collection(collection))
        .order_by(page.c.item_id, images.c.position)
    )


def vectors() -> Label[int]:
    """Of an image that is joined with `indexed`."""
    return func.coalesce(indexed.c.vectors, images.c.vectors).label("vectors")


def in_collection(collection: str) -> ColumnElement[bool]:
    """What joins an image with `indexed`."""
    return and_(
        indexed.c.collection == collection,
        indexed.c.item_id == images.c.item_id,
        indexed.c.image_id == images.c.image_id,
    )


def item_of(rows: Sequence[Row[Any]]) -> Item:
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


def check_text(what: str, value: str) -> None:
    """PostgreSQL stores no NUL, and a lone surrogate has no UTF-8."""
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidArgument(f"{what} must not contain NUL or lone surrogates")


def check_value(name: str, value: Value) -> None:
    match value:
        case str():
            check_text(f"attribute {name}", value)
        case bool():
            pass
        case int() if not -(2**63) <= value < 2**63:
            raise InvalidArgument(f"attribute {name} is {value}, beyond 64-bit signed integers")
        case float() if value - value != 0.0:
            raise InvalidArgument(f"attribute {name} is {value}; it must be finite")


def converted(name: str, value: Value, expected: AttributeType) -> Value:
    given = AttributeType.of(value)
    if given is expected:
        return value
    if given is AttributeType.INTEGER and expected is AttributeType.DOUBLE:
        return float(value)
    raise InvalidArgument(
        f"attribute {name} is a {expected} since the first item that has it, and {value!r} is a {given}"
    )
