"""A stack as seen from outside its launcher: whether its parts are ready, and how to stop all of it."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from semblance.serving import milvus, orchestrator, state, triton
from semblance.serving.launcher import MILVUS, ORCHESTRATOR, PARTS, TRITON

# Each part has its grace, one after the other, before the launcher is late.
LAUNCHER_SECONDS = 90.0
# A guard whose launcher was killed stops its part by itself.
GUARD_SECONDS = 45.0
KILL_SECONDS = 10.0


@dataclass(frozen=True)
class Condition:
    """How a part is. `pid` is None where it does not run, or is not ours."""

    name: str
    pid: int | None
    endpoint: str | None
    ready: bool


def conditions(run: state.Run) -> list[Condition]:
    return [condition(run, name) for name in PARTS]


def condition(run: state.Run, name: str) -> Condition:
    if name == MILVUS and not run.plan.starts_milvus:
        return Condition(name, None, run.plan.milvus, milvus.is_ready(run.plan.milvus))
    part = run.part(name)
    if part is None:
        return Condition(name, None, None, False)
    process = part.itself.process()
    return Condition(
        name,
        process.pid if process else None,
        part.endpoint,
        process is not None and answers(name, part.health or part.endpoint),
    )


def answers(name: str, endpoint: str) -> bool:
    if name == MILVUS:
        return milvus.is_ready(endpoint)
    if name == TRITON:
        return triton.is_ready(endpoint)
    assert name == ORCHESTRATOR
    return orchestrator.is_ready(endpoint)


def stop(data: Path) -> bool:
    """Stops the stack of a data folder, and what a killed launcher left of one. False where there is none.

    The launcher stops its parts in order. Where it was killed, its guards do that at once, each for its own part,
    and here it is waited for.
    """
    run = state.read(data)
    if run is None:
        return False
    if launcher := run.launcher.process():
        end([launcher], LAUNCHER_SECONDS)
    guards = [process for part in run.parts if (process := part.guard.process())]
    end(guards, GUARD_SECONDS)
    end([process for part in run.parts if (process := part.itself.process())], GUARD_SECONDS)
    triton.remove_shared_memory(run.shared_memory_prefix)
    state.remove(data)
    return True


def end(processes: list[psutil.Process], limit: float) -> None:
    """SIGTERM, and SIGKILL for those that still run after `limit` seconds."""
    for process in processes:
        process.terminate()
    _, alive = psutil.wait_procs(processes, limit)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, KILL_SECONDS)
