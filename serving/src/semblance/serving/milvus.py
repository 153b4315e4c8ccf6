"""Milvus as Milvus Lite, or as the real standalone server from its PyPI wheel."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc

from semblance.serving import milvus_standalone
from semblance.serving import ports as tcp
from semblance.serving.process import Process, running, sibling_environment, this_environment

DEFAULT_PORT = 19530
READY_SECONDS = 120.0
# Lite drains for 5 seconds before it closes its files.
LITE_GRACE_SECONDS = 15.0
# Standalone 2.3.5 closes its components within a second of SIGTERM and then hangs; its own launcher kills it after
# one second. What it has acknowledged is in its write-ahead log.
STANDALONE_GRACE_SECONDS = 3.0


@dataclass(frozen=True)
class Milvus:
    """A running Milvus; at `metrics`, host:port, Prometheus may scrape it, which Milvus Lite has not."""

    process: Process
    port: int
    metrics: str = ""

    @property
    def uri(self) -> str:
        return f"http://{tcp.LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> Path:
        return self.process.log


@contextmanager
def lite(data: Path, *, port: int | None = None, log: Path | None = None) -> Iterator[Milvus]:
    """Runs the Milvus Lite server over the folder `data`, on a free port if none is given.

    Raises:
        StartError: it did not start.
    """
    port = port or tcp.free(1)[0]
    server = ["server", "--data-dir", str(data.absolute()), "--host", tcp.LOOPBACK, "--port", str(port)]
    with running(
        "Milvus Lite",
        [sys.executable, "-m", "milvus_lite", *server],
        log=log or data / "milvus.log",
        environment=this_environment(),
        # It closes its files on SIGINT only.
        stop_signal=signal.SIGINT,
        grace=LITE_GRACE_SECONDS,
    ) as process:
        milvus = Milvus(process, port)
        process.wait_until(lambda: is_ready(milvus.uri), READY_SECONDS)
        yield milvus


@contextmanager
def standalone(data: Path, *, port: int | None = None, log: Path | None = None) -> Iterator[Milvus]:
    """Runs the real standalone server over the folder `data`, on a free port if none is given.

    Version 2.3.5 has no setting for the address that its ports are bound to: it listens on all interfaces.

    Raises:
        StartError: its environment is not there, or it did not start.
    """
    environment = sibling_environment("milvus", "setup-milvus")
    free, metrics = tcp.free(2)
    port = port or free
    home = data.absolute()
    binaries = milvus_standalone.unpack(environment)
    milvus_standalone.configure(home, environment, port)
    with running(
        "Milvus standalone",
        [binaries / "milvus", "run", "standalone"],
        log=log or data / "milvus.log",
        environment=milvus_standalone.variables(binaries, metrics),
        folder=home,
        grace=STANDALONE_GRACE_SECONDS,
    ) as process:
        milvus = Milvus(process, port, f"{tcp.LOOPBACK}:{metrics}")
        process.wait_until(lambda: is_ready(milvus.uri), READY_SECONDS)
        yield milvus


def is_ready(uri: str) -> bool:
    """Whether the Milvus at a URI such as http://127.0.0.1:19530 says that it is healthy."""
    # Importing pymilvus takes two seconds, which `semblance --help` and `semblance down` can do without.
    from pymilvus.grpc_gen import milvus_pb2

    with _stub(uri) as stub:
        try:
            return bool(stub.CheckHealth(milvus_pb2.CheckHealthRequest(), timeout=1.0).isHealthy)
        except grpc.RpcError as error:
            # A server that wants a token is there all the same; the orchestrator has it.
            return error.code() is grpc.StatusCode.UNAUTHENTICATED


def version(uri: str) -> str:
    """What the Milvus at a URI says that it is. Raises grpc.RpcError."""
    from pymilvus.grpc_gen import milvus_pb2

    with _stub(uri) as stub:
        return str(stub.GetVersion(milvus_pb2.GetVersionRequest(), timeout=5.0).version)


@contextmanager
def _stub(uri: str) -> Iterator[Any]:
    from pymilvus.grpc_gen import milvus_pb2_grpc

    address = urlsplit(uri)
    secure = address.scheme == "https"
    target = f"{address.hostname}:{address.port or (443 if secure else DEFAULT_PORT)}"
    channel = grpc.secure_channel(target, grpc.ssl_channel_credentials()) if secure else grpc.insecure_channel(target)
    with channel:
        yield milvus_pb2_grpc.MilvusServiceStub(channel)
