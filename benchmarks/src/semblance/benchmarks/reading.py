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
        busy: CPU seconds of everything on this host.
        cpu: user and system seconds by process, children counted with them. `CLIENT` is this process, and those that
            it started and has waited for.
        service: what the orchestrator counted and timed of its stages.
        triton: what Triton did of its models.
    """

    at: float
    busy: float
    cpu: Mapping[str, float]
    service: Mapping[str, Times]
    triton: Mapping[str, Times]

    @classmethod
    def of(cls, service: Stack) -> Self:
        waited_for = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = {CLIENT: time.process_time() + waited_for.ru_utime + waited_for.ru_stime}
        for name, pid in service.pids.items():
            process = psutil.Process(pid)
            cpu[name] = sum(cpu_seconds(each) for each in (process, *process.children(recursive=True)))
        return cls(
            time.perf_counter(), busy_seconds(), cpu, statistics.read(service.target), statistics.read(service.triton)
        )

    def since(self, before: Reading) -> Reading:
        return Reading(
            self.at - before.at,
            self.busy - before.busy,
            {name: seconds - before.cpu[name] for name, seconds in self.cpu.items()},
            statistics.between(before.service, self.service),
            statistics.between(before.triton, self.triton),
        )

    def cpu_each(self, count: float) -> dict[str, float]:
        """Of a difference: CPU seconds of each process for one of `count` requests."""
        return {process: seconds / count for process, seconds in self.cpu.items()}

    @property
    def shares(self) -> dict[str, float]:
        """Of a difference: the parts of the cores' time that the client took, and that nobody here accounts for."""
        cores = self.at * (os.cpu_count() or 1)
        others = max(0.0, self.busy - sum(self.cpu.values()))
        return {"client_share": self.cpu[CLIENT] / cores, "others_share": others / cores}


def busy_seconds() -> float:
    """CPU seconds of everything on this host, those that a hypervisor took from it among them."""
    host = psutil.cpu_times()
    # Linux counts guests into the user's time.
    return float(host.user + host.nice + host.system + host.irq + host.softirq + host.steal)


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
