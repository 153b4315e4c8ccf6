"""Who has no turn gets no CPU."""

import subprocess
import sys
import time

import psutil
import pytest

from semblance.benchmarks.contenders import Contender

# A process and its child, both there when a line is printed; they end with their input.
FAMILY = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"])
"""
LIMIT = 10.0


async def search(photo: bytes) -> list[list[str]]:
    return []


def wait_for(family: list[psutil.Process], *, stopped: bool) -> None:
    """A signal is acted upon a moment after it was sent."""
    until = time.monotonic() + LIMIT
    while {process.status() == psutil.STATUS_STOPPED for process in family} != {stopped}:
        assert time.monotonic() < until


def test_a_contender_is_paused_with_its_children_and_goes_on_even_after_an_error() -> None:
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        parent = psutil.Process(program.pid)
        family = [parent, *parent.children()]
        assert len(family) == 2

        def turn_of_another() -> None:
            with Contender(search, program.pid).paused():
                wait_for(family, stopped=True)
                raise RuntimeError("failed")

        with pytest.raises(RuntimeError, match="failed"):
            turn_of_another()
        wait_for(family, stopped=False)


def test_a_contender_within_the_service_is_not_paused() -> None:
    with Contender(search).paused():
        assert psutil.Process().status() != psutil.STATUS_STOPPED
