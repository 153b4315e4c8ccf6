"""Runs one command and leaves nothing of it behind: `python -m semblance.serving.guard PARENT SIGNAL GRACE COMMAND...`.

The guard stops the command when it is told to (SIGTERM) and when its parent, process PARENT, dies for whatever
reason: SIGNAL (a number) first, SIGKILL after GRACE seconds. What the command started (Triton's stubs, say) and left is
adopted by the guard and killed. If the guard itself is killed, the kernel kills the command.

It exits with the command's status, or 128 + the signal that ended it.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time

import psutil

# <linux/prctl.h>
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

STOP = {signal.SIGTERM, signal.SIGINT}
WATCHED = STOP | {signal.SIGCHLD}

libc = ctypes.CDLL(None, use_errno=True)


def guard(parent: int, stop_signal: int, grace: float, command: list[str]) -> int:
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return 128 + signal.SIGTERM
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    try:
        child = subprocess.Popen(command, preexec_fn=tie_to_guard)
    except OSError as error:
        print(f"can't run {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    status = wait(child, stop_signal, grace)
    kill_orphans()
    return status


def tie_to_guard() -> None:
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # A shell starts what it runs in the background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)


def wait(child: subprocess.Popen[bytes], stop_signal: int, grace: float) -> int:
    """Waits until the child has ended, by itself or because the guard was told to stop it."""
    kill_at: float | None = None
    while (status := child.poll()) is None:
        if kill_at is None:
            received: int | None = signal.sigwait(WATCHED)
        else:
            info = signal.sigtimedwait(WATCHED, max(0.0, kill_at - time.monotonic()))
            received = info.si_signo if info else None
        if received is None:
            child.kill()
            return 128 - child.wait()
        if received in STOP and kill_at is None:
            child.send_signal(stop_signal)
            kill_at = time.monotonic() + grace
    return status if status >= 0 else 128 - status


def kill_orphans() -> None:
    """Kills what the command left; the children of those become ours in turn."""
    while orphans := psutil.Process().children():
        for orphan in orphans:
            orphan.kill()
        psutil.wait_procs(orphans)


if __name__ == "__main__":
    sys.exit(guard(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]))
