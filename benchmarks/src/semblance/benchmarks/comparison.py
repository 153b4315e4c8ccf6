"""Whether one figure is worse than another of the same name, with the noise of both taken into account."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.table import Table
from scipy import stats

from semblance.benchmarks.figure import Better, Figure, Measure

CONFIDENCE = 0.95
RESAMPLES = 9999
SEED = 0
# The bootstrap of a median of fewer says nothing.
MIN_SAMPLES = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """`low` and `high` bound the ratio of B's median to A's with 95 % confidence."""

    name: str
    a: float
    b: float
    low: float
    high: float
    better: Better
    tolerance: float

    @property
    def is_worse(self) -> bool:
        """Whether all of the interval is worse than `tolerance` allows."""
        return self.high < 1 - self.tolerance if self.better == "higher" else self.low > 1 + self.tolerance

    @property
    def is_better(self) -> bool:
        return self.low > 1 + self.tolerance if self.better == "higher" else self.high < 1 - self.tolerance


def compare(a: Figure, b: Figure, tolerance: float) -> list[Verdict]:
    """A verdict on each measure that has enough samples in both. Raises ValueError where the two can't be compared."""
    if a.name != b.name or a.measures.keys() != b.measures.keys():
        raise ValueError(f"{_title(a)} and {_title(b)} are not the same figure")
    pairs = [(name or a.name, a.measures[name], b.measures[name]) for name in a.measures]
    counts = {name: min(len(one.samples), len(other.samples)) for name, one, other in pairs}
    if max(counts.values()) < MIN_SAMPLES:
        raise ValueError(
            f"{a.name} has {max(counts.values())} samples, and at least {MIN_SAMPLES} are needed; measure more rounds"
        )
    return [_verdict(name, one, other, tolerance) for name, one, other in pairs if counts[name] >= MIN_SAMPLES]


def _title(figure: Figure) -> str:
    return f"{figure.name} {'/'.join(figure.measures)}".strip()


def _verdict(name: str, a: Measure, b: Measure, tolerance: float) -> Verdict:
    interval = stats.bootstrap(
        (np.array(a.samples), np.array(b.samples)),
        lambda x, y, axis: np.median(y, axis=axis) / np.median(x, axis=axis),
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        # Bias correction fails where the medians of most resamples are the same number.
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Verdict(name, a.value, b.value, float(interval.low), float(interval.high), a.better, tolerance)


def table(verdicts: list[Verdict]) -> Table:
    shown = Table("figure", "A", "B", "B / A, 95 %", "verdict")
    for one in verdicts:
        says = "worse" if one.is_worse else "better" if one.is_better else "no difference beyond noise and tolerance"
        shown.add_row(one.name, f"{one.a:.4g}", f"{one.b:.4g}", f"{one.low:.3f} to {one.high:.3f}", says)
    return shown
