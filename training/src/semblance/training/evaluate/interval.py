"""Confidence intervals by bootstrap over photos.

Objects of one photo share its light, its blur and its neighbours, so they are not independent: whole photos are drawn,
with their objects (the cluster bootstrap of Field & Welsh 2007, "Bootstrapping clustered data"). A resample is a row of
weights, how many times each photo was drawn, so that one matrix serves every statistic, and two evaluations of the same
photos are resampled alike, which is what makes their difference a paired one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binomtest

RESAMPLES = 2000
LEVEL = 0.95

Weights = NDArray[np.float64]
"""float64 [rows, photos]: how many times each photo counts in each row."""

Statistic = Callable[[Weights], NDArray[np.float64]]
"""From weights [rows, photos] to values [rows, K]; NaN where a row has nothing to tell from."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, and the bounds of its interval at `LEVEL`; NaN where there is nothing to tell from."""

    value: float
    low: float
    high: float


class Bootstrap:
    """Resamples of `photos` photos, the same for the same seed."""

    def __init__(self, photos: int, seed: int = 0, resamples: int = RESAMPLES) -> None:
        """Raises ValueError for fewer than two photos, of which nothing varies."""
        if photos < 2:
            raise ValueError(f"an interval needs two photos at least, and there is {photos}")
        drawn = np.random.default_rng(seed).multinomial(photos, np.full(photos, 1 / photos), resamples)
        without_one = 1 - np.eye(photos)
        self._weights: Weights = np.concatenate([np.ones((1, photos)), without_one, drawn]).astype(np.float64)
        self._photos = photos

    def estimates(self, statistic: Statistic) -> list[Estimate]:
        """Of each of the statistic's K values, with bias-corrected and accelerated (BCa) intervals."""
        values = statistic(self._weights)
        rest = 1 + self._photos
        return [
            Estimate(float(column[0]), *_bca(float(column[0]), column[1:rest], column[rest:])) for column in values.T
        ]


def doubted(difference: Estimate, photos: NDArray[np.float64]) -> Estimate:
    """The interval of a difference, which reaches to 0 where a sign test over photos doubts that there is one.

    Resamples know no photo but those that were seen: where a few got better and none worse, next to none of them says
    that nothing changed, though chance would do as much. The exact sign test (Dixon & Mood 1946, "The statistical sign
    test") counts the photos of which one is better, with even odds.

    Args:
        photos: float64 [photos], the difference in each photo by itself; NaN where it has nothing to tell.
    """
    better, worse = int((photos > 0).sum()), int((photos < 0).sum())
    if better + worse and binomtest(better, better + worse).pvalue <= 1 - LEVEL:
        return difference
    return Estimate(difference.value, min(difference.low, 0.0), max(difference.high, 0.0))


def _bca(value: float, without_one: NDArray[np.float64], drawn: NDArray[np.float64]) -> tuple[float, float]:
    """Efron 1987, "Better Bootstrap Confidence Intervals", as scipy.stats.bootstrap computes it (ties count half).

    `without_one`: the statistic without each photo in turn; `drawn`: the statistic of each resample.
    """
    drawn, without_one = drawn[np.isfinite(drawn)], without_one[np.isfinite(without_one)]
    if not np.isfinite(value) or not drawn.size:
        return np.nan, np.nan
    bias = ndtri(((drawn < value).mean() + (drawn <= value).mean()) / 2)
    deviations = without_one.mean() - without_one if without_one.size else np.zeros(1)
    scale = 6 * (deviations**2).sum() ** 1.5
    acceleration = (deviations**3).sum() / scale if scale > 0 else 0.0
    quantiles = ndtri(np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    shifted = bias + quantiles
    levels = ndtr(bias + shifted / (1 - acceleration * shifted)) if np.isfinite(bias) else ndtr(quantiles)
    low, high = np.quantile(drawn, levels)
    return float(low), float(high)
