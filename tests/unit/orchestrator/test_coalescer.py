"""Searches that wait go together, and each gets its own answer."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.orchestrator.adapters.coalescer import MOST_VECTORS, UNDER_WAY, Coalescer
from semblance.orchestrator.box import Box
from semblance.orchestrator.ports import Neighbour, Neighbours

Answered = asyncio.Task[list[Neighbours]]


class Milvus:
    """Answers a vector with an item named after it, when it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, list[float], float]] = []
        self.gates: list[asyncio.Future[None]] = []
        self.coalescer = Coalescer(self.call)

    async def call(self, settings: bytes, vectors: NDArray[np.float32], timeout: float) -> list[Neighbours]:
        gate = asyncio.get_running_loop().create_future()
        self.calls.append((settings, vectors[:, 0].tolist(), timeout))
        self.gates.append(gate)
        await gate
        return [Neighbours.of([Neighbour(f"{vector[0]:g}", "", Box(0, 0, 1, 1), 1.0, {})]) for vector in vectors]

    def asked(self) -> list[list[float]]:
        return [vectors for _, vectors, _ in self.calls]

    async def search(self, *vectors: float, kind: bytes = b"kind", timeout: float = 10.0) -> Answered:
        task = asyncio.create_task(self.coalescer.search(kind, np.array(vectors, np.float32).reshape(-1, 1), timeout))
        await settled(lambda: False)
        return task


async def settled(true: Callable[[], bool], turns: int = 5) -> None:
    """Lets the event loop do what it can do at once."""
    for _ in range(turns):
        if not true():
            await asyncio.sleep(0)


def items(answered: Answered) -> list[str]:
    return [neighbours.item_ids[0] for neighbours in answered.result()]


async def test_what_comes_while_others_are_under_way_goes_together_and_is_answered_apart() -> None:
    milvus = Milvus()
    first, second = await milvus.search(1), await milvus.search(2, 3)
    waiting = [await milvus.search(4), await milvus.search(5, 6), await milvus.search(7)]
    assert milvus.asked() == [[1], [2, 3]]
    milvus.gates[1].set_result(None)
    await asyncio.wait({second})
    assert items(second) == ["2", "3"]
    assert milvus.asked() == [[1], [2, 3], [4, 5, 6, 7]]
    milvus.gates[0].set_result(None)
    milvus.gates[2].set_result(None)
    await asyncio.wait({first, *waiting})
    assert items(first) == ["1"]
    assert [items(each) for each in waiting] == [["4"], ["5", "6"], ["7"]]


async def test_another_kind_does_not_wait() -> None:
    milvus = Milvus()
    for number in range(UNDER_WAY):
        await milvus.search(number)
    await milvus.search(7, kind=b"other")
    assert milvus.asked() == [[0], [1], [7]]


async def test_an_idle_service_never_waits() -> None:
    milvus = Milvus()
    for number in range(5):
        answered = await milvus.search(number)
        milvus.gates[number].set_result(None)
        await asyncio.wait({answered})
        assert items(answered) == [str(number)]
    assert not milvus.coalescer._waiting


async def test_the_call_has_the_time_of_the_most_patient_and_no_more_vectors_than_it_may() -> None:
    milvus = Milvus()
    held = [await milvus.search(number) for number in range(UNDER_WAY)]
    half = [float(number) for number in range(MOST_VECTORS // 2)]
    others = [await milvus.search(*half, timeout=seconds) for seconds in (1.0, 60.0, 5.0)]
    for gate in list(milvus.gates):
        gate.set_result(None)
    await asyncio.wait(held)
    assert [len(vectors) for vectors in milvus.asked()[UNDER_WAY:]] == [MOST_VECTORS, len(half)]
    assert [timeout for _, _, timeout in milvus.calls[UNDER_WAY:]] == pytest.approx([60.0, 5.0], abs=0.5)
    for task in others:
        task.cancel()


async def test_a_failure_is_of_all_that_went_together() -> None:
    milvus = Milvus()
    held = [await milvus.search(number) for number in range(UNDER_WAY)]
    together = [await milvus.search(8), await milvus.search(9)]
    milvus.gates[0].set_result(None)
    await asyncio.wait({held[0]})
    milvus.gates[2].set_exception(RuntimeError("no answer"))
    await asyncio.wait(together)
    assert [str(each.exception()) for each in together] == ["no answer"] * 2
    milvus.gates[1].set_result(None)
    await asyncio.wait({held[1]})
    assert items(held[1]) == ["1"]


async def test_who_leaves_takes_nobody_along_and_the_last_one_ends_the_call() -> None:
    milvus = Milvus()
    held = [await milvus.search(number) for number in range(UNDER_WAY)]
    leaving, never, staying = [await milvus.search(number) for number in (7, 8, 9)]
    never.cancel()
    await asyncio.wait({never})
    milvus.gates[0].set_result(None)
    await asyncio.wait({held[0]})
    assert milvus.asked()[UNDER_WAY:] == [[7, 9]]
    leaving.cancel()
    await asyncio.wait({leaving})
    assert not milvus.gates[2].done()
    staying.cancel()
    await asyncio.wait({staying})
    await settled(milvus.gates[2].cancelled)
    assert milvus.gates[2].cancelled()
    held[1].cancel()
