"""How many requests are worked on at once: found from how long they take.

The limit follows the gradient of latency, as Netflix' concurrency-limits does (`Gradient2Limit`,
https://github.com/Netflix/concurrency-limits): while requests take no longer than `tolerance` times what they take in a
quiet service, it grows by its square root; when they take longer, it shrinks with the ratio. What they take in a quiet
service is measured, and not guessed from the long run, which a lasting overload would spoil: when few enough are in
flight anyway, and otherwise now and then by letting only few in for a moment, as BBR measures a path's round trip.
"""

import math
from statistics import median

# Where it begins, before anything is measured.
INITIAL = 8
# Latencies that the limit looks at together: as many as the limit, and no fewer than this.
MIN_WINDOW = 8
# The service is quiet while no more than this part of the limit is in flight.
QUIET_SHARE = 0.125
# After so many seconds what a quiet service takes is measured again, where the limit is reached.
BASE_SECONDS = 300.0
# How far one window moves the limit towards what it asks for, and the most that it asks to shrink.
SMOOTHING = 0.2
MIN_GRADIENT = 0.5
# Where the inference server refuses what it is sent.
BACK_OFF = 0.9


class Limit:
    """Knows no clock: `now` is in seconds of any that runs steadily."""

    def __init__(self, maximum: int, tolerance: float) -> None:
        self._maximum = maximum
        self._tolerance = tolerance
        self._limit = float(min(INITIAL, maximum))
        # Median seconds of a request in a quiet service; 0.0 before one is measured.
        self.base = 0.0
        self._measured_at = -math.inf
        self._measuring = False
        self._window: list[float] = []
        self._most = 0
        self._unanswered = False

    @property
    def value(self) -> int:
        return self._quiet if self._measuring else int(self._limit)

    @property
    def _quiet(self) -> int:
        return max(1, int(self._limit * QUIET_SHARE))

    def add(self, seconds: float, in_flight: int, now: float) -> None:
        """A request was answered after `seconds`; when it began, `in_flight` were worked on, itself among them."""
        if self._measuring and in_flight > self.value:
            return
        self._window.append(seconds)
        self._most = max(self._most, in_flight)
        if len(self._window) >= max(MIN_WINDOW, self.value):
            self._close(now)

    def add_unanswered(self, seconds: float, in_flight: int, now: float) -> None:
        """A request's deadline passed after `seconds`: it would have taken longer, which is news if that is long."""
        if seconds > self._tolerance * self.base:
            self._unanswered = True
            self.add(seconds, in_flight, now)

    def back_off(self) -> None:
        """The inference server has refused a request because its queue is full."""
        self._limit = max(1.0, self._limit * BACK_OFF)

    def _close(self, now: float) -> None:
        latency, most, all_answered = median(self._window), self._most, not self._unanswered
        self._window, self._most, self._unanswered = [], 0, False
        reached, quiet = most >= self.value, self._measuring or most <= self._quiet
        self._measuring = False
        if all_answered and quiet:
            self.base, self._measured_at = latency, now
            return
        if all_answered:
            self.base = min(self.base or latency, latency)
        if reached and self.base:
            self._move(latency)
            self._measuring = all_answered and now - self._measured_at > BASE_SECONDS

    def _move(self, latency: float) -> None:
        gradient = min(1.0, max(MIN_GRADIENT, self._tolerance * self.base / latency))
        wanted = self._limit * gradient + math.sqrt(self._limit)
        moved = self._limit + SMOOTHING * (wanted - self._limit)
        self._limit = min(float(self._maximum), max(1.0, moved))
