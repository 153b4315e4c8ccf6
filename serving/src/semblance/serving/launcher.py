"""The process that owns a running stack: `python -m semblance.serving.launcher PLAN`, with the plan as JSON.

`semblance up` starts it in a session of its own and reads its progress, one JSON object a line, from its standard
output. It starts the parts, then waits; on SIGTERM it stops them in the opposite order. Until all are ready it dies
with the `up` that started it.
"""

import json
import os
import signal
import sys
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from semblance.serving import guard, milvus, orchestrator, state, triton
from semblance.serving.plan import LITE, Plan
from semblance.serving.process import Process, StartError

MILVUS, TRITON, ORCHESTRATOR = PARTS = ("Milvus", "Triton", "orchestrator")


class Stopped(Exception):
    """The launcher was told to stop."""


def log(plan: Plan) -> Path:
    """What the launcher itself prints: where it failed unexpectedly, its stack trace."""
    return Path(plan.data) / "logs" / "launcher.log"


def report(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    report("started", step=what)
    begin = time.monotonic()
    yield
    report("done", step=what, seconds=round(time.monotonic() - begin, 1))


class Launcher:
    """Starts the parts of one plan on an exit stack, which stops them in the opposite order."""

    def __init__(self, plan: Plan, parts: ExitStack) -> None:
        self.plan = plan
        self.parts = parts
        self.data = Path(plan.data)
        self.logs = self.data / "logs"
        self.run = state.Run(plan, state.Identity.of(os.getpid()), f"semblance_{uuid.uuid4().hex}_")
        state.write(self.run)
        parts.callback(state.remove, self.data)

    def start(self) -> None:
        self.start_milvus()
        self.start_triton()
        self.start_orchestrator()

    def start_milvus(self) -> None:
        uri = self.plan.milvus
        if not self.plan.starts_milvus:
            with step(f"Milvus at {uri}"):
                if not milvus.is_ready(uri):
                    raise StartError(f"no healthy Milvus answers at {uri}")
            self.milvus = uri
            return
        with step(f"Milvus ({self.plan.milvus})"):
            start = milvus.lite if self.plan.milvus == LITE else milvus.standalone
            # A folder for each: one can't read the other's files.
            folder = self.data / "milvus" / self.plan.milvus
            server = self.parts.enter_context(start(folder, port=self.plan.milvus_port, log=self.logs / "milvus.log"))
            self.milvus = server.uri
            self.record(MILVUS, server.process, server.uri)

    def start_triton(self) -> None:
        with step("Triton"):
            server = self.parts.enter_context(
                triton.running(
                    Path(self.plan.repository),
                    self.data / "triton",
                    ports=self.plan.triton,
                    models=(),
                    shared_memory_prefix=self.run.shared_memory_prefix,
                    log=self.logs / "triton.log",
                    traces=self.plan.triton_traces,
                )
            )
            self.triton = server.grpc
            self.record(TRITON, server.process, server.grpc)

    def start_orchestrator(self) -> None:
        with step("orchestrator, which loads its models into Triton"):
            server = self.parts.enter_context(
                orchestrator.running(
                    self.data,
                    repository=Path(self.plan.repository),
                    triton=self.triton,
                    milvus=self.milvus,
                    listen=self.plan.listen,
                    log=self.logs / "orchestrator.log",
                    settings={"SEMBLANCE_INSECURE_LISTEN": "true"} if self.plan.insecure_listen else {},
                )
            )
            self.record(ORCHESTRATOR, server.process, server.address, server.health)

    def record(self, name: str, process: Process, endpoint: str, health: str = "") -> None:
        identities = state.Identity.of(process.guard.pid), state.Identity.of(process.pid)
        self.run = self.run.with_part(state.Part(name, *identities, endpoint, str(process.log), health))
        state.write(self.run)


def launch(plan: Plan) -> None:
    """Starts a stack and keeps it until SIGTERM.

    Raises:
        StartError: a part did not start; those before it are stopped.
        Stopped: it was told to stop, and all is stopped.
    """
    with state.held(Path(plan.data)), ExitStack() as parts:
        Launcher(plan, parts).start()
        guard.libc.prctl(guard.PR_SET_PDEATHSIG, 0)
        report("up")
        detach()
        while True:
            signal.pause()


def detach() -> None:
    """Lets go of the pipe to `up`, which ends now."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def stop(number: int, frame: FrameType | None) -> NoReturn:
    # Once is enough: a second signal would interrupt the stopping.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def main(fields: str) -> int:
    plan = Plan.of(json.loads(fields))
    signal.signal(signal.SIGTERM, stop)
    guard.libc.prctl(guard.PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        launch(plan)
    except Stopped:
        return 0
    except StartError as error:
        report("failed", message=str(error))
    except Exception as error:
        traceback.print_exc()
        report("failed", message=f"unexpected {type(error).__name__}: {error}\nlog: {log(plan)}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
