"""Who waits, and whose turn is next: each caller's in turn, so that nobody's crowd keeps others out."""

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    @property
    def caller(self) -> str: ...

    @property
    def size(self) -> int:
        """Bytes that are held while it waits."""
        ...


W = TypeVar("W", bound=Waiting)


class FairQueue(Generic[W]):
    """Holds at most `count` that wait, and `size` bytes of theirs."""

    def __init__(self, count: int, size: int) -> None:
        self._max_count = count
        self._max_size = size
        self._size = 0
        self._count = 0
        # Whose turn is next comes first. The dictionaries of those who wait are sets that keep their order.
        self._callers: dict[str, dict[W, None]] = {}

    def __len__(self) -> int:
        return self._count

    def join(self, one: W) -> list[W]:
        """Those who have to leave for it, or itself: the newest of the caller who has most of the queue."""
        self._callers.setdefault(one.caller, {})[one] = None
        self._count += 1
        self._size += one.size
        refused = []
        while self._count > self._max_count or self._size > self._max_size:
            # Where others have as much, it is this caller who has come last.
            greediest = max(
                self._callers, key=lambda caller: (self._share(self._callers[caller]), caller == one.caller)
            )
            newest = next(reversed(self._callers[greediest]))
            self.leave(newest)
            refused.append(newest)
        return refused

    def leave(self, one: W) -> None:
        """Nothing where it does not wait any more."""
        own = self._callers.get(one.caller, {})
        if one in own:
            del own[one]
            self._count -= 1
            self._size -= one.size
            if not own:
                del self._callers[one.caller]

    def next(self) -> W:
        """Takes out the oldest of the caller whose turn it is, and puts the caller behind the others."""
        caller, own = next(iter(self._callers.items()))
        one = next(iter(own))
        self.leave(one)
        if own:
            self._callers[caller] = self._callers.pop(caller)
        return one

    def _share(self, own: Iterable[W]) -> float:
        """Of the places or of the bytes, whichever is more."""
        sizes = [one.size for one in own]
        return max(len(sizes) / max(1, self._max_count), sum(sizes) / self._max_size)
