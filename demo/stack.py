"""The whole product on free ports, with the demo's models and its catalogue."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from tritonclient.grpc import InferenceServerClient

from demo.interruption import INTERRUPTED
from semblance.serving import milvus, orchestrator, triton

WEIGHTS = Path(__file__).resolve().parent / "weights"


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs: the orchestrator's address and Milvus', and the versions of what is behind the orchestrator."""

    target: str
    milvus: str
    triton_version: str
    milvus_version: str


def semblance(*arguments: str | Path) -> None:
    """Runs a command as a user would; what it says goes to the terminal, and its failure ends the program."""
    program = Path(sys.executable).with_name("semblance")
    done = subprocess.run([program, *arguments])
    if done.returncode == INTERRUPTED:
        raise KeyboardInterrupt
    if done.returncode:
        sys.exit(f"demo: `semblance {' '.join(map(str, arguments))}` failed with status {done.returncode}")


def publish(repository: Path) -> None:
    """Publishes the demo's models into a repository."""
    for model in ("detector", "embedder"):
        semblance("publish", WEIGHTS / model, "--repository", repository)


@contextmanager
def started(repository: Path, folder: Path, console: Console) -> Iterator[Stack]:
    """Triton, Milvus Lite and the orchestrator, as `semblance up` starts them, with an empty catalogue in `folder`."""
    with ExitStack() as running:
        with console.status("starting Triton and loading both models"):
            inference = running.enter_context(triton.running(repository, folder / "triton"))
        with console.status("starting Milvus Lite"):
            vectors = running.enter_context(milvus.lite(folder / "milvus"))
        with console.status("starting the orchestrator"):
            service = running.enter_context(
                orchestrator.running(
                    folder / "orchestrator", repository=repository, triton=inference.grpc, milvus=vectors.uri
                )
            )
        with InferenceServerClient(inference.grpc) as client:
            triton_version = str(client.get_server_metadata().version)
        stack = Stack(service.address, vectors.uri, triton_version, milvus.version(vectors.uri))
        console.print(f"Triton {stack.triton_version} at {inference.grpc}")
        console.print(f"Milvus {stack.milvus_version} at {vectors.uri}")
        console.print(f"Semblance at {stack.target}")
        yield stack
