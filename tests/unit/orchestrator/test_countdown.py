"""How fast items get less that others work off."""

import pytest

from semblance.orchestrator.countdown import LOOKS, Countdown


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("semblance.orchestrator.countdown.time.monotonic", lambda: now[0])
    return now


def counted(clock: list[float], *left: int) -> float:
    """After a look every half second."""
    count = Countdown()
    for each in left:
        count.look(each)
        clock[0] += 0.5
    return count.rate


def test_it_is_what_got_less_in_a_second(clock: list[float]) -> None:
    assert counted(clock, 40, 35, 30) == pytest.approx(10.0)


@pytest.mark.parametrize("left", [(), (40,), (40, 40), (40, 50)])
def test_nothing_is_known_where_nothing_got_less(clock: list[float], left: tuple[int, ...]) -> None:
    assert counted(clock, *left) == 0.0


def test_what_is_long_ago_does_not_count(clock: list[float]) -> None:
    quick, slow = range(100_000, 1_000, -1_000), range(1_000, 1_000 - LOOKS, -1)
    assert counted(clock, *quick, *slow) == pytest.approx(2.0)
