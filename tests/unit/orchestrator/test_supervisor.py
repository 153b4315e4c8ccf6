"""When workers that were killed are started again."""

from semblance.orchestrator.supervisor import FIRST_DELAY, LAST_DELAY, SETTLED_SECONDS, Restarts


def test_the_first_one_at_once_and_those_that_hardly_live_later_and_later() -> None:
    restarts = Restarts()
    delays = [restarts.killed(0, lived=1.0, now=100.0 * number) for number in range(9)]
    assert delays[:4] == [0.0, FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    assert delays[-1] == LAST_DELAY
    assert restarts.killed(0, lived=SETTLED_SECONDS, now=1000.0) == 0.0
    assert restarts.killed(1, lived=1.0, now=1000.0) == 0.0


def test_each_is_due_once_in_its_time() -> None:
    restarts = Restarts()
    assert restarts.wait(0.0) is None
    restarts.killed(0, 1.0, now=0.0)
    assert (restarts.wait(0.0), restarts.take_due(0.0), restarts.pending(0)) == (0.0, [0], False)
    restarts.killed(0, 1.0, now=10.0)
    restarts.killed(1, 1.0, now=10.0)
    assert (restarts.take_due(10.0), restarts.pending(0)) == ([1], True)
    assert (restarts.wait(10.25), restarts.take_due(10.25)) == (FIRST_DELAY - 0.25, [])
    assert restarts.take_due(10.0 + FIRST_DELAY) == [0]
    assert restarts.wait(20.0) is None
