"""POSIX shared memory that this process makes for Triton, and what processes that were killed left of theirs.

A region stands in /dev/shm only until Triton has opened it: what has no name vanishes with those who use it, even by
`kill -9`. Its name says whose it is: the namespace of process ids, which containers that share /dev/shm may not share,
the process, and when that was started.
"""

import logging
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FOLDER = Path("/dev/shm")
PREFIX = f"semblance-input-{os.stat('/proc/self/ns/pid').st_ino}-"

_serials = count()

log = logging.getLogger(__name__)


def own_prefix() -> str:
    """What the names of this process' regions begin with."""
    return f"{PREFIX}{os.getpid()}-{_started(os.getpid())}-"


def new_name() -> str:
    return f"{own_prefix()}{next(_serials)}"


@contextmanager
def named(name: str, size: int) -> Iterator[NDArray[np.uint8]]:
    """uint8 [size], which others can open by the name while inside.

    Raises OSError where there is no room: the memory is reserved here, because a write that finds none later would
    end the process.
    """
    path = FOLDER / name
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
        yield np.frombuffer(mmap.mmap(descriptor, size), np.uint8)
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def is_stale(name: str) -> bool:
    """Whether a region is of a process of this namespace that has ended."""
    owner = re.fullmatch(rf"{re.escape(PREFIX)}(\d+)-(\d+)-\d+", name)
    return owner is not None and _started(int(owner[1])) != owner[2]


def remove_stale() -> None:
    """Removes what was left by processes that were killed while a region had a name."""
    for path in FOLDER.glob(f"{PREFIX}*"):
        if is_stale(path.name):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("%s is left of a process that was killed, and can't be removed: %s", path, error.strerror)


def _started(pid: int) -> str | None:
    """When a process started, in clock ticks since boot (proc_pid_stat(5), field 22); None where there is none."""
    try:
        # The second field, in parentheses, may itself hold any character.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None
