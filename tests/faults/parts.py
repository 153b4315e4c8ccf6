"""The parts of a service that can be killed and started again, each on its own ports and data."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pymilvus import MilvusClient, MilvusException

from semblance.serving import milvus, orchestrator, ports, triton
from semblance.serving.ports import LOOPBACK
from semblance.serving.process import Process
from tests.faults import models
from tests.servers import PostgreSql, empty_database

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
    """Of several orchestrators or Tritons `address`, gRPC's name for all, and `triton` have each one's."""

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
    [port] = ports.free(1)
    start_milvus: Callable[..., AbstractContextManager[Any]] = milvus.lite if kind == "lite" else milvus_standalone
    stores = (
        Part("database", postgresql.running),
        Part("milvus", lambda: start_milvus(folder / "milvus", port=port)),
    )
    with ExitStack() as stack:
        _start(stores, stack)
        metadata_url, vectors = empty_database(postgresql.url), f"http://{LOOPBACK}:{port}"
        made = _made(folder, metadata_url, vectors, {"triton": LOOPBACK}, {"orchestrator": LOOPBACK})
        _start(made.parts, stack)
        yield replace(made, parts=(*stores, *made.parts))


@contextmanager
def pairs(folder: Path, metadata_url: str, milvus_uri: str) -> Iterator[Service]:
    """Two orchestrators and two Tritons, each on a loopback address of its own, before stores that run already."""
    tritons = {"triton-1": "127.0.0.2", "triton-2": "127.0.0.3"}
    orchestrators = {"orchestrator-1": "127.0.0.4", "orchestrator-2": "127.0.0.5"}
    with ExitStack() as stack:
        made = _made(folder, metadata_url, milvus_uri, tritons, orchestrators)
        _start(made.parts, stack)
        yield made


def _start(parts: Iterable[Part], stack: ExitStack) -> None:
    for part in parts:
        part.start()
        stack.callback(part.stop)


def _made(
    folder: Path, metadata_url: str, milvus_uri: str, tritons: Mapping[str, str], orchestrators: Mapping[str, str]
) -> Service:
    """Tritons and orchestrators, by their names, on these hosts; nothing runs yet."""
    repository = folder / "model_repository"
    models.publish(repository)
    images = f"file://{(folder / 'images').absolute()}"
    inference, parts = [], []
    for name, host in tritons.items():
        at = triton.Ports.free()
        inference.append(f"{host}:{at.grpc}")
        # The orchestrator has it load what it needs.
        start = partial(triton.running, repository, folder / name, host=host, ports=at, models=())
        parts.append(Part(name, start))
    listens = [
        f"{host}:{port}" for host, port in zip(orchestrators.values(), ports.free(len(orchestrators)), strict=True)
    ]
    for name, listen in zip(orchestrators, listens, strict=True):
        run = partial(
            orchestrator.running,
            folder / name,
            repository=repository,
            triton=",".join(inference),
            milvus=milvus_uri,
            listen=listen,
            settings={"SEMBLANCE_METADATA_URL": metadata_url, "SEMBLANCE_IMAGE_STORE": images},
        )
        parts.append(Part(name, run))
    address = listens[0] if len(listens) == 1 else f"ipv4:{','.join(listens)}"
    return Service(address, metadata_url, images, milvus_uri, ",".join(inference), repository, tuple(parts))
