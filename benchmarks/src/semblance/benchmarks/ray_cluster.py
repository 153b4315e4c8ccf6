"""A Ray of this host in the environment of `make setup-ray`, for several jobs, and for one to lose workers of."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from semblance.serving.process import running, sibling_environment

# Its first start imports Ray in a handful of processes; where cores are shared, Ray itself gives up sooner.
READY_SECONDS = 240.0
ATTEMPTS = 4

# Ray gives way to all other processes, which is the service here, and would be nobody on a cluster's own hosts.
AS_ON_OWN_HOSTS = {"RAY_worker_niceness": "0"}

# Says where it is when it runs, and runs until it is terminated.
PROGRAM = f"""
import logging, pathlib, signal, sys
import ray
for left in reversed(range({ATTEMPTS})):
    try:
        ray.init(
            "local", num_cpus=int(sys.argv[1]), include_dashboard=False, log_to_driver=False,
            logging_level=logging.CRITICAL
        )
        break
    except Exception:
        ray.shutdown()
        if not left:
            raise
ready = pathlib.Path(sys.argv[2])
ready.with_suffix(".new").write_text(ray.get_runtime_context().gcs_address)
ready.with_suffix(".new").rename(ready)
signal.pause()
"""


@dataclass(frozen=True, slots=True)
class RayCluster:
    """`program` is the `semblance` that has Ray, `environment` what it finds the cluster by, `folder` has Ray's logs,
    `seconds` is what the start took."""

    program: Path
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    pid: int
    seconds: float

    def busy(self) -> list[psutil.Process]:
        """The worker processes that are doing a block."""
        found = []
        for process in psutil.Process(self.pid).children(recursive=True):
            try:
                command = process.cmdline()
            except psutil.NoSuchProcess:
                continue
            if command and command[0].startswith("ray::") and "do_block" in command[0]:
                found.append(process)
        return found


def program() -> Path:
    """The `semblance` that has Ray; StartError where its environment is not built."""
    return sibling_environment("ray", "setup-ray") / "bin" / "semblance"


@contextmanager
def folder() -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder for what Ray writes, and the environment variables of programs whose Ray writes there."""
    # Short: the names of Ray's sockets must fit into 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="ray-"))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    try:
        yield home, {**inherited, "RAY_TMPDIR": str(home), "RAY_USAGE_STATS_ENABLED": "0", **AS_ON_OWN_HOSTS}
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def started(cpus: int) -> Iterator[RayCluster]:
    """Raises StartError where it does not start, or its environment is not built."""
    command = program()
    with folder() as (home, environment):
        ready, began = home / "ready", time.monotonic()
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "PYTHONUNBUFFERED": "1"}
        start: list[str | Path] = [command.with_name("python"), "-c", PROGRAM, str(cpus), ready]
        with running("Ray", start, log=home / "ray.log", environment=environment) as process:
            process.wait_until(ready.exists, READY_SECONDS)
            found = environment | {"RAY_ADDRESS": ready.read_text()}
            yield RayCluster(command, found, home, process.pid, time.monotonic() - began)
