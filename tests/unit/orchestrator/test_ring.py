"""The slots of shared memory, whatever requests do with them."""

import numpy as np
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from semblance.orchestrator.adapters.ring import Ring, Slot

SLOTS = 3


class Leases(RuleBasedStateMachine):
    """Requests lease, are answered or cut short, and Triton forgets; slots are renewed in any order."""

    leased = Bundle("leased")

    def __init__(self) -> None:
        super().__init__()
        self.ring = Ring(SLOTS)
        self.held: set[str] = set()
        self.spent: set[str] = set()
        self.known: set[str] = set()
        self.generation = 0

    @rule(target=leased)
    def lease(self) -> Slot | None:
        slot = self.ring.lease()
        if slot is not None:
            assert slot.name not in self.held, "handed out twice"
            assert slot.name not in self.spent, "handed out after its generation had ended"
            self.held.add(slot.name)
        return slot

    @rule(slot=consumes(leased))
    def answer(self, slot: Slot | None) -> None:
        if slot is not None:
            self.held.remove(slot.name)
            self.ring.give_back(slot)

    @rule(slot=consumes(leased))
    def cut_short(self, slot: Slot | None) -> None:
        if slot is not None:
            self.held.remove(slot.name)
            self.spent.add(slot.name)
            self.ring.retire(slot)

    @rule()
    def forget(self) -> None:
        self.spent |= self.known - self.held
        self.ring.retire_free()

    @rule()
    def renew(self) -> None:
        if self.ring.worn.empty():
            return
        worn = self.ring.worn.get_nowait()
        assert worn not in self.held, "renewed while a request holds it"
        self.generation += 1
        name = f"generation {self.generation}"
        self.known.add(name)
        self.ring.renewed(Slot(name, np.empty(0, np.uint8)))

    @invariant()
    def no_slot_is_lost(self) -> None:
        assert len(self.ring) + self.ring.worn.qsize() == SLOTS


Leases.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestLeases = Leases.TestCase


def test_the_slot_used_last_is_leased_first() -> None:
    ring = Ring(2)
    slots = [Slot(name, np.empty(0, np.uint8)) for name in "ab"]
    for slot in slots:
        ring.renewed(slot)
    first, second = ring.lease(), ring.lease()
    assert first is not None
    assert second is not None
    ring.give_back(second)
    ring.give_back(first)
    assert ring.lease() is first
