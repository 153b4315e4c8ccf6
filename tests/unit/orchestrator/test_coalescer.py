"""What waits goes together, and each part gets its own answer."""

import asyncio
from collections.abc import Callable

import pytest

from semblance.orchestrator.adapters.coalescer import Call, Coalescer, Part

UNDER_WAY = 2
MOST = 64

Answered = asyncio.Task[list[str]]


class Server:
    """Answers a number with itself as a text, when it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[float], float]] = []
        self.gates: list[asyncio.Future[None]] = []
        self.closed = 0
        self.coalescer = Coalescer[str](lambda kind, rows: Numbers(self, kind, max(MOST, rows)), lambda _: UNDER_WAY)

    def asked(self) -> list[list[float]]:
        return [numbers for _, numbers, _ in self.calls]

    def join(self, *numbers: float, kind: str = "kind") -> Part:
        part = Part(len(numbers), list(numbers))
        assert self.coalescer.join(kind, part)
        return part

    async def ask(self, *numbers: float, kind: str = "kind", timeout: float = 10.0) -> Answered:
        return await self.answered(self.join(*numbers, kind=kind), kind, timeout)

    async def answered(self, part: Part, kind: str = "kind", timeout: float = 10.0) -> Answered:
        task = asyncio.create_task(self.coalescer.answer(kind, part, timeout))
        await settled(lambda: False)
        return task


class Numbers(Call):
    def __init__(self, server: Server, kind: str, room: int) -> None:
        super().__init__(room)
        self.server = server
        self.kind = kind

    async def send(self, timeout: float) -> list[str]:
        gate = asyncio.get_running_loop().create_future()
        numbers = [number for part in self.parts for number in part.data]
        self.server.calls.append((self.kind, numbers, timeout))
        self.server.gates.append(gate)
        await gate
        return [f"{number:g}" for number in numbers]

    def close(self) -> None:
        self.server.closed += 1


async def settled(true: Callable[[], bool], turns: int = 5) -> None:
    """Lets the event loop do what it can do at once."""
    for _ in range(turns):
        if not true():
            await asyncio.sleep(0)


async def test_what_comes_while_others_are_under_way_goes_together_and_is_answered_apart() -> None:
    server = Server()
    first, second = await server.ask(1), await server.ask(2, 3)
    waiting = [await server.ask(4), await server.ask(5, 6), await server.ask(7)]
    assert server.asked() == [[1], [2, 3]]
    server.gates[1].set_result(None)
    await asyncio.wait({second})
    assert second.result() == ["2", "3"]
    assert server.asked() == [[1], [2, 3], [4, 5, 6, 7]]
    server.gates[0].set_result(None)
    server.gates[2].set_result(None)
    await asyncio.wait({first, *waiting})
    assert first.result() == ["1"]
    assert [each.result() for each in waiting] == [["4"], ["5", "6"], ["7"]]


async def test_another_kind_does_not_wait() -> None:
    server = Server()
    for number in range(UNDER_WAY):
        await server.ask(number)
    await server.ask(7, kind="other")
    assert server.asked() == [[0], [1], [7]]


async def test_an_idle_service_never_waits() -> None:
    server = Server()
    for number in range(5):
        answered = await server.ask(number)
        server.gates[number].set_result(None)
        await asyncio.wait({answered})
        assert answered.result() == [str(number)]
    assert not server.coalescer._queues


async def test_the_call_has_the_time_of_the_most_patient_and_no_more_vectors_than_it_may() -> None:
    server = Server()
    held = [await server.ask(number) for number in range(UNDER_WAY)]
    half = [float(number) for number in range(MOST // 2)]
    others = [await server.ask(*half, timeout=seconds) for seconds in (1.0, 60.0, 5.0)]
    for gate in list(server.gates):
        gate.set_result(None)
    await asyncio.wait(held)
    assert [len(vectors) for vectors in server.asked()[UNDER_WAY:]] == [MOST, len(half)]
    assert [timeout for _, _, timeout in server.calls[UNDER_WAY:]] == pytest.approx([60.0, 5.0], abs=0.5)
    for task in others:
        task.cancel()


async def test_a_failure_is_of_all_that_went_together() -> None:
    server = Server()
    held = [await server.ask(number) for number in range(UNDER_WAY)]
    together = [await server.ask(8), await server.ask(9)]
    server.gates[0].set_result(None)
    await asyncio.wait({held[0]})
    server.gates[2].set_exception(RuntimeError("no answer"))
    await asyncio.wait(together)
    assert [str(each.exception()) for each in together] == ["no answer"] * 2
    server.gates[1].set_result(None)
    await asyncio.wait({held[1]})
    assert held[1].result() == ["1"]


async def test_who_leaves_takes_nobody_along_and_the_last_one_ends_the_call() -> None:
    server = Server()
    held = [await server.ask(number) for number in range(UNDER_WAY)]
    leaving, never, staying = [await server.ask(number) for number in (7, 8, 9)]
    never.cancel()
    await asyncio.wait({never})
    server.gates[0].set_result(None)
    await asyncio.wait({held[0]})
    assert server.asked()[UNDER_WAY:] == [[7, 9]]
    leaving.cancel()
    await asyncio.wait({leaving})
    assert not server.gates[2].done()
    staying.cancel()
    await asyncio.wait({staying})
    await settled(server.gates[2].cancelled)
    assert server.gates[2].cancelled()
    held[1].cancel()


async def test_a_call_that_may_not_be_cancelled_goes_on_and_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Numbers, "cancellable", False)
    server = Server()
    held = [await server.ask(number) for number in range(UNDER_WAY)]
    waiting = await server.ask(7)
    for each in held:
        each.cancel()
    await asyncio.wait(held)
    await settled(lambda: False)
    assert server.asked() == [[0], [1]]
    resting = asyncio.create_task(server.coalescer.rest(10.0))
    server.gates[0].set_result(None)
    await settled(lambda: len(server.gates) == 3)
    assert server.asked() == [[0], [1], [7]]
    assert not resting.done()
    for gate in server.gates[1:]:
        gate.set_result(None)
    assert await waiting == ["7"]
    await resting


async def test_a_call_waits_for_the_rows_of_all_that_joined_it_and_no_other_call_does() -> None:
    server = Server()
    slow = server.join(1)
    ready = await server.ask(2)
    assert server.asked() == []
    other = await server.ask(*range(MOST))  # finds no room in the first one
    assert server.asked() == [list(range(MOST))]
    await server.answered(slow)
    assert server.asked()[1:] == [[1, 2]]
    for gate in server.gates:
        gate.set_result(None)
    await asyncio.wait({ready, other})
    assert ready.result() == ["2"]


async def test_who_leaves_before_its_rows_are_there_holds_up_nobody() -> None:
    server = Server()
    gone, staying = server.join(1), await server.ask(2)
    server.coalescer.leave("kind", gone, writing=True)
    await settled(lambda: bool(server.gates))
    assert gone.call is not None
    assert gone.call.torn
    server.gates[0].set_result(None)
    await asyncio.wait({staying})
    assert staying.result() == ["2"]
    assert server.asked() == [[2]]


async def test_a_call_that_all_have_left_is_closed() -> None:
    server = Server()
    gone = server.join(1)
    server.coalescer.leave("kind", gone, writing=False)
    assert (server.asked(), server.closed) == ([], 1)
    assert gone.call is not None
    assert not gone.call.torn
    assert not server.coalescer._queues


async def test_a_call_that_all_have_given_up_is_closed_while_others_are_under_way() -> None:
    server = Server()
    held = [await server.ask(number) for number in range(UNDER_WAY)]
    waiting = [await server.ask(*range(MOST)) for _ in range(3)]
    part = server.join(7)
    given_up = await server.answered(part)
    for each in (*waiting[:2], given_up):
        each.cancel()
    await asyncio.wait({*waiting[:2], given_up})
    assert server.closed == 3
    assert part.data is None
    for gate in server.gates:
        gate.set_result(None)
    await asyncio.wait(held)
    assert len(server.asked()) == UNDER_WAY + 1
    waiting[2].cancel()


async def test_a_call_that_all_left_while_they_filled_it_is_closed_while_others_are_under_way() -> None:
    server = Server()
    for number in range(UNDER_WAY):
        await server.ask(number)
    gone = server.join(7)
    server.coalescer.leave("kind", gone, writing=True)
    assert server.closed == 1
    assert len(server.asked()) == UNDER_WAY


async def test_none_joins_a_call_that_could_go_but_for_those_who_fill_it() -> None:
    server = Server()
    slow = server.join(1)
    ready = await server.ask(2)
    other = server.join(3)
    await server.answered(slow)
    assert server.asked() == [[1, 2]]
    await server.answered(other)
    assert server.asked() == [[1, 2], [3]]
    server.gates[0].set_result(None)
    await asyncio.wait({ready})


async def test_who_has_left_finds_no_room_any_more() -> None:
    server = Server()
    late = Part(1, [1])
    server.coalescer.leave("kind", late, writing=True)
    assert not server.coalescer.join("kind", late)
    assert not server.coalescer._queues


async def test_threads_that_join_at_once_get_rows_of_their_own() -> None:
    server = Server()
    parts = [Part(3, [number] * 3) for number in range(100)]
    await asyncio.gather(*(asyncio.to_thread(server.coalescer.join, "kind", part) for part in parts))
    taken = {(part.call, row) for part in parts for row in range(part.first, part.first + part.rows)}
    assert len(taken) == 300
