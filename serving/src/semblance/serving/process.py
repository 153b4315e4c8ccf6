"""A part of the stack as a process: started with a log file, waited for, and stopped whatever happens."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from semblance.serving import guard as guard_module

POLL_SECONDS = 0.1
LOG_LINES = 20
# How much longer than the grace of its command a guard may take to end.
GUARD_SECONDS = 5.0


class StartError(Exception):
    """A part did not start; the message ends with the last lines of its log and says where it is."""


@dataclass(frozen=True)
class Process:
    """A running part. `guard` is our child and ends with the part, which is the guard's child."""

    name: str
    guard: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        """The part's own pid, or the guard's in the moment before it has started the part."""
        children = psutil.Process(self.guard.pid).children()
        return children[0].pid if children else self.guard.pid

    def error(self, what: str) -> StartError:
        return StartError(f"{self.name} {what}\n{tail(self.log)}\nlog: {self.log}")

    def wait_until(self, ready: Callable[[], bool], limit: float) -> None:
        """Waits for `ready` to be true, for `limit` seconds at most.

        Raises:
            StartError: the process has ended, or is not ready in time.
        """
        until = time.monotonic() + limit
        while not ready():
            if (status := self.guard.poll()) is not None:
                raise self.error(f"exited with status {status} before it was ready")
            if time.monotonic() > until:
                raise self.error(f"was not ready within {limit:.0f} s")
            time.sleep(POLL_SECONDS)


@contextmanager
def running(
    name: str,
    command: Sequence[str | Path],
    *,
    log: Path,
    environment: Mapping[str, str],
    folder: Path | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    grace: float = 10.0,
) -> Iterator[Process]:
    """Runs a command under a guard, and stops it on leaving: `stop_signal`, then SIGKILL after `grace` seconds.

    Call it from the main thread: the kernel takes the end of the calling thread for the end of the parent.
    `folder` is the command's working folder, `log` gets what it prints; the log of the run before is kept as `.1`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    terms = [os.getpid(), int(stop_signal), grace]
    guarded = [sys.executable, "-m", guard_module.__name__, *map(str, terms), *map(str, command)]
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    with log.open("wb") as output:
        guard = subprocess.Popen(
            guarded,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            # A session of its own: Ctrl-C in the terminal reaches who started it, and that one stops it in order.
            start_new_session=True,
        )
    try:
        yield Process(name, guard, log)
    finally:
        guard.terminate()
        try:
            guard.wait(grace + GUARD_SECONDS)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()


def tail(log: Path, lines: int = LOG_LINES) -> str:
    """The last lines of a log file."""
    with log.open(errors="replace") as text:
        return "".join(deque(text, lines)).rstrip()


def this_environment() -> dict[str, str]:
    """The environment variables of a part that runs in this Python environment; what it prints is not held back."""
    return dict(os.environ) | {"PYTHONUNBUFFERED": "1"}


def sibling_environment(name: str, target: str) -> Path:
    """The environment `name` that stands beside this one.

    Raises:
        StartError: it was not built; says which make target builds it.
    """
    home = Path(sys.prefix).parent / name
    if not (home / "bin" / "python").exists():
        raise StartError(f"there is no environment {home}; run `make {target}` first")
    return home.resolve()
