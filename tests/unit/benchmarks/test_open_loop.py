"""What of an open loop counts, and that two callers have two addresses."""

import asyncio

import pytest

from semblance.benchmarks.open_loop import Call, Outcome, Phase, another_caller, p99


def test_what_is_due_while_it_counts_is_counted() -> None:
    calls = [Call(due, due + 0.5, Outcome.ANSWERED) for due in (0.0, 1.0, 2.0, 3.0, 4.0)]
    calls += [Call(2.5, 2.51, Outcome.REFUSED), Call(0.5, 0.6, Outcome.REFUSED), Call(3.0, 4.0, Outcome.FAILED)]
    phase = Phase(1.0, 5.0, tuple(calls))
    assert phase.goodput == pytest.approx(1.0)
    assert phase.asked == 1.5
    assert phase.seconds(Outcome.ANSWERED) == [0.5] * 4
    assert phase.seconds(Outcome.REFUSED) == [pytest.approx(0.01)]
    assert [phase.count(outcome) for outcome in Outcome] == [5, 2, 1]


def test_an_answer_that_comes_later_counts_for_its_part() -> None:
    assert Phase(0.0, 2.0, (Call(1.0, 3.0, Outcome.ANSWERED),)).goodput == pytest.approx(0.25)


def test_the_rarest_percent() -> None:
    assert p99(list(map(float, range(101)))) == 99.0
    assert p99([3.0]) == 3.0
    assert p99([]) == 0.0


async def test_another_caller_comes_from_another_address() -> None:
    seen: list[str] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peername")[0])
        writer.write(await reader.read())
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with another_caller(target) as address:
            for there in (target, address):
                reader, writer = await asyncio.open_connection(*there.split(":"))
                writer.write(b"x" * 200_000)
                writer.write_eof()
                assert await reader.read() == b"x" * 200_000
                writer.close()
    assert seen == ["127.0.0.1", "127.0.0.2"]
