"""Several workers on one port, and the process that watches over them.

The kernel spreads connections over the workers (SO_REUSEPORT). A worker that was killed, by the kernel for want of
memory say, is replaced; where that happens again and again, after a while. One that ends by itself has found something
wrong that it logged, such as a model that is not what the release says: that ends the service, with its status.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from semblance.orchestrator.address import reserved
from semblance.orchestrator.settings import Settings, variable

log = logging.getLogger(__name__)

STOP = {signal.SIGTERM, signal.SIGINT}
WATCHED = STOP | {signal.SIGCHLD}
# What a worker may take, in seconds, to end after its grace for the calls in flight.
END_SECONDS = 10.0
# A worker that was killed sooner than this after its start was killed by it, in seconds.
SETTLED_SECONDS = 60.0
# Until such a one is started again: at first, and at most, in seconds.
FIRST_DELAY, LAST_DELAY = 1.0, 60.0
# <linux/prctl.h>
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None)

Worker = subprocess.Popen[bytes]


class Restarts:
    """When workers that were killed are started again: at once, or later and later where they hardly live."""

    def __init__(self) -> None:
        self._due: dict[int, float] = {}
        self._delays: dict[int, float] = {}

    def killed(self, number: int, lived: float, now: float) -> float:
        """Seconds until it is due."""
        before = self._delays.get(number)
        delay = 0.0 if before is None or lived >= SETTLED_SECONDS else min(LAST_DELAY, max(FIRST_DELAY, 2 * before))
        self._delays[number] = delay
        self._due[number] = now + delay
        return delay

    def pending(self, number: int) -> bool:
        return number in self._due

    def take_due(self, now: float) -> list[int]:
        due = [number for number, at in self._due.items() if at <= now]
        for number in due:
            del self._due[number]
        return due

    def wait(self, now: float) -> float | None:
        """Seconds until the next is due; None where none is."""
        return max(0.0, min(self._due.values()) - now) if self._due else None


def supervise(settings: Settings, flags: Mapping[str, str]) -> int:
    """Runs the workers until SIGTERM or SIGINT; the exit status. `flags` are SEMBLANCE_* variables over ours.

    Raises AddressInUse.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    with reserved(settings.listen) as listen:
        environment = {**os.environ, **flags, variable("listen"): listen}
        workers = {number: _started(number, environment) for number in range(settings.workers)}
        log.info("%d workers on %s", settings.workers, listen)
        status = _watch(workers, environment)
        return _stopped(workers, settings.drain_delay + settings.drain_grace + END_SECONDS) or status


def _started(number: int, environment: Mapping[str, str]) -> Worker:
    parent = os.getpid()

    def tie() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)

    command = [sys.executable, "-m", "semblance.orchestrator.worker", str(number)]
    return subprocess.Popen(command, env=environment, preexec_fn=tie)


def _watch(workers: dict[int, Worker], environment: Mapping[str, str]) -> int:
    """Replaces workers that are killed, until the service is told to stop, or a worker has ended by itself."""
    restarts = Restarts()
    started = dict.fromkeys(workers, time.monotonic())
    while _received(restarts.wait(time.monotonic())) not in STOP:
        now = time.monotonic()
        for number, worker in workers.items():
            status = None if restarts.pending(number) else worker.poll()
            if status is not None and status >= 0:
                log.critical("worker %d ended with status %d; stopping the others", number, status)
                return status or 1
            if status is not None:
                delay = restarts.killed(number, now - started[number], now)
                when = f" in {delay:g} s" if delay else ""
                log.error("worker %d was killed by %s; starting another%s", number, signal.Signals(-status).name, when)
        for number in restarts.take_due(now):
            workers[number] = _started(number, environment)
            started[number] = now
    log.info("stopping the workers")
    return 0


def _received(seconds: float | None) -> int | None:
    """The next signal of `WATCHED`; None where there was none within `seconds`, if any are given."""
    if seconds is None:
        return signal.sigwait(WATCHED)
    received = signal.sigtimedwait(WATCHED, seconds)
    return None if received is None else received.si_signo


def _stopped(workers: Mapping[int, Worker], seconds: float) -> int:
    """Ends the workers, by SIGKILL after some seconds; 1 where that was needed."""
    status = 0
    deadline = time.monotonic() + seconds
    for worker in workers.values():
        worker.terminate()
    for number, worker in workers.items():
        try:
            worker.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.error("worker %d did not end within %.0f seconds and is killed", number, seconds)
            worker.kill()
            worker.wait()
            status = 1
    return status
