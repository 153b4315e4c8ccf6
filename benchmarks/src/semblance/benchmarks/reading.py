"""What a running service has spent and counted so far: CPU time of each process, and both servers' statistics."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import psutil

from semblance.benchmarks import statistics
from semblance.benchmarks.stack import Stack
from semblance.benchmarks.statistics import Times

CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Reading:
    """All count up; what was spent is the difference of two.

    Attributes:
        at: `perf_counter` seconds; of a difference, the seconds between.
        cpu: user and system seconds by process, children counted with them. `CLIENT` is this process, and those that
            it started and has waited for.
        service: what the orchestrator counted and timed of its stages.
        triton: what Triton did of its models.
    """

    at: float
    cpu: Mapping[str, float]
    service: Mapping[str, Times]
    triton: Mapping[str, Times]

    @classmethod
    def of(cls, service: Stack) -> Self:
        waited_for = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = {CLIENT: time.process_time() + waited_for.ru_utime + waited_for.ru_stime}
        for name, pid in service.pids.items():
            process = psutil.Process(pid)
            cpu[name] = sum(_cpu_time(each) for each in (process, *process.children(recursive=True)))
        return cls(time.perf_counter(), cpu, statistics.read(service.target), statistics.read(service.triton))

    def since(self, before: Reading) -> Reading:
        return Reading(
            self.at - before.at,
            {name: seconds - before.cpu[name] for name, seconds in self.cpu.items()},
            statistics.between(before.service, self.service),
            statistics.between(before.triton, self.triton),
        )

    def cpu_each(self, count: int) -> dict[str, float]:
        """Of a difference: CPU seconds of each process for one of `count` requests."""
        return {process: seconds / count for process, seconds in self.cpu.items()}

    @property
    def client_share(self) -> float:
        """Of a difference: the client's part of the CPU time of this host's cores."""
        return self.cpu[CLIENT] / (self.at * len(os.sched_getaffinity(0)))


def _cpu_time(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
