"""The parts of a service that can be killed and started again, each on its own ports and data."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import psycopg
from pymilvus import MilvusClient, MilvusException

from semblance.serving import milvus, orchestrator, ports, triton
from semblance.serving.ports import LOOPBACK
from semblance.serving.process import Process
from tests.faults import models
from tests.servers import PostgreSql

MilvusKind = Literal["lite", "standalone"]
# Of a killed process and its children to be gone, in seconds.
PATIENCE = 30.0
# What Milvus may take to replay, and between two looks at whether it has, in seconds.
REPLAY, POLL = 180.0, 0.1


class Part:
    """One process, with its children. Used from the main thread, as `semblance.serving.process` wants it."""

    def __init__(self, name: str, run: Callable[[], AbstractContextManager[Any]]) -> None:
        self.name = name
        self._run = run
        self._stack = ExitStack()
        self._process: Process | None = None

    def start(self) -> None:
        """Returns when the part says that it is ready."""
        started = self._stack.enter_context(self._run())
        self._process = started if isinstance(started, Process) else started.process

    def kill(self) -> None:
        """SIGKILL to the part; its guard kills what is left of it."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.guard.wait(PATIENCE)
        self.stop()

    def stop(self) -> None:
        self._stack.close()
        self._process = None


@dataclass(frozen=True, slots=True)
class Service:
    address: str
    metadata_url: str
    image_store: str
    milvus_uri: str
    triton: str
    repository: Path
    parts: tuple[Part, ...]

    def part(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)


@contextmanager
def milvus_standalone(data: Path, port: int) -> Iterator[Any]:
    """Back when it answers with all that was written before.

    It is healthy before that: it replays what came since its last checkpoint, which it moves once a minute at most, so
    that among frequent kills this takes longer with each.
    """
    with milvus.standalone(data, port=port) as running:
        client = MilvusClient(running.uri, timeout=PATIENCE)
        try:
            for collection in client.list_collections():
                _wait_for_all(client, collection)
        finally:
            client.close()
        yield running


def _wait_for_all(client: MilvusClient, collection: str) -> None:
    limit = time.monotonic() + REPLAY
    while True:
        try:
            client.query(collection, filter="", output_fields=["count(*)"], consistency_level="Strong", timeout=REPLAY)
            return
        except MilvusException:
            if time.monotonic() > limit:
                raise
            time.sleep(POLL)


@contextmanager
def service(folder: Path, postgresql: PostgreSql, kind: MilvusKind) -> Iterator[Service]:
    """A running service on null models, with an empty catalogue."""
    repository = folder / "model_repository"
    models.publish(repository)
    listen, vectors = (f"{LOOPBACK}:{port}" for port in ports.free(2))
    http, grpc, metrics = ports.free(3)
    database = f"t{uuid4().hex}"
    metadata_url = f"{postgresql.url}/{database}".replace("postgresql://", "postgresql+psycopg://")
    milvus_port = int(vectors.rpartition(":")[2])
    start_milvus: Callable[..., AbstractContextManager[Any]] = milvus.lite if kind == "lite" else milvus_standalone
    parts = (
        Part("database", postgresql.running),
        Part("milvus", lambda: start_milvus(folder / "milvus", port=milvus_port)),
        # The orchestrator has it load what it needs.
        Part(
            "triton",
            lambda: triton.running(repository, folder / "triton", ports=triton.Ports(http, grpc, metrics), models=()),
        ),
        Part(
            "orchestrator",
            lambda: orchestrator.running(
                folder / "orchestrator",
                repository=repository,
                triton=f"{LOOPBACK}:{grpc}",
                milvus=f"http://{vectors}",
                listen=listen,
                settings={"SEMBLANCE_METADATA_URL": metadata_url},
            ),
        ),
    )
    with ExitStack() as stack:
        for part in parts:
            part.start()
            stack.callback(part.stop)
            if part.name == "database":
                with psycopg.connect(f"{postgresql.url}/postgres", autocommit=True) as connection:
                    connection.execute(f"CREATE DATABASE {database}")
        images = f"file://{(folder / 'orchestrator').absolute()}/images"
        yield Service(listen, metadata_url, images, f"http://{vectors}", f"{LOOPBACK}:{grpc}", repository, parts)
