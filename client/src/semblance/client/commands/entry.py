"""What a source says: an item to index, or a problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from semblance.client._filters import Attribute


@dataclass(frozen=True, slots=True)
class Entry:
    """An item as its source tells it; `where` is the file, or the manifest and line."""

    where: str
    item_id: str
    images: tuple[Path, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that can't be indexed, and why."""

    where: str
    reason: str
