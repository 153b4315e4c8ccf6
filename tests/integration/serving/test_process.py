"""Parts as processes: they end with whoever started them, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from semblance.serving import process
from semblance.serving.process import StartError, running

# A command that ignores SIGTERM, with a child in a session of its own that does too.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, __file__, "child"], start_new_session=True)
open(f"{__file__}.{os.getpid()}", "w").close()
time.sleep(600)
"""

# Runs the script that is its argument.
PARENT = """
import os, sys, time
from pathlib import Path
from semblance.serving.process import running
command, log = [sys.executable, sys.argv[1]], Path(sys.argv[1] + "-log")
with running("it", command, log=log, environment=os.environ, grace=0.1):
    time.sleep(600)
"""


def wait_until(condition: Callable[[], bool], limit: float = 20) -> None:
    until = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < until, "not within the limit"
        time.sleep(0.02)


@pytest.fixture
def stubborn(tmp_path: Path) -> Path:
    script = tmp_path / "stubborn.py"
    script.write_text(STUBBORN)
    return script


def started(script: Path) -> list[psutil.Process]:
    """Command and child, once both run and ignore SIGTERM."""
    wait_until(lambda: len(list(script.parent.glob(f"{script.name}.*"))) == 2)
    return [psutil.Process(int(mark.suffix[1:])) for mark in script.parent.glob(f"{script.name}.*")]


def test_leaving_kills_what_does_not_stop(stubborn: Path) -> None:
    command: list[str | Path] = [sys.executable, stubborn]
    with running("it", command, log=stubborn.with_suffix(".log"), environment=os.environ, grace=0.1) as part:
        processes = started(stubborn)
        assert part.pid in [one.pid for one in processes]
    assert not [one for one in processes if one.is_running()]


@pytest.mark.parametrize("victim", ["parent", "command"])
def test_nothing_outlives_a_kill(stubborn: Path, victim: str) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, stubborn]) as parent:
        processes = started(stubborn)
        if victim == "parent":
            parent.kill()
        else:
            next(one for one in processes if len(one.cmdline()) == 2).kill()
        wait_until(lambda: not [one for one in processes if one.is_running()])
        parent.kill()


def test_one_that_ends_early_is_told_with_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no licence'); raise SystemExit(3)"]
    with (
        pytest.raises(StartError, match=r"it exited with status 3 before it was ready\nno licence\nlog: .*it\.log"),
        running("it", command, log=tmp_path / "it.log", environment=os.environ) as part,
    ):
        part.wait_until(lambda: False, 20)


def test_one_that_is_not_ready_in_time_is_told(stubborn: Path) -> None:
    command: list[str | Path] = [sys.executable, stubborn]
    with running("it", command, log=stubborn.with_suffix(".log"), environment=os.environ, grace=0.1) as part:
        started(stubborn)
        with pytest.raises(StartError, match="it was not ready within 0 s"):
            part.wait_until(lambda: False, 0.2)


def test_the_stop_signal_reaches_a_command_whose_shell_ignored_it(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        log = tmp_path / "log"
        script = "import time\nprint('up', flush=True)\ntry: time.sleep(600)\nexcept KeyboardInterrupt: print('closed')"
        command = [sys.executable, "-c", script]
        with running("it", command, log=log, environment=os.environ, stop_signal=signal.SIGINT) as part:
            part.wait_until(lambda: "up" in log.read_text(), 20)
        assert log.read_text().split() == ["up", "closed"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_missing_environment_names_the_target_that_builds_it() -> None:
    with pytest.raises(StartError, match="run `make setup-nothing` first"):
        process.sibling_environment("nothing", "setup-nothing")
