"""How fast something gets less that others work off, from looks at how much is left."""

import time
from collections import deque

# The looks that the rate follows from.
LOOKS = 60


class Countdown:
    def __init__(self) -> None:
        # When, by the monotonic clock, and how much.
        self._looks: deque[tuple[float, int]] = deque(maxlen=LOOKS)

    def look(self, left: int) -> None:
        self._looks.append((time.monotonic(), left))

    @property
    def rate(self) -> float:
        """How much less it gets in a second; 0 where it does not, or is not known."""
        if len(self._looks) < 2:
            return 0.0
        (began, most), (ended, least) = self._looks[0], self._looks[-1]
        return max(0.0, (most - least) / max(ended - began, 1e-6))
