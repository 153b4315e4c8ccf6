"""How many requests there were and how long they and their stages took, since the process started."""

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from semblance.orchestrator.pipeline import Stopwatch
from semblance.orchestrator.request import Request

# The upper edges of a histogram's buckets, in seconds; beyond the last is one more.
EDGES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(slots=True)
class Total:
    """Of durations; `ns` is in nanoseconds, `buckets` are how many were no longer than each of `EDGES`, and longer than
    the one before."""

    count: int = 0
    ns: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(EDGES) + 1))

    def add(self, seconds: float) -> None:
        self.count += 1
        self.ns += round(seconds * 1e9)
        self.buckets[bisect_left(EDGES, seconds)] += 1


@dataclass(slots=True)
class Statistics:
    """Of searches and of all requests.

    Attributes:
        stages: the laps of the answered searches, by name.
        last: when the newest search was answered, in Unix time.
        requests: by method, status, release and caller.
        failures: by method and reason.
        durations: of unary calls and the messages of streams, by method and release.
    """

    answered: Total = field(default_factory=Total)
    failed: Total = field(default_factory=Total)
    stages: dict[str, Total] = field(default_factory=dict)
    last: float = 0.0
    requests: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    durations: defaultdict[tuple[str, str], Total] = field(default_factory=lambda: defaultdict(Total))

    def add_answered(self, stopwatch: Stopwatch) -> None:
        self.last = time.time()
        self.answered.add(sum(stopwatch.stages.values()))
        for stage, seconds in stopwatch.stages.items():
            self.stages.setdefault(stage, Total()).add(seconds)

    def add_failed(self, stopwatch: Stopwatch) -> None:
        self.failed.add(stopwatch.total())

    def add_request(self, request: Request, caller: str, seconds: float | None) -> None:
        """One that has ended; without `seconds` its time says nothing, as that of a stream."""
        self.requests[request.method, request.status, request.release_id, caller] += 1
        if request.reason:
            self.failures[request.method, request.reason] += 1
        if seconds is not None:
            self.durations[request.method, request.release_id].add(seconds)
