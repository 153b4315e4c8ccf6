"""What the catalogue holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

Value = str | int | float | bool
Attributes = Mapping[str, Value]


class AttributeType(StrEnum):
    """What an attribute's values are; fixed by the first value put under its name."""

    STRING = "string"
    INTEGER = "integer"
    DOUBLE = "double"
    BOOLEAN = "boolean"

    @classmethod
    def of(cls, value: Value) -> "AttributeType":
        return _TYPES[type(value)]


_TYPES: Mapping[type, AttributeType] = {
    str: AttributeType.STRING,
    int: AttributeType.INTEGER,
    float: AttributeType.DOUBLE,
    bool: AttributeType.BOOLEAN,
}


def same_attributes(some: Attributes, others: Attributes) -> bool:
    """True equals 1 in Python, and is none."""
    return some == others and all(
        isinstance(value, bool) is isinstance(others[name], bool) for name, value in some.items()
    )


@dataclass(frozen=True, slots=True)
class ItemImage:
    """A reference image: its digest (SHA-256, hexadecimal), the upright size in pixels, its number of vectors."""

    image_id: str
    width: int
    height: int
    vectors: int


@dataclass(frozen=True, slots=True)
class Item:
    item_id: str
    attributes: Attributes
    images: tuple[ItemImage, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ItemDraft:
    """An item as a caller puts it: `images` are the original files."""

    item_id: str
    attributes: Attributes
    images: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CatalogSize:
    items: int
    images: int
    vectors: int


@dataclass(frozen=True, slots=True)
class Page:
    items: tuple[Item, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class IdPage:
    item_ids: tuple[str, ...]
    next_page_token: str
