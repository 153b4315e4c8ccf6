"""How many searches there were and how long their stages took, since the process started."""

import time
from dataclasses import dataclass, field

from semblance.orchestrator.pipeline import Stopwatch


@dataclass(slots=True)
class Total:
    """Of durations; `ns` is in nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.ns += round(seconds * 1e9)


@dataclass(slots=True)
class Statistics:
    """`stages` are the laps of the answered searches, by name; `last` is when the newest was answered, in Unix time."""

    answered: Total = field(default_factory=Total)
    failed: Total = field(default_factory=Total)
    stages: dict[str, Total] = field(default_factory=dict)
    last: float = 0.0

    def add_answered(self, stopwatch: Stopwatch) -> None:
        self.last = time.time()
        self.answered.add(sum(stopwatch.stages.values()))
        for stage, seconds in stopwatch.stages.items():
            self.stages.setdefault(stage, Total()).add(seconds)

    def add_failed(self, stopwatch: Stopwatch) -> None:
        self.failed.add(stopwatch.total())
