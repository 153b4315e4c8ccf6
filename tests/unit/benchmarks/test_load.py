"""A rate does not depend on where in a burst of answers the measurement begins and ends."""

import pytest

from semblance.benchmarks.load import photos_within


def bursts(size: int, period: float, count: int) -> list[tuple[float, float]]:
    """A closed loop whose server answers `size` photos at once, each `period` seconds."""
    return [(number * period, (number + 1) * period) for number in range(count) for _ in range(size)]


@pytest.mark.parametrize("begin", [2.0, 2.1, 2.5, 2.999])
def test_a_burst_is_counted_by_its_part(begin: float) -> None:
    assert photos_within(begin, begin + 3.3, bursts(8, 1.0, 10)) == pytest.approx(8 * 3.3)


def test_what_lies_outside_counts_nothing() -> None:
    assert photos_within(5.0, 6.0, [(1.0, 4.9), (6.0, 7.0)]) == 0


def test_a_photo_longer_than_the_measurement_counts_for_its_part() -> None:
    assert photos_within(5.0, 6.0, [(0.0, 10.0)]) == pytest.approx(0.1)
