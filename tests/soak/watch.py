"""What a process holds over time, and whether it becomes more."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from semblance.orchestrator.adapters import shared_memory
from semblance.serving.process import Process, tail

# How much more of each there may be at the end of the time watched than at its beginning, on a straight line through
# it. A leak grows with the calls, so that the same bound is stricter for a longer run: with a hundred calls a second,
# 32 MiB are 3 KB a call in two minutes, and 130 bytes a call in forty. Less than that is the play of allocators and of
# eight files and messages in flight, which are up to 16 MiB here. Of the other things a service that leaks none has
# the same number at the same load, give or take the calls in flight: a few connections, each with its file, the tasks
# of their calls, the regions of calls given up, which are replaced when Triton lets go of them, and the threads that
# pools add, up to their limits, when more callers than ever want one at once (up to 4.3 in two minutes of a busy host,
# where a thread left by one of a thousand calls would be twelve).
BOUNDS: Mapping[str, float] = {
    "memory_mib": 32.0,
    "files": 8.0,
    "threads": 8.0,
    "segments": 8.0,
    "tasks": 16.0,
    "triton_segments": 8.0,
}


class Ended(Exception):
    """A process that was watched is gone."""


@dataclass(slots=True)
class Watch:
    """Samples of a service: `seconds` since the begin, and each figure of BOUNDS at that time.

    Args:
        orchestrator, triton: the processes.
        tasks: the file that `inside/sitecustomize.py` writes.
    """

    orchestrator: Process
    triton: Process
    tasks: Path
    seconds: list[float] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in BOUNDS})

    async def look(self, every: float) -> None:
        """Until it is cancelled. Raises Ended."""
        begin = time.monotonic()
        while True:
            for name, value in self._now().items():
                self.samples[name].append(value)
            self.seconds.append(time.monotonic() - begin)
            await asyncio.sleep(every)

    def _now(self) -> dict[str, float]:
        for part in (self.orchestrator, self.triton):
            # It ends with the part.
            if part.guard.poll() is not None:
                raise Ended(
                    f"{part.name} has ended after {self.seconds[-1]:.0f} s; its log ends with\n{tail(part.log)}"
                )
        pid = self.orchestrator.pid
        process = psutil.Process(pid)
        return {
            "memory_mib": private_bytes(pid) / 2**20,
            "files": process.num_fds(),
            "threads": process.num_threads(),
            "segments": segments(pid),
            "tasks": int(self.tasks.read_text()),
            "triton_segments": segments(self.triton.pid),
        }

    def growth(self, warm_up: float) -> dict[str, float]:
        """By how much each figure grew after `warm_up`, a share of the time, by a line that outliers do not turn."""
        first = int(np.searchsorted(self.seconds, self.seconds[-1] * warm_up))
        times = self.seconds[first:]
        span = times[-1] - times[0]
        return {name: slope(times, values[first:]) * span for name, values in self.samples.items()}


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs (Theil–Sen), a second."""
    x, y = np.asarray(times, float), np.asarray(values, float)
    before, behind = np.triu_indices(len(x), 1)
    return float(np.median((y[behind] - y[before]) / (x[behind] - x[before])))


def private_bytes(pid: int) -> int:
    """Memory of its own: that it shares with Triton fills up as its slots are first used."""
    status = Path(f"/proc/{pid}/status").read_text()
    kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))
    return int(kibibytes) * 1024


def segments(pid: int) -> int:
    """Regions of shared memory that a process has mapped, most of which have no name any more."""
    return Path(f"/proc/{pid}/maps").read_text().count(shared_memory.PREFIX)
