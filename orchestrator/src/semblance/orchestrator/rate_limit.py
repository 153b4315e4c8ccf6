"""How often somebody may call."""

import asyncio
import time


class RateLimit:
    """A token bucket: `burst` requests at once, and `per_second` after those, in the long run.

    Kept as one number, the time when the bucket is full again: the generic cell rate algorithm of ITU-T I.371.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._interval = 1 / per_second
        self._tolerance = (burst - 1) * self._interval
        self._full_at = 0.0

    def take(self) -> float:
        """0.0 where a request may pass now, and has; otherwise the seconds after which one may."""
        now = time.monotonic()
        wait = self._full_at - self._tolerance - now
        if wait > 0.0:
            return wait
        self._full_at = max(self._full_at, now) + self._interval
        return 0.0

    async def turn(self) -> None:
        """Waits until a request may pass. Those that wait keep their order."""
        now = time.monotonic()
        wait = self._full_at - self._tolerance - now
        self._full_at = max(self._full_at, now) + self._interval
        if wait > 0.0:
            await asyncio.sleep(wait)
