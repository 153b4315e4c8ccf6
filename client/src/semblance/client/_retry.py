"""How often a call is made that finds the service unavailable, and when."""

from __future__ import annotations

import random

ATTEMPTS = 4
"""At most; the first one is one of them."""

FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 2.0
"""Seconds between the first two attempts, and between any two at most."""

BACKOFF_GROWTH = 3.0
"""How much longer each wait is than the one before."""

JITTER = 0.2
"""The part by which a wait may be shorter or longer, so that callers do not come back together; C-core's own."""

POLICY = {
    "maxAttempts": ATTEMPTS,
    "initialBackoff": f"{FIRST_BACKOFF}s",
    "maxBackoff": f"{LONGEST_BACKOFF}s",
    "backoffMultiplier": BACKOFF_GROWTH,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
"""For gRPC, of calls that are no streams of requests."""


def backoff(attempt: int) -> float:
    """Seconds before an attempt, of which the second is the first that is waited for."""
    seconds = min(LONGEST_BACKOFF, FIRST_BACKOFF * BACKOFF_GROWTH ** (attempt - 2))
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)
