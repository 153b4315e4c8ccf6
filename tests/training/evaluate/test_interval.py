"""The bootstrap over photos, against scipy's and against what is known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from semblance.training.evaluate.interval import Bootstrap, Statistic, Weights


def ratio(found: NDArray[np.float64], objects: NDArray[np.float64]) -> Statistic:
    return lambda weights: ((weights @ found) / (weights @ objects))[:, None]


def test_the_interval_of_a_ratio_is_scipys() -> None:
    rng = np.random.default_rng(5)
    objects = rng.integers(1, 6, 60).astype(float)
    found = rng.binomial(objects.astype(int), rng.beta(5, 1, 60)).astype(float)
    [mine] = Bootstrap(60, resamples=20_000).estimates(ratio(found, objects))
    theirs = stats.bootstrap(
        (found, objects),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        method="BCa",
        n_resamples=20_000,
        rng=rng,
    ).confidence_interval
    assert mine.value == pytest.approx(found.sum() / objects.sum())
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of photos whose objects are alike, where objects drawn one by one would give too narrow intervals."""
    rng, covered = np.random.default_rng(1), 0
    for _ in range(200):
        skill = rng.beta(4, 1, 50)
        found = rng.binomial(4, skill).astype(float)
        [interval] = Bootstrap(50, resamples=400).estimates(ratio(found, np.full(50, 4.0)))
        covered += interval.low <= 0.8 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval_and_another_one_does_not() -> None:
    found = np.arange(20.0)
    first, again, other = (Bootstrap(20, seed).estimates(ratio(found, np.full(20, 20.0))) for seed in (1, 1, 2))
    assert first == again != other


def test_what_does_not_vary_has_an_interval_without_width() -> None:
    [interval] = Bootstrap(5).estimates(ratio(np.ones(5), np.ones(5)))
    assert (interval.value, interval.low, interval.high) == (1, 1, 1)


def test_what_there_is_nothing_of_has_no_value() -> None:
    def nothing(weights: Weights) -> Weights:
        return np.full((len(weights), 1), np.nan)

    [interval] = Bootstrap(3).estimates(nothing)
    assert np.isnan([interval.value, interval.low, interval.high]).all()


def test_one_photo_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two photos at least"):
        Bootstrap(1)
