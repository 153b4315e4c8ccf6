"""Whose turn it is, and who has to leave."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from semblance.orchestrator.queue import FairQueue


@dataclass(frozen=True, eq=False)
class One:
    caller: str
    size: int = 1
    name: str = ""


def names(queue: FairQueue[One]) -> list[str]:
    return [queue.next().name for _ in range(len(queue))]


def filled(queue: FairQueue[One], text: str) -> list[str]:
    """Lets join, such as "a1 a2 b1", and names those who are refused."""
    return [left.name for name in text.split() for left in queue.join(One(name[0], name=name))]


def test_callers_take_turns_and_each_of_theirs_keep_their_order() -> None:
    queue: FairQueue[One] = FairQueue(10, 100)
    assert not filled(queue, "a1 a2 a3 a4 b1 b2 c1")
    assert names(queue) == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


def test_who_comes_back_is_behind_those_who_wait() -> None:
    queue: FairQueue[One] = FairQueue(10, 100)
    filled(queue, "a1 a2 b1")
    assert queue.next().name == "a1"
    filled(queue, "c1 a3")
    assert names(queue) == ["b1", "a2", "c1", "a3"]


def test_a_lone_caller_who_asks_for_too_much_is_refused_himself() -> None:
    assert filled(FairQueue(2, 100), "a1 a2 a3 a4") == ["a3", "a4"]


def test_the_newest_of_a_crowd_leaves_for_who_has_less() -> None:
    queue: FairQueue[One] = FairQueue(4, 100)
    assert filled(queue, "a1 a2 a3 a4 b1 b2 b3 a5") == ["a4", "a3", "b3", "a5"]
    assert names(queue) == ["a1", "b1", "a2", "b2"]


def test_bytes_count_as_places_do() -> None:
    queue: FairQueue[One] = FairQueue(100, 10)
    assert not queue.join(One("a", 6, "a1"))
    assert not queue.join(One("b", 1, "b1"))
    assert [one.name for one in queue.join(One("a", 5, "a2"))] == ["a2"]
    assert [one.name for one in queue.join(One("c", 4, "c1"))] == ["a1"]
    assert names(queue) == ["b1", "c1"]


def test_nobody_waits_in_a_queue_of_none() -> None:
    queue: FairQueue[One] = FairQueue(0, 100)
    assert filled(queue, "a1 b1") == ["a1", "b1"]
    assert len(queue) == 0


def test_who_gives_up_leaves_his_place() -> None:
    queue: FairQueue[One] = FairQueue(2, 100)
    first, second = One("a", name="a1"), One("b", name="b1")
    queue.join(first)
    queue.join(second)
    queue.leave(first)
    queue.leave(first)
    assert not filled(queue, "a2")
    assert names(queue) == ["b1", "a2"]


@given(st.lists(st.tuples(st.sampled_from("abcn"), st.integers(0, 12))))
def test_it_holds_no_more_than_it_may_and_is_fair(steps: list[tuple[str, int]]) -> None:
    queue: FairQueue[One] = FairQueue(6, 20)
    inside: dict[One, None] = {}
    for caller, size in steps:
        if caller == "n":
            if inside:
                del inside[queue.next()]
        else:
            one = One(caller, size)
            inside[one] = None
            for refused in queue.join(one):
                del inside[refused]
        assert len(queue) == len(inside) <= 6
        assert sum(one.size for one in inside) <= 20
    turns = [queue.next().caller for _ in range(len(queue))]
    assert Counter(turns) == Counter(one.caller for one in inside)
    # Nobody has a second turn before everybody who still waits has had one.
    seen: Counter[str] = Counter()
    for number, caller in enumerate(turns):
        seen[caller] += 1
        assert all(seen[other] >= seen[caller] - 1 for other in set(turns[number:]))
