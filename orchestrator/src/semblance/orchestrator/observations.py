"""What is seen of a canary or a shadow beside the active release, as numbers that several orchestrators can add up."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from semblance.orchestrator.comparison import DEPTHS, Comparison
from semblance.orchestrator.figure import Figure

# A histogram's buckets are each so many times as wide as the one before: a quantile is known to within 5 %.
FACTOR = 1.05
# The upper edge of the first bucket, in seconds.
SHORTEST = 0.001


@dataclass(slots=True)
class Mean:
    total: float = 0.0
    count: int = 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self.total += value
            self.count += 1

    def __add__(self, other: "Mean") -> "Mean":
        return Mean(self.total + other.total, self.count + other.count)

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class Side:
    """One release's requests: those that failed by no fault of their callers, and how many of the others took how long,
    by bucket: number n is of those up to SHORTEST × FACTOR ** n seconds."""

    failed: int = 0
    latencies: Counter[int] = field(default_factory=Counter)

    def add(self, seconds: float) -> None:
        self.latencies[max(0, math.ceil(math.log(max(seconds, SHORTEST) / SHORTEST, FACTOR)))] += 1

    def __add__(self, other: "Side") -> "Side":
        return Side(self.failed + other.failed, self.latencies + other.latencies)

    @property
    def requests(self) -> int:
        return self.latencies.total() + self.failed

    @property
    def errors(self) -> int | None:
        return self.failed if self.requests else None

    @property
    def error_rate(self) -> float | None:
        return self.failed / self.requests if self.requests else None

    def quantile(self, share: float) -> float | None:
        """The least upper edge of a bucket, in seconds, below which at least that share of the requests is."""
        wanted = share * self.latencies.total()
        seen = 0
        for bucket in sorted(self.latencies):
            seen += self.latencies[bucket]
            if seen >= wanted:
                return SHORTEST * FACTOR**bucket
        return None


@dataclass(slots=True)
class Observations:
    """`dropped`: copies that were not made because searches needed the room."""

    candidate: Side = field(default_factory=Side)
    active: Side = field(default_factory=Side)
    dropped: int = 0
    compared: int = 0
    overlaps: dict[int, Mean] = field(default_factory=lambda: {depth: Mean() for depth in DEPTHS})
    rank_shift: Mean = field(default_factory=Mean)
    score_shift: Mean = field(default_factory=Mean)
    detections_shift: Mean = field(default_factory=Mean)
    detections_change: Mean = field(default_factory=Mean)

    def add(self, comparison: Comparison) -> None:
        self.compared += 1
        for depth, mean in self.overlaps.items():
            mean.add(comparison.overlaps.get(depth))
        self.rank_shift.add(comparison.rank_shift)
        self.score_shift.add(comparison.score_shift)
        self.detections_shift.add(comparison.detections_shift)
        self.detections_change.add(abs(comparison.detections_shift))

    def __add__(self, other: "Observations") -> "Observations":
        return Observations(
            self.candidate + other.candidate,
            self.active + other.active,
            self.dropped + other.dropped,
            self.compared + other.compared,
            {depth: mean + other.overlaps[depth] for depth, mean in self.overlaps.items()},
            self.rank_shift + other.rank_shift,
            self.score_shift + other.score_shift,
            self.detections_shift + other.detections_shift,
            self.detections_change + other.detections_change,
        )

    def as_json(self) -> dict[str, Any]:
        means = {name: [mean.total, mean.count] for name, mean in self._means().items()}
        sides = {
            name: {"failed": side.failed, "latencies": [[*each] for each in sorted(side.latencies.items())]}
            for name, side in (("candidate", self.candidate), ("active", self.active))
        }
        return {"dropped": self.dropped, "compared": self.compared, **means, **sides}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Of another version of this service, which may know other numbers, those that both know."""
        made = cls(dropped=stored.get("dropped", 0), compared=stored.get("compared", 0))
        for name, mean in made._means().items():
            mean.total, mean.count = stored.get(name, (0.0, 0))
        for side, values in ((made.candidate, stored.get("candidate", {})), (made.active, stored.get("active", {}))):
            side.failed = values.get("failed", 0)
            side.latencies.update(dict(values.get("latencies", ())))
        return made

    def _means(self) -> dict[str, Mean]:
        overlaps = {f"overlap@{depth}": mean for depth, mean in self.overlaps.items()}
        shifts = {
            "rank_shift": self.rank_shift,
            "score_shift": self.score_shift,
            "detections_shift": self.detections_shift,
            "detections_change": self.detections_change,
        }
        return overlaps | shifts


def _ratio(share: float) -> Callable[[Observations], float | None]:
    def ratio(seen: Observations) -> float | None:
        candidate, active = seen.candidate.quantile(share), seen.active.quantile(share)
        return candidate / active if candidate and active else None

    return ratio


FIGURES: Mapping[str, tuple[str, Callable[[Observations], float | None]]] = {
    "requests": ("searches that it served, or copies of searches that it ran", lambda seen: seen.candidate.requests),
    "compared": ("of them, those whose answer was compared with the active release's", lambda seen: seen.compared),
    "dropped": ("copies that were left out because searches needed the room", lambda seen: seen.dropped),
    **{
        f"overlap@{depth}": (
            f"mean share of the active release's first {depth} items that are among its first {depth}",
            lambda seen, depth=depth: seen.overlaps[depth].value,  # type: ignore[misc]
        )
        for depth in DEPTHS
    },
    "rank_shift": ("mean absolute difference of an item's ranks", lambda seen: seen.rank_shift.value),
    "score_shift": ("mean of an item's similarity less the active release's", lambda seen: seen.score_shift.value),
    "detections_shift": (
        "mean number of detected objects less the active release's",
        lambda seen: seen.detections_shift.value,
    ),
    "detections_change": (
        "mean absolute difference of the number of detected objects",
        lambda seen: seen.detections_change.value,
    ),
    "errors": ("its requests that failed by no fault of the caller", lambda seen: seen.candidate.errors),
    "active_errors": ("those of the active release in the same time", lambda seen: seen.active.errors),
    "error_rate": (
        "share of its requests that failed by no fault of the caller",
        lambda seen: seen.candidate.error_rate,
    ),
    "active_error_rate": ("that of the active release in the same time", lambda seen: seen.active.error_rate),
    "p50_ratio": ("median latency over the active release's in the same time", _ratio(0.5)),
    "p99_ratio": ("99th percentile of the latency over the active release's", _ratio(0.99)),
}
"""What they mean, and how they follow."""


def figures(seen: Observations) -> tuple[Figure, ...]:
    return tuple(Figure(name, tell(seen), meaning) for name, (meaning, tell) in FIGURES.items())
