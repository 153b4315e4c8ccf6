"""A world for the service made of fakes, callers of it, and photos that the fake detector understands."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import json_format
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.bootstrap import Service
from semblance.orchestrator.ports import Ports
from semblance.orchestrator.release import ModelVersion
from semblance.orchestrator.settings import Settings
from semblance.orchestrator.testing import (
    FakeInferenceServer,
    MemoryFeedbackStore,
    MemoryImageStore,
    MemoryMetadataStore,
    MemoryRegistry,
    MemoryVectorIndex,
)
from semblance.v1.catalog_pb2 import PutRequest, PutResponse
from semblance.v1.catalog_pb2_grpc import CatalogServiceStub
from semblance.v1.item_pb2 import Item, ItemImage, Value
from semblance.v1.manifest_pb2 import Manifest
from semblance.v1.search_pb2 import SearchOptions, SearchRequest
from semblance.v1.search_pb2_grpc import SearchServiceStub

# Seconds within which anything that a test waits for happens.
PATIENCE = 10

RED, GREEN, BLUE = (220, 20, 20), (20, 200, 20), (20, 20, 220)


def photo(*things: tuple[tuple[int, int, int], tuple[int, int, int, int]], kind: str = "PNG") -> bytes:
    """Coloured rectangles on grey: what the fake detector sees as objects. 320 × 240."""
    image = Image.new("RGB", (320, 240), (128, 128, 128))
    for colour, box in things:
        ImageDraw.Draw(image).rectangle(box, fill=colour)
    buffer = BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


RED_PHOTO = photo((RED, (40, 40, 120, 120)))
GREEN_PHOTO = photo((GREEN, (60, 30, 200, 100)))
BOTH = photo((RED, (10, 10, 90, 90)), (GREEN, (150, 100, 300, 220)))
GREY_PHOTO = photo()


class GatedInferenceServer(FakeInferenceServer):
    """Holds inferences up until its gate is open."""

    def __init__(self, *models: ModelVersion) -> None:
        super().__init__(*models)
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0
        self.cancelled = 0

    async def infer(self, model: ModelVersion, batch: NDArray[np.uint8], timeout: float) -> NDArray[np.float32]:
        self.waiting += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        return await super().infer(model, batch, timeout)


def publish(repository: Path, model: ModelVersion) -> None:
    folder = repository / model.name / str(model.version)
    folder.mkdir(parents=True)
    (repository / model.name / "config.pbtxt").write_text(f'name: "{model.name}"')
    content = f"the bytes of {model.name} {model.version}".encode()
    (folder / "model.onnx").write_bytes(content)
    manifest = Manifest(
        model=model.name.partition("_")[0],
        version=model.version,
        model_file=Manifest.File(name="model.onnx", sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)),
        input=_tensor(model.input),
        output=_tensor(model.output),
        max_batch_size=model.max_batch_size,
        pad_value=model.pad_value,
        class_names=model.class_names,
    )
    (folder / "manifest.json").write_text(json_format.MessageToJson(manifest, preserving_proto_field_name=True))


def _tensor(tensor: Any) -> Manifest.Tensor:
    return Manifest.Tensor(name=tensor.name, data_type=f"TYPE_{tensor.data_type}", dims=tensor.dims)


@dataclass
class World:
    """Everything beside the service, and the means to start one or more on it."""

    repository: Path
    models: GatedInferenceServer
    index: MemoryVectorIndex
    metadata: MemoryMetadataStore
    images: MemoryImageStore
    registry: MemoryRegistry = field(init=False)
    feedback: MemoryFeedbackStore = field(init=False)
    services: list[Service] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registry = MemoryRegistry(self.metadata)
        self.feedback = MemoryFeedbackStore(self.metadata)

    def service(self, **settings: Any) -> Service:
        repository = FileModelRepository(str(self.repository))
        ports = Ports(
            {"Triton": self.models},
            repository,
            self.index,
            self.metadata,
            self.registry,
            self.images,
            self.feedback,
        )
        defaults = {"listen": "127.0.0.1:0", "startup_wait": 0, "drain_delay": 0, "drain_grace": PATIENCE}
        self.services.append(Service(Settings(**{**defaults, **settings}), ports))
        return self.services[-1]


class Caller:
    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.channel = grpc.aio.insecure_channel(self.address)
        self.catalog: Any = CatalogServiceStub(self.channel)
        self.searching: Any = SearchServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    async def put(self, *items: Item) -> list[PutResponse]:
        stream = self.catalog.Put(iter([PutRequest(item=item) for item in items]), timeout=PATIENCE)
        return [response async for response in stream]

    async def search(self, image: bytes, timeout: float | None = PATIENCE, **options: Any) -> Any:
        request = SearchRequest(request_id="q", image=image, options=SearchOptions(**options))
        return await self.searching.Search(request, timeout=timeout)

    async def status(self, service: str = "") -> int:
        answer = await self.health.Check(health_pb2.HealthCheckRequest(service=service))
        return int(answer.status)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


def item(item_id: str, *files: bytes, **attributes: Value) -> Item:
    return Item(item_id=item_id, attributes=attributes, images=[ItemImage(data=data) for data in files])


def reason(error: grpc.aio.AioRpcError) -> tuple[StatusCode, str, float | None]:
    """Of a failed call: its status, ErrorInfo.reason and the seconds of RetryInfo."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    info, retry = ErrorInfo(), RetryInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "semblance"
    has_delay = len(status.details) > 1 and status.details[1].Unpack(retry)
    return error.code(), info.reason, retry.retry_delay.ToMilliseconds() / 1000 if has_delay else None


PRICE = {"price": Value(double_value=2.5)}
