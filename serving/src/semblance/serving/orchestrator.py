"""The orchestrator, `semblance serve`, as a child process."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from semblance.serving import ports as tcp
from semblance.serving.process import Process, this_environment
from semblance.serving.process import running as process_running

DEFAULT_LISTEN = f"{tcp.LOOPBACK}:50051"
# It has two models loaded into Triton, each of which may take as long as `triton.LOAD_SECONDS`.
READY_SECONDS = 600.0
# It finishes what is in flight, for 30 seconds at most.
GRACE_SECONDS = 45.0


@dataclass(frozen=True)
class Orchestrator:
    """A running orchestrator; on `health` it tells without TLS whether it is ready."""

    process: Process
    address: str
    health: str

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> Path:
        return self.process.log


@contextmanager
def running(
    folder: Path,
    *,
    repository: Path,
    triton: str,
    milvus: str,
    listen: str | None = None,
    log: Path | None = None,
    settings: dict[str, str] | None = None,
) -> Iterator[Orchestrator]:
    """Runs the orchestrator and waits until its health is SERVING.

    Args:
        folder: for its metadata and images.
        repository: the model repository that Triton serves.
        triton: host:port of Triton's gRPC.
        milvus: the URI of Milvus.
        listen: host:port; None takes a free port of this host.
        settings: more SEMBLANCE_* variables, over those that follow from the arguments.

    Raises:
        StartError: it did not start.
    """
    port, health_port = tcp.free(2)
    listen = listen or f"{tcp.LOOPBACK}:{port}"
    health = os.environ.get("SEMBLANCE_HEALTH_LISTEN") or f"{tcp.LOOPBACK}:{health_port}"
    home = folder.absolute()
    with process_running(
        "orchestrator",
        [Path(sys.prefix, "bin", "semblance"), "serve"],
        log=log or folder / "orchestrator.log",
        environment=this_environment()
        | {
            "SEMBLANCE_LISTEN": listen,
            "SEMBLANCE_HEALTH_LISTEN": health,
            "SEMBLANCE_TRITON_URL": triton,
            "SEMBLANCE_MILVUS_URI": milvus,
            "SEMBLANCE_METADATA_URL": f"sqlite:///{home / 'metadata.db'}",
            "SEMBLANCE_IMAGE_STORE": f"file://{home / 'images'}",
            "SEMBLANCE_MODEL_REPOSITORY": str(repository.absolute()),
        }
        | (settings or {}),
        grace=GRACE_SECONDS,
    ) as process:
        process.wait_until(lambda: is_ready(health), READY_SECONDS)
        yield Orchestrator(process, listen, health)


def is_ready(address: str) -> bool:
    """Whether the orchestrator's health (grpc.health.v1, the server as a whole) is SERVING."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1.0)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
