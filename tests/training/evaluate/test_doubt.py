"""A difference that a few photos make is told from one that many do."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.training.evaluate.interval import Bootstrap, Estimate, Weights, doubted


def difference(better: int, worse: int, photos: int = 50) -> Estimate:
    """Of photos with one object each, so many of which one release finds and the other doesn't."""
    each = np.zeros(photos)
    each[:better], each[better : better + worse] = 1, -1

    def mean(weights: Weights) -> NDArray[np.float64]:
        return np.asarray(weights @ each / weights.sum(axis=1))[:, None]

    return doubted(Bootstrap(photos).estimates(mean)[0], each)


@pytest.mark.parametrize(("better", "worse"), [(3, 0), (5, 0), (6, 1), (0, 3)])
def test_what_chance_would_do_is_no_difference(better: int, worse: int) -> None:
    found = difference(better, worse)
    assert found.value != 0
    assert found.low <= 0 <= found.high


@pytest.mark.parametrize(("better", "worse"), [(6, 0), (12, 2)])
def test_what_chance_would_not_do_is_one(better: int, worse: int) -> None:
    assert difference(better, worse).low > 0
    assert difference(worse, better).high < 0


def test_nothing_changed_is_no_difference() -> None:
    assert difference(0, 0) == Estimate(0.0, 0.0, 0.0)
