"""Items: a kind and a seed, from which a design is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from demo.drawing.badge import Badge
from demo.drawing.card import Card
from demo.drawing.figurine import Figurine

KINDS = ("card", "badge", "figurine")
"""The kinds, in the order of the detector's classes."""

_DESIGNS: dict[str, type[Card] | type[Badge] | type[Figurine]] = {
    "card": Card,
    "badge": Badge,
    "figurine": Figurine,
}


@dataclass(frozen=True)
class Item:
    """One product: `number` of its `kind` in the collection that `collection` seeds."""

    kind: str
    collection: int
    number: int

    @property
    def item_id(self) -> str:
        """A stable name, such as "card-017"."""
        return f"{self.kind}-{self.number:03d}"

    @cached_property
    def design(self) -> Card | Badge | Figurine:
        """What the item looks like."""
        return _DESIGNS[self.kind].design(np.random.default_rng([self.collection, KINDS.index(self.kind), self.number]))

    def draw(self, pixels: int) -> NDArray[np.uint8]:
        """The item alone, `pixels` high: uint8 [H,W,4], RGBA, cut to its outline."""
        picture = self.design.draw(pixels).pixels()
        rows, columns = (np.flatnonzero(picture[..., 3].any(axis=axis)) for axis in (1, 0))
        return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def collect(count: int, collection: int) -> Iterator[Item]:
    """`count` items, as many of each kind, of which no two of a kind look alike at a glance."""
    for index, kind in enumerate(KINDS):
        seen: set[tuple[object, ...]] = set()
        wanted, number = (count + len(KINDS) - 1 - index) // len(KINDS), 0
        while len(seen) < wanted:
            item = Item(kind, collection, number)
            number += 1
            if item.design.glance not in seen:
                seen.add(item.design.glance)
                yield item
