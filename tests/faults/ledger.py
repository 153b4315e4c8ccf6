"""What a caller knows about its items: what was acknowledged, and what may or may not have happened."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from semblance.client import NewItem

# Width and height of a photo, and of its coloured blocks, in pixels.
SIZE, BLOCK = (160, 120), 8


@dataclass(frozen=True, slots=True)
class Version:
    """What an item was put as: `number` is its attribute, and no other version has its photo."""

    item_id: str
    number: int
    photo: bytes = field(repr=False, compare=False)

    @property
    def item(self) -> NewItem:
        return NewItem(self.item_id, [self.photo], {"version": self.number})


# Of an item: a version, or None where there is no such item.
State = Version | None


@dataclass(slots=True)
class Record:
    """The states that an item may be in: one where the last call about it was answered."""

    possible: set[State] = field(default_factory=lambda: {None})
    # While a call about it is under way, and after each: anybody who compares looks at both ends.
    changes: int = 0
    next_number: int = 0

    @property
    def state(self) -> State:
        (state,) = self.possible
        return state

    @property
    def certain(self) -> bool:
        return len(self.possible) == 1

    def begin(self, state: State) -> None:
        self.changes += 1
        self.possible = self.possible | {state}

    def acknowledge(self, state: State) -> None:
        self.changes += 1
        self.possible = {state}


def photo(seed: int, item_id: str, number: int) -> bytes:
    """A PNG of blocks of random colours."""
    numbers = np.random.default_rng([seed, number, *item_id.encode()])
    width, height = SIZE[0] // BLOCK, SIZE[1] // BLOCK
    blocks = numbers.integers(0, 256, (height, width, 3), np.uint8)
    encoded, data = cv2.imencode(".png", cv2.resize(blocks, SIZE, interpolation=cv2.INTER_NEAREST))
    assert encoded
    return data.tobytes()
