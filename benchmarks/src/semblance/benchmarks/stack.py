"""The whole service on free ports of this host, as `semblance up` starts it, with a small catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from semblance.benchmarks import null_models
from semblance.benchmarks.world import World
from semblance.client import Client, SemblanceError
from semblance.export import repository as model_repository
from semblance.serving import milvus, orchestrator, triton

MODELS = ("detector", "embedder")
# Instead of a folder of packages.
NULL = "null"

MilvusKind = Literal["standalone", "lite"]


@dataclass(frozen=True, slots=True)
class Stack:
    """A running service. `pids` are its processes by name; children count with them."""

    target: str
    triton: str
    milvus: str
    repository: Path
    pids: Mapping[str, int]
    versions: Mapping[str, str] = field(repr=False)


def publish(packages: str | Path, repository: Path) -> None:
    """Publishes the null models, or the exported folders `detector` and `embedder` of `packages`, as version 1."""
    if packages == NULL:
        null_models.publish(repository)
        return
    for model in MODELS:
        model_repository.publish(Path(packages) / model, repository, 1)


def fill(address: str, world: World) -> None:
    """Indexes the world's catalogue, and searches with each photo: the first load code and open connections."""
    with Client(address) as client:
        for _, outcome in client.put(world.catalogue):
            if isinstance(outcome, SemblanceError):
                raise outcome
        for photo in world.photos:
            client.search(photo)


@contextmanager
def started(
    packages: str | Path, world: World, folder: Path, kind: MilvusKind, settings: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """The service with the world's catalogue indexed, and nothing else in it; each of its photos was searched with."""
    repository = folder / "model_repository"
    publish(packages, repository)
    vectors = milvus.standalone if kind == "standalone" else milvus.lite
    with (
        triton.running(repository, folder / "triton") as inference,
        vectors(folder / "milvus") as index,
        orchestrator.running(
            folder / "orchestrator",
            repository=repository,
            triton=inference.grpc,
            milvus=index.uri,
            settings=dict(settings or {}),
        ) as service,
    ):
        fill(service.address, world)
        with grpc.insecure_channel(inference.grpc) as channel:
            metadata = service_pb2_grpc.GRPCInferenceServiceStub(channel).ServerMetadata(
                service_pb2.ServerMetadataRequest()
            )
        yield Stack(
            target=service.address,
            triton=inference.grpc,
            milvus=index.uri,
            repository=repository,
            pids={"orchestrator": service.pid, "triton": inference.pid, "milvus": index.pid},
            versions={"tritonserver": metadata.version, "milvus": milvus.version(index.uri)},
        )
