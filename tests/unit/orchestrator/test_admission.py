"""Who is served, who waits, who is refused."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from semblance.orchestrator.admission import Admission, Lane, Refusal
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import (
    ContractMismatch,
    DeadlineExceeded,
    DependencyUnavailable,
    InvalidImage,
    Overloaded,
)
from semblance.orchestrator.limit import Limit
from semblance.orchestrator.queue import FairQueue
from semblance.orchestrator.release import Canary, IndexParameters, ModelVersion, Release, Tensor
from semblance.orchestrator.traffic import Traffic

MODEL = ModelVersion("m", 1, "", Tensor("i", "UINT8", (8, 8, 3)), Tensor("o", "FP32", (4,)), 8, 114)
RELEASE = Release("r1", MODEL, MODEL, IndexParameters(), "c")
CANDIDATE = replace(RELEASE, release_id="r2")
MIB = 2**20


def admission(in_flight: int, queue: int = 10, ingests: int = 8) -> Admission:
    made = Admission(
        Limit(in_flight, tolerance=3.0),
        search=FairQueue(queue, MIB),
        ingest=FairQueue(queue, MIB),
        lookup=FairQueue(queue, MIB),
        ingests=ingests,
        lookups=1,
    )
    made.traffic = Traffic(RELEASE)
    return made


class Guest:
    """Somebody who wants in, and stays until told to leave."""

    def __init__(self, lane: Lane, caller: str = "a", seconds: float = 10, size: int = 1) -> None:
        self.inside = False
        self._leave: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._visit(lane, caller, size, Deadline.after(seconds)))

    async def _visit(self, lane: Lane, caller: str, size: int, deadline: Deadline) -> Release:
        async with deadline.enforced(), lane.admit(caller, size, deadline) as place:
            self.inside, self.place = True, place
            await self._leave
            return place.release

    async def leaves(self, error: Exception | None = None) -> None:
        if error is None:
            self._leave.set_result(None)
        else:
            self._leave.set_exception(error)
        await asyncio.gather(self.task, return_exceptions=True)
        await settled()


async def settled() -> None:
    """Everybody has done what can be done now."""
    for _ in range(5):
        await asyncio.sleep(0)


async def guests(lane: Lane, *callers: str) -> list[Guest]:
    made = [Guest(lane, caller) for caller in callers]
    await settled()
    return made


def inside(*everybody: Guest) -> list[bool]:
    return [guest.inside for guest in everybody]


async def test_gives_the_release_and_nobody_gets_in_before_there_is_one() -> None:
    where = admission(1)
    async with where.search.admit("a", 1, Deadline.after(1)) as place:
        assert place.release is RELEASE
    assert where.releases() == [RELEASE]
    where.traffic = None
    assert where.releases() == ()
    assert where.chosen("a") is None
    with pytest.raises(DependencyUnavailable, match="starting"):
        async with where.search.admit("a", 1, Deadline.after(1)):
            pass


async def test_a_canary_serves_searches_alone() -> None:
    where = admission(1)
    where.traffic = Traffic(RELEASE, (CANDIDATE, Canary(0.0, ("a",))))
    for lane, caller, release in (
        (where.search, "a", CANDIDATE),
        (where.search, "b", RELEASE),
        (where.ingest, "a", RELEASE),
        (where.lookup, "a", RELEASE),
    ):
        async with lane.admit(caller, 1, Deadline.after(1)) as place:
            assert place.release is release


async def test_the_release_is_taken_when_the_turn_comes_and_kept() -> None:
    where = admission(1)
    first, second = await guests(where.search, "a", "a")
    where.traffic = Traffic(CANDIDATE)
    await first.leaves()
    where.traffic = Traffic(RELEASE)
    await second.leaves()
    assert await first.task is RELEASE
    assert await second.task is CANDIDATE


@pytest.mark.parametrize("lane", ["search", "ingest", "lookup"])
async def test_who_is_refused_for_his_release_leaves_his_place_to_the_next(lane: str) -> None:
    where = admission(1)
    where.traffic = Traffic(RELEASE, refusals={"r1": ContractMismatch("the model file has changed")})
    for _ in range(3):
        [refused] = await guests(getattr(where, lane), "a")
        with pytest.raises(ContractMismatch, match="the model file has changed"):
            await refused.task
    where.traffic = Traffic(RELEASE)
    [served] = await guests(getattr(where, lane), "a")
    assert served.inside
    await served.leaves()
    assert where.in_flight == where.lookup.in_flight == 0


async def test_there_is_room_for_what_nobody_waits_for_where_a_place_is_free_and_nobody_waits() -> None:
    where = admission(2)
    assert where.idle
    [first] = await guests(where.search, "a")
    assert where.idle
    [second] = await guests(where.ingest, "a")
    assert not where.idle
    await second.leaves()
    assert where.idle
    where = admission(4, ingests=1)
    put, waits = await guests(where.ingest, "a", "a")
    assert where.in_flight == 1
    assert not where.idle
    await put.leaves()
    await waits.leaves()
    assert where.idle
    await guests(where.lookup, "a", "a")
    assert where.idle
    await first.leaves()


async def test_queue_waits_its_turn_and_the_next_is_refused_with_a_time_to_come_back() -> None:
    where = admission(1, queue=1)
    first, second, third = await guests(where.search, "a", "a", "a")
    assert inside(first, second) == [True, False]
    with pytest.raises(Overloaded, match="searches: 1 in flight and 1 waiting") as raised:
        await third.task
    assert 0.05 <= raised.value.retry_delay <= 0.15
    assert where.search.refused == {Refusal.QUEUE_FULL: 1}
    await first.leaves()
    assert second.inside
    await second.leaves()
    assert where.in_flight == where.search.waiting == 0


async def test_callers_take_turns_and_the_crowd_leaves_for_who_comes_alone() -> None:
    where = admission(1, queue=3)
    first, *crowd = await guests(where.search, "a", "a", "a", "a")
    [alone] = await guests(where.search, "b")
    with pytest.raises(Overloaded):
        await crowd[2].task
    await first.leaves()
    await crowd[0].leaves()
    assert inside(alone, crowd[1]) == [True, False]


async def test_whose_turn_does_not_come_in_time_leaves_the_queue() -> None:
    where = admission(1)
    [first] = await guests(where.search, "a")
    late = Guest(where.search, seconds=0.01)
    with pytest.raises(DeadlineExceeded):
        await late.task
    assert where.search.waiting == 0
    await first.leaves()
    assert where.in_flight == 0


@pytest.mark.parametrize("order", [("leave", "cancel"), ("cancel", "leave")])
async def test_who_is_cancelled_when_his_turn_comes_passes_it_on(order: tuple[str, str]) -> None:
    where = admission(1)
    first, second, third = await guests(where.search, "a", "a", "a")
    deeds: dict[str, Callable[[], object]] = {
        "leave": lambda: first._leave.set_result(None),
        "cancel": second.task.cancel,
    }
    deeds[order[0]]()
    if order[0] == "leave":
        # The first one has left, and the second has not begun.
        await asyncio.sleep(0)
    deeds[order[1]]()
    await settled()
    assert inside(second, third) == [False, True]
    await third.leaves()
    assert where.in_flight == where.search.waiting == 0


async def test_who_is_cancelled_when_he_is_refused_had_no_place() -> None:
    where = admission(1, queue=1)
    first, second = await guests(where.search, "a", "a")
    third = Guest(where.search, "a")
    await asyncio.sleep(0)
    third.task.cancel()
    await settled()
    assert where.in_flight == where.search.waiting == 1
    await first.leaves()
    await second.leaves()
    assert where.in_flight == 0


@pytest.mark.parametrize("error", [None, InvalidImage("no photo"), KeyError("a defect")])
async def test_however_it_ends_its_place_is_free(error: Exception | None) -> None:
    where = admission(1)
    first, second = await guests(where.search, "a", "a")
    await first.leaves(error)
    assert second.inside
    second.task.cancel()
    await settled()
    assert where.in_flight == 0


async def test_searches_go_before_puts_but_one_put_is_always_in_flight() -> None:
    where = admission(2)
    first, second = await guests(where.search, "a", "a")
    puts = await guests(where.ingest, "b", "b")
    searches = await guests(where.search, "a", "a")
    await first.leaves()
    assert inside(*puts, *searches) == [True, False, False, False]
    await second.leaves()
    assert inside(*puts, *searches) == [True, False, True, False]
    await searches[0].leaves()
    assert inside(*puts, *searches) == [True, False, True, True]


async def test_where_one_is_worked_on_at_a_time_searches_and_puts_take_turns() -> None:
    where = admission(1)
    [first] = await guests(where.search, "a")
    searches, puts = await guests(where.search, "a", "a"), await guests(where.ingest, "b", "b")
    await first.leaves()
    order = []
    for _ in range(4):
        [who] = [guest for guest in (*searches, *puts) if guest.inside and not guest.task.done()]
        order.append("search" if who in searches else "put")
        await who.leaves()
    assert order in (["search", "put"] * 2, ["put", "search"] * 2)


async def test_puts_leave_one_place_free_for_a_search() -> None:
    where = admission(4)
    puts = await guests(where.ingest, *"bbbbbb")
    assert sum(inside(*puts)) == 3
    [search] = await guests(where.search, "a")
    assert search.inside
    where = admission(1)
    [put] = await guests(where.ingest, "b")
    assert put.inside
    where = admission(8, ingests=2)
    assert sum(inside(*await guests(where.ingest, *"bbbb"))) == 2


async def test_a_put_that_is_stored_leaves_the_models_to_others_and_counts_as_a_put() -> None:
    where = admission(2, ingests=2)
    first, second, third = await guests(where.ingest, *"bbb")
    assert inside(first, second, third) == [True, False, False]
    first.place.leave_models()
    await settled()
    assert inside(second, third) == [True, False]
    assert where.in_flight == 1
    second.place.leave_models()
    await settled()
    assert where.in_flight == 0
    assert not third.inside, "two puts are worked on, though the models have nothing to do"
    await first.leaves()
    assert third.inside
    third.place.leave_models()
    third.place.leave_models()
    await second.leaves()
    await third.leaves()
    assert where.in_flight == 0
    [last] = await guests(where.ingest, "b")
    assert last.inside
    assert where.in_flight == 1


async def test_lookups_do_not_wait_for_searches() -> None:
    where = admission(1)
    search, _ = await guests(where.search, "a", "a")
    lookup, waits = await guests(where.lookup, "a", "a")
    assert inside(search, lookup, waits) == [True, True, False]
    await lookup.leaves()
    assert waits.inside


async def test_bytes_that_wait_are_bounded() -> None:
    where = admission(1)
    await guests(where.search, "a")
    waits, too_much = Guest(where.search, size=MIB), Guest(where.search, size=1)
    with pytest.raises(Overloaded):
        await too_much.task
    assert not waits.task.done()


async def test_what_can_not_be_done_in_time_is_refused_unless_nothing_else_is_done() -> None:
    where = admission(4)
    where.limit.base = 10.0
    hasty = Guest(where.search, seconds=1)
    await settled()
    assert hasty.inside
    refused = Guest(where.search, seconds=1)
    with pytest.raises(DeadlineExceeded, match="a search takes at least 5 s"):
        await refused.task
    patient = Guest(where.search, seconds=9)
    await settled()
    assert patient.inside
    assert where.in_flight == 2


async def test_the_limit_learns_from_searches_that_were_answered_or_ran_out_of_time() -> None:
    where = admission(8)
    for _ in range(8):
        [search] = await guests(where.search, "a")
        await search.leaves()
    assert 0 < where.limit.base < 1
    before = where.limit.value
    for _ in range(8):
        slow = Guest(where.search, seconds=max(0.02, 4 * where.limit.base))
        await asyncio.gather(slow.task, return_exceptions=True)
    [refused] = await guests(where.search, "a")
    await refused.leaves(Overloaded("the inference server's queue is full"))
    assert where.limit.value < before
