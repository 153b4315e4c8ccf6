"""How often somebody may call, by a clock that the tests set."""

import asyncio
import time

import pytest

from semblance.orchestrator.rate_limit import RateLimit


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its one number is the time; sleeping takes it forward."""
    now = [1000.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(asyncio, "sleep", sleep)
    return now


def test_a_burst_and_then_the_rate(clock: list[float]) -> None:
    limit = RateLimit(per_second=4, burst=3)
    assert [limit.take() for _ in range(4)] == [0, 0, 0, 0.25]
    clock[0] += 0.25
    assert [limit.take() for _ in range(2)] == [0, 0.25]
    # What is refused costs nothing, and an idle caller saves up a burst, no more.
    clock[0] += 100
    assert [limit.take() for _ in range(4)] == [0, 0, 0, 0.25]


def test_the_long_run(clock: list[float]) -> None:
    limit = RateLimit(per_second=10, burst=5)
    passed = 0
    for _ in range(1000):
        clock[0] += 0.01
        passed += limit.take() == 0
    assert passed == pytest.approx(10 * 10 + 5, abs=1)


async def test_those_who_wait_go_at_the_rate(clock: list[float]) -> None:
    limit = RateLimit(per_second=10, burst=2)
    begin = clock[0]
    for _ in range(12):
        await limit.turn()
    assert clock[0] - begin == pytest.approx(1.0)
    assert limit.take() == pytest.approx(0.1)


async def test_those_who_wait_keep_their_order() -> None:
    limit = RateLimit(per_second=200, burst=1)
    order: list[int] = []

    async def wait(number: int) -> None:
        await limit.turn()
        order.append(number)

    await asyncio.gather(*map(wait, range(8)))
    assert order == list(range(8))
