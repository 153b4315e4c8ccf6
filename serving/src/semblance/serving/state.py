"""The run file: which processes belong to a stack, so that another process can see and stop them."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Self

import psutil

from semblance.serving.plan import Plan
from semblance.serving.process import StartError

RUN_FILE = "run.json"
LOCK_FILE = "run.lock"


@dataclass(frozen=True)
class Identity:
    """A process and nothing else: pids are reused, and these three together are not."""

    pid: int
    # Clock ticks from the boot to the start of the process; see proc(5).
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """Raises psutil.NoSuchProcess where it has ended."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            raise psutil.NoSuchProcess(pid) from None
        # The second field is the name in parentheses, which may hold anything; the start is the 22nd.
        started = int(stat.rpartition(")")[2].split()[19])
        return cls(pid, started, Path("/proc/sys/kernel/random/boot_id").read_text().strip())

    def process(self) -> psutil.Process | None:
        """The process, if it still runs."""
        try:
            process = psutil.Process(self.pid)
            alive = Identity.of(self.pid) == self and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if alive else None


@dataclass(frozen=True)
class Part:
    """A part that was started: its guard, itself, where it answers and what it logs; `health` is where it tells whether
    it is ready, if that is another address."""

    name: str
    guard: Identity
    itself: Identity
    endpoint: str
    log: str
    health: str = ""


@dataclass(frozen=True)
class Run:
    """A stack that was started and not stopped. Parts are in the order of their start."""

    plan: Plan
    launcher: Identity
    shared_memory_prefix: str
    parts: tuple[Part, ...] = field(default=())

    def with_part(self, part: Part) -> "Run":
        return replace(self, parts=(*self.parts, part))

    def part(self, name: str) -> Part | None:
        return next((part for part in self.parts if part.name == name), None)


def write(run: Run) -> None:
    """Replaces the run file at once, so that nobody reads half of one."""
    data = Path(run.plan.data)
    aside = data / f"{RUN_FILE}.new"
    aside.write_text(json.dumps(asdict(run), indent=2))
    aside.replace(data / RUN_FILE)


def read(data: Path) -> Run | None:
    """The run of a data folder, or None."""
    try:
        run = json.loads((data / RUN_FILE).read_text())
    except FileNotFoundError:
        return None
    parts = tuple(
        Part(**part | {"guard": Identity(**part["guard"]), "itself": Identity(**part["itself"])})
        for part in run["parts"]
    )
    return Run(Plan.of(run["plan"]), Identity(**run["launcher"]), run["shared_memory_prefix"], parts)


def remove(data: Path) -> None:
    (data / RUN_FILE).unlink(missing_ok=True)


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Keeps a second launcher off the data folder; the kernel lets go of it however the holder ends.

    Raises:
        StartError: another launcher holds it.
    """
    data.mkdir(parents=True, exist_ok=True)
    lock = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(f"another launcher holds {data}; see `semblance status`") from None
        yield
    finally:
        os.close(lock)
