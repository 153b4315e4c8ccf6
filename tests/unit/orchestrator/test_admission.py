"""Who is served, who waits, who is refused."""

import asyncio

import pytest

from semblance.orchestrator.admission import Admission
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import DeadlineExceeded, DependencyUnavailable, Overloaded
from semblance.orchestrator.release import IndexParameters, ModelVersion, Release, Tensor

MODEL = ModelVersion("m", 1, "", Tensor("i", "UINT8", (8, 8, 3)), Tensor("o", "FP32", (4,)), 8, 114)
RELEASE = Release("r1", MODEL, MODEL, IndexParameters(), "c")


def admission(in_flight: int, queue: int) -> Admission:
    made = Admission(in_flight, queue)
    made.release = RELEASE
    return made


class Guest:
    """Somebody who is admitted, stays until told to leave."""

    def __init__(self, where: Admission, seconds: float = 10) -> None:
        self.inside = asyncio.Event()
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._visit(where, Deadline.after(seconds)))

    async def _visit(self, where: Admission, deadline: Deadline) -> Release:
        async with where.admit(deadline) as release:
            self.inside.set()
            await self.leave.wait()
            return release


async def test_gives_the_release() -> None:
    async with admission(1, 0).admit(Deadline.after(1)) as release:
        assert release is RELEASE


async def test_nobody_before_there_is_a_release() -> None:
    with pytest.raises(DependencyUnavailable, match="starting"):
        async with Admission(1, 0).admit(Deadline.after(1)):
            pass


async def test_queue_waits_its_turn_and_the_next_is_refused() -> None:
    where = admission(1, 1)
    first, second = Guest(where), Guest(where)
    await first.inside.wait()
    with pytest.raises(Overloaded, match="2 requests"):
        async with where.admit(Deadline.after(1)):
            pass
    assert not second.inside.is_set()
    first.leave.set()
    await second.inside.wait()
    second.leave.set()
    assert await second.task is RELEASE


async def test_whose_turn_does_not_come_in_time_is_told_so() -> None:
    where = admission(1, 1)
    first = Guest(where)
    await first.inside.wait()
    with pytest.raises(DeadlineExceeded):
        async with where.admit(Deadline.after(0.01)):
            pass
    first.leave.set()
    await first.task
    async with where.admit(Deadline.after(1)):
        pass


async def test_who_gives_up_leaves_the_queue() -> None:
    where = admission(1, 1)
    first, second = Guest(where), Guest(where)
    await first.inside.wait()
    second.task.cancel()
    await asyncio.wait({second.task})
    third = Guest(where)
    first.leave.set()
    await third.inside.wait()
    third.leave.set()
    await third.task
