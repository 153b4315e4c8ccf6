"""The slots of shared memory that requests lease, and when one may be used again.

    worn ──renewed──▶ free ──lease──▶ leased ──give_back──▶ free
     ▲                                  └───────retire────▶ worn

The slot of a request that was answered is free at once. Of a request that was cut short nobody knows who still reads
or writes its slot (Triton, or a thread of ours): the slot is worn, and another generation of it, with other memory
under another name, takes its place.
"""

import asyncio
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One generation of a slot. `memory`: uint8 [size], which Triton knows as the region `name`."""

    name: str
    memory: NDArray[np.uint8]


class Ring:
    def __init__(self, slots: int) -> None:
        # Slots are leased in threads, all else is done in the event loop's.
        self._lock = threading.Lock()
        self._free: list[Slot] = []
        self._leased: set[Slot] = set()
        # The regions to be replaced; None stands for one that never was.
        self.worn: asyncio.Queue[str | None] = asyncio.Queue()
        for _ in range(slots):
            self.worn.put_nowait(None)

    def __len__(self) -> int:
        """Slots that are free or leased."""
        return len(self._free) + len(self._leased)

    @property
    def free(self) -> int:
        return len(self._free)

    def lease(self) -> Slot | None:
        """The slot that was used last, whose memory is in the caches; None where none is free."""
        with self._lock:
            if not self._free:
                return None
            slot = self._free.pop()
            self._leased.add(slot)
            return slot

    def give_back(self, slot: Slot) -> None:
        """Nobody reads or writes the leased slot any more."""
        with self._lock:
            self._leased.remove(slot)
            self._free.append(slot)

    def retire(self, slot: Slot) -> None:
        """Somebody may still read or write the leased slot."""
        with self._lock:
            self._leased.remove(slot)
        self.worn.put_nowait(slot.name)

    def retire_free(self) -> None:
        """Triton has lost all regions."""
        with self._lock:
            lost, self._free = self._free, []
        for slot in lost:
            self.worn.put_nowait(slot.name)

    def renewed(self, slot: Slot) -> None:
        """The next generation of a slot that was worn."""
        with self._lock:
            self._free.append(slot)
