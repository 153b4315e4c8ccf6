"""How long a request may still take."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from semblance.orchestrator.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of the monotonic clock, in seconds."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left, for the timeout of the next call.

        Raises DeadlineExceeded where nothing is left.
        """
        left = self.at - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the request's deadline has passed")
        return left

    @asynccontextmanager
    async def enforced(self) -> AsyncIterator[None]:
        """Cancels what is inside when the deadline passes, and raises DeadlineExceeded."""
        limit = asyncio.timeout(self.remaining())
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineExceeded("the request's deadline has passed") from None
