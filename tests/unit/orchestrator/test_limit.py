"""How many are worked on at once, in simulated services."""

import heapq
import random
from collections.abc import Callable
from itertools import count

import pytest

from semblance.orchestrator.limit import BASE_SECONDS, INITIAL, Limit

TOLERANCE = 3.0


class Simulation:
    """A service whose requests take `seconds(in flight)`, and callers who want `offered` at once; on its own clock."""

    def __init__(self, seconds: Callable[[int], float], maximum: int = 64) -> None:
        self.limit = Limit(maximum, TOLERANCE)
        self.seconds = seconds
        self.now = 0.0
        self.answered = 0
        self._random = random.Random(1)
        self._number = count()
        # When each in flight ends, a number, when it began, with how many in flight.
        self._ends: list[tuple[float, int, float, int]] = []
        self.seen: list[int] = []

    def run(self, seconds: float, offered: int) -> float:
        """Requests answered a second."""
        end, before = self.now + seconds, self.answered
        self._begin(offered)
        while self._ends[0][0] < end:
            self.now, _, began, in_flight = heapq.heappop(self._ends)
            self.limit.add(self.now - began, in_flight, self.now)
            self.answered += 1
            self.seen.append(self.limit.value)
            self._begin(offered)
        return (self.answered - before) / seconds

    def _begin(self, offered: int) -> None:
        while len(self._ends) < min(offered, self.limit.value):
            in_flight = len(self._ends) + 1
            takes = self.seconds(in_flight) * self._random.uniform(0.8, 1.2)
            heapq.heappush(self._ends, (self.now + takes, next(self._number), self.now, in_flight))


def cpu(in_flight: int) -> float:
    """Two cores that serve five a second, whatever is in flight, and a little less of a lone one."""
    return max(0.25, in_flight / 5)


def gpu(in_flight: int) -> float:
    """Batches: 150 ms of a lone one, and up to a hundred a second."""
    return 0.15 + in_flight / 100


def test_a_cpu_is_given_what_it_can_work_on() -> None:
    world = Simulation(cpu)
    rate = world.run(120, offered=100)
    assert 3 <= world.limit.value <= 8
    assert rate > 0.95 * 5


def test_a_gpu_is_given_enough_to_batch() -> None:
    world = Simulation(gpu)
    world.run(30, offered=200)
    assert 32 <= world.limit.value <= 64
    assert world.run(10, offered=200) > 0.6 * 100


def test_a_lasting_overload_does_not_pass_for_the_ordinary() -> None:
    world = Simulation(cpu)
    world.run(120, offered=100)
    before = world.limit.value
    world.run(3600, offered=100)
    assert abs(world.limit.value - before) <= 2
    assert world.limit.base < 0.5


def test_measuring_a_quiet_service_now_and_then_costs_little() -> None:
    world = Simulation(gpu)
    world.run(60, offered=200)
    undisturbed = world.run(60, offered=200)
    assert world.run(3 * BASE_SECONDS, offered=200) > 0.98 * undisturbed


@pytest.mark.parametrize("factor", [0.25, 4])
def test_other_models_are_followed(factor: float) -> None:
    world = Simulation(cpu)
    world.run(120, offered=100)
    world.seconds = lambda in_flight: factor * cpu(in_flight)
    world.run(3 * BASE_SECONDS, offered=100)
    assert world.limit.base == pytest.approx(factor * 0.25, rel=0.5)
    assert 3 <= world.limit.value <= 8


def test_what_is_not_used_does_not_grow() -> None:
    world = Simulation(lambda in_flight: 0.1)
    world.run(60, offered=5)
    assert world.limit.value == INITIAL
    world.run(60, offered=100)
    assert world.limit.value == 64


def test_a_service_that_becomes_slow_gets_less_at_once() -> None:
    world = Simulation(gpu)
    world.run(30, offered=200)
    before = world.limit.value
    world.seconds = lambda in_flight: 20 * gpu(in_flight)
    world.run(200, offered=200)
    assert world.limit.value < before / 2
    assert min(world.seen) >= 1


def test_deadlines_that_pass_tell_of_a_slow_service_but_not_those_of_the_impatient() -> None:
    limit = Limit(64, TOLERANCE)
    for number in range(16):
        limit.add(0.1, 1, number)
    for number in range(100):
        limit.add_unanswered(0.05, limit.value, 16 + number)
    assert limit.value == INITIAL
    for number in range(100):
        limit.add_unanswered(10.0, limit.value, 116 + number)
    assert limit.value < INITIAL


@pytest.mark.parametrize("in_flight", [1, INITIAL])
def test_a_service_that_hangs_is_not_taken_for_a_quiet_one(in_flight: int) -> None:
    limit = Limit(64, TOLERANCE)
    for number in range(8):
        limit.add(0.1, 1, number)
    for number in range(100):
        limit.add_unanswered(10.0, min(in_flight, limit.value), BASE_SECONDS + number)
    assert limit.base == 0.1
    for number in range(800):
        limit.add(0.1, limit.value, BASE_SECONDS + 100 + number)
    assert limit.value > INITIAL


def test_a_full_queue_of_the_inference_server_takes_some_away() -> None:
    limit = Limit(64, TOLERANCE)
    limit.back_off()
    assert limit.value == INITIAL - 1
    for _ in range(100):
        limit.back_off()
    assert limit.value == 1
